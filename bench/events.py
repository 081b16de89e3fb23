"""An event stream to many clients: ``python -m bench.events [--output json]``, about half a minute.

A server runs no-op jobs at a rate that makes about 1,000 events a second, and 200 connections read the stream of all
of them as server-sent events. Every connection has to get every event, in order and without a gap; the time from the
moment that an event tells of to its arrival is taken on one connection, the processor time of the server from /proc.
Beside it, the floor: a bare asyncio server that writes the same number of bytes, ready made, to as many connections.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from bench import machine
from bench.bars import Bar
from bench.ours import Bench, noop_yaml
from bench.report import print_json
from bench.server import REPO, Server
from formicary.client import Client

CLIENTS, RATE, SECONDS = 200, 1_000.0, 8.0
EVENTS_PER_JOB = 5
"""Submitted, started and completed of the job, dispatched and completed of its task; what really came is counted."""
_MARK = b'"sequence":"'
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_QUIET_S = 2.0
_LIMIT_S = 30.0
_STEP_S = 0.05


class Reader(asyncio.Protocol):
    """One connection that counts the events it gets; the first one also looks at when they came."""

    def __init__(self, *, sampling: bool) -> None:
        self.events = self.bytes = self.gaps = 0
        self.delays_ms: list[float] = []
        self.last = 0.0
        self._sampling = sampling
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the stream."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        """Counts what came."""
        self.bytes += len(data)
        found = (self._rest + data).count(_MARK)
        self.events += found
        self.gaps += data.count(b'"gap"')
        self._rest = data[1 - len(_MARK) :]
        if found:
            self.last = time.time()
        if self._sampling and found:
            self._sample(data)

    def _sample(self, data: bytes) -> None:
        at = data.rfind(b'"time":"')
        if at < 0:
            return
        text = data[at:].split(b'"', 4)[3:4]
        if text:
            told = datetime.fromisoformat(text[0].decode().replace("Z", "+00:00")).timestamp()
            self.delays_ms.append((self.last - told) * 1e3)


def _itself(reader: Reader) -> Reader:
    return reader


async def subscribe(port: int, count: int, told: asyncio.StreamReader) -> dict[str, object]:
    """Reads the stream over `count` connections until standard input ends and nothing has come for a while."""
    loop = asyncio.get_running_loop()
    readers: list[Reader] = []
    for number in range(count):
        reader = Reader(sampling=number == 0)
        await loop.create_connection(partial(_itself, reader), "127.0.0.1", port)
        readers.append(reader)
    await asyncio.sleep(1.0)
    print("reading", flush=True)
    await told.read()
    limit = time.time() + _LIMIT_S
    while time.time() < min(limit, max(reader.last for reader in readers) + _QUIET_S):
        await asyncio.sleep(0.1)
    delays = sorted(readers[0].delays_ms) or [float("nan")]
    return {
        "events": [reader.events for reader in readers],
        "bytes": sum(reader.bytes for reader in readers),
        "gaps": sum(reader.gaps for reader in readers),
        "last": max(reader.last for reader in readers),
        "p50_ms": statistics.median(delays),
        "p99_ms": delays[int(len(delays) * 0.99)],
    }


async def _subscriber(port: int, count: int) -> None:
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    print(json.dumps(await subscribe(port, count, told)), flush=True)


async def _floor(size: int, chunks: int, seconds: float) -> None:
    """A bare server: writes `chunks` chunks of `size` bytes to every connection within `seconds`, then ends."""
    writers: list[asyncio.Transport] = []

    class Writer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            writers.append(transport)

    server = await asyncio.get_running_loop().create_server(Writer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    chunk = b"x" * (size - len(_MARK)) + _MARK
    begin = os.times()
    for _ in range(chunks):
        for writer in writers:
            writer.write(chunk)
        await asyncio.sleep(seconds / chunks)
    end = os.times()
    print(end.user + end.system - begin.user - begin.system, flush=True)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _spawn(*arguments: str) -> subprocess.Popen[str]:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join((str(REPO / "src"), str(REPO))))
    return subprocess.Popen(
        [sys.executable, "-m", "bench.events", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=REPO,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended without a word")
    return line.strip()


async def _load(address: str, server: Server, jobs: int, seconds: float) -> float:
    """Submits jobs at an even rate; returns when the last was submitted."""
    async with Client(address) as client:
        bench = Bench(client, server)
        ref = await bench.client.register(noop_yaml(), path=REPO)
        steps = max(1, round(seconds / _STEP_S))
        begin, sent = time.monotonic(), 0
        for step in range(1, steps + 1):
            due = jobs * step // steps
            if due > sent:
                await client.submit_many(ref, [{}] * (due - sent))
                sent = due
            await asyncio.sleep(max(0.0, begin + step * _STEP_S - time.monotonic()))
    return time.time()


def measure(folder: Path, clients: int, rate: float, seconds: float) -> dict[str, float]:
    """Returns the figures of one run."""
    jobs = round(rate * seconds / EVENTS_PER_JOB)
    server = Server(folder, folder.parent / "server.log", ants=1)
    server.start()
    reader = _spawn("--subscribe", str(server.http), "--clients", str(clients))
    try:
        assert _line(reader) == "reading"
        before, begin = _cpu_s(server.pid), time.time()
        submitted = asyncio.run(_load(server.address, server, jobs, seconds))
        assert reader.stdin is not None
        reader.stdin.close()
        found = json.loads(_line(reader))
        used = _cpu_s(server.pid) - before
    finally:
        reader.kill()
        server.stop()
    events = found["events"]
    return {
        "clients": clients,
        "jobs": jobs,
        "events": max(events),
        "complete": sum(one == max(events) for one in events),
        "gaps": found["gaps"],
        "per_s": max(events) / (found["last"] - begin),
        "asked_per_s": max(events) / (submitted - begin),
        "behind_s": found["last"] - submitted,
        "p50_ms": found["p50_ms"],
        "p99_ms": found["p99_ms"],
        "server_cpu_s": used,
        "bytes": found["bytes"],
    }


def floor(figures: dict[str, float], seconds: float) -> float:
    """Processor seconds that a bare server takes to write as many bytes to as many connections."""
    chunks = max(1, round(seconds / _STEP_S))
    size = round(figures["bytes"] / figures["clients"] / chunks)
    server = _spawn("--floor", str(size), "--chunks", str(chunks), "--seconds", str(seconds))
    reader: subprocess.Popen[str] | None = None
    try:
        reader = _spawn("--subscribe", _line(server), "--clients", str(round(figures["clients"])))
        assert _line(reader) == "reading"
        assert server.stdin is not None and reader.stdin is not None
        server.stdin.write("go\n")
        server.stdin.flush()
        return float(_line(server))
    finally:
        server.kill()
        if reader is not None:
            reader.kill()


def bars(figures: dict[str, float]) -> list[Bar]:
    """What the figures are held against."""
    clients, keeps = figures["clients"], figures["per_s"] / figures["asked_per_s"]
    complete = figures["complete"] == clients and figures["gaps"] == 0
    what = f"{clients:.0f} clients get every event, without a gap"
    behind = figures["behind_s"]
    return [
        Bar("events", what, f"≥ {clients:.0f}", figures["complete"], complete),
        Bar("events", "events per second to each client", f"≥ {RATE:g}", figures["per_s"], figures["per_s"] >= RATE),
        Bar("events", "seconds from the last submission to the last event", "≤ 1", behind, behind <= 1.0 and keeps > 0),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints, exits with 0."""
    parser = argparse.ArgumentParser(description="Measure an event stream to many clients.")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--rate", type=float, default=RATE * 1.25, help="events per second to ask for")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--subscribe", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--floor", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--chunks", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.subscribe is not None:
        asyncio.run(_subscriber(options.subscribe, options.clients))
        return
    if options.floor is not None:
        asyncio.run(_floor(options.floor, options.chunks, options.seconds))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        figures = measure(data, options.clients, options.rate, options.seconds)
    figures["floor_cpu_s"] = floor(figures, options.seconds)
    figures["cpu_to_floor"] = figures["server_cpu_s"] / figures["floor_cpu_s"] if figures["floor_cpu_s"] else 0.0
    found = bars(figures)
    if options.output == "json":
        content = {"name": "events", "machine": machine.facts(), "figures": [figures], "peers": []}
        print_json({**content, "bars": [bar.as_json() for bar in found]})
        return
    for name, value in figures.items():
        print(f"{name:>14}  {value:,.6g}")
    for bar in found:
        print(f"{'met' if bar.met else 'MISSED'}: {bar.what}: {bar.value:,.4g} ({bar.bar})")


if __name__ == "__main__":
    main()
