"""Keeps pages of other sites out of a server that serves this machine without authentication.

Any page that a person opens may send requests to loopback. Two checks make that useless: the ``Host`` must be a name of
loopback (else a foreign name was made to point here: DNS rebinding), and an ``Origin`` must be this server itself or
one that its operator has named (``--cors-origin``).
Programs send no ``Origin``. Source: Fetch standard, `Origin` header; RFC 9110, section 7.2.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from formicary.problems import Problem, problem
from formicary.problems.http import render_http

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class BrowserGuard:
    """ASGI middleware.

    Args:
        app: What is guarded.
        origins: Other origins whose pages may call.
    """

    def __init__(self, app: App, origins: Iterable[str] = ()) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it with 403."""
        refused = _refusal(scope["headers"], self._origins) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
            return
        status, headers, body = render_http(refused)
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})


def _refusal(headers: Iterable[tuple[bytes, bytes]], allowed: frozenset[str]) -> Problem | None:
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
    if len(hosts) != 1 or not _loopback(_name(hosts[0])):
        return problem(
            "PERMISSION_DENIED",
            "This server knows itself as 127.0.0.1, ::1 or localhost only: name it so in the address.",
        )
    own = hosts[0].lower()
    if any(origin.partition("://")[2].lower() != own and origin not in allowed for origin in origins):
        return problem("PERMISSION_DENIED", "A page of another site may not call this server.")
    return None


def _name(host: str) -> str:
    """The name in ``NAME:PORT``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _loopback(name: str) -> bool:
    try:
        return name.lower() == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
