"""The connections that callers bring for transactions of their own, and a business table on each."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from formicary.idempotency import StoredResponse
from formicary.idempotency.connections import ensure_table
from formicary.idempotency.schema import TABLE
from tests.components import require
from tests.contract.idempotency.places import Ask, connect_mysql

CALLERS = (
    "sqlite3", "sqlite3-autocommit", "session-sqlite", "psycopg", "psycopg-autocommit", "psycopg-sync", "asyncpg",
    "session-psycopg", "async-session", "pymysql", "pymysql-autocommit", "session-pymysql",
)  # fmt: skip
SYNCHRONOUS = (
    "sqlite3",
    "sqlite3-autocommit",
    "session-sqlite",
    "psycopg-sync",
    "session-psycopg",
    "pymysql",
    "pymysql-autocommit",
    "session-pymysql",
)
CREATED = StoredResponse(201, ((b"location", b"/orders/1"), (b"x", b"1"), (b"x", b"2")), b"\x00made")
_INSERT = "INSERT INTO orders (what) VALUES ('one')"


class Caller:
    """One kind of connection on one database."""

    def __init__(self, kind: str, folder: Path, ask: Ask) -> None:
        if kind == "async-session":
            require("greenlet")
        self.kind = kind
        self.on_sqlite = "sqlite" in kind
        self.on_mysql = "mysql" in kind
        server = "mysql_place_url" if self.on_mysql else "postgresql_place_url"
        self.target = str(folder / "orders.db") if self.on_sqlite else str(ask(server))
        create = "CREATE TABLE orders (what TEXT NOT NULL)"
        if self.on_sqlite:
            with sqlite3.connect(self.target) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(create)
            connection.close()
        else:
            if self.on_mysql:  # one database for the whole run
                self.run(f"DROP TABLE IF EXISTS orders, {TABLE}")
            self.run(create)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        """A connection of the kind, with the table made."""
        connection, close = await _open(self.kind, self.target)
        try:
            await ensure_table(connection)
            yield connection
        finally:
            closing = close()
            if closing is not None:
                await closing

    async def insert(self, connection: Any) -> None:
        """The business write."""
        statement: Any = _INSERT
        if "session" in self.kind:
            from sqlalchemy import text

            statement = text(_INSERT)
        if self.kind.startswith("pymysql"):
            with connection.cursor() as cursor:
                cursor.execute(statement)
            return
        done = connection.execute(statement)
        if self.kind not in SYNCHRONOUS:
            await done

    def orders(self) -> int:
        """How many orders are committed."""
        return int(self.count("orders"))

    def count(self, what: str) -> int:
        """Counts committed rows."""
        if self.on_sqlite:
            connection = sqlite3.connect(self.target)
            try:
                return int(connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0])
            finally:
                connection.close()
        if self.on_mysql:
            with closing(connect_mysql(self.target)) as mysql, mysql.cursor() as cursor:
                cursor.execute(f"SELECT count(*) FROM {what}")
                return int(cursor.fetchone()[0])
        import psycopg

        with psycopg.connect(self.target) as postgres:
            row = postgres.execute(f"SELECT count(*) FROM {what}".encode()).fetchone()
            assert row is not None
            return int(row[0])

    def run(self, statement: str) -> None:
        """Runs one statement beside the caller's connection."""
        if self.on_sqlite:
            connection = sqlite3.connect(self.target)
            with connection:
                connection.execute(statement)
            connection.close()
            return
        if self.on_mysql:
            with closing(connect_mysql(self.target)) as mysql, mysql.cursor() as cursor:
                cursor.execute(statement)
                mysql.commit()
            return
        import psycopg

        with psycopg.connect(self.target, autocommit=True) as postgres:
            postgres.execute(statement.encode())


async def _open(kind: str, target: str) -> tuple[Any, Callable[[], Any]]:
    if kind.startswith("sqlite3"):
        level = None if kind.endswith("autocommit") else ""
        connection = sqlite3.connect(target, isolation_level=level, timeout=5)
        return connection, connection.close
    if kind.startswith("session-"):
        from sqlalchemy import create_engine
        from sqlalchemy.orm import Session

        driver = kind.removeprefix("session-")
        url = f"sqlite:///{target}" if driver == "sqlite" else target.replace("://", f"+{driver}://", 1)
        engine = create_engine(url)
        session = Session(engine)
        return session, lambda: (session.close(), engine.dispose())[0]
    if kind == "async-session":
        return await _async_session(target)
    if kind == "asyncpg":
        connection = await _asyncpg(target)
        return connection, connection.close
    if kind.startswith("pymysql"):
        connection = connect_mysql(target)
        connection.autocommit(kind.endswith("autocommit"))
        return connection, connection.close
    import psycopg

    if kind == "psycopg-sync":
        connection = psycopg.connect(target)
        return connection, connection.close
    connection = await psycopg.AsyncConnection.connect(target, autocommit=kind.endswith("autocommit"))
    return connection, connection.close


async def _asyncpg(target: str) -> Any:
    import asyncpg

    url, _, schema = target.partition("?options=-csearch_path%3D")
    return await asyncpg.connect(url, server_settings={"search_path": schema})


async def _async_session(target: str) -> tuple[Any, Callable[[], Any]]:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    url, _, schema = target.partition("?options=-csearch_path%3D")
    settings = {"server_settings": {"search_path": schema}}
    engine = create_async_engine(url.replace("://", "+asyncpg://", 1), connect_args=settings)
    session = AsyncSession(engine)

    async def close() -> None:
        await session.close()
        await engine.dispose()

    return session, close
