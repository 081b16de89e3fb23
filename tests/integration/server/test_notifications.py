"""Notices of a real server to a real mail server and a real web server: content, repetition, kill -9, bounds."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.server import FORMICARY, Up, free_port, until
from tests.forks import run_forked
from tests.integration.server.test_tokens import token
from tests.integration.server.tls_server import Certificates
from tests.integration.server.told import MailServer, Received, Receiver

MAILING = """\
job_type: mailing
notify:
  email:
    recipients: [ops@example.com, "{{{{.owner}}}}@example.com"]
    when: {when}
tasks:
  - task_type: work
    report_stdout: true
    script: ["echo the figures are {{{{.figure}}}}", "exit {code}"]
"""
CALLING = """\
job_type: calling
webhook:
  url: {url}/hook
  headers: {{X-Token: "{{{{.HOOK_TOKEN}}}}"}}
  query: {{job: "{{{{.JobType}}}}"}}
  secret_config: HOOK_KEY
  tasks: false
tasks:
  - task_type: work
    script: ["exit 3"]
"""


SEVERAL = """\
job_type: several
notify:
  email: {{recipients: [ops@example.com], when: always}}
  slack: {{recipients: ["#ops"], when: never}}
webhook:
  url: {url}/hook
  tasks: false
tasks:
  - task_type: work
    script: ["true"]
