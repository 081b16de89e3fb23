"""Triggers of a real server: the commands and the API, and runs that survive kill -9."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from formicary.engine.storage.backends import DATABASE_FILE
from tests.acceptance.server import Up, until
from tests.integration.server.test_rest_api import ask

JOB = """\
job_type: tick
cron_trigger: {schedule: "* * * * * * *", missed: all}
tasks:
  - task_type: t
    script: ["true"]
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


def jobs(up: Up) -> list[dict[str, Any]]:
    """Documents of all jobs, oldest first."""
    found: list[dict[str, Any]] = json.loads(up.cli("list", "--limit", "0", "--output", "json"))
    return found[::-1]


def post(up: Up, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer of the API."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{up.http}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=90) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_a_killed_server_starts_every_run_once_and_makes_up_for_those_it_missed(up: Up, tmp_path: Path) -> None:
    """Over two kill -9 each second has exactly one job, those while no server was there included."""
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    up.cli("submit", str(file))  # registers it, and starts one job by hand
    for least in (3, 6):
        until(lambda least=least: len(jobs(up)) >= least, 20, "runs")  # type: ignore[misc]  # a lambda's default
        up.kill()
        up.start()
    until(lambda: len(jobs(up)) >= 9, 20, "runs after the last restart")
    up.cli("triggers", "pause", "tick")
    until(lambda: all(job["state"] == "COMPLETED" for job in jobs(up)), 20, "all runs end")
    found = jobs(up)[1:]
    (trigger,) = json.loads(up.cli("triggers", "list", "--output", "json"))
    up.stop()
    with closing(sqlite3.connect(up.data / DATABASE_FILE)) as database:
        keys = database.execute("SELECT key FROM idempotency_keys WHERE key LIKE '%:tick:%'").fetchall()
    planned = sorted(int(key.rpartition(":")[2]) for (key,) in keys)
    last = int(datetime.fromisoformat(trigger["last_at"]).timestamp())
    assert planned == list(range(planned[0], last + 1)), (planned, last)
    assert len(found) == len(planned), (found, planned)


def test_the_commands_and_the_api_say_the_same(up: Up, tmp_path: Path) -> None:
    """List, fire, pause, resume; an unknown trigger is 404, a schedule that never comes true is refused."""
    file = tmp_path / "job.yaml"
    file.write_text(JOB.replace('"* * * * * * *"', "CRON_TZ=Europe/Berlin 0 9 1 1 *"))
    up.cli("submit", str(file))
    assert "0 0 9 1 1 * *" in up.cli("triggers", "list")
    job_id = up.cli("triggers", "fire", "tick", "-p", "a=1", "--idempotency-key", "k").strip()
    again = post(up, "/v1/triggers/tick:fire", {"params": {"a": 1}, "idempotency_key": "k"})
    assert again == {"id": job_id}
    status, headers, third = ask(up, "POST", "/v1/triggers/tick:fire", {"params": {"a": 1}}, idempotency_key="k")
    assert (status, headers["idempotency-replayed"], third) == (200, "true", again)
    status, headers, fourth = ask(up, "POST", "/v1/triggers/tick:fire", {"params": {"a": 1}}, idempotency_key="l")
    assert status == 200 and "idempotency-replayed" not in headers and fourth != again
    assert "paused" in up.cli("triggers", "pause", "tick")
    (listed,) = json.loads(up.cli("triggers", "list", "--output", "json"))
    assert listed["paused"] and listed["next_at"] is None and listed["time_zone"] == "Europe/Berlin"
    resumed = post(up, "/v1/triggers/tick:resume", {})
    assert resumed["next_at"] and not resumed["paused"]
    assert up.page("/v1/triggers?job_type=other") == (200, {"triggers": [], "next_page_token": ""})
    up.cli("triggers", "pause", "other", status=2)
    file.write_text(JOB.replace("* * * * * * *", "0 0 30 2 *"))
    up.cli("validate", str(file), status=2)
