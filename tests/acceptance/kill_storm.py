"""Jobs go in while queen and ants are killed with SIGKILL about once a second; afterwards nothing may be missing.

    python -m tests.acceptance.kill_storm --jobs 10000 --seconds 60 [--seed S]

A real server with two ants works on a temporary data directory. The server is started again at once, its ants by their
supervisor; the client goes on submitting all the time. A trigger in the database notes every completion of a task with
its lease token, which shows a second completion even where the row looks the same afterwards; each task appends a line
to a file, which shows how often it really ran. Exit status 0 only if all of it holds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from formicary.client import Client, JobEnd
from formicary.engine.storage.backends import DATABASE_FILE, open_store
from tests.acceptance.server import REPOSITORY, Up, kill_process

ANTS, SLOTS = 2, 4
BATCH = 50
LOAD = 0.6
"""Share of the slots that the tasks would fill if nobody were killed: a kill then nearly always hits some of them."""
PATIENCE_S = 180.0
END_LIMIT_S = 300.0
READY_LIMIT_S = 0.7
"""How long a restarted server is left alone at least; one that is slower may be killed before it is ready."""
SOURCE = """\
job_type: storm
tasks:
- task_type: work
  method: PYTHON
  function: tests.acceptance.effects:leave_mark
"""
TRIGGERS = """\
CREATE TABLE completions (job INTEGER, position INTEGER, attempts INTEGER, token INTEGER);
CREATE TRIGGER completed_insert AFTER INSERT ON tasks WHEN NEW.state = 'COMPLETED' BEGIN
    INSERT INTO completions VALUES (NEW.job, NEW.position, NEW.attempts, NEW.token);
END;
CREATE TRIGGER completed_update AFTER UPDATE ON tasks WHEN NEW.state = 'COMPLETED' BEGIN
    INSERT INTO completions VALUES (NEW.job, NEW.position, NEW.attempts, NEW.token);
