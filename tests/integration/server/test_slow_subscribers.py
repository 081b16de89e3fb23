"""Subscribers that read slowly or not at all, over real connections: nobody waits for them, and no event gets lost
without being told."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import grpc.aio
import pytest

from formicary.engine.queen.core.occurrences import Occurrence
from formicary.engine.queen.events import EventStream
from formicary.gateway import Transcoder, add_services
from formicary.server.api.events import EventServicer
from formicary.server.api.serving import engine_chain
from formicary.server.auth.local import as_local_admin
from formicary.server.connections import ConnectionLimits
from formicary.server.http import HttpServer, listen
from formicary.v1 import events_pb2 as pb
from formicary.v1 import events_pb2_grpc

KEPT = 2_000
PLENTY = 40_000
"""Events, some 10 MB as JSON: far more than the buffers of a connection hold."""
BATCH = 200
WATCH = "/v1/events"


@dataclass(slots=True)
class Served:
    """The event stream and where it is served."""

    events: EventStream
    http: int
    grpc: int

    async def publish(self, total: int, reader: Seen | None = None) -> None:
        """Brings events as commits do, no faster than a reader on this loop can follow."""
        for first in range(1, total + 1, BATCH):
            self.events.occurred(_submitted(number) for number in range(first, first + BATCH))
            await asyncio.sleep(0.002)
            while reader is not None and reader.last < self.events.last - KEPT // 2:
                await asyncio.sleep(0.002)

    async def until_watches(self, number: int) -> None:
        """Until so many watch. Raises TimeoutError after 20 s."""
        async with asyncio.timeout(90):
            while self.events.watches != number:
                await asyncio.sleep(0.01)


def _submitted(number: int) -> Occurrence:
    return Occurrence(1.0, number, -1, "local", f"job-{number:08d}", "etl", "", 0, 0, "PENDING", "", "", 0)


@asynccontextmanager
async def served(limits: ConnectionLimits, kept: int = KEPT) -> AsyncIterator[Served]:
    """The event service alone, on both ports, behind the engine's chain."""
    events = EventStream(kept)
    events.begin(1)
    servicer = EventServicer(cast(Any, SimpleNamespace(events=events)))
    chain = engine_chain([as_local_admin])
    listener = listen("127.0.0.1", 0)
    over_http = HttpServer(Transcoder([servicer], chain, emit_defaults=True), listener, limits)
    over_grpc = grpc.aio.server()
    add_services(over_grpc, [servicer], chain)
    port = over_grpc.add_insecure_port("127.0.0.1:0")
    await over_http.start()
    await over_grpc.start()
    try:
        yield Served(events, int(listener.getsockname()[1]), port)
    finally:
        events.close()
        await over_grpc.stop(0)
        await over_http.stop()


class Seen:
    """What a subscriber was told: every event is either in it or counted by a gap."""

    def __init__(self) -> None:
        self.events = 0
        self.missed = 0
        self.last = 0

    def take(self, kind: str, sequence: int, missed: int) -> None:
        """One event. Fails where it is not what comes next."""
        if kind == "gap":
            assert missed > 0 and sequence == (self.last + missed if self.last else sequence)
            self.missed += missed
        else:
            assert kind == "job.submitted" and sequence == (self.last + 1 if self.last else sequence)
            self.events += 1
        self.last = sequence


async def messages(port: int) -> AsyncIterator[list[Any]]:
    """The messages of the stream over HTTP, by a client whose own buffer is small; it reads when it is asked to."""
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.connect(("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=wire, limit=16_384)
    writer.write(f"GET {WATCH} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    try:
        await reader.readuntil(b"\r\n\r\n")
        rest = b""
        while size := int(await reader.readline(), 16):
            *lines, rest = (rest + (await reader.readexactly(size + 2))[:-2]).split(b"\n")
            for line in lines:
                yield json.loads(line)["events"]
    finally:
        writer.close()


@asynccontextmanager
async def subscribed(place: Served, protocol: str) -> AsyncIterator[AsyncIterator[list[tuple[str, int, int]]]]:
    """An open subscription over either protocol: lists of (kind, sequence, missed)."""
    if protocol == "http":
        stream = messages(place.http)
        yield ([(one["kind"], int(one["sequence"]), int(one["missed"])) for one in found] async for found in stream)
        await stream.aclose()  # type: ignore[attr-defined]  # it is an asynchronous generator
        return
    small = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{place.grpc}", options=small) as channel:
        call = events_pb2_grpc.EventServiceStub(channel).WatchEvents(pb.WatchEventsRequest())
        yield ([(one.kind, one.sequence, one.missed) for one in found.events] async for found in call)
        call.cancel()


async def read_to(stream: AsyncIterator[list[tuple[str, int, int]]], seen: Seen, total: int) -> None:
    """Reads until every event is accounted for."""
    while seen.events + seen.missed < total:
        for event in await anext(stream):
            seen.take(*event)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_slow_subscriber_holds_nobody_up_and_is_told_what_it_missed(protocol: str) -> None:
    """While one does not read, another is told every event; when it reads on, a gap counts exactly what is lost."""

    async def run() -> None:
        async with (
            served(ConnectionLimits(write_s=60)) as place,
            subscribed(place, protocol) as slow,
            subscribed(place, protocol) as fast,
        ):
            idle, quick = Seen(), Seen()
            assert [await anext(slow), await anext(fast)] == [[], []]
            reading = asyncio.create_task(read_to(fast, quick, PLENTY))
            async with asyncio.timeout(60):
                await place.publish(PLENTY, quick)
                await reading
            assert (quick.events, quick.missed) == (PLENTY, 0)
            async with asyncio.timeout(60):
                await read_to(slow, idle, PLENTY)
            assert idle.missed > 0 and idle.events + idle.missed == PLENTY
            assert idle.last == quick.last

    asyncio.run(run())


def test_whoever_does_not_read_at_all_is_given_up() -> None:
    """After the time for writing its connection ends, and its place among the watches is free again."""

    async def run() -> None:
        async with served(ConnectionLimits(write_s=0.5)) as place, subscribed(place, "http") as stuck:
            await anext(stuck)
            assert place.events.watches == 1
            await place.publish(PLENTY)
            await place.until_watches(0)

    asyncio.run(run())


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_whoever_leaves_while_nothing_happens_is_noticed(protocol: str) -> None:
    """A subscriber that goes away gives its place back although nothing is written to it."""

    async def run() -> None:
        async with served(ConnectionLimits()) as place:
            async with subscribed(place, protocol) as stream:
                await anext(stream)
                await place.until_watches(1)
            await place.until_watches(0)

    asyncio.run(run())
