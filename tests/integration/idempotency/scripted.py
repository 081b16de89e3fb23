"""A real HTTP server on a port of its own, whose failures are a script."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import uvicorn

from formicary.idempotency import IdempotencyMiddleware, MemoryStore, Policy
from tests.integration.idempotency.driving import App, Message, Receive, Scope, Send

Fault = Callable[[App, Scope, Receive, Send], Awaitable[None]]


class Scripted:
    """The service: every execution makes another order. Each request takes the next fault, then there are none.

    Attributes:
        effects: The body of each execution.
        keys: The key of each request, executed or not.
        requests: Verb and path of each request.
        headers: The headers of each request.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self.url = ""
        self._policy = policy
        self.reset()

    def reset(self) -> None:
        """Forgets everything but its address."""
        self.effects: list[bytes] = []
        self.keys: list[str | None] = []
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.script: list[Fault] = []
        self.status = 201
        self._numbers = count(1)
        self._protected = IdempotencyMiddleware(self._order, MemoryStore(), self._policy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.keys.append(headers.get("idempotency-key"))
        self.requests.append(f"{scope['method']} {scope['path']}")
        self.headers.append(headers)
        fault = self.script.pop(0) if self.script else passing
        await fault(self._protected, scope, receive, send)

    async def _order(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.effects.append(body)
        text = b'{"order": %d}' % next(self._numbers)
        await answer(send, self.status, text)


async def answer(send: Send, status: int, body: bytes = b"{}", *headers: tuple[bytes, bytes]) -> None:
    """A whole answer."""
    pairs = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def passing(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """No fault."""
    await app(scope, receive, send)


async def lost_before(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """The connection ends before anything was done."""
    send.__self__.transport.abort()  # type: ignore[attr-defined]  # the cycle of uvicorn


async def lost_after(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """It is done, and the connection ends before the answer."""

    async def away(message: Message) -> None:
        pass

    await app(scope, receive, away)
    send.__self__.transport.abort()  # type: ignore[attr-defined]  # the cycle of uvicorn


async def lost_within(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """It is done, and the connection ends in the middle of the answer's body."""

    async def half(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": message["body"][:3], "more_body": True}
        await send(message)

    await app(scope, receive, half)
    await asyncio.sleep(0)
    send.__self__.transport.close()  # type: ignore[attr-defined]  # the cycle of uvicorn


def slow(app: App, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    """It is done at once, and answered long after the client's patience."""

    async def held(message: Message) -> None:
        await asyncio.sleep(1.0)
        await send(message)

    return app(scope, receive, held)


def saying(status: int, *headers: tuple[bytes, bytes], body: bytes = b"{}") -> Fault:
    """Answers without doing anything."""

    async def fault(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, status, body, *headers)

    return fault


@contextmanager
def running(app: App) -> Iterator[str]:
    """Serves an application on a free port meanwhile; gives its address."""
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def scripted(faults: Sequence[Fault] = (), policy: Policy | None = None) -> Iterator[Scripted]:
    """The service with its script, running."""
    service = Scripted(policy)
    service.script = list(faults)
    with running(service) as service.url:
        yield service
