"""The fields notify and webhook: what is read, and what is told at its line and column."""

from __future__ import annotations

import pytest

from formicary.engine.jobs.availability import availability_violations
from formicary.engine.jobs.notices import is_address, read_channels
from formicary.engine.jobs.parse import parse_source

JOB = "job_type: j\n{fields}tasks:\n- task_type: t\n  script: ['true']\n"


def violations(fields: str) -> list[tuple[int, str, str]]:
    found = parse_source(JOB.format(fields=fields))[0].violations
    return [(one.line, one.path, one.severity) for one in found]


def test_a_good_section_is_read() -> None:
    channels = read_channels(
        {"email": {"recipients": ["a@b.c", "a@b.c"], "when": ["onFailure", "fixed"]}, "slack": {"when": "NEVER"}},
        {"url": "https://x", "method": "put", "headers": {"A": 1}, "secret_config": "KEY"},
    )
    mail, slack, webhook = channels
    assert mail.recipients == ("a@b.c",) and mail.when == {"failure", "fixed"}
    assert slack.when == frozenset() and "SLACK_WEBHOOK_URL" in slack.url
    assert (webhook.method, webhook.headers, webhook.of_tasks) == ("PUT", {"A": "1"}, True)
    assert not read_channels(None, {"url": "https://x"}, of_task=True)[0].of_tasks


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("notify:\n  email:\n    recipients: [nobody]\n", [(4, "notify.email.recipients[0]", "error")]),
        ("notify:\n  email:\n    recipients: ['a@b.c, d@e.f']\n", [(4, "notify.email.recipients[0]", "error")]),
        ('notify:\n  email:\n    recipients: ["a@b.c\\nBcc: x@y.z"]\n', [(4, "notify.email.recipients[0]", "error")]),
        ("notify:\n  email: {recipients: [a@b.c], when: later}\n", [(3, "notify.email.when", "error")]),
        ("notify:\n  email: {recipients: [a@b.c], when: '{{.When}}'}\n", [(3, "notify.email.when", "warning")]),
        ("notify:\n  pigeon: {recipients: [a]}\n", [(3, "notify.pigeon", "warning")]),
        ("notify:\n  email: {when: always}\n", [(3, "notify.email.recipients", "warning")]),
        ("webhook: {url: 'ftp://x'}\n", [(2, "webhook.url", "error")]),
        ("webhook: {url: 'http://x', method: DANCE}\n", [(2, "webhook.method", "error")]),
        ("webhook: {method: POST}\n", [(2, "webhook.url", "error")]),
        ("webhook: {url: 'http://x', headers: {'a b': c}}\n", [(2, "webhook.headers.a b", "error")]),
        ("webhook: {url: 'http://x', colour: red}\n", [(2, "webhook.colour", "warning")]),
        ("webhook: {url: 'http://x/{{.JobID}}', headers: {A: '{{.TOKEN}}'}}\n", []),
        ("notify: {email: {recipients: ['{{.Owner}}'], when: on_success}}\n", []),
    ],
)
def test_mistakes_are_told_at_their_place(fields: str, expected: list[tuple[int, str, str]]) -> None:
    assert violations(fields) == expected


def test_the_fields_are_available() -> None:
    """A job and a task that use them can be submitted without a warning."""
    source = JOB.format(fields="notify: {email: {recipients: [a@b.c]}}\nwebhook: {url: 'http://x'}\n")
    definition = parse_source(source + "  webhook: {url: 'http://y'}\n  notify: {slack: {when: always}}\n")[
        0
    ].definition
    assert definition is not None and availability_violations(definition) == ()


@pytest.mark.parametrize("text", ["a@b", "first.last+tag@mail.example.com", "x@1.2"])
def test_an_address_is_one(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize(
    "text", ["", "a", "@b", "a@", "a@b c", "a@b\n", "a@b,c@d", "<a@b>", "a@-", "a..b@c", "a@b\x00"]
)
def test_other_texts_are_no_address(text: str) -> None:
    assert not is_address(text)
