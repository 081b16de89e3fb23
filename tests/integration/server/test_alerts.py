"""Alerts of a real server: it scales and consolidates its ants, tells a URL once per episode, also under kill -9."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from formicary.client import SyncClient
from tests.acceptance.server import Up, until
from tests.integration.server.told import MailServer

RULES = """\
interval: 200ms
alerts:
  - name: deep queue
    condition: queue_depth > 5
    action: scale_workers
    by: 2
    most: 3
    url: {url}
  - name: idle ants
    condition: utilization < 30% and queue_depth == 0
    for: 1s
    action: consolidate_workers
    by: 2
    least: 1
  - name: dead letters
    condition: alerting_dead_letters > 0
    action: notify
    recipients: [oncall@example.com]
    url: {url}
"""
JOB = """\
job_type: hold
tasks:
  - task_type: wait
    script: ['while [ ! -e {{.gate}} ]; do sleep 0.05; done']
"""
DYING = """\
job_type: die
error_handling: {dead_letter_queue: true, alert_on_dlq: true}
tasks:
  - task_type: end
    script: ['false']
"""


class Hook:
    """A server that takes messages, or refuses the first ones."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.refuse = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if hook.refuse > 0:
                    hook.refuse -= 1
                    self.send_response(503)
                else:
                    hook.taken.append((self.headers["idempotency-key"], body))
                    self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/alerts"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, alert: str, state: str = "firing") -> list[str]:
        """Keys of the messages about an alert, each once: a message that was sent just before a kill is sent again."""
        return [*dict.fromkeys(key for key, body in self.taken if (body["alert"], body["state"]) == (alert, state))]

    def stop(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Where alerts are told."""
    found = Hook()
    yield found
    found.stop()


@pytest.fixture
def up(tmp_path: Path, hook: Hook) -> Iterator[Up]:
    """A server with one ant and rules."""
    rules = tmp_path / "alerts.yaml"
    rules.write_text(RULES.format(url=hook.url))
    server = Up(tmp_path / "data", "--ants", "1", "--slots", "1", "--alerts", str(rules))
    try:
        server.start()
        yield server
    finally:
        server.clear()


def figure(up: Up, name: str) -> float:
    """A sample of the metrics page."""
    with urlopen(f"http://127.0.0.1:{up.http}/metrics", timeout=60) as answer:
        text = str(answer.read(), "utf-8")
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + " "))


def test_a_deep_queue_adds_ants_and_idle_ones_go_again(up: Up, hook: Hook, tmp_path: Path) -> None:
    """The article's two alerts: each acts once per episode, also when the server is killed in the middle of one."""
    gate = tmp_path / "gate"
    hook.refuse = 1
    with SyncClient(up.address) as client:
        definition = client.register(JOB)
        jobs = [client.submit(definition, {"gate": str(gate)}).id for _ in range(16)]
        until(lambda: figure(up, "formicary_ants_connected") == 3, 20, "two more ants have come")
        until(lambda: len(hook.of("deep queue")) == 1, 20, "it was told, though the first message was refused")
        assert figure(up, 'formicary_alert_firing{alert="deep queue"}') == 1
        up.kill()
        up.start()
        until(lambda: figure(up, "formicary_ants_connected") == 3, 20, "they are there after a kill as well")
        until(lambda: figure(up, 'formicary_alert_firing{alert="deep queue"}') == 1, 10, "the episode goes on")
        assert figure(up, "formicary_alerts_fired_total") == 0, "it did not begin anew"
        shown = {one["name"]: one for one in up.page("/v1/alerts")[1]["alerts"]}
        assert (shown["deep queue"]["state"], shown["deep queue"]["episodes"]) == ("FIRING", 1)
        assert shown["deep queue"]["condition"] == "queue_depth > 5" and shown["dead letters"]["state"] == "QUIET"
        assert "deep queue" in up.cli("alerts", "list", "--state", "FIRING")
        gate.touch()
        assert [client.wait(job_id, 60).state for job_id in jobs] == ["COMPLETED"] * 16
        until(lambda: figure(up, "formicary_ants_connected") == 1, 20, "the idle ones have gone")
        assert client.wait(client.submit(definition, {"gate": str(gate)}).id, 90).state == "COMPLETED"
    until(lambda: len(hook.of("deep queue", "resolved")) == 1, 20, "that it is over was told, too")
    assert len(hook.of("deep queue")) == 1
    until(lambda: len(up.ants()) == 1, 20, "their processes have ended")
    up.kill()
    up.start()
    until(
        lambda: figure(up, "formicary_ants_connected") == 1 and len(up.ants()) == 1, 20, "as few after a kill as before"
    )


def test_a_dead_letter_that_asks_for_it_is_told(up: Up, hook: Hook) -> None:
    """`alert_on_dlq`: once for the episode; the next one has another key."""
    with SyncClient(up.address) as client:
        definition = client.register(DYING)
        for episode in (1, 2):
            ids = [client.submit(definition).id for _ in range(2)]
            assert [client.wait(job_id, 90).state for job_id in ids] == ["FAILED"] * 2
            until(lambda n=episode: len(hook.of("dead letters")) == n, 20, "it was told")  # type: ignore[misc]  # the default
            up.cli("deadletters", "purge", "--all")
            until(lambda: figure(up, 'formicary_alert_firing{alert="dead letters"}') == 0, 20, "it is over")
    until(lambda: len(hook.of("dead letters", "resolved")) == 2, 20, "both ends were told")
    assert len({*hook.of("dead letters"), *hook.of("dead letters", "resolved")}) == 4
    events = [one["event"] for one in up.page("/v1/notifications")[1]["notifications"]]
    assert sorted(events) == ["alert.firing"] * 2 + ["alert.resolved"] * 2
    assert hook.taken[-1][1]["recipients"] == ["oncall@example.com"]


def test_an_alert_is_told_by_email(tmp_path: Path) -> None:
    """A real mail server takes a letter when the episode begins, at its second try, and one when it is over."""
    rules = tmp_path / "alerts.yaml"
    rules.write_text(
        "interval: 200ms\nalerts:\n- name: dead letters\n  condition: dead_letters > 0\n  action: notify\n"
        "  recipients: [oncall@example.com, a person without a mailbox]\n  message: Look at the dead letters.\n"
    )
    with MailServer() as mails:
        mails.answers.append("451 try again later")
        smtp = ("--smtp-url", f"smtp://127.0.0.1:{mails.port}", "--smtp-from", "formicary@example.com")
        server = Up(tmp_path / "data", "--ants", "1", "--alerts", str(rules), *smtp)
        try:
            server.start()
            with SyncClient(server.address) as client:
                job = client.submit(client.register(DYING)).id
                assert client.wait(job, 60).state == "FAILED"
            until(lambda: len(mails.letters) == 1, 60, "it was told")
            server.cli("deadletters", "purge", "--all")
            until(lambda: len(mails.letters) == 2, 60, "that it is over was told, too")

            def notices() -> list[dict[str, Any]]:
                return list(server.page("/v1/notifications")[1].get("notifications", ()))

            until(lambda: [one["state"] for one in notices()] == ["SENT"] * 2, 60, "that both were sent is written")
            told = notices()
        finally:
            server.clear()
    fires, over = mails.letters
    assert fires.recipients == over.recipients == ["oncall@example.com"]
    subjects = [str(letter.message["Subject"]) for letter in mails.letters]
    assert subjects == ["alert dead letters fires", "alert dead letters is over"]
    text = "The alert dead letters fires: dead_letters > 0\n\nLook at the dead letters.\n"
    assert fires.message.get_content().replace("\r\n", "\n") == text
    assert (
        fires.message["From"] == "formicary@example.com" and fires.message["Message-ID"] != over.message["Message-ID"]
    )
    tries = {one["event"]: one["attempts"] for one in told}
    assert tries.keys() == {"alert.firing", "alert.resolved"} and tries["alert.firing"] >= 2


def test_a_file_that_is_wrong_stops_the_start(tmp_path: Path) -> None:
    """Exit 3 with every mistake; `alerts check` says the same with exit 2."""
    rules = tmp_path / "alerts.yaml"
    rules.write_text("alerts:\n- {condition: queue > 3, action: explode}\n")
    server = Up(tmp_path / "data", "--alerts", str(rules))
    server.start(wait=False)
    assert server.process is not None and server.process.wait(20) == 3
    told = server.log.read_text()
    assert f"{rules}:2:15: " in told and f"{rules}:2:34: " in told
    server.cli("alerts", "check", str(rules), status=2)
    assert "valid" in server.cli("alerts", "check", "examples/alerts.yaml")
