"""The middleware with own transaction: key, writes and answer are one commit on the application's own database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from formicary.idempotency.asgi_transaction import CONNECTION, TransactionMiddleware
from formicary.idempotency.connections import ensure_table
from formicary.problems import problem
from tests.integration.idempotency.driving import JSON, App, Receive, Scope, Send, call

Connect = Callable[[], AbstractAsyncContextManager[Any]]


@pytest.fixture(params=["sqlite", "postgresql"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
    """Gives connections to an empty database with a table of orders."""
    if request.param == "sqlite":

        @asynccontextmanager
        async def sqlite() -> AsyncIterator[sqlite3.Connection]:
            connection = sqlite3.connect(tmp_path / "orders.db", isolation_level=None)
            try:
                yield connection
            finally:
                connection.close()

        made: Connect = sqlite
    else:
        url = request.getfixturevalue("postgres_url")

        @asynccontextmanager
        async def postgres() -> AsyncIterator[psycopg.AsyncConnection[Any]]:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                yield connection

        made = postgres

    async def prepare() -> None:
        async with made() as connection:
            await ensure_table(connection)
            await _run(connection, "CREATE TABLE orders (what TEXT)")

    asyncio.run(prepare())
    return made


async def _run(connection: Any, sql: str) -> list[tuple[Any, ...]]:
    """One statement on either kind of connection, and its rows."""
    cursor = connection.execute(sql)
    if asyncio.iscoroutine(cursor):
        cursor = await cursor
    if cursor.description is None:
        return []
    rows = cursor.fetchall()
    return list(await rows if asyncio.iscoroutine(rows) else rows)


def _ordering(status: int, then: Exception | None = None) -> App:
    """An application that writes an order and answers with a status, or raises."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"].decode()
        await _run(scope[CONNECTION], f"INSERT INTO orders VALUES ('{body}')")
        if then is not None:
            raise then
        await send({"type": "http.response.start", "status": status, "headers": [JSON, (b"x-what", body.encode())]})
        await send({"type": "http.response.body", "body": b'{"ordered":', "more_body": True})
        await send({"type": "http.response.body", "body": b'"%b"}' % body.encode()})

    return app


async def _orders(connect: Connect) -> list[tuple[Any, ...]]:
    async with connect() as connection:
        return await _run(connection, "SELECT what FROM orders")


async def _records(connect: Connect) -> list[tuple[Any, ...]]:
    async with connect() as connection:
        return await _run(connection, "SELECT state FROM formicary_idempotency")


def test_effect_and_answer_are_there_together(connect: Connect) -> None:
    """The first request orders; the second gets the same bytes and orders nothing; another body is 422."""

    async def check() -> None:
        app = TransactionMiddleware(_ordering(201), connect)
        first, again = await call(app, "k", b"tea"), await call(app, "k", b"tea")
        assert (first.status, first.body, first.replayed) == (201, b'{"ordered":"tea"}', False)
        assert again.same_as(first)
        assert again.replayed
        assert (await call(app, "k", b"milk")).status == 422
        assert await _orders(connect) == [("tea",)]
        assert (app.counts.executed, app.counts.replayed, app.counts.reused) == (1, 1, 1)

    asyncio.run(check())


@pytest.mark.parametrize("app", [_ordering(409), _ordering(201, problem("CONFLICT", "No tea is left."))])
def test_a_refusal_undoes_the_writes_and_is_kept(connect: Connect, app: App) -> None:
    """A business 409, answered or raised, leaves no order and is replayed byte for byte."""

    async def check() -> None:
        wrapped = TransactionMiddleware(app, connect)
        first, again = await call(wrapped, "k", b"tea"), await call(wrapped, "k", b"tea")
        assert (first.status, again.status, again.replayed) == (409, 409, True)
        assert again.body == first.body
        assert await _orders(connect) == []

    asyncio.run(check())


def test_a_crash_or_a_5xx_leaves_nothing(connect: Connect) -> None:
    """Neither order nor record is there afterwards, and a retry executes."""

    async def check() -> None:
        with pytest.raises(ZeroDivisionError):
            await call(TransactionMiddleware(_ordering(201, ZeroDivisionError()), connect), "k", b"tea")
        assert (await call(TransactionMiddleware(_ordering(503), connect), "k", b"tea")).status == 503
        assert (await _orders(connect), await _records(connect)) == ([], [])
        assert (await call(TransactionMiddleware(_ordering(201), connect), "k", b"tea")).status == 201
        assert await _orders(connect) == [("tea",)]

    asyncio.run(check())


def test_a_request_without_a_key_runs_nothing(connect: Connect) -> None:
    """400, and the database is not asked."""

    async def check() -> None:
        assert (await call(TransactionMiddleware(_ordering(201), connect), None, b"tea")).status == 400
        assert await _orders(connect) == []

    asyncio.run(check())
