"""Servicers over gRPC: the same methods, chain and errors as over REST, on a grpc.aio server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from formicary.gateway.call import LARGE, Call
from formicary.gateway.service import Interceptor, Method, bind
from formicary.gateway.shared import SharedMessage
from formicary.problems import Problem, problem
from formicary.problems.rpc import to_grpc
from formicary.problems.trace_context import trace_id_of

log = logging.getLogger("formicary.gateway")
LAST_WORDS_S = 1.0
"""How long the rest of a stream of requests is still read, and thrown away, once it is refused."""
Context = grpc.aio.ServicerContext[Any, Any]


def add_services(
    server: grpc.aio.Server, servicers: Iterable[object], interceptors: Sequence[Interceptor] = ()
) -> list[Method]:
    """Serves every method of the servicers on a server that has not started yet.

    Args:
        server: Of grpc.aio.
        servicers: Objects that derive from generated ``…Servicer`` classes, or :class:`formicary.gateway.Service`.
        interceptors: The chain, outermost first.

    Returns:
        The bound methods.
    """
    methods = bind(servicers, interceptors)
    server.add_generic_rpc_handlers((_Handlers(methods),))
    return methods


class _Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a method by its full name."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self._handlers = {method.full_name: _handler(method) for method in methods}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler, or None where another one may know it."""
        return self._handlers.get(cast(Any, handler_call_details).method)


def refuse_unknown(server: grpc.aio.Server) -> None:
    """Has methods that nobody serves refused with a problem, as every other error is; call it after all are added.

    Args:
        server: Of grpc.aio, not started yet.
    """
    server.add_generic_rpc_handlers((_Unknown(),))


class _Unknown(grpc.GenericRpcHandler):
    """Refuses what nobody before it knows, whatever kind of call it is."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler for every method."""
        name = str(cast(Any, handler_call_details).method)[:200]

        async def refuse(_: Any, context: Context) -> None:
            sent = next((str(v) for k, v in cast(Any, context.invocation_metadata()) or () if k == "traceparent"), "")
            trace_id = trace_id_of(sent)
            log.info("%r is not served, trace %s", name, trace_id)
            refusal = problem("ROUTE_NOT_FOUND", f"Nothing is served at {name}.")
            await context.abort(*to_grpc(refusal, trace_id=trace_id))

        return grpc.stream_stream_rpc_method_handler(refuse)  # the wire does not tell kinds apart


_MAKERS: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _handler(method: Method) -> grpc.RpcMethodHandler[Any, Any]:
    make = _MAKERS[method.client_streaming, method.server_streaming]
    behaviour = _streaming(method) if method.server_streaming else _single(method)
    serialize = _streamed_bytes if method.server_streaming else _bytes
    return make(behaviour, response_serializer=serialize)


_UNREADABLE = "The message is not in the binary form of protobuf, or of another type."


def _bytes(message: Any) -> bytes:
    """The bytes of an answer; those of a large one were made beside the loop."""
    found: bytes = message if type(message) is bytes else message.SerializeToString()
    return found


def _streamed_bytes(message: Any) -> bytes:
    """The bytes of a message of a stream; those of a shared one are made once."""
    found: bytes = message.serialized() if type(message) is SharedMessage else message.SerializeToString()
    return found


async def _unreadable() -> Any:
    raise problem("VALIDATION_FAILED", _UNREADABLE)


async def _parsed(parse: Callable[[bytes], Any], requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for request in requests:
        try:
            message = parse(request)
        except DecodeError:
            raise problem("VALIDATION_FAILED", _UNREADABLE) from None
        yield message


def _call(method: Method, context: Context, request: Any) -> Call:
    remaining: float | None = context.time_remaining()
    call = Call(
        method,
        "grpc",
        cast(Any, context.invocation_metadata()) or (),
        remote=context.peer(),
        deadline=None if remaining is None else time.monotonic() + remaining,
    )
    call.state["auth_context"] = context.auth_context
    if method.client_streaming:
        call.requests = _parsed(method.request_class.FromString, request)
    else:
        try:
            call.request = method.request_class.FromString(request)
        except DecodeError:  # told by us: grpc.aio would answer with the name of a Python class
            call.read_later(_unreadable)
    return call


def _single(method: Method) -> Callable[[Any, Context], Awaitable[Any]]:
    run = method.run

    async def behave(request: Any, context: Context) -> Any:
        call = _call(method, context, request)
        try:
            await run(call)
        except Exception as error:
            if method.client_streaming:
                await _read_out(request)
            await _fail(call, context, error)
        finally:
            call.finish()
        if call.headers:
            await context.send_initial_metadata(tuple(call.headers))
        if call.trailers:
            context.set_trailing_metadata(tuple(call.trailers))
        if call.state.get(LARGE):
            return await asyncio.to_thread(_bytes, call.response)
        return call.response

    return behave


def _streaming(method: Method) -> Callable[[Any, Context], Awaitable[None]]:
    run = method.run

    async def behave(request: Any, context: Context) -> None:
        call = _call(method, context, request)

        async def write(message: Any) -> None:
            """The first message takes the response metadata with it; later ones go straight to the transport."""
            call.write = context.write
            if call.headers:
                await context.send_initial_metadata(tuple(call.headers))
            await context.write(message)

        call.write = write
        try:
            await run(call)
        except Exception as error:
            await _fail(call, context, error)
        finally:
            call.finish()
        if call.trailers:
            context.set_trailing_metadata(tuple(call.trailers))

    return behave


async def _read_out(requests: AsyncIterator[bytes]) -> None:
    """Reads what a client still sends, for a bounded time: one of grpc.aio that is writing when its call ends often
    loses the status for "Internal error from Core" (grpc issue 36066).
    """
    try:
        async with asyncio.timeout(LAST_WORDS_S):
            async for _ in requests:
                pass
    except (TimeoutError, grpc.RpcError, grpc.aio.BaseError):
        log.debug("a refused stream was not read to its end", exc_info=True)


async def _fail(call: Call, context: Context, error: Exception) -> None:
    """Ends the call with the error's status and details; what is unexpected was logged by the chain, or is here."""
    if not isinstance(error, Problem):
        log.error("%s failed", call.method.full_name, exc_info=error)
        error = problem("INTERNAL")
    try:
        code, details, trailing = to_grpc(error, trace_id=call.trace_id)
    except Exception:
        log.exception("the problem of %s cannot be rendered", call.method.full_name)
        code, details, trailing = grpc.StatusCode.INTERNAL, "", ()
    if call.headers:
        try:
            await context.send_initial_metadata(tuple(call.headers))
        except (grpc.aio.UsageError, asyncio.InvalidStateError):
            log.debug("the first message was out already", exc_info=True)
    await context.abort(code, details, (*call.trailers, *trailing))
