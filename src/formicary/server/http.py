"""The HTTP port: health, readiness, counters, and the API once it is mounted.

A bare ASGI application; errors are problem documents (RFC 9457).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

import msgspec
import uvicorn

from formicary.problems import problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Answer = tuple[int, object]

_encode = msgspec.json.Encoder().encode
_METHODS = ("GET", "HEAD")


class Pages:
    """The application.

    Args:
        checks: What readiness depends on; each is ``ok`` or a sentence that says why not.
        counters: Figures of the queen.
    """

    def __init__(self, checks: Callable[[], Mapping[str, str]], counters: Callable[[], Mapping[str, Any]]) -> None:
        self._checks = checks
        self._counters = counters
        self._pages: dict[str, Callable[[], Answer]] = {
            "/livez": self._live,
            "/healthz": self._live,
            "/readyz": self._ready,
            "/debug/counters": lambda: (200, self._counters()),
        }
        self._api: App | None = None

    def mount(self, api: App) -> None:
        """From now on everything but these pages is answered by the API."""
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        if self._api is not None and scope["path"] not in self._pages:
            await self._api(scope, receive, send)
            return
        status, body = self._answer(scope["method"], scope["path"])
        kind = b"application/json" if status == 200 else b"application/problem+json"
        data = _encode(body)
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(data)).encode()),
            (b"cache-control", b"no-store"),
        ]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else data})

    def _answer(self, method: str, path: str) -> Answer:
        page = self._pages.get(path)
        if page is None:
            found = problem("NOT_FOUND", f"There is no page {path[:200]}; there are {', '.join(self._pages)}.")
            return 404, found.to_document()
        if method not in _METHODS:
            return 405, {
                "type": "about:blank",
                "code": "METHOD_NOT_ALLOWED",
                "title": "Method Not Allowed",
                "status": 405,
                "detail": f"{path} answers GET and HEAD, not {method[:20]}.",
            }
        return page()

    def _live(self) -> Answer:
        return 200, {"status": "alive"}

    def _ready(self) -> Answer:
        checks = self._checks()
        wrong = [text for text in checks.values() if text != "ok"]
        if wrong:
            return 503, problem("UNAVAILABLE", " ".join(wrong), checks=checks).to_document()
        return 200, {"status": "ready", "checks": checks}


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures nothing."""
        yield


class HttpServer:
    """The running HTTP port.

    Args:
        pages: The application.
        listener: A bound socket.
    """

    def __init__(self, pages: App, listener: socket.socket) -> None:
        self._listener = listener
        config = uvicorn.Config(
            pages,
            lifespan="off",
            log_level="warning",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=1,
            ws="none",
        )
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
