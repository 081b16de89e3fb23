"""What 10,000 cron entries cost and how punctual they are: ``python -m bench.cron [--entries 10000] [--output json]``.

Takes about three minutes. First none is due: the processor time of the queen's process is taken over a while, beside
that of a queen without entries. Then each entry is due once, spread evenly over the seconds of one minute, so that
about 170 are due in the same second: how late is each job stored? Nobody runs the jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import machine
from bench.bars import Bar
from bench.report import print_json
from bench.server import Server
from formicary.client import Client

CORE_BAR, LATE_BAR_MS = 1.0, 100.0
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_AT_ONCE = 64
_SPREAD = 60


def _source(number: int, cron: str) -> str:
    tasks = "tasks: [{task_type: none, method: SHELL, script: ['true'], tags: [nobody]}]"
    return f"job_type: entry-{number}\ncron_trigger: '{cron}'\n{tasks}\n"


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def core_share(pid: int, seconds: float) -> float:
    """Per cent of a core that a process takes over a while."""
    before, begin = _cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return (_cpu_s(pid) - before) / (time.monotonic() - begin) * 100


async def register(address: str, crons: list[str]) -> None:
    """Registers an entry for each expression."""
    left = iter(enumerate(crons))

    async def some(client: Client) -> None:
        for number, cron in left:
            await client.register(_source(number, cron))

    async with Client(address, timeout_s=120.0) as client:
        await asyncio.gather(*(some(client) for _ in range(_AT_ONCE)))


async def lateness_ms(address: str, entries: int, minute: datetime) -> list[float]:
    """How late each entry's job was stored; every entry has to have started one."""
    found: dict[str, float] = {}
    async with Client(address, timeout_s=120.0) as client:
        async for job in client.list():
            number = int(job["job_type"].removeprefix("entry-"))
            planned = minute + timedelta(seconds=number % _SPREAD)
            late = (datetime.fromisoformat(job["submitted_at"]) - planned).total_seconds() * 1000
            if job["job_type"] in found:
                raise RuntimeError(f"{job['job_type']} was started twice")
            found[job["job_type"]] = late
    if len(found) != entries:
        raise RuntimeError(f"{len(found)} of {entries} entries have started a job")
    return sorted(found.values())


def measure(entries: int, idle_s: float) -> tuple[dict[str, float], list[float]]:
    """Per cent of a core while nothing is due, without and with entries; how late each was, in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="formicary-bench-cron-") as name:
        folder = Path(name)
        server = Server(folder / "data", folder / "up.log", ants=0)
        server.start()
        try:
            time.sleep(2.0)
            shares = {"no entries": core_share(server.pid, idle_s)}
            print(f"idle without entries: {shares['no entries']:.2f} %", file=sys.stderr, flush=True)
            begin = time.monotonic()
            # far enough away that all are registered and the idle time is over before it
            wait_s = entries / 250 + idle_s + 20
            minute = (datetime.now(UTC) + timedelta(seconds=wait_s + 60)).replace(second=0, microsecond=0)
            crons = [f"{at % _SPREAD} {minute.minute} {minute.hour} * * * *" for at in range(entries)]
            asyncio.run(register(server.address, crons))
            took = time.monotonic() - begin
            print(f"registered {entries:,} entries in {took:.0f} s; due at {minute:%H:%M}", file=sys.stderr, flush=True)
            time.sleep(3.0)
            shares[f"{entries} entries"] = core_share(server.pid, idle_s)
            if datetime.now(UTC) >= minute:
                raise RuntimeError("registering took too long: the entries were due before the idle time was over")
            time.sleep((minute - datetime.now(UTC)).total_seconds() + _SPREAD + 3.0)
            late = asyncio.run(lateness_ms(server.address, entries, minute))
        finally:
            server.stop()
    return shares, late


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.cron", description=__doc__)
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--idle-s", type=float, default=15.0, help="how long idle time is measured; default 15")
    given = parser.parse_args()
    shares, late = measure(given.entries, given.idle_s)
    idle = max(shares.values())
    figures = {
        **{f"idle, {what}, % of a core": round(share, 2) for what, share in shares.items()},
        "late, median, ms": round(statistics.median(late), 1),
        "late, 99 %, ms": round(late[int(len(late) * 0.99)], 1),
        "late, most, ms": round(late[-1], 1),
        "early, most, ms": round(max(0.0, -late[0]), 1),
    }
    bars = [
        Bar("cron", f"idle with {given.entries:,} entries, % of a core", f"≤ {CORE_BAR:g}", idle, idle <= CORE_BAR),
        Bar("cron", "the latest of all, ms", f"≤ {LATE_BAR_MS:g}", late[-1], late[-1] <= LATE_BAR_MS),
    ]
    if given.output == "json":
        rows = [{"what": what, "value": value} for what, value in figures.items()]
        print_json(
            {"name": "cron", "machine": machine.facts(), "figures": rows, "bars": [bar.as_json() for bar in bars]}
        )
        return 0
    for what, value in figures.items():
        print(f"{what:<40} {value:>8}")
    for bar in bars:
        print(f"{bar.what}: {bar.value:.2f} ({bar.bar}) {'met' if bar.met else 'NOT met'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
