"""The server of the idempotency storm: ``python -m tests.acceptance.idempotency_orders URL LISTENING_SOCKET``.

It says `loaded` and begins when a line arrives, so that another one can be ready when this one is killed. On SQL
stores effect, claim and answer of a request are one commit (grouped mode on SQLite), and no key is unique in the table
of effects, so a second execution would be seen there. On Redis the claim is leased, and a killed execution runs again
after its lease: there the effect is one of an outside system that is given the key and does each key once.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from formicary.idempotency import (
    CONNECTION,
    Counts,
    IdempotencyMiddleware,
    Policy,
    RedisStore,
    Rule,
    SqliteStore,
    StoredResponse,
    TransactionMiddleware,
)
from formicary.idempotency.asgi import App, Receive, RequestReader, Scope, Send, refuse
from formicary.idempotency.connections import ensure_table
from formicary.problems import Problem
from tests.contract.idempotency.places import connect_mysql
from tests.integration.idempotency.serving import serve

_REPLAYED = (b"idempotency-replayed", b"true")
_INSERT = "INSERT INTO effects (key_) VALUES (%s)"
_OUTSIDE = """
if redis.call("HSETNX", KEYS[1] .. ":made", ARGV[1], ARGV[2]) == 1 then
    redis.call("RPUSH", KEYS[1] .. ":effects", ARGV[1])
end
return redis.call("HGET", KEYS[1] .. ":made", ARGV[1])
"""
LEASE_S = 1.0


def grouped(store: SqliteStore) -> App:
    """An application that makes an order on the store's own thread."""
    reader, rule = RequestReader(Policy(), None, Counts()), Rule()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            asked = await reader.asked(scope, receive, "/orders", rule)
            assert asked is not None
            claim = asked[0]
            done = await store.run(claim, lambda connection: _ordered(connection, claim.key))
        except Problem as error:
            await refuse(error, scope, send)
            return
        response = done.response
        headers = [*response.headers, *([_REPLAYED] if done.replayed else [])]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    return app


def _ordered(connection: sqlite3.Connection, key: str) -> StoredResponse:
    number = connection.execute("INSERT INTO effects (key_) VALUES (?)", (key,)).lastrowid
    headers, body = _answer(number or 0)
    return StoredResponse(201, headers, body)


def _answer(number: int) -> tuple[tuple[tuple[bytes, bytes], ...], bytes]:
    """No two executions give the same one."""
    body = b'{"order": %d, "by": %d}' % (number, os.getpid())
    return ((b"location", b"/orders/%d" % number), (b"content-length", b"%d" % len(body))), body


def answering(insert: Callable[[Scope, str], Any]) -> App:
    """An application that answers with what the insertion of a key gives."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        key = dict(scope["headers"])[b"idempotency-key"].decode()
        headers, body = _answer(int(await insert(scope, key)))
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def _into_postgres(scope: Scope, key: str) -> int:
    cursor = await scope[CONNECTION].execute(_INSERT + " RETURNING number", (key,))
    return int((await cursor.fetchone())[0])


async def _into_mysql(scope: Scope, key: str) -> int:
    with scope[CONNECTION].cursor() as cursor:
        cursor.execute(_INSERT, (key,))
        return int(cursor.lastrowid)


def _pooled(connect: Callable[[], Any], most: int) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """Gives connections that were used before; at most so many at once."""
    idle: list[Any] = []
    free = asyncio.Semaphore(most)

    @asynccontextmanager
    async def one() -> AsyncIterator[Any]:
        async with free:
            connection = idle.pop() if idle else await connect()
            yield connection
            idle.append(connection)

    return one


async def _served(url: str, stack: AsyncExitStack) -> App:
    kind = url.partition(":")[0]
    if kind == "postgresql":
        import psycopg

        connect = _pooled(lambda: psycopg.AsyncConnection.connect(url), 8)
        async with connect() as connection:
            await ensure_table(connection)
        return TransactionMiddleware(answering(_into_postgres), connect)
    if kind == "mysql":

        async def connected() -> Any:
            return connect_mysql(url)

        connect = _pooled(connected, 1)
        async with connect() as connection:
            await ensure_table(connection)
        return TransactionMiddleware(answering(_into_mysql), connect)
    if kind == "redis":
        return await _leased(url, stack)
    store = SqliteStore(url)
    await store.open()
    stack.push_async_callback(store.close)
    return grouped(store)


async def _leased(url: str, stack: AsyncExitStack) -> App:
    import redis.asyncio

    server, _, prefix = url.partition("#")
    client = redis.asyncio.Redis.from_url(server)
    stack.push_async_callback(client.aclose)
    store = RedisStore(server, prefix=f"{{{prefix}}}")
    await store.open()
    stack.push_async_callback(store.close)
    outside = client.register_script(_OUTSIDE)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        key = dict(scope["headers"])[b"idempotency-key"]
        body: bytes = await outside(keys=[prefix], args=[key, b'{"by": %d}' % os.getpid()])
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return IdempotencyMiddleware(app, store, Policy(Rule(lease_s=LEASE_S)))


async def main(url: str, descriptor: int) -> None:
    """One server process; the listening socket stays with its parent, so that a restart needs no new port."""
    print("loaded", flush=True)
    if not await asyncio.to_thread(os.read, 0, 64):
        return
    async with AsyncExitStack() as stack:
        app = await _served(url, stack)
        with socket.socket(fileno=descriptor) as listening:
            print("ready", flush=True)
            await serve(app, listening)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
