"""Transactions of one's own on connections that fail, or kill their process, at a chosen statement.

Run as ``python crashes.py sqlite|postgresql`` it takes lines ``AT TARGET``; for each it forks a child that makes one
order and kills itself with SIGKILL before statement AT, and prints the child's exit code.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from typing import Any

import psycopg

from formicary.idempotency import Claim, StoredResponse
from formicary.idempotency.schema import TABLE, table_statements
from formicary.idempotency.transaction import idempotent

CREATED = StoredResponse(201, ((b"location", b"/orders/1"),), b"made")
CLAIM = Claim("k", b"f" * 32, "t", "POST", "/orders")
INSERTS = ("INSERT INTO orders (what) VALUES ('one')", "INSERT INTO lines (what) VALUES ('first')")
TABLES = ("CREATE TABLE orders (what TEXT NOT NULL)", "CREATE TABLE lines (what TEXT NOT NULL)")


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


async def order(kind: str, target: str, faults: Faults) -> StoredResponse | None:
    """One order of two rows on a connection with faults."""
    if kind == "sqlite":
        connection: Any = sqlite3.connect(target, factory=SqliteWithFaults)
    else:
        connection = await PostgresWithFaults.connect(target)
    try:
        block = idempotent(CLAIM, connection)
        connection.faults = faults
        async with block as tx:
            if tx.replayed is None:
                for statement in INSERTS:
                    done = connection.execute(statement)
                    if kind != "sqlite":
                        await done
                tx.complete(CREATED)
        return tx.response
    finally:
        connection.faults = Faults()
        closing = connection.close()
        if kind != "sqlite":
            await closing


def prepare(kind: str, target: str) -> None:
    """Makes the tables."""
    statements = (*TABLES, *table_statements("sqlite" if kind == "sqlite" else "postgresql"))
    if kind == "sqlite":
        with sqlite3.connect(target) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
        return
    with psycopg.connect(target) as postgres:
        for statement in statements:
            postgres.execute(statement.encode())


def found(kind: str, target: str) -> tuple[int, int, int]:
    """How many orders, lines and completed records are there."""
    questions = [f"SELECT count(*) FROM {name}" for name in ("orders", "lines")]
    questions.append(f"SELECT count(*) FROM {TABLE} WHERE state = 'COMPLETED'")
    if kind == "sqlite":
        connection = sqlite3.connect(target)
        counts = [connection.execute(question).fetchone()[0] for question in questions]
        connection.close()
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
