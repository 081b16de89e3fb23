"""How the ant and the queen reach each other: a port, and the adapter for one process.

A transport carries messages one way and the other, in order, until one side closes it. Losing it means nothing but
having to open another one: what has to survive is resent by the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from formicary.v1.ants_pb2 import AntMessage, QueenMessage

Sent = TypeVar("Sent", contravariant=True)
Received = TypeVar("Received", covariant=True)
_S = TypeVar("_S")
_R = TypeVar("_R")


class TransportClosedError(ConnectionError):
    """The other side is gone or cannot be reached."""


class Transport(Protocol[Sent, Received]):
    """One connection. Iterating it gives the messages of the other side, and ends when that side closes."""

    async def send(self, message: Sent) -> None:
        """Hands a message over; waits while the other side is slow.

        Raises:
            TransportClosedError: It is closed.
        """

    def __aiter__(self) -> AsyncIterator[Received]:
        """Gives the messages of the other side; to be iterated once, by one task."""

    async def close(self) -> None:
        """Closes it; the other side's iteration ends after what was sent before."""


AntTransport = Transport[AntMessage, QueenMessage]
QueenTransport = Transport[QueenMessage, AntMessage]
TransportFactory = Callable[[], Awaitable[AntTransport]]
"""Opens a new connection to the queen; raises TransportClosedError or OSError when there is none."""


class LocalTransport(Generic[_S, _R]):
    """One end of a connection within a process and a loop; messages are handed over as they are."""

    def __init__(self, outgoing: asyncio.Queue[_S | None], incoming: asyncio.Queue[_R | None]) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._is_closed = False
        self.peer: LocalTransport[_R, _S] | None = None

    async def send(self, message: _S) -> None:
        """Hands a message over; waits while 64 are waiting already."""
        if self._is_closed or self.peer is None or self.peer._is_closed:
            raise TransportClosedError("the other side closed the connection")
        await self._outgoing.put(message)

    async def __aiter__(self) -> AsyncIterator[_R]:
        while not self._is_closed:
            message = await self._incoming.get()
            if message is None:
                return
            yield message

    async def close(self) -> None:
        """Closes both directions."""
        if self._is_closed:
            return
        self._is_closed = True
        for queue in (self._outgoing, self._incoming):
            if queue.full():  # the end matters more than what nobody will answer
                queue.get_nowait()
            queue.put_nowait(None)


def local_pair() -> tuple[LocalTransport[AntMessage, QueenMessage], LocalTransport[QueenMessage, AntMessage]]:
    """Makes a connection within the process: ``(ant_side, queen_side)``."""
    to_queen: asyncio.Queue[AntMessage | None] = asyncio.Queue(64)
    to_ant: asyncio.Queue[QueenMessage | None] = asyncio.Queue(64)
    ant: LocalTransport[AntMessage, QueenMessage] = LocalTransport(to_queen, to_ant)
    queen: LocalTransport[QueenMessage, AntMessage] = LocalTransport(to_ant, to_queen)
    ant.peer, queen.peer = queen, ant
    return ant, queen
