"""A writer killed at any instant: everything acknowledged is there, and of each batch all or nothing."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from formicary.engine.storage.port import Changes
from tests.contract.storage.conftest import Place

WRITER = """
import sys
from formicary.engine.storage import open_store
from tests.contract.storage.rows import changes, job, params, task
store = open_store(sys.argv[1])
epoch = store.acquire("writer")
batch = store.load().last_number // 20
while True:
    numbers = range(batch * 20 + 1, batch * 20 + 21)
    rows = [job(number, "EXECUTING") for number in numbers] + [task(number) for number in numbers]
    store.commit(epoch, changes(*rows, values=[params(number, b"x" * 2000) for number in numbers]))
    sys.stdout.write(f"{batch}\\n")
    sys.stdout.flush()
    batch += 1
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(durable: Place) -> None:
    acknowledged: set[int] = set()
    root = Path(__file__).parents[3]
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, durable.target], stdout=subprocess.PIPE, text=True, cwd=root
        )
        assert writer.stdout is not None
        for _ in range(random.randint(1, 60)):
            acknowledged.add(int(writer.stdout.readline()))
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged |= {int(line) for line in writer.stdout.read().splitlines() if line}
        writer.stdout.close()
        writer.wait()
    store = durable.open()
    snapshot = store.load()
    jobs = {int(row[0] or 0) for row in snapshot.jobs}
    batches = {(number - 1) // 20 for number in jobs}
    assert acknowledged <= batches
    assert len(jobs) == 20 * len(batches)
    assert {row[0] for row in snapshot.tasks} == jobs == set(snapshot.params)
    store.commit(store.acquire("after"), Changes())
    store.close()
    if durable.kind == "sqlite":
        connection = sqlite3.connect(Path(durable.target) / "formicary.db")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
