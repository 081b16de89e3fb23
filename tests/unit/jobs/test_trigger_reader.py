"""What `triggers` may say, and what is told of what it may not."""

from __future__ import annotations

import pytest

from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.triggers import RateLimit, Trigger

TASKS = "tasks:\n- {task_type: a, script: x}\n"
WEBHOOK = """\
job_type: j
triggers:
- type: webhook
  name: on-push
  auth: {method: hmac_sha256, secret_config: Hook}
  filter: '{{ if eq .Body.ref "refs/heads/main" }}true{{ end }}'
  params:
    branch: '{{ trimPrefix .Body.ref "refs/heads/" }}'
    number: 3
  dedup_key: 'ci-{{ .Body.id }}'
  rate_limit: {max: 30, window: 5m}
- {type: queue, name: orders, topic: orders.done, group: g, shared: false, provider: redis}
- {type: s3, name: files, mode: poll, bucket: b, prefix: raw/, suffix: .csv, poll_interval: 30s}
"""


def triggers(source: str) -> tuple[Trigger, ...]:
    """The triggers of a valid file."""
    (parsed,) = parse_source(source + TASKS)
    assert parsed.definition is not None, parsed.violations
    return parsed.definition.triggers


def violations(entry: str) -> list[tuple[int, str, str]]:
    """Line, path and code of what is wrong with a file whose one trigger this is, in flow style."""
    (parsed,) = parse_source(f"job_type: j\ntriggers:\n- {entry}\n{TASKS}")
    return [(found.line, found.path, found.code) for found in parsed.violations]


def test_every_type_is_read_with_its_fields() -> None:
    """Texts keep their templates, durations become seconds, names of headers follow from the method."""
    hook, queue, files = triggers(WEBHOOK)
    assert hook.filter == '{{ if eq .Body.ref "refs/heads/main" }}true{{ end }}'
    assert hook.params == {"branch": '{{ trimPrefix .Body.ref "refs/heads/" }}', "number": 3}
    assert hook.rate_limit == RateLimit(30, 300.0) and hook.dedup_key == "ci-{{ .Body.id }}"
    assert hook.auth is not None and (hook.auth.header, hook.auth.form) == ("X-Hub-Signature-256", "body")
    assert (queue.topic, queue.group, queue.provider) == ("orders.done", "g", "redis")
    assert (files.bucket, files.prefix, files.suffix, files.poll_interval_s) == ("b", "raw/", ".csv", 30.0)


@pytest.mark.parametrize(
    ("auth", "header", "form"),
    [
        ("form: timestamp", "X-Formicary-Signature", "timestamp"),
        ("form: standard", "webhook-signature", "standard"),
        ("header: Webhook-Signature", "Webhook-Signature", "standard"),
        ("header: Stripe-Signature, form: timestamp", "Stripe-Signature", "timestamp"),
        ("header: X-Mine", "X-Mine", "body"),
    ],
)
def test_the_form_of_a_signature_follows_from_the_definition(auth: str, header: str, form: str) -> None:
    """What the file says decides it; the request has no say."""
    entry = f"{{type: webhook, name: n, auth: {{method: hmac_sha256, secret_env: FORMICARY_SECRET_X, {auth}}}}}"
    (hook,) = triggers(f"job_type: j\ntriggers: [{entry}]\n")
    assert hook.auth is not None and (hook.auth.header, hook.auth.form) == (header, form)


