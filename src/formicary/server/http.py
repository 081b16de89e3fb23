"""The HTTP port: health, readiness, counters, and the API once it is mounted.

A bare ASGI application; errors are problem documents (RFC 9457).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

import msgspec
import uvicorn

from formicary.problems import Problem, problem
from formicary.problems.http import render_http
from formicary.server.connections import MAX_HEADER_BYTES, ConnectionLimits, bounded, headers_too_large

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_encode = msgspec.json.Encoder().encode
_METHODS = ("GET", "HEAD")
_API = ("/v1/", "/api/", "/openapi", "/docs", "/metrics")
"""Where paths begin that are answered once the API is mounted."""


class Pages:
    """The application.

    Args:
        checks: What readiness depends on; each is ``ok`` or a sentence that says why not.
        counters: Figures of the queen.
    """

    def __init__(self, checks: Callable[[], Mapping[str, str]], counters: Callable[[], Mapping[str, Any]]) -> None:
        self._checks = checks
        self._counters = counters
        self._pages: dict[str, Callable[[], object]] = {
            "/livez": self._live,
            "/healthz": self._live,
            "/api/health": self._live,
            "/readyz": self._ready,
            "/debug/counters": self._counters,
        }
        self._api: App | None = None
        self._apps: dict[str, App] = {}
        self._prefixes: dict[str, App] = {}

    @property
    def mounted(self) -> bool:
        """Whether the API is there."""
        return self._api is not None

    def mount(self, api: App) -> None:
        """From now on everything but these pages is answered by the API."""
        self._api = api

    def add(self, path: str, app: App) -> None:
        """From now on this path is answered by an application of its own."""
        self._apps[path] = app

    def add_below(self, prefix: str, app: App) -> None:
        """From now on this path and all below it are answered by an application of its own."""
        self._prefixes[prefix] = app

    def _app(self, path: str) -> App | None:
        found = next((app for prefix, app in self._prefixes.items() if (path + "/").startswith(prefix + "/")), None)
        return found or self._apps.get(path, self._api)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        large = sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES
        app = self._app(scope["path"])
        if app is not None and scope["path"] not in self._pages and not large:
            await app(scope, receive, send)
            return
        try:
            if large:
                raise headers_too_large()
            status, body = 200, _encode(self._answer(scope["method"], scope["path"]))
            headers = [("content-type", "application/json"), ("cache-control", "no-store")]
        except Problem as error:
            status, headers, body = render_http(error, accept=_accept(scope), instance=scope["path"])
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers if name != "content-length"]
        pairs.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, method: str, path: str) -> object:
        page = self._pages.get(path)
        if page is None and self._api is None and path.startswith(_API):
            raise problem("UNAVAILABLE", "The server is starting; try again.", retry_after_s=1.0)
        if page is None:
            raise problem("NOT_FOUND", f"There is no page {path[:200]}; there are {', '.join(self._pages)}.")
        if method not in _METHODS:
            detail = f"{path} answers GET and HEAD, not {method[:20]}."
            raise problem("METHOD_NOT_ALLOWED", detail, allow=list(_METHODS))
        return page()

    def _live(self) -> object:
        return {"status": "alive"}

    def _ready(self) -> object:
        checks = self._checks()
        wrong = [text for text in checks.values() if text != "ok"]
        if wrong:
            raise problem("UNAVAILABLE", " ".join(wrong), checks=dict(checks))
        return {"status": "ready", "checks": checks}


def _accept(scope: Scope) -> str:
    return ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")


_DATE_S = 1.0
"""How old the date of an answer may be."""


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it, and rests while nobody calls."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    async def main_loop(self) -> None:
        """Keeps the date of the answers right; uvicorn itself looks ten times a second whether it is to end."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DATE_S):
                    await self.ending.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures nothing."""
        yield


class HttpServer:
    """The running HTTP port.

    Args:
        pages: The application.
        listener: A bound socket.
        limits: Bounds of each connection; None = the usual ones.
        tls: What encrypts; None = nothing does.
    """

    def __init__(
        self,
        pages: App,
        listener: socket.socket,
        limits: ConnectionLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._listener = listener
        limits = limits or ConnectionLimits()
        config = uvicorn.Config(
            pages,
            lifespan="off",
            log_level="warning",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=1,
            ws="none",
            http=bounded(limits),
        )
        config.load()
        config.ssl = tls
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to answer."""
        self._task = asyncio.create_task(self._server.serve([self._listener]))

    async def stop(self) -> None:
        """Answers what is open, then closes the port; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            self._server.should_exit = True
            self._server.ending.set()
            await asyncio.gather(task, return_exceptions=True)
        self._listener.close()


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 = any free one. Raises Problem FAILED_PRECONDITION where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(128)  # from now on nobody is refused; the first answers wait for the loop
    except OSError as error:
        listener.close()
        raise problem(
            "FAILED_PRECONDITION",
            f"The HTTP port {host}:{port} cannot be used: {error.strerror}. Stop whoever uses it, or choose another "
            "one with --http-port.",
        ) from error
    return listener
