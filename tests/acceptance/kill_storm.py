"""Jobs go in while queen and ants are killed with SIGKILL about once a second; afterwards nothing may be missing.

    python -m tests.acceptance.kill_storm --jobs 10000 --seconds 60

Checks: every accepted job is COMPLETED, none is lost, none completed twice, each effect happened at least once and at
most as often as its task counts attempts, the database is whole. Exit status 0 only if all of that holds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from formicary.client import Client
from tests.acceptance.server import REPOSITORY, Up, kill_process

SOURCE = """
job_type: storm
tasks:
- task_type: work
  method: PYTHON
  function: tests.acceptance.effects:leave_mark
"""
BATCHES = 100


class Storm:
    """One run."""

    def __init__(self, jobs: int, seconds: float, pause_s: float, seed: int, folder: Path) -> None:
        self.jobs = jobs
        self.seconds = seconds
        self.pause_s = pause_s
        self.random = random.Random(seed)
        self.effects = folder / "effects"
        self.up = Up(folder / "data", "--ants", "2", "--slots", "2")
        self.starts: list[float] = []
        self.killed: Counter[str] = Counter()
        self.ids: list[str] = []

    async def run(self) -> list[str]:
        """Returns what went wrong, a sentence each."""
        await asyncio.to_thread(self._start)
        try:
            async with Client(self.up.address) as client:
                submitting = asyncio.create_task(self._submit(client))
                await self._kill_for(self.seconds)
                await asyncio.wait_for(submitting, 60 + self.seconds)
                states = await self._settle(client)
            self.up.stop()
        finally:
            self.up.clear()
        return self._judge(states)

    def _start(self) -> None:
        begun = time.monotonic()
        self.up.start()
        self.starts.append(time.monotonic() - begun)

    async def _submit(self, client: Client) -> None:
        """Submits in batches over nine tenths of the time; the client resends what was not answered."""
        ref = await client.register(SOURCE, path=str(REPOSITORY))
        sizes = [self.jobs * (n + 1) // BATCHES - self.jobs * n // BATCHES for n in range(BATCHES)]
        params = {"effects": str(self.effects), "pause_s": self.pause_s}
        for size in sizes:
            self.ids += await client.submit_many(ref, [params] * size)
            await asyncio.sleep(self.seconds * 0.9 / BATCHES)

    async def _kill_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self.random.uniform(0.5, 1.5))
            what = self.random.choice(["queen", "ant", "ant", "both"])
            pids = self.up.ants()
            if what != "queen" and pids:
                for pid in pids if what == "both" else [self.random.choice(pids)]:
                    kill_process(pid)
                    self.killed["ant"] += 1
            if what != "ant":
                self.up.kill()
                self.killed["queen"] += 1
                await asyncio.to_thread(self._start)
            print(f"\rkilled: {dict(self.killed)}, submitted: {len(self.ids)} ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)

    async def _settle(self, client: Client) -> Counter[str]:
        """Waits until every job has ended, bounded; returns the states."""
        end = time.monotonic() + 60 + self.jobs * self.pause_s
        while True:
            states = Counter([str(document["state"]) async for document in client.list()])
            if states["COMPLETED"] == sum(states.values()) or time.monotonic() > end:
                return states
            await asyncio.sleep(0.5)

    def _judge(self, states: Counter[str]) -> list[str]:
        wrong = []
        done = Counter(line.split()[0] for line in self.effects.read_text().splitlines())
        with sqlite3.connect(self.up.data / "formicary.db") as database:
            query = "SELECT j.id, t.attempts FROM jobs j JOIN tasks t ON t.job = j.number"
            attempts = {f"{job_id}/1/work": count for job_id, count in database.execute(query)}
            whole = database.execute("PRAGMA integrity_check").fetchone()[0]
            stored = {row[0] for row in database.execute("SELECT id FROM jobs")}
        if states != Counter({"COMPLETED": self.jobs}):
            wrong.append(f"states are {dict(states)}, expected {self.jobs} COMPLETED")
        if set(self.ids) != stored or len(self.ids) != len(set(self.ids)):
            wrong.append(f"{len(self.ids)} ids were given out, {len(stored)} are stored")
        too_often = [key for key, count in done.items() if count > attempts.get(key, 0)]
        missing = [key for key in attempts if not done[key]]
        if too_often or missing:
            wrong.append(f"{len(too_often)} effects beyond their attempts, {len(missing)} jobs without effect")
        if whole != "ok":
            wrong.append(f"the database is damaged: {whole}")
        histogram = dict(sorted(Counter(attempts.values()).items()))
        print(f"killed {self.killed['queen']} × the queen, {self.killed['ant']} × an ant")
        print(f"jobs by attempts: {histogram}; {sum(done.values())} effects of {len(done)} jobs")
        print(f"start to ready: median {_median(self.starts):.2f} s, longest {max(self.starts):.2f} s")
        print(
            f"{states['COMPLETED']} completed, {self.jobs - len(stored)} lost, {_twice(done, attempts)} completed twice"
        )
        return wrong


def _twice(done: Counter[str], attempts: dict[str, int]) -> int:
    """Jobs whose effect happened again although only one attempt is counted."""
    return sum(done[key] > 1 and count == 1 for key, count in attempts.items())


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> int:
    """Runs the storm of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to kill")
    parser.add_argument("--pause", type=float, default=0.01, help="seconds that each job takes")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="formicary-storm-") as folder:
        storm = Storm(options.jobs, options.seconds, options.pause, seed, Path(folder))
        wrong = asyncio.run(storm.run())
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    print(f"{options.jobs if not wrong else 0} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