@pytest.mark.parametrize(
    ("entry", "path", "code"),
    [
        ("{name: n}", "triggers[0].type", "MISSING_FIELD"),
        ("{type: pigeon, name: n}", "triggers[0].type", "BAD_VALUE"),
        ("{type: webhook}", "triggers[0].name", "MISSING_FIELD"),
        ("{type: webhook, name: a/b}", "triggers[0].name", "BAD_NAME"),
        ("{type: webhook, name: cron}", "triggers[0].name", "DUPLICATE_NAME"),
        ("{type: webhook, name: n, topic: t}", "triggers[0].topic", "UNKNOWN_FIELD"),
        ("{type: webhook, name: n, auth: {method: magic}}", "triggers[0].auth.method", "BAD_VALUE"),
        ("{type: webhook, name: n, auth: {method: bearer_token}}", "triggers[0].auth", "MISSING_FIELD"),
        (
            "{type: webhook, name: n, auth: {method: none, secret: s}}",
            "triggers[0].auth.secret",
            "SECRET_IN_FILE",
        ),
        (
            "{type: webhook, name: n, auth: {method: bearer_token, secret_env: PATH}}",
            "triggers[0].auth.secret_env",
            "BAD_VALUE",
        ),
        (
            "{type: webhook, name: n, auth: {method: bearer_token, secret_file: ../x}}",
            "triggers[0].auth.secret_file",
            "BAD_PATH",
        ),
        (
            "{type: webhook, name: n, auth: {method: hmac_sha256, secret_config: S}, dedup_key: '{{.Headers}}'}",
            "triggers[0].dedup_key",
            "BAD_VALUE",
        ),
        ("{type: webhook, name: n, rate_limit: {max: 0, window: 1m}}", "triggers[0].rate_limit.max", "OUT_OF_RANGE"),
        ("{type: webhook, name: n, rate_limit: {max: 1}}", "triggers[0].rate_limit.window", "MISSING_FIELD"),
        (
            "{type: webhook, name: n, rate_limit: {max: 1, window: 0s}}",
            "triggers[0].rate_limit.window",
            "OUT_OF_RANGE",
        ),
        ("{type: queue, name: n}", "triggers[0].topic", "MISSING_FIELD"),
        ("{type: queue, name: n, topic: t, provider: nats, url: 'redis://x'}", "triggers[0].url", "BAD_VALUE"),
        ("{type: queue, name: n, topic: t, url: 'ftp://x'}", "triggers[0].url", "BAD_VALUE"),
        ("{type: queue, name: n, topic: t, url: 'redis://u:p@x'}", "triggers[0].url", "SECRET_IN_FILE"),
        ("{type: s3, name: n}", "triggers[0]", "MISSING_FIELD"),
        ("{type: s3, name: n, bucket: b, poll_interval: 10ms}", "triggers[0].poll_interval", "OUT_OF_RANGE"),
        ("{type: s3, name: n, bucket: b, mode: push}", "triggers[0].mode", "BAD_VALUE"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(entry: str, path: str, code: str) -> None:
    """One violation, in line 3, with path and code."""
    assert violations(entry) == [(3, path, code)]


def test_a_job_has_at_most_five_and_each_name_once() -> None:
    """Six triggers, two of them of one name, are two violations."""
    entries = "".join(f"- {{type: webhook, name: n{max(i, 1)}}}\n" for i in range(6))
    (parsed,) = parse_source(f"job_type: j\ntriggers:\n{entries}{TASKS}")
    assert [found.code for found in parsed.violations] == ["TOO_MANY", "DUPLICATE_NAME"]


@pytest.mark.parametrize(
    "entry",
    [
        "type: webhook\n  auth: {method: hmac_sha256, secret_config: Hook}",
        "type: WEBHOOK\n  webhook:\n    auth: {type: hmac-sha256, secret_name: Hook}",
        "type: webhook\n  description: pushes\n  webhook:\n    auth_method: HMAC_SHA256\n    secret_key: Hook",
        "webhook:\n    auth_type: hmac\n    secret_config_key: Hook\n    header: X-Hub-Signature-256",
        "type: webhook\n  webhook: {auth: {method: hmac_sha256, secret: '{{.Hook}}'}}",
        "type: webhook\n  enabled: true\n  auth_method: hmac_sha256\n  secret_ref: Hook",
    ],
)
def test_the_blocks_of_older_files_mean_the_same(entry: str) -> None:
    """Wherever a webhook says how its senders are known, and under which of the names."""
    (hook,) = triggers(f"job_type: j\ntriggers:\n- name: push\n  {entry}\n")
    assert hook.auth is not None and hook.type == "webhook"
    assert (hook.auth.method, hook.auth.secret_config, hook.auth.header) == (
        "hmac_sha256",
        "Hook",
        "X-Hub-Signature-256",
    )


def test_blocks_of_queues_and_stores_are_read() -> None:
    """Their fields, older names of some, limits, and a trigger that is switched off."""
    queue, files, open_hook = triggers(
        "job_type: j\ntriggers:\n"
        "- name: q\n  type: queue\n  queue: {topic: orders, group: g, shared: true}\n"
        "  rate_limit: {max_requests: 5, per: 1m}\n"
        "- name: s\n  enabled: no\n  s3: {bucket: b, key_prefix: raw/, polling_interval: 2m, mode: notification}\n"
        "- name: w\n  type: webhook\n  webhook: {auth: none}\n"
    )
    assert (queue.type, queue.topic, queue.group, queue.rate_limit) == ("queue", "orders", "g", RateLimit(5, 60.0))
    assert (files.type, files.bucket, files.prefix, files.poll_interval_s) == ("s3", "b", "raw/", 120.0)
    assert (files.enabled, queue.enabled) == (False, True)
    assert open_hook.auth is not None and open_hook.auth.method == "none"


def test_what_a_block_holds_besides_is_a_warning_at_its_place() -> None:
    """A secret is read as the name of one; what nobody knows has no effect; another type's field is an error."""
    text = "job_type: j\ntriggers:\n- name: w\n  type: webhook\n  webhook:\n    zebra: 1\n    auth:\n"
    (parsed,) = parse_source(f"{text}      method: bearer\n      token: abc\n{TASKS}")
    assert parsed.definition is not None
    assert [(v.line, v.path, v.code, v.severity) for v in parsed.violations] == [
        (6, "triggers[0].webhook.zebra", "UNKNOWN_FIELD", "warning"),
        (9, "triggers[0].webhook.auth.token", "SECRET_IN_FILE", "warning"),
    ]
    (parsed,) = parse_source(f"{text}      method: bearer\n      sekret_config: abc\n{TASKS}")
    assert parsed.definition is None
    assert violations("{name: q, type: queue, queue: {topic: t, bucket: b}}") == [
        (3, "triggers[0].queue.bucket", "UNKNOWN_FIELD")
    ]


@pytest.mark.parametrize(
    ("fields", "queue", "told"),
    [
        ("notification_queue: q", "q", []),
        ("mode: queue, notification_queue: q, notification_url: 'redis://h'", "q", []),
        ("mode: poll, notification_queue: q", "", []),
        ("notification_queue: 'arn:aws:sqs:eu:1:q'", "", ["triggers[0].s3.notification_queue"]),
        ("mode: notification", "", ["triggers[0].s3.mode"]),
    ],
)
def test_a_store_tells_of_objects_or_is_listed(fields: str, queue: str, told: list[str]) -> None:
    """What this server cannot read is a warning: the file runs, and the store is listed."""
    (parsed,) = parse_source(f"job_type: j\ntriggers:\n- {{type: s3, name: n, s3: {{bucket: b, {fields}}}}}\n{TASKS}")
    assert parsed.definition is not None, parsed.violations
    assert parsed.definition.triggers[0].notification_queue == queue
    assert [one.path for one in parsed.violations] == [path.replace(".s3", "") for path in told]
    assert not any(one.is_error for one in parsed.violations)
