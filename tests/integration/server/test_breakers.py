"""A circuit breaker of a real server: opens, outlives kill -9, is explained, tried, reset."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from formicary.client import SyncClient
from tests.acceptance.server import Up, until

CALL = """\
job_type: {name}
tasks:
  - task_type: call
    method: HTTP_GET
    url: {url}
    retry: 20
    delay_between_retries: 100ms
    circuit_breaker: {{consecutive_failures: 3, open_for: 10s}}
"""
JOB = """\
job_type: pay
circuit_breaker: {downstream: payments-api, consecutive_failures: 3, open_for: 25s}
tasks:
  - task_type: call
    script: ['test -e {{.gate}}']
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A server with one ant."""
    server = Up(tmp_path / "data", "--ants", "1", "--slots", "2")
    try:
        server.start()
        yield server
    finally:
        server.clear()


def breaker(up: Up) -> dict[str, Any]:
    """The one there is."""
    (found,) = json.loads(up.cli("breakers", "list", "--output", "json"))
    assert isinstance(found, dict)
    return found


def test_a_failing_downstream_is_left_alone_until_it_works_again(up: Up, tmp_path: Path) -> None:
    """Three failures open it, a killed server finds it open, explain names it, a trial closes it, nothing is lost."""
    gate = tmp_path / "gate"
    with SyncClient(up.address) as client:
        definition = client.register(JOB)
        for _ in range(3):
            assert client.wait(client.submit(definition, {"gate": str(gate)}).id, 60).state == "FAILED"
        waiting = [client.submit(definition, {"gate": str(gate)}).id for _ in range(4)]
        assert breaker(up)["state"] == "OPEN"
        up.kill()
        up.start()
        found = breaker(up)
        assert found["opened"] == 1 and found["job_types"] == ["pay"] and found["name"] == "payments-api"
        told = json.loads(up.cli("explain", waiting[-1], "--output", "json"))
        assert "circuit breaker payments-api is" in told["summary"], told
        gate.touch()
        assert [client.wait(job_id, 90).state for job_id in waiting] == ["COMPLETED"] * 4 or breaker(up)["opened"] > 1
        gate.unlink()
        for _ in range(3):
            client.wait(client.submit(definition, {"gate": str(gate)}).id, 90)
        until(lambda: breaker(up)["state"] != "CLOSED", 20, "it opens again")
        gate.touch()
        assert up.cli("breakers", "reset", "payments-api").split() == ["payments-api", "CLOSED"]
        assert client.wait(client.submit(definition, {"gate": str(gate)}).id, 60).state == "COMPLETED"
    up.cli("breakers", "reset", "none", status=2)


class Service:
    """A service over HTTP that fails as long as it is told to, and counts who calls."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.status = 503
        self.calls = 0


@contextmanager
def service() -> Iterator[Service]:
    """One that runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.calls += 1
            self.send_response(found.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Service(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_tasks_of_several_job_types_spare_the_host_that_they_call(up: Up) -> None:
    """Twenty jobs, a host that is down: a handful of calls, then nobody calls; a trial finds it up and all go on."""
    with SyncClient(up.address) as client, service() as downstream:
        types = [client.register(CALL.format(name=name, url=downstream.url + name)) for name in ("rates", "quotes")]
        jobs = [client.submit(types[at % 2]).id for at in range(20)]
        name = f"127.0.0.1-{downstream.url.rsplit(':', 1)[1].strip('/')}"
        until(lambda: downstream.calls >= 3 and breaker(up)["state"] == "OPEN", 20, "the breaker opens")
        found = breaker(up)
        assert found["name"] == name and found["job_types"] == ["quotes", "rates"]
        assert downstream.calls <= 3 + 2, "three failures, and what was under way"
        held = [json.loads(up.cli("explain", job_id, "--output", "json"))["summary"] for job_id in jobs[-2:]]
        assert all(f"the circuit breaker {name} is OPEN" in text for text in held), held
        downstream.status = 200
        assert {client.wait(job_id, 90).state for job_id in jobs} == {"COMPLETED"}
        assert downstream.calls <= 5 + 20 and breaker(up)["state"] == "CLOSED"