"""


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


def serve(folder: Path, *options: str) -> Up:
    up = Up(folder / "data", "--ants", "1", "--slots", "2", *options)
    up.start()
    return up


def submitted(up: Up, folder: Path, source: str, *params: str) -> str:
    file = folder / "job.yaml"
    file.write_text(source)
    more = [word for param in params for word in ("-p", param)]
    return up.cli("submit", str(file), *more).split()[0]


def has_ended(up: Up, job_id: str) -> bool:
    return up.job(job_id)["state"] in ("COMPLETED", "FAILED")


def notices(up: Up, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(up.cli("notifications", "list", *options, "--output", "json"))
    return found


def settled(up: Up, job_id: str) -> list[dict[str, Any]]:
    """The notices of a job once each of them is over."""
    until(
        lambda: all(one["state"] != "PENDING" for one in notices(up, "--job", job_id) or [{"state": "PENDING"}]),
        30,
        "told",
    )
    return notices(up, "--job", job_id)


def test_an_email_for_failure_and_fix(tmp_path: Path, mails: MailServer) -> None:
    """A failure is told, a success is not, the first success after it is: with the report, to both recipients."""
    up = serve(tmp_path, "--smtp-url", f"smtp://127.0.0.1:{mails.port}", "--smtp-from", "jobs@example.com",
               "--public-url", "https://jobs.example.com")  # fmt: skip
    try:
        for code in (0, 7, 0):
            job_id = submitted(up, tmp_path, MAILING.format(when="onFailure", code=code), "owner=ada", "figure=42")
            until(partial(has_ended, up, job_id), 20, "it ends")
        until(lambda: len(mails.letters) == 2, 20, "two letters")
        failed, fixed = sorted(mails.letters, key=lambda letter: str(letter.message["Subject"]))  # sent side by side
        assert failed.recipients == ["ops@example.com", "ada@example.com"]
        assert failed.message["Subject"] == "mailing: failed" and failed.message["From"] == "jobs@example.com"
        text = failed.message.get_content()
        assert "the figures are 42" in text and "ERR_EXIT_CODE" in text and "https://jobs.example.com/v1/jobs/" in text
        assert fixed.message["Subject"] == "mailing: fixed"
        (notice,) = settled(up, job_id)
        assert (notice["state"], notice["outcome"], notice["attempts"]) == ("SENT", "fixed", 1)
        assert fixed.message["Message-ID"] == f"<{notice['id']}@example.com>"
    finally:
        up.clear()


def test_a_call_is_signed_and_repeated_with_the_same_key(tmp_path: Path, receiver: Receiver) -> None:
    """503 and 429 are tried again under the same key; secrets are in the header and nowhere else; 410 is final."""
    key_file = tmp_path / "key"
    assert run_forked(("secrets", "keygen", str(key_file))).returncode == 0
    up = serve(tmp_path, "--secret-key-file", str(key_file))
    answers = [(503, {}), (429, {"Retry-After": "1"}), (204, {}), (410, {}), (204, {})]
    receiver.answer = lambda _call: answers.pop(0)
    try:
        for name, value in (("HOOK_TOKEN", "tr0ub4dor&3"), ("HOOK_KEY", "correct horse")):
            (tmp_path / "secret").write_text(value)
            up.cli("secrets", "set", name, "--file", str(tmp_path / "secret"))
        job_id = submitted(up, tmp_path, CALLING.format(url=receiver.url))
        (notice,) = settled(up, job_id)
        assert (notice["state"], notice["attempts"], notice["to"]) == ("SENT", 3, [f"{receiver.url}/hook"])
        assert len(receiver.calls) == 3 and {one.headers["idempotency-key"] for one in receiver.calls} == {notice["id"]}
        call = receiver.calls[0]
        assert (call.verb, call.path) == ("POST", "/hook?job=calling") and call.headers["x-token"] == "tr0ub4dor&3"
        signed = "sha256=" + hmac.new(b"correct horse", call.body, hashlib.sha256).hexdigest()
        assert call.headers["x-formicary-signature"] == signed
        body = json.loads(call.body)
        assert (body["id"], body["event"], body["job"]["state"]) == (notice["id"], "job.failed", "FAILED")
        assert body["tasks"][0]["exit_code"] == 3
        gone = submitted(up, tmp_path, CALLING.format(url=receiver.url))
        (dead,) = settled(up, gone)
        assert (dead["state"], dead["attempts"]) == ("DEAD", 1) and dead["error"].endswith("answered 410.")
        up.cli("notifications", "retry", dead["id"])
        assert settled(up, gone)[0]["state"] == "SENT"
        everything = up.cli("notifications", "list", "--output", "json") + up.log.read_text()
        assert "tr0ub4dor" not in everything and "correct horse" not in everything
    finally:
        up.clear()


def test_notices_survive_kill_9(tmp_path: Path) -> None:
    """The mail server is away, the queen is killed and started again: the e-mail arrives once it is back."""
    port = free_port()
    up = serve(tmp_path, "--smtp-url", f"smtp://127.0.0.1:{port}")
    try:
        job_id = submitted(up, tmp_path, MAILING.format(when="always", code=0), "owner=ada", "figure=1")
        until(lambda: any(one["attempts"] for one in notices(up, "--job", job_id)), 20, "the first attempt fails")
        assert "could not be used" in notices(up, "--job", job_id)[0]["error"]
        up.kill()
        with MailServer(port) as mails:
            up.start()
            until(lambda: bool(mails.letters), 30, "the letter arrives")
            assert settled(up, job_id)[0]["state"] == "SENT"
            assert mails.letters[0].message["X-Formicary-Notice"] == notices(up, "--job", job_id)[0]["id"]
    finally:
        up.clear()


def test_a_channel_that_cannot_send_holds_up_no_other(tmp_path: Path, receiver: Receiver) -> None:
    """There is no mail server: the e-mail says so and nothing else is the worse for it; `never` makes no notice."""
    up = serve(tmp_path)
    try:
        ids = {submitted(up, tmp_path, SEVERAL.format(url=receiver.url)) for _ in range(3)}
        until(lambda: len(receiver.calls) >= len(ids), 30, "every call arrives")
        assert {json.loads(call.body)["job"]["id"] for call in receiver.calls} == ids
        for job_id in ids:
            until(partial(told, up, job_id), 30, "what became of both")
            found = {one["kind"]: one for one in notices(up, "--job", job_id)}
            assert found.keys() == {"email", "webhook"}
            assert found["webhook"]["state"] == "SENT" and found["email"]["state"] != "SENT"
            assert "mail server" in found["email"]["error"]
    finally:
        up.clear()


def told(up: Up, job_id: str) -> bool:
    """Whether each notice of a job has been tried."""
    found = notices(up, "--job", job_id)
    return bool(found) and all(one["state"] == "SENT" or one["attempts"] for one in found)


def test_killed_while_a_call_is_under_way(tmp_path: Path, receiver: Receiver) -> None:
    """Told, and killed before it could be stored: told again with the same key, so that the receiver can see it."""
    up = serve(tmp_path)

    def killing(call: Received) -> tuple[int, dict[str, str]]:
        if not receiver.calls:
            up.kill()
        return 204, {}

    receiver.answer = killing
    source = (
        CALLING.format(url=receiver.url).replace("  secret_config: HOOK_KEY\n", "").replace('"{{.HOOK_TOKEN}}"', "x")
    )
    try:
        job_id = submitted(up, tmp_path, source)
        until(lambda: bool(receiver.calls), 20, "the first call")
        up.start()
        until(lambda: len(receiver.calls) == 2, 30, "the second call")
        assert receiver.calls[0].headers["idempotency-key"] == receiver.calls[1].headers["idempotency-key"]
        assert settled(up, job_id)[0]["state"] == "SENT"
    finally:
        up.clear()


def test_a_server_for_others_calls_no_private_address(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --auth a webhook to this machine is refused for good; redirects are not followed where it is allowed."""
    up = Up(tmp_path / "data", "--auth", "token", "--ants", "1")
    monkeypatch.setenv("FORMICARY_TOKEN", token(up, "--role", "admin", "--data", str(up.data)))
    source = (
        CALLING.format(url=receiver.url).replace("  secret_config: HOOK_KEY\n", "").replace('"{{.HOOK_TOKEN}}"', "x")
    )
    up.start()
    try:
        (notice,) = settled(up, submitted(up, tmp_path, source))
        assert notice["state"] == "DEAD" and "not a public address" in notice["error"] and not receiver.calls
        up.stop()
        monkeypatch.setenv("FORMICARY_NOTIFY_PRIVATE", "1")
        receiver.answer = lambda _call: (302, {"Location": receiver.url + "/elsewhere"})
        up.start()
        (notice,) = settled(up, submitted(up, tmp_path, source))
        assert notice["state"] == "DEAD" and "302" in notice["error"] and len(receiver.calls) == 1
    finally:
        up.clear()


