"""What artifacts cost: ``python -m bench.artifacts [--mib 2048] [--output json]``; a minute, and 8 × the size on disk.

A file of 2 GiB goes the ways that artifacts go: a task leaves it (ant to queen to the local store), a client puts it,
over gRPC and over HTTP, a client gets it. Beside them the floor: one process that reads a file, hashes it with SHA-256
and writes it, with a flush to the disk at the end. The queen's and the ant's resident memory is looked at every 20 ms,
and held against what they had before.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from bench import machine
from bench.bars import Bar
from bench.report import print_json
from bench.server import Server
from formicary.client import Client, RestClient

MIB = 1024 * 1024
RATE_BAR, MEMORY_BAR = 200.0, 64.0
_LOOK_S = 0.02
_JOB = """\
job_type: keeps
tasks:
- task_type: keep
  method: SHELL
  script: ["ln {file} big.bin"]
  artifacts: {{paths: [big.bin]}}
"""


def floor_mb_s(source: Path, target: Path) -> float:
    """Megabytes (10^6 bytes) per second of reading, hashing and writing the file, flushed at the end."""
    begin, digest = time.monotonic(), hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while piece := reading.read(MIB):
            digest.update(piece)
            writing.write(piece)
        writing.flush()
        os.fsync(writing.fileno())
    spent = time.monotonic() - begin
    target.unlink()
    return source.stat().st_size / 1e6 / spent


class Memory:
    """The resident memory of processes while something goes on, in MiB above what they had before."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._before = {pid: _resident_mib(pid) for pid in pids}
        self.above = dict.fromkeys(pids, 0.0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Looks until the block ends."""
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_S):
            for pid, before in self._before.items():
                self.above[pid] = max(self.above[pid], _resident_mib(pid) - before)


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} is gone")


def _ants(queen: int) -> list[int]:
    """The processes of the ants that the server has started."""
    found = []
    for task in Path(f"/proc/{queen}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


async def ways(server: Server, file: Path, size: int) -> dict[str, float]:
    """Megabytes per second of each way."""
    found = {}
    async with Client(server.address, timeout_s=600.0) as client:
        ref = await client.register(_JOB.format(file=file))
        handle = await client.submit(ref)
        await client.wait(handle.id, 600.0)
        job = await client.get(handle.id)
        if job["state"] != "COMPLETED":
            raise RuntimeError(f"the job is {job['state']}: {job.get('error')}")
        task = job["tasks"][0]
        begun, ended = (datetime.fromisoformat(task[name]) for name in ("started_at", "ended_at"))
        found["a task leaves it"] = size / 1e6 / (ended - begun).total_seconds()
        begin = time.monotonic()
        document = await client.upload(file)
        found["a client puts it"] = size / 1e6 / (time.monotonic() - begin)
        async with RestClient(f"http://127.0.0.1:{server.http}", timeout_s=600.0) as rest:
            begin = time.monotonic()
            await rest.upload(file)
            found["a client puts it over HTTP"] = size / 1e6 / (time.monotonic() - begin)
        begin, read = time.monotonic(), 0
        async for piece in client.download(document["id"]):
            read += len(piece)
        found["a client gets it"] = size / 1e6 / (time.monotonic() - begin)
        if read != size:
            raise RuntimeError(f"{read} bytes of {size} came back")
    return found


def measure(mib: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Rates of every round by way, and the most memory above idle by process."""
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="formicary-bench-artifacts-") as name:
        folder, size = Path(name), mib * MIB
        file, noise = folder / "source.bin", os.urandom(16 * MIB)
        with file.open("wb") as writing:
            for _ in range(mib // 16):
                writing.write(noise)
        size = file.stat().st_size
        server = Server(folder / "data", folder / "up.log", ants=1)
        server.start()
        try:
            asyncio.run(_warm(server))
            queen, ant = server.pid, _ants(server.pid)[0]
            memory = Memory((queen, ant))
            with memory.watched():
                for number in range(rounds):
                    found = {"floor: read, hash, write, flush": floor_mb_s(file, folder / "copy.bin")}
                    found |= asyncio.run(ways(server, file, size))
                    for way, rate in found.items():
                        rates.setdefault(way, []).append(rate)
                        print(f"round {number + 1} of {rounds}: {way}: {rate:.0f} MB/s", file=sys.stderr, flush=True)
        finally:
            server.stop()
    return rates, {"queen": memory.above[queen], "ant": memory.above[ant]}


async def _warm(server: Server) -> None:
    """One small job, so that everything is read that a first job reads."""
    async with Client(server.address) as client:
        ref = await client.register(_JOB.format(file=__file__))
        await client.wait((await client.submit(ref)).id, 60.0)


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.artifacts", description=__doc__)
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--mib", type=int, default=2048, help="size of the file, a multiple of 16; default 2048")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rates, above = measure(given.mib, given.rounds)
    medians = {way: statistics.median(found) for way, found in rates.items()}
    bars = [
        Bar("artifacts", f"{way}, MB/s", f"≥ {RATE_BAR:g}", rate, rate >= RATE_BAR)
        for way, rate in medians.items()
        if not way.startswith("floor")
    ]
    bars += [
        Bar("artifacts", f"memory of the {who} above idle, MiB", f"≤ {MEMORY_BAR:g}", most, most <= MEMORY_BAR)
        for who, most in above.items()
    ]
    if given.output == "json":
        figures = [
            {"what": way, "unit": "MB/s", "median": round(medians[way], 1), "min": round(min(found), 1)}
            | {"max": round(max(found), 1), "runs": [round(one, 1) for one in found]}
            for way, found in rates.items()
        ]
        facts = machine.facts()
        print_json({"name": "artifacts", "machine": facts, "figures": figures, "bars": [bar.as_json() for bar in bars]})
        return 0
    for way, found in rates.items():
        print(f"{way:<34} {medians[way]:>6.0f} MB/s  ({min(found):.0f} to {max(found):.0f})")
    for bar in bars:
        print(f"{bar.what}: {bar.value:.0f} ({bar.bar}) {'met' if bar.met else 'NOT met'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
