"""Pages of other origins that may call this server, by name: cross-origin resource sharing.

Off unless origins are named; then exactly these may read answers. A preflight is answered here, before anybody is asked
who they are: it carries no credentials. Callers say who they are with a header, never with a cookie, so credentials are
not allowed, and ``*`` is no origin: on a server without authentication it would make every page an administrator.
Source: Fetch standard, sections 3.2 and 4.8; Private Network Access.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from formicary.problems import problem
from formicary.problems.http import render_http

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
EXPOSED = b"etag, location, link, retry-after, ratelimit, ratelimit-policy, www-authenticate, x-trace-id"
MAX_AGE_S = 600
"""How long a browser may remember a preflight; longer ones are cut by browsers anyway."""
_ORIGIN = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_NAMES = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z, ]{1,1024}")
_USUAL_PORTS = {"http": "80", "https": "443"}


def origin(text: str) -> str:
    """An origin as browsers send it: lower case, without the usual port.

    Raises:
        Problem: VALIDATION_FAILED where it is not exactly one origin.
    """
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        raise problem(
            "VALIDATION_FAILED",
            f"{text[:80]!r} is no origin: give scheme, host and port, as https://app.example:8443; one by one, since * "
            "would open this server to every page.",
        )
    scheme, host, port = found[1], found[2], found[3]
    return f"{scheme}://{host}" if port in (None, _USUAL_PORTS[scheme]) else f"{scheme}://{host}:{port}"


class Cors:
    """ASGI middleware; the outermost one, so that refusals can be read by pages too.

    Args:
        app: What is served.
        origins: As :func:`origin` gives them.
    """

    def __init__(self, app: App, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(text.encode() for text in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a preflight, or lets the request through and its page read the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = _value(scope, b"origin")
        allowed = caller in self._origins
        if scope["method"] == "OPTIONS" and caller and _value(scope, b"access-control-request-method"):
            await (_preflight(scope, caller, send) if allowed else _refuse(send))
            return
        added = [(b"vary", b"origin")]
        if allowed:
            added += [(b"access-control-allow-origin", caller), (b"access-control-expose-headers", EXPOSED)]

        async def told(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, told)


async def _preflight(scope: Scope, caller: bytes, send: Send) -> None:
    headers = [
        (b"access-control-allow-origin", caller),
        (b"access-control-allow-methods", METHODS),
        (b"access-control-max-age", str(MAX_AGE_S).encode()),
        (b"vary", b"origin, access-control-request-headers, access-control-request-private-network"),
    ]
    asked = _value(scope, b"access-control-request-headers")
    if _NAMES.fullmatch(asked):
        headers.append((b"access-control-allow-headers", asked))
    if _value(scope, b"access-control-request-private-network") == b"true":
        headers.append((b"access-control-allow-private-network", b"true"))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send) -> None:
    status, headers, body = render_http(problem("PERMISSION_DENIED", "Pages of this origin may not call this server."))
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": [*pairs, (b"vary", b"origin")]})
    await send({"type": "http.response.body", "body": body})


def _value(scope: Scope, name: bytes) -> bytes:
    """The header's one value; empty where it was not sent, or more than once."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0] if len(found) == 1 else b""
