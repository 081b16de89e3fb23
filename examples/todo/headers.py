"""What crosses between HTTP headers and call metadata; nothing else does, cookies and identities least of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from formicary.gateway.call import Call
from formicary.gateway.service import Run
from formicary.headers import HeaderMapping, MappingBuilder, transform
from formicary.headers.asgi import KEY, Exchange, HeaderMiddleware

Application = Callable[[Any, Any, Any], Awaitable[None]]
_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def mapping() -> HeaderMapping:
    """The article's example: one header to two keys, one of them transformed, and a number that gets its unit."""
    return (
        MappingBuilder()
        .incoming("Authorization", "authorization")
        .with_sensitive()
        .incoming("Authorization", "auth-token")
        .with_transform(transform("remove_prefix", "Bearer "))
        .with_sensitive()
        .incoming("If-Match", "if-match")
        .incoming("traceparent", "traceparent")
        .with_transform(transform("traceparent"))
        .outgoing("processing-time", "X-Processing-Time")
        .with_transform(transform("add_suffix", "ms"))
        .outgoing("x-trace-id", "X-Trace-ID")
        .build()
    )


def around(app: Application, headers: HeaderMapping) -> Application:
    """The application with its headers mapped, on errors too."""

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        token = _current.set(scope.get(KEY))
        try:
            await app(scope, receive, send)
        finally:
            _current.reset(token)

    return HeaderMiddleware(inner, headers)


async def use_mapped(call: Call, proceed: Run) -> None:
    """Gives a call over HTTP the mapped metadata, and the mapping what the call answers; outermost of the chain."""
    exchange = _current.get()
    if exchange is None:
        await proceed(call)
        return
    call.metadata = exchange.metadata
    try:
        await proceed(call)
    finally:
        exchange.headers += call.headers
        exchange.trailers += call.trailers
        call.headers, call.trailers = [], []
