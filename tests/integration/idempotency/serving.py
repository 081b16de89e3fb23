"""A server process of its own: ``python -m tests.integration.idempotency.serving KIND TARGET PREFIX EFFECTS``.

It serves one application under the middleware on a free port of 127.0.0.1, prints the port, and ends when its standard
input does, so it never outlives the test that started it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import uuid
from collections.abc import Callable

import uvicorn

from formicary.idempotency import IdempotencyMiddleware, Policy, Rule, Store
from formicary.idempotency.mysql import MysqlStore
from formicary.idempotency.postgres import PostgresStore
from formicary.idempotency.redis_store import RedisStore
from formicary.idempotency.sqlite import SqliteStore
from tests.integration.idempotency.driving import JSON, App, Receive, Scope, Send

WORK_S = 0.3
"""How long an execution takes: the others have to meet it."""


def opened(kind: str, target: str, prefix: str) -> Store:
    """A store of a kind on what the test has made."""
    makers: dict[str, Callable[[], Store]] = {
        "sqlite": lambda: SqliteStore(target, timeout_s=60),
        "postgresql": lambda: PostgresStore(target, timeout_s=60),
        "mysql": lambda: MysqlStore(target, timeout_s=60),
        "redis": lambda: RedisStore(target, prefix=prefix, timeout_s=60),
    }
    return makers[kind]()


def noting(effects: str) -> App:
    """An application that appends a line for each execution, and never answers twice alike."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        number = uuid.uuid4().hex.encode()
        file = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, number + b"\n")
        os.close(file)
        await asyncio.sleep(WORK_S)
        links = [(b"link", b"</a>; rel=next"), (b"link", b"</b>; rel=prev")]
        length = (b"content-length", b"%d" % len(number))
        headers = [JSON, *links, (b"location", b"/orders/" + number), length]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": number})

    return app


async def serve(app: App, listening: socket.socket) -> None:
    """Serves until standard input ends."""
    settings = uvicorn.Config(app, lifespan="off", log_level="error")  # type: ignore[arg-type]  # our scopes are mappings
    server = uvicorn.Server(settings)

    def stop() -> None:
        if not os.read(0, 1024):
            server.should_exit = True
            asyncio.get_running_loop().remove_reader(0)

    asyncio.get_running_loop().add_reader(0, stop)
    await server.serve(sockets=[listening])


async def main(kind: str, target: str, prefix: str, effects: str) -> None:
    """One server process."""
    store = opened(kind, target, prefix)
    await store.open()
    try:
        app = IdempotencyMiddleware(noting(effects), store, Policy(Rule(lease_s=120)))
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
            print(listening.getsockname()[1], flush=True)
            await serve(app, listening)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
