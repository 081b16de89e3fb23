"""Virtual resources of a real server: capacity, holders, a kill -9 in between, explain, the commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from formicary.client import SyncClient
from tests.acceptance.server import Up, until

JOB = """\
job_type: licensed
tasks:
  - task_type: work
    resources: {resource_type: licence}
    script: 'while [ ! -e {{.gate}} ]; do sleep 0.02; done'
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A server with one ant."""
    server = Up(tmp_path / "data", "--ants", "1", "--slots", "4")
    try:
        server.start()
        yield server
    finally:
        server.clear()


def lock(up: Up) -> dict[str, Any]:
    """The one there is."""
    found = json.loads(up.cli("locks", "get", "licence", "--output", "json"))
    assert isinstance(found, dict)
    return found


def test_a_licence_is_never_held_twice_and_survives_a_kill(up: Up, tmp_path: Path) -> None:
    """Two of three jobs run; a killed server finds that so; more capacity and an end let the third go on."""
    gate = tmp_path / "gate"
    up.cli("locks", "set", "licence", "--capacity", "2", "--description", "bought in May")
    with SyncClient(up.address) as client:
        definition = client.register(JOB)
        ids = [client.submit(definition, {"gate": str(gate)}).id for _ in range(3)]
        until(lambda: lock(up)["held"] == 2 and lock(up)["waiting"] == 1, 20, "two hold it, one waits")
        up.kill()
        up.start()
        until(lambda: lock(up)["held"] == 2, 20, "it is held as before")
        found = lock(up)
        assert {one["job_id"] for one in found["holders"]} == set(ids[:2]) and found["description"] == "bought in May"
        assert {(one["job_type"], one["task_type"]) for one in found["holders"]} == {("licensed", "work")}
        until(
            lambda: (
                "2 of 2 of licence are held, and it needs 1"
                in json.loads(up.cli("explain", ids[2], "--output", "json"))["summary"]
            ),
            20,
            "its ant is back and the licence is what it waits for",
        )
        up.cli("locks", "set", "licence", "--capacity", "3")
        until(lambda: lock(up)["held"] == 3, 20, "more capacity lets it begin")
        gate.touch()
        assert [client.wait(job_id, 90).state for job_id in ids] == ["COMPLETED"] * 3
    assert lock(up)["held"] == 0
    up.cli("locks", "delete", "licence")
    assert json.loads(up.cli("locks", "list", "--output", "json")) == []
    up.cli("locks", "get", "licence", status=2)
