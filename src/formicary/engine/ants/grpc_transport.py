"""The connection to a queen in another process: one bidirectional gRPC stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio

from formicary.engine.ants.channel import Reach, reach
from formicary.engine.ants.transport import TransportClosedError, TransportFactory
from formicary.problems import Problem
from formicary.v1.ants_pb2 import AntMessage, QueenMessage
from formicary.v1.ants_pb2_grpc import AntServiceStub

_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),  # each channel connects at once, whatever failed before it
    ("grpc.enable_http_proxy", 0),
)
_HALF_CLOSE_S = 0.5


class GrpcTransport:
    """One stream on a channel of its own. Reads only by ``read()``: gRPC forbids mixing it with iteration."""

    def __init__(self, channel: grpc.aio.Channel, token: str = "") -> None:
        self._channel = channel
        stub = AntServiceStub(channel)  # type: ignore[no-untyped-call]  # generated code is untyped
        self._call: grpc.aio.StreamStreamCall[AntMessage, QueenMessage] = stub.Session(
            metadata=(("authorization", f"Bearer {token}"),) if token else None
        )
        self._is_closed = False

    async def send(self, message: AntMessage) -> None:
        """Writes a message; waits for flow control.

        Raises:
            TransportClosedError: The stream has ended.
        """
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            raise TransportClosedError(_reason(error)) from error

    async def __aiter__(self) -> AsyncIterator[QueenMessage]:
        while True:
            try:
                message = await self._call.read()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                raise TransportClosedError(_reason(error)) from error
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if self._is_closed and task is not None and not task.cancelling():
                    return  # close() ended the call, nobody cancelled us
                raise
            if message is grpc.aio.EOF:
                return
            yield message  # type: ignore[misc]  # read() is typed as message or EOF

    async def close(self) -> None:
        """Lets the queen read what was written, then ends the stream and the channel."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            async with asyncio.timeout(_HALF_CLOSE_S):
                await self._call.done_writing()
                await self._call.code()
        except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            pass
        self._call.cancel()
        await self._channel.close()


def grpc_factory(queen: str | Reach, *, token: str = "", insecure: bool = False) -> TransportFactory:
    """Makes the factory of connections to a queen.

    Args:
        queen: ``HOST:PORT`` (not encrypted), or the way there.
        token: Sent with every stream; empty = none.
        insecure: The token may travel as plain text beyond this machine.

    Raises:
        ValueError: The address is not HOST:PORT, or an ant without encryption would leave this machine.
    """
    way = check_way(queen, beyond_loopback=bool(token) and insecure)

    async def connect() -> GrpcTransport:
        try:
            channel = way.channel(_OPTIONS)
        except Problem as error:
            raise TransportClosedError(error.detail) from error
        return GrpcTransport(channel, token)

    return connect


def check_way(queen: str | Reach, *, beyond_loopback: bool = False) -> Reach:
    """Checks the way to a queen and returns it.

    Raises:
        ValueError: It is no address, or leads out of this machine in plain text where that is not allowed.
    """
    try:
        way = reach(queen) if isinstance(queen, str) else queen
    except Problem as error:
        raise ValueError(error.detail) from error
    if not (way.is_private or beyond_loopback):
        host = way.address.rpartition(":")[0]
        raise ValueError(
            f"{host} is not a loopback address; nothing else is allowed without TLS (--tls, --ca FILE), or without a "
            "token and --insecure."
        )
    return way


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details() or 'no details'}"
    return str(error) or type(error).__name__
