"""The mapping around any ASGI application.

The application finds what a gRPC service would see in ``scope["formicary.headers"]`` (an :class:`Exchange`), and puts
there what a service would send back. A gateway may also set response headers ``Grpc-Metadata-NAME`` and
``Grpc-Trailer-NAME``: they are read as metadata and never reach the caller. Replies to errors are mapped too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from formicary.headers import names
from formicary.headers.carrying import Value
from formicary.headers.mapping import HeaderMapping
from formicary.problems import Problem, problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
KEY = "formicary.headers"
_TRAILERS = "http.response.trailers"
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
        self._trusted = trusted or self._by_address
        self._encoded: dict[str, bytes] = {}
        self._stripped = frozenset(name.encode() for name in mapping.stripped)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trusted, path = self._trusted(scope), scope["path"]
        raw: list[tuple[bytes, bytes]] = list(scope["headers"])
        wanted = self._mapping.wanted(path)
        pairs = [
            (n.decode("latin-1"), v.decode("latin-1")) for n, v in raw if wanted is None or n in wanted or n == b"te"
        ]
        exchange = Exchange([], trusted=trusted)
        reply = _Reply(self._mapping, path, exchange, send, _takes_trailers(scope, pairs), self._encoded)
        try:
            exchange.metadata = list(self._mapping.request(path, pairs, trusted))
            exchange.timeout_s = self._mapping.timeout_s(pairs)
        except Problem as refusal:
            await reply.refuse(refusal)
            return
        if not trusted:
            stripped = self._stripped
            raw = [pair for pair in raw if pair[0] not in stripped and not pair[0].startswith(_PREFIX)]
        try:
            await self._app({**scope, "headers": raw, KEY: exchange}, receive, reply.send)
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


def _takes_trailers(scope: Scope, pairs: Iterable[tuple[str, str]]) -> bool:
    extensions = scope.get("extensions") or {}
    return _TRAILERS in extensions and any(name == "te" and "trailers" in value.lower() for name, value in pairs)


class _Reply:
    """Sends the response, with mapped headers at its start."""

    def __init__(
        self,
        mapping: HeaderMapping,
        path: str,
        exchange: Exchange,
        send: Send,
        trailers: bool,
        encoded: dict[str, bytes],
    ) -> None:
        self.started = False
        self._mapping, self._path, self._exchange, self._send = mapping, path, exchange, send
        self._trailers = trailers
        self._encoded = encoded
        self._sent_trailers = 0

    async def send(self, message: Message) -> None:
        """Passes a message of the application on."""
        kind = message["type"]
        if kind == "http.response.start":
            self.started = True
            # An application that sends trailers itself keeps doing so.
            self._trailers = self._trailers and not message.get("trailers")
            self._sent_trailers = len(self._exchange.trailers)
            message = {**message, "headers": self._merged(message.get("headers") or ())}
            if self._trailers:
                message["trailers"] = True
        await self._send(message)
        if kind == "http.response.body" and self._trailers and not message.get("more_body"):
            found = self._mapping.response_trailers(self._path, self._exchange.trailers[self._sent_trailers :])
            encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in found]
            await self._send({"type": _TRAILERS, "headers": encoded, "more_trailers": False})

    async def refuse(self, refusal: Problem) -> None:
        """Answers with a problem document."""
        body = msgspec.json.encode(refusal.to_document())
        headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def _merged(self, raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        own: list[tuple[bytes, bytes]] = []
        headers, trailers = list(self._exchange.headers), list(self._exchange.trailers)
        for name, value in raw:
            lower = name.lower()
            if lower.startswith(_PREFIX):
                headers.append((lower.removeprefix(_PREFIX).decode("latin-1"), value.decode("latin-1")))
            elif lower.startswith(_TRAILER_PREFIX):
                trailers.append((lower.removeprefix(_TRAILER_PREFIX).decode("latin-1"), value.decode("latin-1")))
            else:
                own.append((name, value))
        mapped = self._mapping.response(self._path, headers, trailers, self._exchange.metadata)
        if not mapped:
            return own
        there = {name.lower() for name, _ in own}
        replaced = self._mapping.overwrites(self._path)
        found = []
        for header, text in mapped:
            key = self._encoded.get(header)
            if key is None:
                # Names come from rules, so there are as many as the mapping has.
                key = self._encoded[header] = header.lower().encode("latin-1")
            if key not in there or (replaced and key.decode("latin-1") in replaced):
                found.append((key, text.encode("latin-1")))
        if not replaced:
            return own + found
        taken = {key for key, _ in found}
        return [pair for pair in own if pair[0].lower() not in taken] + found
