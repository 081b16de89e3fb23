"""The server of the idempotency storm: ``python -m tests.acceptance.idempotency_orders FILE LISTENING_SOCKET``.

It says `loaded` and begins when a line arrives, so that another one can be ready when this one is killed.
Effect, claim and answer of a request are one commit (grouped mode on SQLite); no key is unique in the table of effects,
so a second execution would be seen there.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import sys

from formicary.idempotency import Counts, Policy, Rule, SqliteStore, StoredResponse
from formicary.idempotency.asgi import App, Receive, RequestReader, Scope, Send, refuse
from formicary.problems import Problem
from tests.integration.idempotency.serving import serve

_REPLAYED = (b"idempotency-replayed", b"true")


def orders(store: SqliteStore) -> App:
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
    number = connection.execute("INSERT INTO effects (key) VALUES (?)", (key,)).lastrowid
    body = b'{"order": %d, "by": %d}' % (number or 0, os.getpid())
    length = (b"content-length", b"%d" % len(body))
    return StoredResponse(201, ((b"location", b"/orders/%d" % (number or 0)), length), body)


async def main(path: str, descriptor: int) -> None:
    """One server process; the listening socket stays with its parent, so that a restart needs no new port."""
    print("loaded", flush=True)
    if not await asyncio.to_thread(os.read, 0, 64):
        return
    store = SqliteStore(path)
    await store.open()
    try:
        with socket.socket(fileno=descriptor) as listening:
            print("ready", flush=True)
            await serve(orders(store), listening)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
