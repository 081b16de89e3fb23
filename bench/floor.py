"""What the machine itself costs, measured in the same run: the floor under every figure of an engine.

``python -m bench.floor`` prints the medians in milliseconds: one ``fdatasync``, one SQLite commit (WAL,
``synchronous=FULL``, one row), one bare process start and end, one gRPC round trip (a unary call, and a message each
way on an open stream) and one round trip through a pipe to a warm Python process.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

_ECHO = "import sys\nfor line in sys.stdin.buffer:\n sys.stdout.buffer.write(line)\n sys.stdout.buffer.flush()"
_UNARY, _STREAM = "/bench.Floor/Unary", "/bench.Floor/Stream"
_PAYLOAD = b"x" * 100


def _sample_ms(act: Callable[[], object], samples: int) -> list[float]:
    """Return the times of ``act`` in milliseconds, sorted, after a tenth of the samples as warm-up."""
    for _ in range(samples // 10):
        act()
    taken = []
    for _ in range(samples):
        begin = time.perf_counter()
        act()
        taken.append((time.perf_counter() - begin) * 1e3)
    return sorted(taken)


def fdatasync_ms(folder: Path, samples: int = 300) -> list[float]:
    """Return the times to append 4 KiB to a file and flush it to the disk."""
    descriptor = os.open(folder / "sync", os.O_WRONLY | os.O_CREAT, 0o600)
    try:

        def act() -> None:
            os.write(descriptor, b"x" * 4096)
            os.fdatasync(descriptor)

        return _sample_ms(act, samples)
    finally:
        os.close(descriptor)


def sqlite_commit_ms(folder: Path, samples: int = 300) -> list[float]:
    """Return the times of one transaction that inserts one row, WAL and ``synchronous=FULL``."""
    connection = sqlite3.connect(folder / "floor.db", isolation_level=None)
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("create table floor (id integer primary key, payload text)")

        def act() -> None:
            connection.execute("begin immediate")
            connection.execute("insert into floor (payload) values ('{}')")
            connection.execute("commit")

        return _sample_ms(act, samples)
    finally:
        connection.close()


def process_start_ms(samples: int = 200) -> list[float]:
    """Return the times to start ``true`` and wait for its end."""

    def act() -> None:
        os.waitpid(os.posix_spawn("/bin/true", ["true"], os.environ), 0)

    return _sample_ms(act, samples)


def pipe_round_trip_ms(samples: int = 500) -> list[float]:
    """Return the times of one line to a warm Python child and back."""
    child = subprocess.Popen([sys.executable, "-c", _ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    sender, receiver = child.stdin, child.stdout

    def act() -> None:
        sender.write(_PAYLOAD + b"\n")
        sender.flush()
        receiver.readline()

    try:
        return _sample_ms(act, samples)
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()


async def _unary(request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def _stream(
    requests: AsyncIterator[bytes], _context: grpc.aio.ServicerContext[bytes, bytes]
) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def _serve() -> None:
    """Serve the echo until the parent closes our standard input."""
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Stream": grpc.stream_stream_rpc_method_handler(_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Floor", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


@asynccontextmanager
async def _server() -> AsyncIterator[str]:
    """Run the echo server in its own process and give its address."""
    command = [sys.executable, "-m", "bench.floor", "--serve"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = await asyncio.to_thread(process.stdout.readline)
        yield f"127.0.0.1:{int(port)}"
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


async def _grpc_ms(samples: int = 300) -> tuple[float, float]:
    async with _server() as address, grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_UNARY)
        unary, streamed = [], []
        for _ in range(samples):
            begin = time.perf_counter()
            await call(_PAYLOAD)
            unary.append((time.perf_counter() - begin) * 1e3)
        multi: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(_STREAM)
        stream = multi()
        for _ in range(samples):
            begin = time.perf_counter()
            await stream.write(_PAYLOAD)
            await stream.read()
            streamed.append((time.perf_counter() - begin) * 1e3)
        await stream.done_writing()
        while await stream.read() is not grpc.aio.EOF:
            pass
        return statistics.median(unary), statistics.median(streamed)


def measure() -> dict[str, float]:
    """Return all floors by name in milliseconds: medians, and the 99th percentile where the disk decides it."""
    with tempfile.TemporaryDirectory(prefix="formicary-bench-floor-") as name:
        folder = Path(name)
        unary, streamed = asyncio.run(_grpc_ms())
        flushes, commits = fdatasync_ms(folder), sqlite_commit_ms(folder)
    return {
        "fdatasync_ms": statistics.median(flushes),
        "fdatasync_p99_ms": flushes[int(len(flushes) * 0.99)],
        "sqlite_commit_ms": statistics.median(commits),
        "sqlite_commit_p99_ms": commits[int(len(commits) * 0.99)],
        "process_start_ms": statistics.median(process_start_ms()),
        "grpc_unary_ms": unary,
        "grpc_stream_ms": streamed,
        "pipe_round_trip_ms": statistics.median(pipe_round_trip_ms()),
    }


if __name__ == "__main__":
    if "--serve" in sys.argv[1:]:
        asyncio.run(_serve())
    else:
        print(json.dumps(measure()))