def test_an_escalation_is_told(tmp_path: Path, mails: MailServer) -> None:
    up = serve(tmp_path, "--smtp-url", f"smtp://127.0.0.1:{mails.port}")
    source = """\
job_type: gated
tasks:
  - task_type: gate
    method: MANUAL
    approval_policy:
      {sla_deadline: 300ms, timeout_action: ESCALATE, escalation_recipients: [boss@example.com, nobody],
       escalation_message: The release waits.}
"""
    try:
        job_id = submitted(up, tmp_path, source)
        until(lambda: bool(mails.letters), 20, "the letter")
        (letter,) = mails.letters
        assert (
            letter.recipients == ["boss@example.com"] and letter.message["Subject"] == "gated waits for approval: gate"
        )
        text = letter.message.get_content()
        assert "The release waits." in text and f"formicary approve {job_id} gate" in text
    finally:
        up.clear()


def test_the_mail_server_may_ask_for_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password comes from the environment and is seen nowhere; a refused letter (550) is given up."""
    monkeypatch.setenv("FORMICARY_SMTP_PASSWORD", "hunter22")
    with MailServer(login=("me", "hunter22")) as mails:
        up = serve(tmp_path, "--smtp-url", f"smtp://me@127.0.0.1:{mails.port}")
        try:
            settled(up, submitted(up, tmp_path, MAILING.format(when="always", code=0), "owner=ada", "figure=1"))
            assert len(mails.letters) == 1
            mails.answers = ["550 no such user"]
            job_id = submitted(up, tmp_path, MAILING.format(when="always", code=0), "owner=ada", "figure=1")
            (notice,) = settled(up, job_id)
            assert notice["state"] == "DEAD" and "550" in notice["error"] and "hunter22" not in json.dumps(notice)
        finally:
            up.clear()


def test_many_notices_are_delivered_once_each(tmp_path: Path, receiver: Receiver) -> None:
    """Where nothing fails and nothing is killed, each of 400 notices is told exactly once."""
    up = serve(tmp_path)
    source = f"""\
