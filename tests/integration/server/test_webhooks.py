"""Webhooks of a real server: right ones start one job each, wrong ones are told what is wrong, kill -9 loses none."""

from __future__ import annotations

import hmac
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.server import Up, until

SECRET = "s3cret"
JOB = """\
job_type: ci
triggers:
- type: webhook
  name: push
  auth: {method: hmac_sha256, secret_config: Hook}
  filter: '{{ if eq .Body.ref "refs/heads/main" }}true{{ end }}'
  params:
    branch: '{{ trimPrefix .Body.ref "refs/heads/" }}'
    kind: '{{ index .Headers "X-Github-Event" }}'
  dedup_key: 'ci-{{ .Body.commit }}'
- type: webhook
  name: timed
  auth: {method: hmac_sha256, form: timestamp, secret_config: Hook}
- type: webhook
  name: limited
  auth: {method: bearer_token, secret_config: Hook}
  rate_limit: {max: 2, window: 1h}
- {type: webhook, name: bare}
- type: webhook
  name: public
  auth: {method: none}
tasks:
- task_type: t
  script: ['echo {{.branch}}']
"""


def send(up: Up, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the answer to a POST; underscores in the names of headers stand for hyphens."""
    connection = http.client.HTTPConnection("127.0.0.1", up.http, timeout=90)
    try:
        connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def push(up: Up, body: bytes, path: str = "/api/triggers/ci/push") -> tuple[int, dict[str, Any]]:
    """Sends a body as GitHub does."""
    sign = "sha256=" + hmac.digest(SECRET.encode(), body, "sha256").hex()
    return send(up, path, body, x_hub_signature_256=sign, x_github_event="push")


def timed(up: Up, body: bytes, at: float) -> tuple[int, dict[str, Any]]:
    """Sends a body with a signed time."""
    text = str(int(at))
    sign = hmac.digest(SECRET.encode(), text.encode() + b"." + body, "sha256").hex()
    return send(up, "/v1/webhooks/ci/timed", body, x_formicary_signature=f"t={text},v1={sign}")


def commit(name: str) -> bytes:
    """The body of a push."""
    return json.dumps({"ref": "refs/heads/main", "commit": name}).encode()


def jobs(up: Up) -> int:
    """How many jobs there are."""
    return len(json.loads(up.cli("list", "--job-type", "ci", "--limit", "0", "--output", "json")))


def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Up:
    """A server that knows the secret."""
    monkeypatch.setenv("FORMICARY_SECRET_Hook", SECRET)
    return Up(tmp_path / "data", *options)


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """A server with one ant, on which the job is registered without being started."""
    found = server(tmp_path, monkeypatch, "--ants", "1")
    try:
        found.start()
        assert send(found, "/v1/definitions", json.dumps({"source": JOB}).encode(), content_type="application/json")
        yield found
    finally:
        found.clear()


def test_one_event_is_one_job_with_its_params(up: Up) -> None:
    """The first delivery starts it, the second is told the same job; another branch is filtered out."""
    status, first = push(up, commit("a"))
    assert (status, first["outcome"]) == (202, "started")
    assert push(up, commit("a")) == (200, {"outcome": "repeated", "id": first["id"]})
    assert push(up, json.dumps({"ref": "refs/heads/x", "commit": "b"}).encode()) == (
        200,
        {"outcome": "filtered", "id": None},
    )
    status, second = push(up, commit("b"), "/v1/orgs/local/webhooks/ci/push")
    assert status == 202 and second["id"] != first["id"] and jobs(up) == 2
    until(lambda: up.job(first["id"])["state"] == "COMPLETED", 20, "the job ends")
    assert "main" in up.cli("logs", first["id"])
    found = {one["name"]: one for one in json.loads(up.cli("triggers", "list", "--output", "json"))}
    seen = found["push"]
    assert (seen["fired"], seen["repeated"], seen["filtered"], seen["last_job"]) == (2, 1, 1, second["id"])
    assert seen["type"] == "webhook" and seen["source"] == "hmac_sha256" and seen["last_at"]
    until(
        lambda: up.cli("audit", "list", "--output", "json").count("TriggerService/Webhook") >= 4, 20, "in the audit log"
    )


def test_what_is_wrong_is_told(up: Up) -> None:
    """Signature, time, size, form, name, pause, rate: each has its status and code, and starts no job."""

    def code(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
        return answer[0], str(answer[1].get("code"))

    body, now = commit("w"), time.time()
    wrong = send(up, "/api/triggers/ci/push", body, x_hub_signature_256="sha256=" + "0" * 64)
    assert "signature" in wrong[1]["detail"] and "with the secret of the trigger" in wrong[1]["remedy"]
    assert code(wrong) == (401, "WEBHOOK_UNAUTHENTICATED") and code(send(up, "/api/triggers/ci/push", body))[0] == 401
    assert code(timed(up, b"{}", now - 400)) == (401, "WEBHOOK_EXPIRED")
    assert code(timed(up, b"{}", now + 400)) == (401, "WEBHOOK_EXPIRED")
    assert code(push(up, b" " * (1024 * 1024 + 1))) == (413, "PAYLOAD_TOO_LARGE")
    assert code(timed(up, b"{", now)) == (400, "VALIDATION_FAILED")
    assert code(push(up, b'{"ref": "refs/heads/main"}')) == (400, "VALIDATION_FAILED")  # no commit: no dedup_key
    assert code(push(up, body, "/api/triggers/ci/none")) == (404, "NOT_FOUND")
    assert code(push(up, body, "/v1/orgs/acme/webhooks/ci/push")) == (404, "NOT_FOUND")
    up.cli("triggers", "pause", "ci", "--name", "push")
    assert code(push(up, body)) == (409, "TRIGGER_PAUSED")
    assert code(send(up, "/api/triggers/ci/push", body)) == (
        401,
        "WEBHOOK_UNAUTHENTICATED",
    )  # a stranger learns nothing of it
    up.cli("triggers", "resume", "ci", "--name", "push")
    assert jobs(up) == 0
    token = {"authorization": f"Bearer {SECRET}"}
    limited = [send(up, "/v1/webhooks/ci/limited", b"{}", **token, idempotency_key=f"k{i}") for i in (1, 2, 1, 3)]
    assert [status for status, _ in limited] == [202, 202, 200, 429]
    assert limited[0][1]["id"] == limited[2][1]["id"] and jobs(up) == 2


def test_a_copied_request_starts_nothing(up: Up) -> None:
    """Many copies at once inside of the window are one job; the same body with a new time is another."""
    now = time.time()
    with ThreadPoolExecutor(8) as pool:
        found = [one[1]["id"] for one in pool.map(lambda _: timed(up, b'{"a": 1}', now), range(24))]
    assert len(set(found)) == 1 and jobs(up) == 1
    assert timed(up, b'{"a": 1}', now - 1)[1]["outcome"] == "started" and jobs(up) == 2


def test_fire_reset_and_a_newer_version(up: Up) -> None:
    """Firing by hand takes a key in a header; after a reset an event counts again; a version without it ends it."""
    headers = {"content_type": "application/json", "idempotency_key": "f81d"}
    fired = [send(up, "/v1/triggers/ci:fire", b'{"name": "push", "params": {"branch": "x"}}', **headers) for _ in "ab"]
    assert fired[0][0] == 200 and fired[0] == fired[1] and jobs(up) == 1
    first = push(up, commit("r"))[1]["id"]
    up.cli("triggers", "reset", "ci", "--name", "push")
    again = push(up, commit("r"))[1]
    assert again["outcome"] == "started" and again["id"] != first
    plain = "job_type: ci\ntasks:\n- {task_type: t, script: x}\n"
    send(up, "/v1/definitions", json.dumps({"source": plain}).encode(), content_type="application/json")
    assert push(up, commit("s"))[0] == 404 and json.loads(up.cli("triggers", "list", "--output", "json")) == []


def test_events_survive_kill_minus_nine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Senders repeat what nobody answered, over three kills: each event has exactly one job, and counts are right."""
    up = server(tmp_path, monkeypatch, "--ants", "0")
    try:
        up.start()
        send(up, "/v1/definitions", json.dumps({"source": JOB}).encode(), content_type="application/json")
        total = 120

        def deliver(number: int) -> str:
            while True:
                try:
                    status, answer = push(up, commit(f"c{number}"))
                except (OSError, http.client.HTTPException):
                    status, answer = 0, {}
                if status in (200, 202):
                    return str(answer["id"])
                time.sleep(0.02)

        with ThreadPoolExecutor(8) as pool:
            found = [pool.submit(deliver, number) for number in range(total)]
            for share in (20, 50, 80):
                until(lambda share=share: sum(one.done() for one in found) >= share, 60, "some")  # type: ignore[misc]  # a lambda's default
                up.kill()
                up.start()
            ids = {one.result() for one in found}
        assert len(ids) == total == jobs(up)
        (seen,) = [one for one in json.loads(up.cli("triggers", "list", "--output", "json")) if one["name"] == "push"]
        assert seen["fired"] == total
    finally:
        up.clear()


def test_a_missing_secret_is_told_to_whoever_runs_the_server(up: Up) -> None:
    """The sender is refused like every other; the list of triggers and the log say what to do."""
    for number, auth in enumerate(("secret_config: Gone", "secret_env: FORMICARY_SECRET_GONE", "secret_file: gone")):
        text = JOB.replace("job_type: ci", f"job_type: gone{number}").replace("secret_config: Hook", auth)
        source = json.dumps({"source": text}).encode()
        assert send(up, "/v1/definitions", source, content_type="application/json")[0] == 200
    assert push(up, commit("a"), "/api/triggers/gone0/push")[0] == 401
    found = {
        (one["job_type"], one["name"]): one.get("error", "")
        for one in json.loads(up.cli("triggers", "list", "--output", "json"))
    }
    assert "`formicary secrets set Gone`" in found["gone0", "push"]
    assert "environment has no FORMICARY_SECRET_GONE" in found["gone1", "timed"]
    assert "no file gone" in found["gone2", "limited"]
    assert not any(found[one] for one in found if one[0] == "ci" or one[1] in ("public", "bare"))
    assert up.log.read_text().count("no request for the webhook push of gone0 is accepted: its secret is not set") == 1


def test_strangers_learn_nothing_where_tokens_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trigger and a wrong signature have one answer; a secret needs no API token, no `auth` needs one; `none` is
    for everybody.
    """
    up = server(tmp_path, monkeypatch, "--ants", "0", "--auth", "token")
    token = up.cli("token", "create", "--role", "admin", "--data", str(up.data), status=None).split()
    try:
        up.start()
        admin = {"authorization": f"Bearer {next(word for word in token if word.startswith('fmc_'))}"}
        source = json.dumps({"source": JOB}).encode()
        assert send(up, "/v1/definitions", source, content_type="application/json", **admin)[0] == 200
        sign = "sha256=" + "0" * 64
        answers = [
            send(up, f"/api/triggers/{path}", commit("a"), x_hub_signature_256=sign)
            for path in ("ci/push", "ci/none", "none/push", "ci/bare")
        ]
        shown = [
            (status, {k: v for k, v in body.items() if k not in ("instance", "traceId", "timestamp")})
            for status, body in answers
        ]
        assert shown[0][0] == 401 and shown[1:] == shown[:1] * 3
        assert push(up, commit("a"))[0] == 202
        assert send(up, "/api/triggers/ci/bare", b"{}", **admin)[0] == 202
        assert send(up, "/api/triggers/ci/bare", b"{}", authorization="Bearer fmc_x")[0] == 401
        assert send(up, "/api/triggers/ci/none", b"{}", **admin)[0] == 404
        assert send(up, "/api/triggers/ci/public", b"{}")[0] == 202
    finally:
        up.clear()


def metrics(up: Up, headers: dict[str, str]) -> str:
    """The page of metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", up.http, timeout=90)
    try:
        connection.request("GET", "/metrics", headers=headers)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_webhooks_have_a_share_counts_and_log_lines_as_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the rate they are 429 with the time to wait; each stands in the metrics and in the access log."""
    up = server(tmp_path, monkeypatch, "--ants", "0", "--auth", "token", "--rate", "2", "-v")
    token = up.cli("token", "create", "--role", "admin", "--data", str(up.data), status=None).split()
    try:
        up.start()
        admin = {"authorization": f"Bearer {next(word for word in token if word.startswith('fmc_'))}"}
        source = json.dumps({"source": JOB}).encode()
        assert send(up, "/v1/definitions", source, content_type="application/json", **admin)[0] == 200
        with ThreadPoolExecutor(8) as pool:  # one after the other they might be no faster than the rate
            answers = list(pool.map(lambda _: send(up, "/api/triggers/ci/public", b"{}"), range(40)))
        refused = [answer for status, answer in answers if status == 429]
        assert {status for status, _ in answers} == {202, 429} and len(answers) - len(refused) >= 4
        assert refused[0]["code"] == "RATE_LIMIT_EXCEEDED"

        def counted() -> dict[str, float]:
            lines = [line for line in metrics(up, admin).splitlines() if "TriggerService/Webhook" in line]
            codes = ("OK", "RATE_LIMIT_EXCEEDED")
            return {code: float(line.split()[-1]) for line in lines for code in codes if f'code="{code}"' in line}

        started = len(answers) - len(refused)
        until(lambda: counted() == {"OK": started, "RATE_LIMIT_EXCEEDED": len(refused)}, 10, "all are counted")
        line = "http /formicary.v1.TriggerService/Webhook OK"
        until(lambda: up.log.read_text().count(line) == started, 10, "all are in the access log")
    finally:
        up.clear()


def test_a_trigger_that_is_switched_off_starts_nothing_and_fires_by_hand_with_its_constants(up: Up) -> None:
    """Its file says so; a newer version switches it on. Constants of `params` are there when it is fired by hand."""
    text = "job_type: ci\ntriggers:\n- {type: webhook, name: hook, enabled: %s, params: {n: 5, x: '{{.Body.x}}'}}\n"
    tasks = "tasks:\n- {task_type: t, script: ['echo \"::set-output name=N::{{.n}} {{.x}}\"']}\n"

    def register(enabled: str) -> None:
        source = json.dumps({"source": text % enabled + tasks}).encode()
        assert send(up, "/v1/definitions", source, content_type="application/json")[0] == 200

    register("false")
    assert send(up, "/v1/webhooks/ci/hook", b"{}")[1]["code"] == "TRIGGER_PAUSED"
    job_id = up.cli("triggers", "fire", "ci", "--name", "hook", "-p", "x=1").strip()
    until(lambda: up.job(job_id)["state"] == "COMPLETED", 30, "completed")
    assert up.job(job_id)["outputs"]["N"] == "5 1"
    register("true")
    assert send(up, "/v1/webhooks/ci/hook", b'{"x": 2}')[0] == 202
