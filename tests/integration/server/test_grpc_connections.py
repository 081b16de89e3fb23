"""Connections of the gRPC port: old ones are left for new ones without harm, and dead ones are noticed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.logs import MemoryLogs
from formicary.engine.storage.memory import MemoryStore
from formicary.server.api.serving import GrpcConnections, serve


class Wire:
    """Passes bytes on to a server, and counts connections; a dead one passes nothing any more."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.dead = False
        self.cut = asyncio.Event()
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listens."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        for source, target in ((reader, to_server), (from_server, writer)):
            self._tasks.add(asyncio.create_task(self._pass(source, target, source is from_server)))

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, is_server: bool) -> None:
        try:
            while piece := await source.read(65536):
                if not self.dead:
                    target.write(piece)
            if is_server:
                self.cut.set()
        finally:
            target.close()
            with suppress(OSError, asyncio.CancelledError):
                await target.wait_closed()


@asynccontextmanager
async def served(connections: GrpcConnections) -> AsyncIterator[tuple[Wire, grpc.aio.Channel]]:
    """A wire to a queen's server, and a channel through it."""
    queen = Queen(MemoryStore(), MemoryLogs())
    await queen.start()
    server = await serve(queen, "127.0.0.1", 0, connections=connections)
    wire = Wire(server.port)
    try:
        async with wire.open(), grpc.aio.insecure_channel(f"127.0.0.1:{wire.port}") as channel:
            yield wire, channel
    finally:
        await server.stop(0)
        await queen.stop()


def test_an_old_connection_is_left_without_a_lost_call() -> None:
    """New calls go over new connections, none fails, and a stream on an old one goes on."""

    async def test() -> None:
        async with served(GrpcConnections(age_s=0.2)) as (wire, channel):
            health = health_pb2_grpc.HealthStub(channel)
            stream = health.Watch(health_pb2.HealthCheckRequest())
            assert (await stream.read()).status == health_pb2.HealthCheckResponse.SERVING
            limit = time.monotonic() + 60
            while wire.connections < 3 and time.monotonic() < limit:
                await health.Check(health_pb2.HealthCheckRequest())
                await asyncio.sleep(0.02)
            assert wire.connections >= 3 and not stream.done()
            stream.cancel()

    asyncio.run(test())


def test_a_connection_without_a_sign_of_life_is_closed() -> None:
    """A caller whose machine is gone, or whose packets are lost, holds nothing for long."""

    async def test() -> None:
        async with served(GrpcConnections(ping_after_s=1, answer_s=3)) as (wire, channel):
            stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            await stream.read()
            assert not wire.cut.is_set()
            wire.dead = True
            await asyncio.wait_for(wire.cut.wait(), 60)
            stream.cancel()

    asyncio.run(test())


def test_the_usual_times_are_what_the_documentation_says() -> None:
    """As gRPC takes them."""
    options = dict(GrpcConnections().options())
    assert options["grpc.keepalive_time_ms"] == 30_000 and options["grpc.keepalive_timeout_ms"] == 10_000
    assert options["grpc.max_connection_age_ms"] == 3_600_000
