"""What a backlog costs: memory per pending job, start-up with the backlog, throughput on top of it.

``python -m bench.pending --size 200 --folder DIR`` prints one JSON line.

The backlog is submitted with no ants. Memory is the queen's resident memory with the deep backlog less the one with
the shallow one, in one process. The queen is then ended with SIGKILL and started again with two ants: the time until
it says ``ready`` is the start-up. Throughput is taken over windows of tasks while the client tops the backlog up as
quickly as it drains, so its depth stays; the same windows are run over a shallow backlog on a server of its own.
The two take turns (each turn is a start after SIGKILL), since a noisy machine's speed drifts: the medians of all
windows count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import stamps
from bench.ours import Bench, noop_yaml
from bench.server import REPO, Server
from formicary.client import Client

SHALLOW = 1_000
DEEP = 100_000
TURNS = 2
_SETTLE_S = 1.0
_LIMIT_S = 120.0
#: Jobs per call: 10 KB each stays below the 4 MB that gRPC allows a message by default.
_CALL = 250
_TOP_UP_CALLERS = 4


def _params(size_bytes: int, count: int) -> list[dict[str, object]]:
    """Return parameters whose JSON is about ``size_bytes`` long, no two the same."""
    filler = "x" * max(0, size_bytes - 30)
    return [{"number": number, "filler": filler} for number in range(count)]


async def _submit(bench: Bench, size_bytes: int, count: int) -> None:
    ref = await bench.client.register(noop_yaml(), path=REPO)
    await bench.submit_bulk(ref, _params(size_bytes, count), _CALL)


async def _fill(server: Server, size_bytes: int, deep: int) -> dict[str, float]:
    """Submit the backlog and return what it costs."""
    async with Client(server.address) as client:
        bench = Bench(client, server)
        await _submit(bench, size_bytes, SHALLOW)
        await asyncio.sleep(_SETTLE_S)
        low = server.resident_bytes()
        begin = time.monotonic()
        await _submit(bench, size_bytes, deep - SHALLOW)
        accepted = (deep - SHALLOW) / (time.monotonic() - begin)
        await asyncio.sleep(_SETTLE_S)
        grown = server.resident_bytes() - low
    return {"accepted_per_s": accepted, "bytes_per_job": grown / (deep - SHALLOW), "resident_low_bytes": low}


@dataclass(slots=True)
class _Backlog:
    """A backlog that is kept at its depth while ants take from it.

    Args:
        depth: jobs to keep pending.
        submitted: jobs submitted so far.
        running: set to False to stop topping up.
    """

    depth: int
    submitted: int
    running: bool = True

    async def keep(self, client: Client, size_bytes: int) -> None:
        """Submit a call's worth whenever the backlog is below its depth."""
        ref = await client.register(noop_yaml(), path=REPO)
        params = _params(size_bytes, _CALL)
        while self.running:
            if self.submitted - stamps.read().count < self.depth:
                self.submitted += _CALL
                await client.submit_many(ref, params)
            else:
                await asyncio.sleep(0.002)


async def _rates(window: int, windows: int) -> list[float]:
    """Return the tasks per second of each window, after one window that only warms up."""
    rates: list[float] = []
    base, begin = stamps.read().count, time.monotonic()
    limit = begin + _LIMIT_S
    while len(rates) <= windows:
        await asyncio.sleep(0.005)
        done, now = stamps.read().count, time.monotonic()
        if done - base >= window:
            rates.append((done - base) / (now - begin))
            base, begin = done, now
        elif now > limit:
            raise TimeoutError(f"{done} tasks ran within {_LIMIT_S:.0f} s")
    return rates[1:]


async def _windows(server: Server, size_bytes: int, depth: int, window: int, windows: int) -> list[float]:
    """Measure throughput over a backlog of ``depth`` jobs that is there already."""
    async with Client(server.address) as client:
        backlog = _Backlog(depth, submitted=depth)
        keepers = [asyncio.create_task(backlog.keep(client, size_bytes)) for _ in range(_TOP_UP_CALLERS)]
        try:
            return await _rates(window, windows)
        finally:
            backlog.running = False
            await asyncio.gather(*keepers)


async def _prepare_shallow(server: Server, size_bytes: int) -> None:
    async with Client(server.address) as client:
        await _submit(Bench(client, server), size_bytes, SHALLOW)


def _turn(server: Server, size_bytes: int, depth: int, window: int, windows: int) -> tuple[float, list[float]]:
    """Return the seconds of one start over a backlog of ``depth`` jobs and the rates after it; ends it with SIGKILL."""
    try:
        stamps.reset()
        start = server.start()
        return start, asyncio.run(_windows(server, size_bytes, depth, window, windows))
    finally:
        server.kill()


def measure(folder: Path, size_bytes: int, deep: int, window: int, windows: int) -> dict[str, float]:
    """Return the figures of one size of parameters.

    Args:
        folder: an empty folder.
        size_bytes: JSON length of each job's parameters.
        deep: jobs of the deep backlog.
        window: tasks of one throughput window.
        windows: how many windows in each turn; the medians of all count.
    """
    figures: dict[str, float] = {}
    for depth, name in ((SHALLOW, "shallow"), (deep, "deep")):
        (folder / name).mkdir(parents=True)
        server = Server(folder / name, folder / f"{name}.log", ants=0)
        try:
            server.start()
            if depth == deep:
                figures = asyncio.run(_fill(server, size_bytes, deep))
            else:
                asyncio.run(_prepare_shallow(server, size_bytes))
        finally:
            server.kill()
    starts: list[float] = []
    shallow: list[float] = []
    rates: list[float] = []
    for _ in range(TURNS):
        shallow += _turn(Server(folder / "shallow", folder / "shallow.log"), size_bytes, SHALLOW, window, windows)[1]
        start, found = _turn(Server(folder / "deep", folder / "deep.log"), size_bytes, deep, window, windows)
        starts.append(start)
        rates += found
    low, high = statistics.median(shallow), statistics.median(rates)
    figures |= {"pending": deep, "start_s": statistics.median(starts), "shallow_per_s": low, "deep_per_s": high}
    return {**figures, "fall": 1 - high / low}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one size of parameters and print a JSON line."""
    parser = argparse.ArgumentParser(description="Measure what a backlog of pending jobs costs.")
    parser.add_argument("--size", type=int, default=200, help="bytes of each job's parameters")
    parser.add_argument("--deep", type=int, default=DEEP)
    parser.add_argument("--window", type=int, default=5_000)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for the data")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    figures = measure(options.folder, options.size, options.deep, options.window, options.windows)
    print(json.dumps({"peer": "formicary+sqlite", "mode": f"pending-{options.size}", **figures}))


if __name__ == "__main__":
    main()
