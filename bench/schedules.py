"""Cron with many entries: what they cost while nothing is due, and how late their jobs start.

    python bench/schedules.py [--entries 10000] [--idle 10] [--firing 10]

One queen without ants on a SQLite store of its own. First every entry is a year away; then 1,000 of them are due within
the measured seconds, spread evenly over whole seconds. Processor time is that of the whole process.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from formicary.engine.jobs.cron import Cron
from formicary.engine.queen.runtime import Queen, QueenConfig
from formicary.engine.queen.schedules import NAME, Schedule
from formicary.engine.storage import open_logs, open_store
from formicary.engine.storage.port import Changes

JOB = "job_type: tick\ntasks:\n- task_type: t\n  script: ['true']\n"
DUE = 1000


async def measure(folder: Path, entries: int, idle_s: float, firing_s: int) -> None:
    """Prints the figures."""
    queen = Queen(open_store(folder), open_logs(folder), QueenConfig(schedules=True))
    await queen.start()
    definition = await queen.register(JOB)
    await queen.stop()
    store = open_store(folder)
    store.open()
    first = int(time.time() + idle_s + 8)
    changes = Changes()
    for at in range(entries):
        planned = float(first + at % firing_s) if at < DUE else time.time() + 3e7
        cron = Cron("0 0 0 1 1 * *")
        one = Schedule("local", f"tick{at}", NAME, definition, 1, cron, planned)
        changes.schedules[one.key] = one.row()
    store.commit(store.acquire("bench"), changes)
    store.close()
    queen = Queen(open_store(folder), open_logs(folder), QueenConfig(schedules=True))
    begun = time.monotonic()
    await queen.start()
    print(f"{entries} entries, started in {time.monotonic() - begun:.3f} s")
    await asyncio.sleep(1.0)
    used = time.process_time()
    await asyncio.sleep(idle_s)
    print(f"idle: {100 * (time.process_time() - used) / idle_s:.3f} % of a core over {idle_s:g} s")
    while queen.counters()["submitted"] < DUE:
        assert time.time() < first + firing_s + 30, queen.counters()
        await asyncio.sleep(0.2)
    await queen.pump.settle()
    rows = [row for page in queen.store.jobs("local") for row in page]
    keys = queen.store.find_keys("local", [f"{NAME}:tick{at}:{first + at % firing_s}" for at in range(DUE)])
    submitted = {str(row[1]): float(row[7] or 0) for row in rows}
    late = sorted(submitted[job] - float(key.rpartition(":")[2]) for key, (_, job) in keys.items())
    for text, part in (("median", 0.5), ("99 %", 0.99), ("latest", 1.0)):
        print(f"{text}: {1000 * late[min(len(late) - 1, int(part * len(late)))]:.1f} ms late, of {len(late)} runs")
    await queen.stop()


def main() -> None:
    """Reads the options and measures in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description="Cron with many entries.")
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--idle", type=float, default=10.0)
    parser.add_argument("--firing", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), given.entries, given.idle, given.firing))


if __name__ == "__main__":
    main()
