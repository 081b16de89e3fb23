"""Where the ledger is, SQLite or PostgreSQL. Each commits the key, the entries and the answer at once."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING, Protocol, TypeVar

from examples.payments.ledger import TABLES, Ledger, Posting
from formicary.idempotency import Claim, PostgresStore, SqliteStore, Store, StoredResponse
from formicary.idempotency.connections import ensure_table_sync
from formicary.idempotency.grouped import Executed
from formicary.idempotency.refusals import store_unavailable
from formicary.idempotency.transaction import idempotent

if TYPE_CHECKING:
    import psycopg

    PgConnection = psycopg.Connection[tuple[object, ...]]

T = TypeVar("T")
LOCK_WAIT_S = 1.0
CONNECTIONS = 8


class Bank(Protocol):
    """Keeps the accounts. Raises Problem IDEMPOTENCY_STORE_UNAVAILABLE where its database cannot be asked.

    Attributes:
        records: The same table of keys as a store, to be purged.
    """

    records: Store

    async def open(self) -> None:
        """Makes the tables."""
        ...

    async def close(self) -> None:
        """Closes what is open."""
        ...

    async def post(self, claim: Claim, posting: Posting) -> Executed:
        """Moves an amount once for each key. Raises Problem where another request with the key stands in the way."""
        ...

    async def ask(self, fn: Callable[[Ledger], T]) -> T:
        """Runs a query, or a change that may be repeated."""
        ...


class SqliteBank:
    """On SQLite the postings of many requests share a commit, a savepoint each.

    Args:
        path: The file.
        slow_s: How long a posting takes. Slow ones take a transaction of their own: in a shared one all would wait.
    """

    def __init__(self, path: str, slow_s: float = 0.0) -> None:
        self._path = path
        self._slow_s = slow_s
        self._store = SqliteStore(path, timeout_s=LOCK_WAIT_S)
        self.records: Store = self._store

    async def open(self) -> None:
        """Makes the tables."""

        def make() -> None:
            with self._connection() as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                for statement in TABLES:
                    connection.execute(statement)

        await asyncio.to_thread(make)
        await self._store.open()

    async def close(self) -> None:
        """Closes the file."""
        await self._store.close()

    async def post(self, claim: Claim, posting: Posting) -> Executed:
        """Moves an amount."""
        if not self._slow_s:
            return await self._store.run(claim, lambda connection: Ledger(connection).post(claim, posting))

        def alone() -> Executed:
            with self._connection() as connection:
                return post_alone(connection, claim, posting, self._slow_s)

        return await asyncio.to_thread(alone)

    async def ask(self, fn: Callable[[Ledger], T]) -> T:
        """Runs a query."""

        def asking() -> T:
            with self._connection() as connection:
                return fn(Ledger(connection))

        return await asyncio.to_thread(asking)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = None
        try:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=LOCK_WAIT_S)
            yield connection
        except sqlite3.OperationalError as error:
            raise store_unavailable(f"{self._path}: {error}") from error
        finally:
            if connection is not None:
                connection.close()


class PostgresBank:
    """On PostgreSQL a posting is one transaction on a connection of its own.

    Args:
        url: ``postgresql://…``.
        slow_s: How long a posting takes.
    """

    def __init__(self, url: str, slow_s: float = 0.0) -> None:
        self._url = url
        self._slow_s = slow_s
        self.records: Store = PostgresStore(url, max_connections=1)
        self._idle: LifoQueue[PgConnection] = LifoQueue()
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def open(self) -> None:
        """Makes the tables."""

        def make() -> None:
            with self._connection() as connection:
                ensure_table_sync(connection)
                with connection.transaction():
                    for statement in TABLES:
                        connection.execute(statement.encode())

        await asyncio.to_thread(make)
        await self.records.open()

    async def close(self) -> None:
        """Closes the connections."""
        await self.records.close()
        while not self._idle.empty():
            self._idle.get_nowait().close()

    async def post(self, claim: Claim, posting: Posting) -> Executed:
        """Moves an amount."""
        return await self._with(lambda connection: post_alone(connection, claim, posting, self._slow_s))

    async def ask(self, fn: Callable[[Ledger], T]) -> T:
        """Runs a query."""
        return await self._with(lambda connection: fn(Ledger(connection)))

    async def _with(self, fn: Callable[[PgConnection], T]) -> T:
        def using() -> T:
            with self._connection() as connection:
                return fn(connection)

        async with self._free:
            return await asyncio.to_thread(using)

    @contextmanager
    def _connection(self) -> Iterator[PgConnection]:
        """An idle connection, or a new one; one that has failed is not used again."""
        import psycopg

        try:
            connection = self._idle.get_nowait()
        except Empty:
            try:
                connection = psycopg.connect(self._url, autocommit=True, connect_timeout=2)
            except psycopg.OperationalError as error:
                raise store_unavailable(str(error)) from error
        try:
            yield connection
        except psycopg.OperationalError as error:
            raise store_unavailable(str(error)) from error
        finally:
            if connection.closed:
                connection.close()
            else:
                self._idle.put(connection)


def post_alone(
    connection: sqlite3.Connection | PgConnection, claim: Claim, posting: Posting, slow_s: float
) -> Executed:
    """A posting in a transaction of its own."""
    with idempotent(claim, connection, lock_wait_s=LOCK_WAIT_S) as tx:
        if tx.replayed is None:
            time.sleep(slow_s)
            tx.complete(Ledger(connection).post(claim, posting))
    response = tx.response
    assert isinstance(response, StoredResponse)
    return Executed(response, tx.replayed is not None)


def bank_of(database: str, slow_s: float = 0.0) -> Bank:
    """The bank at ``sqlite:///FILE``, a path, or ``postgresql://…``. Raises ValueError for another database."""
    if database.startswith(("postgresql://", "postgres://")):
        return PostgresBank(database, slow_s)
    path = database.removeprefix("sqlite:///")
    if "://" in path or not path:
        raise ValueError(f"{database} is no database of this example: sqlite:///FILE, a path, or postgresql://…")
    return SqliteBank(path, slow_s)
