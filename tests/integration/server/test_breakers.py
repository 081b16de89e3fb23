"""A circuit breaker of a real server: opens, outlives kill -9, is explained, tried, reset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from formicary.client import SyncClient
from tests.acceptance.server import Up, until

JOB = """\
job_type: pay
circuit_breaker: {downstream: payments-api, consecutive_failures: 3, open_for: 8s}
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
            assert client.wait(client.submit(definition, {"gate": str(gate)}).id, 20).state == "FAILED"
        waiting = [client.submit(definition, {"gate": str(gate)}).id for _ in range(4)]
        assert breaker(up)["state"] == "OPEN"
        up.kill()
        up.start()
        found = breaker(up)
        assert found["opened"] == 1 and found["job_types"] == ["pay"] and found["name"] == "payments-api"
        told = json.loads(up.cli("explain", waiting[-1], "--output", "json"))
        assert "circuit breaker payments-api is" in told["summary"], told
        gate.touch()
        assert [client.wait(job_id, 30).state for job_id in waiting] == ["COMPLETED"] * 4 or breaker(up)["opened"] > 1
        gate.unlink()
        for _ in range(3):
            client.wait(client.submit(definition, {"gate": str(gate)}).id, 30)
        until(lambda: breaker(up)["state"] != "CLOSED", 20, "it opens again")
        gate.touch()
        assert up.cli("breakers", "reset", "payments-api").split() == ["payments-api", "CLOSED"]
        assert client.wait(client.submit(definition, {"gate": str(gate)}).id, 10).state == "COMPLETED"
    up.cli("breakers", "reset", "none", status=2)
