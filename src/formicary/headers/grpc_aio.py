"""Interceptors for grpc.aio servers and clients; handlers that are plain functions are served too."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from formicary.headers import grpc_sync
from formicary.headers.grpc_wire import Metadatum, Responses, arrived, on_wire
from formicary.headers.mapping import HeaderMapping
from formicary.problems import Problem

_KINDS = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class ServerInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc,unused-ignore]  # grpc has no types everywhere
    """Gives every service of a server the mapped metadata, and maps what it sends back.

    Args:
        mapping: The mapping.
        trusted: Whether a peer (``ipv4:10.0.0.1:4711``) is believed; None means the mapping's ``trusted_peers``.
    """

    def __init__(self, mapping: HeaderMapping, trusted: Callable[[str], bool] | None = None) -> None:
        self._mapping = mapping
        self._trusted = trusted or mapping.trusts

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wraps the handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        name, make = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
        behaviour = getattr(handler, name)
        if inspect.isasyncgenfunction(behaviour):
            wrapped = self._generator(behaviour, method)
        elif inspect.iscoroutinefunction(behaviour):
            wrapped = self._coroutine(behaviour, method)
        else:
            return grpc_sync.wrap(handler, self._mapping, method, self._trusted)
        return make(
            wrapped,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _coroutine(self, behaviour: Callable[..., Awaitable[Any]], method: str) -> Callable[..., Any]:
        async def run(request: Any, context: Any) -> Any:
            mapped = await MappedContext.of(context, self._mapping, method, self._trusted)
            try:
                response = await behaviour(request, mapped)
            except Exception:
                mapped.fail()
                raise
            await mapped.begin()
            return response

        return run

    def _generator(self, behaviour: Callable[..., AsyncIterator[Any]], method: str) -> Callable[..., Any]:
        async def run(request: Any, context: Any) -> AsyncIterator[Any]:
            mapped = await MappedContext.of(context, self._mapping, method, self._trusted)
            try:
                async for response in behaviour(request, mapped):
                    await mapped.begin()
                    yield response
            except Exception:
                mapped.fail()
                raise
            await mapped.begin()

        return run


class MappedContext:
    """The context that a service gets: everything as gRPC's own, but metadata mapped."""

    def __init__(self, inner: Any, request: tuple[Metadatum, ...], responses: Responses) -> None:
        self._inner, self._request, self._responses = inner, request, responses
        self._ended = False

    @classmethod
    async def of(cls, inner: Any, mapping: HeaderMapping, method: str, trusted: Callable[[str], bool]) -> MappedContext:
        """Maps the request of a call; ends the call when it is refused."""
        try:
            request = arrived(mapping, method, inner.invocation_metadata(), trusted(inner.peer()))
        except Problem as refusal:
            from formicary.problems.rpc import to_grpc

            rendered = to_grpc(refusal)
            responses = Responses(mapping, method, ())
            responses.trailing(rendered.trailing)
            await inner.abort(rendered.code, rendered.details, responses.failed())
            raise
        return cls(inner, request, Responses(mapping, method, request))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def invocation_metadata(self) -> tuple[Metadatum, ...]:
        """What the service sees."""
        return self._request

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Sends initial metadata, mapped."""
        await self._inner.send_initial_metadata(self._responses.initial(initial_metadata))

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Sets trailing metadata, mapped."""
        self._inner.set_trailing_metadata(self._responses.trailing(trailing_metadata))

    async def write(self, message: Any) -> None:
        """Sends one message of a stream, after the initial metadata."""
        await self.begin()
        await self._inner.write(message)

    async def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> None:
        """Ends the call with an error; mapping happens here too."""
        if trailing_metadata:
            self._responses.trailing(trailing_metadata)
        self._ended = True
        await self._inner.abort(code, details, self._responses.failed())

    async def abort_with_status(self, status: Any) -> None:
        """Ends the call with a rich error; mapping happens here too."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    async def begin(self) -> None:
        """Sends the defaults when nothing was sent yet."""
        if not self._responses.begun:
            await self._inner.send_initial_metadata(self._responses.initial())

    def fail(self) -> None:
        """Puts the defaults into the trailing metadata when nothing was sent yet."""
        if not self._ended:
            self._ended = True
            self._inner.set_trailing_metadata(self._responses.failed())


class _Client:
    def __init__(self, mapping: HeaderMapping) -> None:
        self._mapping = mapping

    def details(self, details: Any) -> Any:
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        sent = on_wire(self._mapping.outbound(method, details.metadata or ()))
        return details._replace(metadata=grpc.aio.Metadata(*sent))


class UnaryUnary(_Client, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc,unused-ignore]  # grpc: no types
    """Maps the metadata of unary calls."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Maps a call's metadata."""
        return await continuation(self.details(client_call_details), request)


class UnaryStream(_Client, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc,unused-ignore]  # grpc: no types
    """Maps the metadata of calls whose response is a stream."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Maps a call's metadata."""
        return await continuation(self.details(client_call_details), request)


class StreamUnary(_Client, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[misc,unused-ignore]  # grpc: no types
    """Maps the metadata of calls whose request is a stream."""

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Maps a call's metadata."""
        return await continuation(self.details(client_call_details), request_iterator)


class StreamStream(_Client, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[misc,unused-ignore]  # grpc: no types
    """Maps the metadata of calls with two streams."""

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Maps a call's metadata."""
        return await continuation(self.details(client_call_details), request_iterator)


def client_interceptors(mapping: HeaderMapping) -> list[Any]:
    """Returns the interceptors that a channel needs, one for each kind of call.

    What comes back is read with :meth:`formicary.headers.HeaderMapping.received`.

    Args:
        mapping: The mapping.
    """
    return [UnaryUnary(mapping), UnaryStream(mapping), StreamUnary(mapping), StreamStream(mapping)]
