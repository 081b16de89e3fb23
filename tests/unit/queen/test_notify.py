"""What notices say, that no text of a task can change where they go, and which addresses are called."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.jobs.configs import ConfigView, stand_in
from formicary.engine.jobs.notices import WHEN, Channel
from formicary.engine.queen.notify.attempts import NotDelivered
from formicary.engine.queen.notify.calls import HttpCall
from formicary.engine.queen.notify.config import NotifyConfig
from formicary.engine.queen.notify.guard import checked_address, is_public
from formicary.engine.queen.notify.mail import Mail, message_of
from formicary.engine.queen.notify.rendering import Facts, to_send
from formicary.problems import Problem

PAYLOAD: dict[str, Any] = {
    "id": "j.1.0.job.0",
    "event": "job.failed",
    "outcome": "failure",
    "time": 1.0,
    "job": {
        "id": "j", "job_type": "nightly", "state": "FAILED", "execution": 1, "retries": 0, "submitted_at": 1.0,
        "started_at": 2.0, "ended_at": 3.0, "submitted_by": "me", "organization": "o",
        "error": {"code": "ERR_X", "message": "bad"},
    },
    "tasks": [
        {"task_type": "a", "state": "FAILED", "exit_code": 3, "attempts": 1, "error": {"code": "ERR_X", "message": "b"}}
    ],
}  # fmt: skip
SECRET = "00ff" * 8
FACTS = Facts(PAYLOAD, link="http://h/v1/jobs/j")
MAIL = Channel("email", WHEN["always"], ("a@b.c",))
HOOK = Channel("webhook", WHEN["always"], url="https://example.com/x")


def same(text: str) -> str:
    return text


def mail(channel: Channel, facts: Facts = FACTS) -> Mail:
    found = to_send(channel, facts, same, b"")
    assert isinstance(found, Mail)
    return found


def call(channel: Channel, facts: Facts = FACTS, secret: bytes = b"") -> HttpCall:
    found = to_send(channel, facts, lambda text: text.replace(stand_in(SECRET), "s3cret"), secret)
    assert isinstance(found, HttpCall)
    return found


def test_the_engines_own_texts() -> None:
    found = mail(MAIL)
    assert found.subject == "nightly: failed"
    assert "ERR_X: bad" in found.body and "a: FAILED (3) ERR_X" in found.body and "http://h/v1/jobs/j" in found.body
    fixed = {**PAYLOAD, "outcome": "fixed", "job": {**PAYLOAD["job"], "state": "COMPLETED", "error": None}}
    assert mail(MAIL, Facts(fixed)).subject == "nightly: fixed"


def test_texts_of_the_job_file() -> None:
    own = replace(
        MAIL,
        recipients=("{{.owner}}@b.c",),
        subject="{{.JobType}} {{.Outcome}}",
        body="{{range .Tasks}}{{.task_type}}={{.state}};{{end}}",
    )
    found = mail(own, replace(FACTS, variables={"owner": "ada"}))
    assert (found.recipients, found.subject, found.body) == (("ada@b.c",), "nightly failure", "a=FAILED;")
    jinja = mail(replace(MAIL, subject="{{ JobID }}-{{ State }}"), replace(FACTS, dialect="jinja"))
    assert jinja.subject == "j-FAILED"
    with pytest.raises(NotDelivered, match="template"):
        mail(replace(MAIL, subject="{{.JobType"))


def test_secrets_are_in_calls_only() -> None:
    """A header, a query and a URL get the secret; a subject, a body and a message of slack show ***."""
    view = ConfigView({"TOKEN": stand_in(SECRET)}, {}, {"TOKEN": SECRET})
    facts = replace(FACTS, configs=view)
    found = call(replace(HOOK, headers={"A": "Bearer {{.TOKEN}}"}, query={"k": "{{.TOKEN}}"}), facts)
    assert found.headers == {"A": "Bearer s3cret"} and found.query == {"k": "s3cret"} and "s3cret" not in repr(found)
    assert mail(replace(MAIL, body="{{.TOKEN}}"), facts).body == "***"
    slack = call(Channel("slack", WHEN["always"], url="https://x/{{.TOKEN}}", body="{{.TOKEN}}"), facts)
    assert slack.url == "https://x/s3cret" and json.loads(slack.body) == {"text": "***"}
    with pytest.raises(NotDelivered, match="no value"):
        call(Channel("slack", WHEN["always"], url="{{.SLACK_WEBHOOK_URL}}"))


def test_a_webhook_carries_the_facts() -> None:
    body = json.loads(call(HOOK).body)
    assert body["id"] == "j.1.0.job.0" and body["job"]["ended_at"] == "1970-01-01T00:00:03.000Z"
    assert body["tasks"][0]["exit_code"] == 3 and body["url"] == "http://h/v1/jobs/j"


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_can_add_a_header_or_a_recipient(said: str, subject: str) -> None:
    """Whatever an error says: the message has our headers, one recipient, and the text in its body or subject."""
    error = {"code": "ERR_X", "message": said}
    facts = replace(FACTS, payload={**PAYLOAD, "job": {**PAYLOAD["job"], "error": error}}, variables={"s": subject})
    found = mail(replace(MAIL, subject="{{.s}} {{.Error}}", body="{{.Error}}"), facts)
    message = message_of(found, "from@b.c")
    parsed = message_from_bytes(message.as_bytes(), policy=default)
    names = [name.lower() for name in parsed]
    assert sorted(set(names)) == sorted(names) and parsed["To"] == "a@b.c" and parsed["From"] == "from@b.c"
    assert set(names) <= {
        "from", "to", "subject", "date", "message-id", "auto-submitted", "x-formicary-notice", "content-type",
        "content-transfer-encoding", "mime-version",
    }  # fmt: skip


@pytest.mark.parametrize("rendered", ["a@b.c\nBcc: x@y.z", "a@b.c, d@e.f", "", "<no value>", "a@b.c\r\n\r\nbody"])
def test_a_rendered_recipient_is_checked_again(rendered: str) -> None:
    found = mail(replace(MAIL, recipients=("{{.r}}",)), replace(FACTS, variables={"r": rendered}))
    with pytest.raises(NotDelivered) as refused:
        message_of(found, "from@b.c")
    assert refused.value.is_final


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("169.254.169.254", False), ("::1", False), ("fd00::1", False), ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("0.0.0.0", False), ("224.0.0.1", False),
        ("100.64.0.1", False), ("fe80::1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(text: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(text)) == public


def test_private_addresses_are_called_only_where_they_may_be() -> None:
    async def find(host: str, private: bool) -> str:
        return await checked_address(host, 80, may_reach_private=private)

    assert asyncio.run(find("127.0.0.1", True)) == "127.0.0.1"
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "::1"):
        with pytest.raises(NotDelivered) as refused:
            asyncio.run(find(host, False))
        assert refused.value.is_final or "no address" in str(refused.value)


def test_the_configuration_shows_no_password() -> None:
    config = NotifyConfig(smtp_url="smtp://me:p%40ss@mail.example:587")
    server = config.mail_server
    assert server is not None and (server.user, server.password, server.port) == ("me", "p@ss", 587)
    assert "p@ss" not in repr(config) + repr(server) and "p%40ss" not in repr(config)
    for wrong in ("http://x", "smtp://", "smtp://x:port", "mail.example"):
        with pytest.raises(Problem, match="smtp://HOST"):
            NotifyConfig(smtp_url=wrong)
    with pytest.raises(Problem, match="mailbox"):
        NotifyConfig(smtp_from="me")


@pytest.mark.parametrize(
    ("event", "more", "subject", "line"),
    [
        ("started", {}, "nightly: started", "Job nightly j is EXECUTING."),
        ("paused", {}, "nightly: paused", "Job nightly j is PAUSED."),
        (
            "approval",
            {"approval": {"message": "", "missing": "2 approvals"}},
            "nightly waits for approval: a",
            "2 approv",
        ),
        ("dead_letter", {"dead_letter": {"queue": "odd", "reason": "FATAL"}}, "nightly: dead letter", "queue odd"),
    ],
)
def test_what_happens_on_the_way_has_words_of_its_own(event: str, more: Any, subject: str, line: str) -> None:
    """Subject and text of the engine's own for each."""
    state = {"started": "EXECUTING", "paused": "PAUSED"}.get(event, "FAILED")
    job = {**PAYLOAD["job"], "state": state, "error": None}
    payload = {**PAYLOAD, "outcome": event, "job": job, "tasks": [], **more}
    if event == "approval":
        payload["task"] = {**PAYLOAD["tasks"][0], "error": None, "ended_at": None}
    mail = to_send(MAIL, Facts(payload), same, b"")
    assert isinstance(mail, Mail)
    assert mail.subject == subject and line in mail.body