job_type: many
webhook: {{url: "{receiver.url}/x", tasks: false}}
tasks:
- task_type: w
  method: EXPIRE_ARTIFACTS
"""
    (tmp_path / "many.yaml").write_text(source)
    try:
        up.cli("submit", str(tmp_path / "many.yaml"), "--count", "400")
        until(lambda: len({one.headers["idempotency-key"] for one in list(receiver.calls)}) == 400, 60, "all are told")
        until(lambda: not notices(up, "--state", "PENDING"), 20, "all is stored")
        assert len(receiver.calls) == 400
    finally:
        up.clear()


def test_mail_is_encrypted_where_the_server_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STARTTLS with a certificate of an authority that is trusted; with another one nothing is sent."""
    certificates = Certificates(tmp_path / "tls")
    cert, key = certificates.issue("mail", "127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    monkeypatch.setenv("FORMICARY_SMTP_PASSWORD", "hunter22")
    source = MAILING.format(when="always", code=0)
    with MailServer(login=("me", "hunter22"), tls=tls) as mails:
        up = serve(tmp_path, "--smtp-url", f"smtp://me@127.0.0.1:{mails.port}")
        try:
            job_id = submitted(up, tmp_path, source, "owner=ada", "figure=1")
            until(lambda: any(one["attempts"] for one in notices(up, "--job", job_id)), 20, "the first attempt fails")
            assert "certificate" in notices(up, "--job", job_id)[0]["error"] and not mails.letters
            up.stop()
            monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
            up.start()
            assert settled(up, job_id)[0]["state"] == "SENT" and len(mails.letters) == 1
        finally:
            up.clear()


def test_a_run_without_a_server_tells_too(tmp_path: Path, mails: MailServer) -> None:
    """`formicary run` takes the mail server from the environment and delivers before it ends."""
    file = tmp_path / "job.yaml"
    file.write_text(MAILING.format(when="onSuccess", code=0))
    environment = {**os.environ, "FORMICARY_SMTP_URL": f"smtp://127.0.0.1:{mails.port}"}
    done = subprocess.run(
        (*FORMICARY, "run", str(file), "-p", "owner=ada", "-p", "figure=2", "--data", str(tmp_path / "data")),
        env=environment, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert mails.letters[0].message["Subject"] == "mailing: completed"


def test_a_slow_receiver_holds_up_nobody(tmp_path: Path, receiver: Receiver) -> None:
    """A receiver that never answers costs its own notices time, not those of others."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        up = serve(tmp_path)
        plain = CALLING.replace("  secret_config: HOOK_KEY\n", "").replace('"{{{{.HOOK_TOKEN}}}}"', "x")
        try:
            slow = submitted(up, tmp_path, plain.format(url=f"http://127.0.0.1:{silent.getsockname()[1]}"))
            until(lambda: up.job(slow)["state"] == "FAILED", 20, "the first ends")
            settled(up, submitted(up, tmp_path, plain.format(url=receiver.url)))
            assert len(receiver.calls) == 1 and notices(up, "--job", slow)[0]["state"] == "PENDING"
        finally:
            up.clear()