END;
"""
TWICE = "SELECT count(*) FROM (SELECT job FROM completions GROUP BY job, position HAVING count(DISTINCT token) > 1)"


@dataclass(slots=True)
class Storm:
    """One run and what happened in it.

    Args:
        jobs: How many to submit.
        seconds: How long to kill.
        seed: Of everything that is drawn.
        folder: An empty folder.
    """

    jobs: int
    seconds: float
    seed: int
    folder: Path
    ids: list[str] = field(default_factory=list)
    ends: list[JobEnd] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    ready_s: list[float] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self.folder / "data"

    @property
    def effects(self) -> Path:
        """The file that the tasks append to."""
        return self.folder / "effects"

    def run(self) -> None:
        """Prepares the database, lets it storm, drains the server."""
        self.data.mkdir()
        open_store(self.data).close()
        with sqlite3.connect(self.data / DATABASE_FILE) as database:
            database.executescript(TRIGGERS)
        database.close()
        self.effects.touch()
        up = Up(self.data, "--ants", str(ANTS), "--slots", str(SLOTS))
        try:
            up.start()
            asyncio.run(self._storm(up))
            up.stop()
        finally:
            up.clear()

    async def _storm(self, up: Up) -> None:
        async with Client(up.address, timeout_s=PATIENCE_S) as client:
            submitting = asyncio.create_task(self._submit(client, random.Random(self.seed + 1)))
            await self._kill(up, random.Random(self.seed))
            await submitting
            begin = time.monotonic()
            self.ends = await client.wait_all(self.ids, END_LIMIT_S)
            print(f"  the last job ended {time.monotonic() - begin:.1f} s after the last kill", flush=True)

    async def _submit(self, client: Client, rng: random.Random) -> None:
        """Small calls, spread over nine tenths of the time."""
        ref = await client.register(SOURCE, path=REPOSITORY, filename="storm.yaml")
        begin = time.monotonic()
        longest_s = 2 * LOAD * ANTS * SLOTS * self.seconds / self.jobs
        for first in range(0, self.jobs, BATCH):
            await asyncio.sleep(max(0.0, begin + 0.9 * self.seconds * first / self.jobs - time.monotonic()))
            count = min(BATCH, self.jobs - first)
            params = [
                {"effects": str(self.effects), "pause_s": round(rng.uniform(0, longest_s), 4)} for _ in range(count)
            ]
            self.ids += await client.submit_many(ref, params, watch=True)

    async def _kill(self, up: Up, rng: random.Random) -> None:
        """About once a second, one, two or all of the three processes."""
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            await asyncio.sleep(rng.uniform(0.5, 1.5))
            victims: list[int | str] = ["queen", *up.ants()]
            for victim in rng.sample(victims, min(len(victims), rng.choices((1, 2, 3), (70, 20, 10))[0])):
                if isinstance(victim, int):
                    kill_process(victim)
                    self.killed["ant"] += 1
                else:
                    up.kill()
                    self.killed["queen"] += 1
            if up.process is None:
                await asyncio.to_thread(self._start, up)
            if sys.stderr.isatty():
                print(f"\rkilled: {dict(self.killed)}, submitted: {len(self.ids)} ", end="", file=sys.stderr)

    def _start(self, up: Up) -> None:
        begin = time.monotonic()
        up.start(wait=False)
        while time.monotonic() - begin < READY_LIMIT_S:
            if up.page("/readyz")[0] == 200:
                self.ready_s.append(time.monotonic() - begin)
                return
            time.sleep(0.01)

    def marks(self) -> dict[str, Counter[int]]:
        """How often each attempt of each job left its mark."""
        found: dict[str, Counter[int]] = {}
        for line in self.effects.read_text().splitlines():
            key, attempt = line.split()
            job_id, execution, task = key.split("/")
            if (execution, task) != ("1", "work"):
                raise AssertionError(f"an unexpected task key: {key}")
            found.setdefault(job_id, Counter())[int(attempt)] += 1
        return found

    def check(self) -> dict[str, int]:
        """What must hold, with the number of violations (0 = it holds)."""
        database = sqlite3.connect(self.data / DATABASE_FILE)
        rows = database.execute("SELECT j.id, j.state, t.attempts FROM jobs j JOIN tasks t ON t.job = j.number")
        stored = {job_id: (state, attempts) for job_id, state, attempts in rows}
        total = database.execute("SELECT count(*) FROM jobs").fetchone()[0]
        double = database.execute(TWICE).fetchone()[0]
        whole = database.execute("PRAGMA integrity_check").fetchone()[0]
        database.close()
        ids, marks = set(self.ids), self.marks()
        attempts = Counter({job_id: found[1] for job_id, found in stored.items()})
        print(f"  jobs by attempts: {dict(sorted(Counter(attempts.values()).items()))}")
        return {
            f"{self.jobs} jobs accepted, each under an id of its own": abs(self.jobs - len(ids)),
            "0 lost: every accepted job is stored": len(ids - stored.keys()),
            "no job that nobody submitted": abs(total - len(ids)),
            f"{self.jobs} COMPLETED": self.jobs - sum(state == "COMPLETED" for state, _ in stored.values()),
            "the client was told of every completion": self.jobs - sum(end.completed for end in self.ends),
            "0 completed twice": double,
            "every task left its mark": len(ids - marks.keys()),
            "no task ran more often than its attempts say": sum(
                found.total() > attempts[job_id] or max(found) > attempts[job_id] for job_id, found in marks.items()
            ),
            "no attempt ran twice": sum(max(found.values()) > 1 for found in marks.values()),
            "the database is whole": int(whole != "ok"),
        }

    def report(self) -> int:
        """Prints what happened and a line per check; returns how many failed."""
        ready = f"{sorted(self.ready_s)[len(self.ready_s) // 2]:.2f} s" if self.ready_s else "unknown"
        print(f"  killed {self.killed['queen']} x the queen, {self.killed['ant']} x an ant; ready again in {ready}")
        again = sum(found.total() - 1 for found in self.marks().values())
        print(f"  {again} tasks had left their mark when they were cut off, and ran again")
        found = self.check()
        for what, violations in found.items():
            print(f"  FAILED  {what}: {violations} violations" if violations else f"  ok      {what}")
        failed = sum(bool(violations) for violations in found.values())
        print(f"{len(found) - failed} passed, {failed} failed", flush=True)
        return failed


def main() -> None:
    """Runs the storm of the command line; ends with 0 where everything held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to kill")
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    options = parser.parse_args()
    seed = random.randrange(2**32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="formicary-storm-"))
    storm = Storm(options.jobs, options.seconds, seed, folder)
    print(
        f"kill storm: {storm.jobs} jobs, {storm.seconds:g} s, {ANTS} ants with {SLOTS} slots, seed {seed}", flush=True
    )
    storm.run()
    failed = storm.report()
    if failed:
        print(f"the data is in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
