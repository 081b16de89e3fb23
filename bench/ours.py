"""Formicary measured the way its peers are: prints one JSON line for each mode asked for.

``python -m bench.ours --modes bulk,single,latency,shell,chain,fan --folder DIR [--database URL]``

The server has two ant processes and stores with ``synchronous=FULL`` (SQLite) or ``synchronous_commit=on``
(PostgreSQL). The client is the ordinary asynchronous client in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import signal
import sqlite3
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psycopg

from bench import stamps
from bench.peers.runner import FAN_SAMPLES, FAN_WIDTH, IN_FLIGHT, LATENCY_SAMPLES, percentile
from bench.server import REPO, Counters, Server
from formicary.client import Client, DefinitionRef

Figures = dict[str, float]
BULK_CALL = 500
BULK_CALLS_IN_FLIGHT = 4
_WARM_UP = 500
_LIMIT_S = 120.0

FORMS = {
    "bulk": f"submit_many, {BULK_CALL} jobs per call, {BULK_CALLS_IN_FLIGHT} calls in flight",
    "single": f"submit, one job per call, {IN_FLIGHT} calls in flight (the client coalesces them on one stream)",
    "latency": "submit, then the pushed end",
    "shell": "submit, then the pushed end; method SHELL, script `true`",
    "chain": f"3 tasks by on_completed, {IN_FLIGHT} jobs in flight, each followed to its end",
    "fan": f"static graph of {FAN_WIDTH + 2} tasks by dependencies, followed to its end",
}
_SQLITE_PROMISE = "accepted jobs, each task's state and each result survive a power cut (WAL, synchronous=FULL)"
_POSTGRES_PROMISE = "accepted jobs, each task's state and each result survive a power cut (synchronous_commit on)"
_BOTH = "; a killed ant's task runs again, each end counts once"


def noop_yaml() -> str:
    """Return the definition of a job of one no-op task."""
    return "job_type: bench-noop\ntasks:\n- task_type: noop\n  method: PYTHON\n  function: bench.noop_tasks:noop\n"


def shell_yaml() -> str:
    """Return the definition of a job that runs ``true``."""
    return "job_type: bench-shell\ntasks:\n- task_type: shell\n  method: SHELL\n  script:\n  - 'true'\n"


def _python_task(name: str, function: str) -> str:
    return f"- task_type: {name}\n  method: PYTHON\n  function: bench.noop_tasks:{function}\n"


def chain_yaml() -> str:
    """Return the definition of three tasks that run one after the other; the last one stamps."""
    tasks = _python_task("first", "step") + "  on_completed: second\n"
    tasks += _python_task("second", "step") + "  on_completed: third\n"
    return "job_type: bench-chain\ntasks:\n" + tasks + _python_task("third", "noop")


def fan_yaml() -> str:
    """Return the definition of 1 -> 100 -> 1."""
    branches = [f"branch-{number}" for number in range(FAN_WIDTH)]
    tasks = _python_task("start", "step")
    tasks += "".join(_python_task(name, "step") + "  dependencies: [start]\n" for name in branches)
    tasks += _python_task("end", "step") + f"  dependencies: [{', '.join(branches)}]\n"
    return "job_type: bench-fan\ntasks:\n" + tasks


@dataclass(slots=True)
class Bench:
    """An open client on a running server.

    Args:
        client: the connected client.
        server: the server, for its counters.
    """

    client: Client
    server: Server

    async def submit_bulk(
        self, ref: DefinitionRef, params: Sequence[dict[str, object]], call_size: int = BULK_CALL
    ) -> None:
        """Submit many jobs, ``call_size`` a call and a few calls at a time; returns when all are committed."""
        calls = iter(range(0, len(params), call_size))

        async def caller() -> None:
            for begin in calls:
                await self.client.submit_many(ref, params[begin : begin + call_size])

        await asyncio.gather(*(caller() for _ in range(BULK_CALLS_IN_FLIGHT)))

    async def submit_single(self, ref: DefinitionRef, count: int) -> None:
        """Submit jobs one per call, 64 calls in flight."""

        async def one() -> None:
            await self.client.submit(ref)

        await in_flight(one, count)

    async def run_one(self, ref: DefinitionRef) -> None:
        """Submit a job and wait for its pushed end.

        Raises:
            RuntimeError: it did not complete.
        """
        handle = await self.client.submit(ref, watch=True)
        end = await self.client.wait(handle.id)
        if end.state != "COMPLETED":
            raise RuntimeError(f"job {handle.id} ended {end.state}: {end.error}")

    async def committed(self, before: Counters | None, tasks: int) -> tuple[float, Counters | None]:
        """Wait until the ends of all tasks are committed; return when that was and the counters.

        Raises:
            TimeoutError: some task never ended.
        """
        if before is None:
            return time.monotonic(), None
        end = time.monotonic() + _LIMIT_S
        while time.monotonic() < end:
            now = await asyncio.to_thread(self.server.counters)
            if now is not None and now.tasks_completed - before.tasks_completed >= tasks:
                return time.monotonic(), now
            await asyncio.sleep(0.01)
        raise TimeoutError("the queen did not count every task as completed")

    async def throughput(self, submit: Callable[[], Awaitable[None]], jobs: int, tasks: int) -> Figures:
        """Measure jobs per second from the first submission to the last task's end.

        Args:
            submit: begins all the jobs; the last task of each stamps.
            jobs: how many.
            tasks: tasks of all jobs together.
        """
        stamps.reset()
        before = self.server.counters()
        begin = time.monotonic()
        await submit()
        accepted = time.monotonic()
        got = await asyncio.to_thread(stamps.wait_for, jobs, _LIMIT_S)
        committed, after = await self.committed(before, tasks)
        took = got.last - begin
        figures = {"jobs": jobs, "seconds": took, "per_s": jobs / took, "accepted_per_s": jobs / (accepted - begin)}
        if before is not None and after is not None:
            figures["committed_per_s"] = jobs / (committed - begin)
            figures["commits_per_task"] = (after.commits - before.commits) / tasks
            figures["rows_per_task"] = (after.rows - before.rows) / tasks
        await asyncio.sleep(0.2)
        if (seen := stamps.read().count) != jobs:
            raise RuntimeError(f"{seen} tasks ran for {jobs} jobs")
        return figures


async def in_flight(one: Callable[[], Awaitable[None]], count: int) -> None:
    """Run ``one`` ``count`` times, 64 at a time."""
    turns = iter(range(count))

    async def caller() -> None:
        for _ in turns:
            await one()

    await asyncio.gather(*(caller() for _ in range(min(IN_FLIGHT, count))))


async def latency(bench: Bench, ref: DefinitionRef) -> Figures:
    """Measure idle submit to result, milliseconds."""
    for _ in range(20):
        await bench.run_one(ref)
    samples = []
    for _ in range(LATENCY_SAMPLES):
        begin = time.monotonic()
        await bench.run_one(ref)
        samples.append((time.monotonic() - begin) * 1e3)
        await asyncio.sleep(0.002)
    return {"jobs": len(samples), "p50_ms": percentile(samples, 0.5), "p99_ms": percentile(samples, 0.99)}


async def fan(bench: Bench, ref: DefinitionRef) -> Figures:
    """Measure 1 -> 100 -> 1 when idle, milliseconds."""
    await bench.run_one(ref)
    samples = []
    for _ in range(FAN_SAMPLES):
        begin = time.monotonic()
        await bench.run_one(ref)
        samples.append((time.monotonic() - begin) * 1e3)
    return {"jobs": len(samples), "ms": statistics.median(samples), "ms_min": min(samples), "ms_max": max(samples)}


async def measure(bench: Bench, mode: str, jobs: int) -> Figures:
    """Run one mode.

    Args:
        bench: an open client.
        mode: a key of ``FORMS``.
        jobs: number of tasks to spend on a throughput mode.
    """
    sources = {"shell": shell_yaml, "chain": chain_yaml, "fan": fan_yaml}
    ref = await bench.client.register(sources.get(mode, noop_yaml)(), path=REPO)
    if mode in ("latency", "shell"):
        return await latency(bench, ref)
    if mode == "fan":
        return await fan(bench, ref)
    if mode == "bulk":
        return await bench.throughput(lambda: bench.submit_bulk(ref, [{}] * jobs), jobs, jobs)
    if mode == "single":
        return await bench.throughput(lambda: bench.submit_single(ref, jobs), jobs, jobs)
    chains = jobs // 4
    return await bench.throughput(lambda: in_flight(lambda: bench.run_one(ref), chains), chains, chains * 3)


def versions(database: str | None) -> dict[str, str]:
    """Return the versions that matter for our own rows.

    Args:
        database: PostgreSQL URL, None for SQLite.
    """
    try:
        own = version("formicary")
    except PackageNotFoundError:
        own = "not installed"
    names = {"formicary": own, "grpcio": version("grpcio"), "python": platform.python_version()}
    if database is None:
        return {**names, "sqlite": sqlite3.sqlite_version}
    with psycopg.connect(database) as connection:
        server = connection.info.parameter_status("server_version") or "unknown"
    return {**names, "psycopg": version("psycopg"), "postgresql": server.split()[0]}


async def _run(options: argparse.Namespace, server: Server) -> None:
    async with Client(server.address) as client:
        bench = Bench(client, server)
        ref = await client.register(noop_yaml(), path=REPO)
        stamps.reset()
        await bench.submit_bulk(ref, [{}] * _WARM_UP)
        await asyncio.to_thread(stamps.wait_for, _WARM_UP, _LIMIT_S)
        promise = (_POSTGRES_PROMISE if options.database else _SQLITE_PROMISE) + _BOTH
        name = "formicary+postgresql" if options.database else "formicary+sqlite"
        engine_versions = versions(options.database)
        for mode in options.modes.split(","):
            figures = await measure(bench, mode, options.jobs)
            row = {"peer": name, "mode": mode, "form": FORMS[mode], "durability": promise, "versions": engine_versions}
            print(json.dumps({**row, **figures}), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Start a server, run the modes asked for and print a JSON line for each."""
    parser = argparse.ArgumentParser(description="Measure Formicary itself.")
    parser.add_argument("--modes", default="bulk", help=f"of {','.join(FORMS)}")
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs of the modes bulk and single, tasks of chain")
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for the data")
    parser.add_argument("--slots", type=int, default=4, help="slots of each of the two ants")
    parser.add_argument("--database", help="PostgreSQL URL instead of SQLite")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    data = options.folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    server = Server(data, options.folder / "server.log", slots=options.slots, database=options.database)
    try:
        server.start()
        asyncio.run(_run(options, server))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
