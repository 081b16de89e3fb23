"""Transactions of one's own on connections that fail, or kill their process, at a chosen statement.

Run as ``python crashes.py sqlite|postgresql|mysql|sqlalchemy`` it takes lines ``AT TARGET``; for each it forks a child
that makes one order and kills itself with SIGKILL before statement AT, and prints the child's exit code.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql

from formicary.idempotency import Claim, Rule, StoredResponse
from formicary.idempotency.schema import TABLE, Dialect, table_statements
from formicary.idempotency.transaction import idempotent

CREATED = StoredResponse(201, ((b"location", b"/orders/1"),), b"made")
PATIENT = Rule(on_busy="wait")
"""The session of a process that was killed has its lock until the server of MySQL has seen it."""
CLAIM = Claim("k", b"f" * 32, "t", "POST", "/orders")
INSERTS = ("INSERT INTO orders (what) VALUES ('one')", "INSERT INTO order_lines (what) VALUES ('first')")
TABLES = ("CREATE TABLE orders (what TEXT NOT NULL)", "CREATE TABLE order_lines (what TEXT NOT NULL)")


class Broken(Exception):
    """The fault."""


class Faults:
    """Counts statements, and strikes at one of them.

    Args:
        at: Number of the statement, from 1; 0 = never.
        after: Whether the statement is carried out first.
        kill: Whether the process is killed; otherwise :class:`Broken` is raised.
    """

    def __init__(self, at: int = 0, *, after: bool = False, kill: bool = False) -> None:
        self.count = 0
        self._at = at
        self._after = after
        self._kill = kill

    def before(self) -> None:
        self.count += 1
        if self.count == self._at and not self._after:
            self._strike()

    def after(self) -> None:
        if self.count == self._at and self._after:
            self._strike()

    def _strike(self) -> None:
        if self._kill:
            os.kill(os.getpid(), signal.SIGKILL)
        raise Broken


class SqliteWithFaults(sqlite3.Connection):
    faults = Faults()

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self.faults.before()
        done = super().execute(*arguments)
        self.faults.after()
        return done

    def cursor(self, *arguments: Any) -> Any:
        self.faults.before()
        return super().cursor(*arguments)


class PostgresWithFaults(psycopg.AsyncConnection[Any]):
    faults = Faults()

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        self.faults.before()
        done = await super().execute(*arguments, **options)
        self.faults.after()
        return done

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        self.faults.before()
        return super().cursor(*arguments, **options)

    async def commit(self) -> None:
        self.faults.before()
        await super().commit()
        self.faults.after()


class MysqlWithFaults(pymysql.connections.Connection):  # type: ignore[misc]  # the driver has no types
    faults = Faults()

    def query(self, *arguments: Any, **options: Any) -> Any:
        self.faults.before()
        done = super().query(*arguments, **options)
        self.faults.after()
        return done

    def begin(self) -> None:
        self.faults.before()
        super().begin()
        self.faults.after()

    def commit(self) -> None:
        self.faults.before()
        super().commit()
        self.faults.after()


def connected(target: str, kind: type[pymysql.connections.Connection] = pymysql.connections.Connection) -> Any:
    """A connection to a database of MySQL, or to its server."""
    parts = urlsplit(target)
    return kind(
        host=parts.hostname, port=parts.port or 3306, user=parts.username, password=parts.password or "",
        database=parts.path.lstrip("/") or None,
    )  # fmt: skip


async def order_by_session(target: str, faults: Faults) -> StoredResponse | None:
    """The same by a session of SQLAlchemy on SQLite: what it tells before and after each statement and commit."""
    from sqlalchemy import create_engine, event, text
    from sqlalchemy.orm import Session

    engine = create_engine(f"sqlite:///{target}")
    event.listen(engine, "before_cursor_execute", lambda *_: faults.before())
    event.listen(engine, "after_cursor_execute", lambda *_: faults.after())
    event.listen(engine, "commit", lambda _: faults.before())
    try:
        with Session(engine) as session:
            async with idempotent(CLAIM, session, rule=PATIENT) as tx:
                if tx.replayed is None:
                    for statement in INSERTS:
                        session.execute(text(statement))
                    tx.complete(CREATED)
            return tx.response
    finally:
        engine.dispose()


async def order(kind: str, target: str, faults: Faults) -> StoredResponse | None:
    """One order of two rows on a connection with faults."""
    if kind == "sqlalchemy":
        return await order_by_session(target, faults)
    if kind == "sqlite":
        connection: Any = sqlite3.connect(target, factory=SqliteWithFaults)
    elif kind == "mysql":
        connection = connected(target, MysqlWithFaults)
    else:
        connection = await PostgresWithFaults.connect(target)
    try:
        block = idempotent(CLAIM, connection, rule=PATIENT)
        connection.faults = faults
        async with block as tx:
            if tx.replayed is None:
                for statement in INSERTS:
                    if kind == "mysql":
                        connection.cursor().execute(statement)
                        continue
                    done = connection.execute(statement)
                    if kind != "sqlite":
                        await done
                tx.complete(CREATED)
        return tx.response
    finally:
        connection.faults = Faults()
        closed = connection.close()
        if kind == "postgresql":
            await closed


def prepare(kind: Dialect, target: str) -> None:
    """Makes the tables."""
    statements = (*TABLES, *table_statements(kind))
    if kind == "sqlite":
        with sqlite3.connect(target) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
        return
    if kind == "mysql":
        with closing(connected(target)) as mysql, mysql.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        return
    with psycopg.connect(target) as postgres:
        for statement in statements:
            postgres.execute(statement.encode())


def found(kind: str, target: str) -> tuple[int, int, int]:
    """How many orders, lines and completed records are there."""
    questions = [f"SELECT count(*) FROM {name}" for name in ("orders", "order_lines")]
    questions.append(f"SELECT count(*) FROM {TABLE} WHERE state = 'COMPLETED'")
    if kind in ("sqlite", "sqlalchemy"):
        connection = sqlite3.connect(target)
        counts = [connection.execute(question).fetchone()[0] for question in questions]
        connection.close()
    elif kind == "mysql":
        counts = []
        with closing(connected(target)) as mysql, mysql.cursor() as cursor:
            for question in questions:
                cursor.execute(question)
                counts.append(cursor.fetchone()[0])
    else:
        with psycopg.connect(target) as postgres:
            counts = [postgres.execute(question.encode()).fetchone()[0] for question in questions]  # type: ignore[index]  # a count is one row
    return counts[0], counts[1], counts[2]


if __name__ == "__main__":
    for line in sys.stdin:
        number, _, where = line.strip().partition(" ")
        child = os.fork()
        if not child:
            asyncio.run(order(sys.argv[1], where, Faults(int(number), kill=True)))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
