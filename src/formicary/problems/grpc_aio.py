"""Interceptor for grpc.aio servers: what a handler raises ends its call as a problem, in all four kinds of call."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import grpc
import grpc.aio

from formicary.problems.catalogue import problem
from formicary.problems.catching import Catcher, Hook
from formicary.problems.rpc import Rendered, to_grpc
from formicary.problems.trace_context import trace_id_of

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour = Callable[[Any, Any], Any]

_MAKERS: dict[tuple[bool, bool], tuple[str, Callable[..., Handler]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class ProblemInterceptor(grpc.aio.ServerInterceptor):
    """Give it to ``grpc.aio.server(interceptors=[…])`` first, so that it sees what the others raise.

    Handlers may be coroutines, asynchronous generators, or plain functions and generators, which grpc.aio runs in
    threads. ``context.abort`` ends a call as ever.

    Args:
        hook: Called with code and protocol of every problem, for metrics.
        type_base: Scheme and authority of type URIs, empty = relative.

    Attributes:
        catcher: Counts of problems and panics.
    """

    def __init__(self, *, hook: Hook | None = None, type_base: str = "") -> None:
        self._type_base = type_base
        self.catcher = Catcher("grpc", hook)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wraps the handler; a method that nobody serves is NOT_AVAILABLE, an exception of an inner interceptor too."""
        details: Any = handler_call_details
        name = details.method
        try:
            handler = await continuation(handler_call_details)
        except Exception as error:
            return grpc.stream_stream_rpc_method_handler(self._refusing(error, name))
        if handler is None:
            missing = problem("NOT_AVAILABLE", "This server has no such method.")
            return grpc.stream_stream_rpc_method_handler(self._refusing(missing, name))
        attribute, make = _MAKERS[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, attribute)
        return make(
            self._wrapped(behaviour, handler.response_streaming, name),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _rendered(self, error: BaseException, name: str, context: Any) -> Rendered:
        trace_id = _trace_id(context)
        found = self.catcher.caught(error, name, trace_id)
        try:
            return to_grpc(found, trace_id=trace_id, type_base=self._type_base)
        except Exception as failure:
            self.catcher.panicked(failure, name + " (rendering the problem)", trace_id)
            return to_grpc(problem("INTERNAL"), trace_id=trace_id)

    def _refusing(self, error: Exception, name: str) -> Behaviour:
        async def refuse(_: Any, context: Any) -> None:
            await context.abort(*self._rendered(error, name, context))

        return refuse

    def _wrapped(self, behaviour: Behaviour, streams: bool, name: str) -> Behaviour:
        if inspect.isasyncgenfunction(behaviour):
            return self._generating(behaviour, name)
        if inspect.iscoroutinefunction(behaviour):
            return self._awaiting(behaviour, name)
        return self._yielding(behaviour, name) if streams else self._calling(behaviour, name)

    def _awaiting(self, behaviour: Behaviour, name: str) -> Behaviour:
        async def behave(request: Any, context: Any) -> Any:
            try:
                return await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                await context.abort(*self._rendered(error, name, context))

        return behave

    def _generating(self, behaviour: Behaviour, name: str) -> Behaviour:
        async def behave(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                async for message in behaviour(request, context):
                    yield message
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                await context.abort(*self._rendered(error, name, context))

        return behave

    def _calling(self, behaviour: Behaviour, name: str) -> Behaviour:
        def behave(request: Any, context: Any) -> Any:
            try:
                return behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                return context.abort(*self._rendered(error, name, context))

        return behave

    def _yielding(self, behaviour: Behaviour, name: str) -> Behaviour:
        def behave(request: Any, context: Any) -> Iterator[Any]:
            try:
                yield from behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                # abort() here would overtake a message that still waits to be written
                code, text, trailing = self._rendered(error, name, context)
                context.set_code(code)
                context.set_details(text)
                context.set_trailing_metadata(trailing)

        return behave


def _trace_id(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent":
            return trace_id_of(value if isinstance(value, str) else "")
    return trace_id_of("")
