"""The mapping around any ASGI application.

The application finds what a gRPC service would see in ``scope["formicary.headers"]`` (an :class:`Exchange`), and puts
there what a service would send back. A gateway may also set response headers ``Grpc-Metadata-NAME`` and
``Grpc-Trailer-NAME``: they are read as metadata and never reach the caller. Replies to errors are mapped too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from formicary.headers import names, timeouts
from formicary.headers.carrying import Value
from formicary.headers.mapping import HeaderMapping
from formicary.headers.quick import Raw
from formicary.problems import Problem, problem
from formicary.problems.http import render_http

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
KEY = "formicary.headers"
_TRAILERS = "http.response.trailers"
_TIMEOUTS = (timeouts.GRPC_TIMEOUT.encode(), timeouts.REQUEST_TIMEOUT.encode())
_PREFIX = names.GATEWAY_PREFIX.encode()
_TRAILER_PREFIX = names.GATEWAY_TRAILER_PREFIX.encode()


@dataclass(slots=True)
class Exchange:
    """Metadata of one call, both ways.

    Attributes:
        metadata: What the service sees.
        timeout_s: How long the caller is willing to wait; None when it did not say.
        trusted: Whether the peer is believed.
        headers: Initial metadata of the response; the application adds to it before the response starts.
        trailers: Trailing metadata; what is added after the start is sent as HTTP trailers where server and caller can.
    """

    metadata: list[tuple[str, Value]]
    timeout_s: float | None = None
    trusted: bool = False
    headers: list[tuple[str, Value]] = field(default_factory=list)
    trailers: list[tuple[str, Value]] = field(default_factory=list)

    def values(self, key: str) -> list[Value]:
        """All values of a metadata key, in order."""
        return [value for name, value in self.metadata if name == key]


class HeaderMiddleware:
    """Maps headers for the application inside.

    Args:
        app: The application.
        mapping: The mapping.
        trusted: Whether the peer of a scope is believed; None means the mapping's ``trusted_peers``.
    """

    def __init__(self, app: App, mapping: HeaderMapping, trusted: Callable[[Scope], bool] | None = None) -> None:
        self._app = app
        self._mapping = mapping
        nobody = trusted is None and not mapping.config.trusted_peers
        self._trusted = None if nobody else trusted or self._by_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        mapping, path = self._mapping, scope["path"]
        trusted = self._trusted is not None and self._trusted(scope)
        raw = scope["headers"]
        if raw.__class__ is not list and raw.__class__ is not tuple:
            raw = list(raw)
        exchange = Exchange([], None, trusted, [], [])
        reply = _Reply(mapping, scope, exchange, send)
        try:
            exchange.metadata, seen = mapping.arrive(path, raw, trusted)
            if mapping.config.timeouts:
                exchange.timeout_s = mapping.timeout_s(_deadlines(raw))
        except Problem as refusal:
            await reply.refuse(refusal)
            return
        try:
            await self._app({**scope, "headers": seen, KEY: exchange}, receive, reply.send)
        except Problem as error:
            if reply.started:
                raise
            await reply.refuse(error)
        except Exception:
            if not reply.started:
                await reply.refuse(problem("INTERNAL", "The service failed."))
            raise

    def _by_address(self, scope: Scope) -> bool:
        client = scope.get("client")
        return self._mapping.trusts(str(client[0]) if client else "unix")


def _deadlines(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw if name in _TIMEOUTS]


def _takes_trailers(scope: Scope) -> bool:
    extensions = scope.get("extensions")
    if not extensions or _TRAILERS not in extensions:
        return False
    return any(name == b"te" and b"trailers" in value.lower() for name, value in scope["headers"])


class _Reply:
    """Sends the response, with mapped headers at its start."""

    __slots__ = ("_exchange", "_mapping", "_scope", "_send", "_sent_trailers", "_trailers", "started")

    def __init__(self, mapping: HeaderMapping, scope: Scope, exchange: Exchange, send: Send) -> None:
        self.started = False
        self._trailers = False
        self._mapping = mapping
        self._scope = scope
        self._exchange = exchange
        self._send = send

    async def send(self, message: Message) -> None:
        """Passes a message of the application on."""
        kind = message["type"]
        if kind == "http.response.start":
            self.started = True
            exchange, scope = self._exchange, self._scope
            own = message.get("headers") or ()
            if own.__class__ is not list:
                own = list(own)
            ready, mapped = self._mapping.reply(
                scope["path"], own, exchange.headers, exchange.trailers, exchange.metadata
            )
            message = {**message, "headers": self._merged(own, mapped) if ready is None else ready}
            if "extensions" in scope and _takes_trailers(scope) and not message.get("trailers"):
                # An application that sends trailers itself keeps doing so.
                self._trailers = message["trailers"] = True
                self._sent_trailers = len(exchange.trailers)
        await self._send(message)
        if kind == "http.response.body" and self._trailers and not message.get("more_body"):
            found = self._mapping.response_trailers(self._scope["path"], self._exchange.trailers[self._sent_trailers :])
            encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in found]
            await self._send({"type": _TRAILERS, "headers": encoded, "more_trailers": False})

    async def refuse(self, refusal: Problem) -> None:
        """Answers with a problem document."""
        scope = self._scope
        accept = b", ".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
        answer = render_http(refusal, accept=accept, instance=scope["path"])
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        body = b"" if scope.get("method") == "HEAD" else answer.body
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def _merged(self, raw: Raw, mapped: list[tuple[str, str]] | None) -> list[tuple[bytes, bytes]]:
        exchange, path = self._exchange, self._scope["path"]
        own: list[tuple[bytes, bytes]] = []
        headers, trailers = list(exchange.headers), list(exchange.trailers)
        for name, value in raw:
            lower = name.lower()
            if lower.startswith(_PREFIX):
                headers.append((lower.removeprefix(_PREFIX).decode("latin-1"), value.decode("latin-1")))
            elif lower.startswith(_TRAILER_PREFIX):
                trailers.append((lower.removeprefix(_TRAILER_PREFIX).decode("latin-1"), value.decode("latin-1")))
            else:
                own.append((name, value))
        if mapped is None:
            mapped = self._mapping.response(path, headers, trailers, exchange.metadata)
        if not mapped:
            return own
        there = {name.lower() for name, _ in own}
        replaced = self._mapping.overwrites(path)
        found = []
        for header, text in mapped:
            key = header.lower().encode("latin-1")
            if key not in there or (replaced and key.decode("latin-1") in replaced):
                found.append((key, text.encode("latin-1")))
        if not replaced:
            return own + found
        taken = {key for key, _ in found}
        return [pair for pair in own if pair[0].lower() not in taken] + found
