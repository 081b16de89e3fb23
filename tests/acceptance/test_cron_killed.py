"""Many cron entries are due at one second, and the server is killed while it starts their jobs."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from formicary.client import SyncClient
from tests.acceptance.server import Up, until

ENTRIES = 100
KILLED_AFTER_S = (0.005, 0.02, 0.05)
"""After the second in which they are due; a kill before, between and behind their commits."""


def registered(up: Up, lead_s: float) -> list[datetime]:
    """Registers all entries and returns when they are due, the first ones so many seconds from now."""
    begin = (datetime.now(UTC) + timedelta(seconds=lead_s)).replace(microsecond=0)
    turns = [begin + timedelta(seconds=5 * number) for number in range(len(KILLED_AFTER_S))]
    with SyncClient(up.address) as client:
        for number, due in enumerate(turns):
            cron = f"{due.second} {due.minute} {due.hour} {due.day} {due.month} * *"
            for entry in range(ENTRIES):
                kind = f"e{lead_s:g}-{number}-{entry}"
                task = "{task_type: none, method: SHELL, tags: [nobody], script: ['true']}"
                client.register(f"job_type: {kind}\ncron_trigger: '{cron}'\ntasks: [{task}]\n")
    return turns


def test_each_entry_starts_one_job_however_often_the_server_is_killed(data_dir: Path) -> None:
    up = Up(data_dir, "--ants", "0")
    up.start()
    try:
        lead_s = 10.0
        while (turns := registered(up, lead_s))[0] < datetime.now(UTC):  # too slowly: others take their place
            lead_s *= 2
        for due, after_s in zip(turns, KILLED_AFTER_S, strict=True):
            time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds() + after_s))
            up.kill()
            up.start()
        with SyncClient(up.address) as client:
            wanted = {f"e{lead_s:g}-{number}-{entry}" for number in range(len(turns)) for entry in range(ENTRIES)}
            until(lambda: {job["job_type"] for job in client.list()} >= wanted, 30, "every entry has its job")
            time.sleep(1.0)  # a second job of one would come now
            kind = f"e{lead_s:g}-"
            found = Counter(job["job_type"] for job in client.list() if job["job_type"].startswith(kind))
        assert set(found) == wanted and set(found.values()) == {1}
    finally:
        up.clear()
