"""The connections that a transaction of one's own may be on, each behind the same few verbs.

Supported are ``sqlite3.Connection``, psycopg's ``AsyncConnection`` and ``Connection``, asyncpg's ``Connection``,
PyMySQL's ``Connection``, and SQLAlchemy's ``AsyncSession`` and ``Session`` on SQLite, PostgreSQL and MySQL. No driver
is imported here: a connection that comes in has brought its own. Statements name their parameters ``:like_this``.

Every verb is a coroutine. Those of a synchronous driver never give way, so that :func:`drive` can run them at once.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from formicary.idempotency.schema import SETUP_LOCK, TABLE, Dialect, lock_number, table_statements

if TYPE_CHECKING:
    import asyncpg  # type: ignore[import-untyped]  # the driver has no types
    import psycopg
    import pymysql  # type: ignore[import-untyped]  # the driver has no types
    import sqlalchemy.ext.asyncio
    import sqlalchemy.orm

T = TypeVar("T")
Values = Mapping[str, object]
Rows = Sequence[Sequence[object]]
SAVEPOINT: Final = "formicary_business"
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_ADVISORY: Final = "SELECT pg_try_advisory_xact_lock(CAST(:lock AS bigint))"
_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_]+)")


class Adapter(Protocol):
    """One connection.

    Attributes:
        dialect: Of its SQL.
        synchronous: Whether no verb ever gives way.
        database: Names the database inside this process.
        unavailable: The driver's errors that mean: the database cannot be asked.
    """

    dialect: Dialect
    synchronous: bool
    database: str
    unavailable: tuple[type[Exception], ...]

    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    async def begin(self, wait_s: float) -> bool:
        """Begins one that may write; False where its lock could not be had in `wait_s`."""
        ...

    async def lock(self, record_id: bytes) -> bool:
        """Takes the lock of a key; False where another transaction has it."""
        ...

    async def unlock(self) -> None:
        """Gives it back, where the transaction's end does not."""
        ...

    async def fetch(self, statement: str, values: Values) -> Rows:
        """The rows of a question."""
        ...

    async def change(self, statement: str, values: Values) -> int:
        """How many rows a statement has changed."""
        ...

    async def savepoint(self) -> None:
        """Everything from here on can be undone."""
        ...

    async def keep(self) -> None:
        """The savepoint's work stays. Fails where the transaction is not the one that it was made in."""
        ...

    async def undo(self) -> None:
        """The savepoint's work is undone."""
        ...

    async def commit(self) -> None:
        """Commits."""
        ...

    async def rollback(self) -> None:
        """Rolls everything back."""
        ...


async def pause(adapter: Adapter, seconds: float) -> None:
    """Waits, the whole thread where the driver is synchronous and nothing else can run on it anyway."""
    if adapter.synchronous and not _inside_a_loop():
        time.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


def _inside_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def drive(work: Coroutine[object, object, T]) -> T:
    """Runs a coroutine that never gives way."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    work.close()
    raise TypeError("this connection is asynchronous (or a loop is running): use `async with`")


class _LockedAlready:
    """On SQLite the write lock of the file is the lock of every key."""

    async def lock(self, record_id: bytes) -> bool:
        """Nothing to take."""
        return True

    async def unlock(self) -> None:
        """The transaction's end does it."""


class _AdvisoryLock:
    """On PostgreSQL a key has an advisory lock until the transaction ends."""

    async def fetch(self, statement: str, values: Values) -> Rows:
        """As each driver does."""
        raise TypeError("an adapter has its own")

    async def lock(self, record_id: bytes) -> bool:
        """Takes it, if nobody has it."""
        rows = await self.fetch(_ADVISORY, {"lock": lock_number(record_id)})
        return rows[0][0] is True

    async def unlock(self) -> None:
        """The transaction's end does it."""


class SqliteConnection(_LockedAlready):
    """``sqlite3.Connection``, in whatever transaction mode it was opened."""

    dialect: Dialect = "sqlite"
    synchronous = True
    unavailable: tuple[type[Exception], ...] = (sqlite3.OperationalError,)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        file = connection.execute("PRAGMA database_list").fetchone()[2]
        self.database = f"sqlite:{file or id(connection)}"

    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.in_transaction

    async def begin(self, wait_s: float) -> bool:
        """BEGIN IMMEDIATE; it gives way between its tries, as the lock's holder may be another task of this thread."""
        (before,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            return await begin_immediate(self, lambda: self.change("BEGIN IMMEDIATE", {}), wait_s)
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(before)}")

    async def fetch(self, statement: str, values: Values) -> Rows:
        """The rows of a question."""
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor.execute(statement, values).fetchall()

    async def change(self, statement: str, values: Values) -> int:
        """How many rows a statement has changed."""
        return self._connection.execute(statement, values).rowcount

    async def savepoint(self) -> None:
        """SAVEPOINT."""
        self._connection.execute(f"SAVEPOINT {SAVEPOINT}")

    async def keep(self) -> None:
        """RELEASE."""
        self._connection.execute(f"RELEASE {SAVEPOINT}")

    async def undo(self) -> None:
        """ROLLBACK TO."""
        self._connection.execute(f"ROLLBACK TO {SAVEPOINT}")

    async def commit(self) -> None:
        """COMMIT."""
        self._connection.execute("COMMIT")

    async def rollback(self) -> None:
        """ROLLBACK."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


async def begin_immediate(adapter: Adapter, begin: Callable[[], Awaitable[object]], wait_s: float) -> bool:
    """Tries to take SQLite's write lock until the time is over."""
    until, delay_s = time.monotonic() + wait_s, 0.002
    while True:
        try:
            await begin()
            return True
        except Exception as error:
            cause = getattr(error, "orig", error)
            if getattr(cause, "sqlite_errorcode", 0) & 0xFF not in _BUSY:
                raise
            if time.monotonic() + delay_s > until:
                return False
        await pause(adapter, delay_s)
        delay_s = min(2 * delay_s, 0.05)


class PsycopgConnection(_AdvisoryLock):
    """psycopg's ``AsyncConnection``, with or without autocommit."""

    dialect: Dialect = "postgresql"
    synchronous = False
    database = ""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        import psycopg

        self._connection = connection
        self._rows = psycopg.rows.tuple_row
        self.unavailable: tuple[type[Exception], ...] = (psycopg.OperationalError, psycopg.InterfaceError)

    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.info.transaction_status.name in ("INTRANS", "INERROR")

    async def begin(self, wait_s: float) -> bool:
        """BEGIN; without autocommit the driver sends it before the first statement."""
        if self._connection.autocommit:
            await self._connection.execute("BEGIN")
        return True

    async def fetch(self, statement: str, values: Values) -> Rows:
        """The rows of a question."""
        async with self._connection.cursor(row_factory=self._rows) as cursor:
            await cursor.execute(percent(statement), values)
            return await cursor.fetchall()

    async def change(self, statement: str, values: Values) -> int:
        """How many rows a statement has changed."""
        return (await self._connection.execute(percent(statement), values)).rowcount

    async def savepoint(self) -> None:
        """SAVEPOINT."""
        await self._connection.execute(f"SAVEPOINT {SAVEPOINT}".encode())

    async def keep(self) -> None:
        """RELEASE."""
        await self._connection.execute(f"RELEASE SAVEPOINT {SAVEPOINT}".encode())

    async def undo(self) -> None:
        """ROLLBACK TO."""
        await self._connection.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}".encode())

    async def commit(self) -> None:
        """COMMIT."""
        await self._connection.commit()

    async def rollback(self) -> None:
        """ROLLBACK."""
        await self._connection.rollback()


class PsycopgSyncConnection(_AdvisoryLock):
    """psycopg's ``Connection``, with or without autocommit."""

    dialect: Dialect = "postgresql"
    synchronous = True
    database = ""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        import psycopg

        self._connection = connection
        self._rows = psycopg.rows.tuple_row
        self.unavailable: tuple[type[Exception], ...] = (psycopg.OperationalError, psycopg.InterfaceError)

    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.info.transaction_status.name in ("INTRANS", "INERROR")

    async def begin(self, wait_s: float) -> bool:
        """BEGIN; without autocommit the driver sends it before the first statement."""
        if self._connection.autocommit:
            self._connection.execute("BEGIN")
        return True

    async def fetch(self, statement: str, values: Values) -> Rows:
        """The rows of a question."""
        with self._connection.cursor(row_factory=self._rows) as cursor:
            return cursor.execute(percent(statement), values).fetchall()

    async def change(self, statement: str, values: Values) -> int:
        """How many rows a statement has changed."""
        return self._connection.execute(percent(statement), values).rowcount

    async def savepoint(self) -> None:
        """SAVEPOINT."""
        self._connection.execute(f"SAVEPOINT {SAVEPOINT}".encode())

    async def keep(self) -> None:
        """RELEASE."""
        self._connection.execute(f"RELEASE SAVEPOINT {SAVEPOINT}".encode())

    async def undo(self) -> None:
        """ROLLBACK TO."""
        self._connection.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}".encode())

    async def commit(self) -> None:
        """COMMIT."""
        self._connection.commit()

    async def rollback(self) -> None:
        """ROLLBACK."""
        self._connection.rollback()


class AsyncpgConnection(_AdvisoryLock):
    """asyncpg's ``Connection``, from a pool or not."""

    dialect: Dialect = "postgresql"
    synchronous = False
    database = ""

    def __init__(self, connection: asyncpg.Connection) -> None:
        import asyncpg

        self._connection = connection
        self._transaction = connection.transaction()
        self.unavailable: tuple[type[Exception], ...] = (
            asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.SerializationError, OSError,
            asyncpg.exceptions.OperatorInterventionError, asyncpg.exceptions.InsufficientResourcesError,
        )  # fmt: skip

    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._connection.is_in_transaction())

    async def begin(self, wait_s: float) -> bool:
        """BEGIN, known to the driver, so that its own transactions nest inside."""
        self._transaction = self._connection.transaction()
        await self._transaction.start()
        return True

    async def fetch(self, statement: str, values: Values) -> Rows:
        """The rows of a question."""
        text, names = _numbered(statement)
        return [tuple(row) for row in await self._connection.fetch(text, *(values[name] for name in names))]

    async def change(self, statement: str, values: Values) -> int:
        """How many rows a statement has changed."""
        text, names = _numbered(statement)
        tag = await self._connection.execute(text, *(values[name] for name in names))
        return int(tag.rpartition(" ")[2]) if tag[-1:].isdigit() else 0

    async def savepoint(self) -> None:
        """SAVEPOINT."""
        await self._connection.execute(f"SAVEPOINT {SAVEPOINT}")

    async def keep(self) -> None:
        """RELEASE."""
        await self._connection.execute(f"RELEASE SAVEPOINT {SAVEPOINT}")

    async def undo(self) -> None:
        """ROLLBACK TO."""
        await self._connection.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")

    async def commit(self) -> None:
        """COMMIT."""
        await self._transaction.commit()

    async def rollback(self) -> None:
        """ROLLBACK."""
        if self._connection.is_in_transaction():
            await self._transaction.rollback()


class AlchemySession(_AdvisoryLock):
    """SQLAlchemy's ``AsyncSession``, and with it ``Session``: the one is a shell around the other."""

    def __init__(self, session: sqlalchemy.ext.asyncio.AsyncSession | sqlalchemy.orm.Session) -> None:
        from sqlalchemy import exc, text

        self._session = session
        self.synchronous = not hasattr(session, "sync_session")
        engine = session.get_bind()
        name = engine.dialect.name
        if name not in _SPOKEN:
            raise TypeError(f"transactions of your own are on SQLite, PostgreSQL and MySQL; this session is on {name}")
        self.dialect: Dialect = _SPOKEN[name]
        self.database = f"sqlite:{engine.engine.url.database or id(engine)}" if name == "sqlite" else ""
        self.unavailable: tuple[type[Exception], ...] = (exc.OperationalError, exc.InterfaceError)
        self._text = lru_cache(64)(text)
        self._nested: sqlalchemy.orm.SessionTransaction | sqlalchemy.ext.asyncio.AsyncSessionTransaction | None = None

    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._session.in_transaction()

    async def lock(self, record_id: bytes) -> bool:
        """As the database has it."""
        return self.dialect == "sqlite" or await super().lock(record_id)

    async def begin(self, wait_s: float) -> bool:
        """The session's own; on SQLite the write lock too."""
        if self.dialect != "sqlite":
            await self._await(self._session.begin())
            return True
        return await begin_immediate(self, self._begin_sqlite, wait_s)

    async def fetch(self, statement: str, values: Values) -> Rows:
        """The rows of a question."""
        result = cast("sqlalchemy.Result[tuple[object, ...]]", await self._execute(statement, values))
        return [tuple(row) for row in result]

    async def change(self, statement: str, values: Values) -> int:
        """How many rows a statement has changed."""
        result = await self._execute(statement, values)
        return cast("sqlalchemy.CursorResult[tuple[object, ...]]", result).rowcount

    async def savepoint(self) -> None:
        """A nested transaction, so that the session knows what to forget."""
        nested = self._session.begin_nested()
        await self._await(nested)
        self._nested = nested

    async def keep(self) -> None:
        """Writes what the session has gathered, and ends the nested transaction."""
        assert self._nested is not None
        await self._await(self._session.flush())
        await self._await(self._nested.commit())

    async def undo(self) -> None:
        """Undoes the nested transaction."""
        assert self._nested is not None
        await self._await(self._nested.rollback())

    async def commit(self) -> None:
        """Commits."""
        await self._await(self._session.commit())

    async def rollback(self) -> None:
        """Rolls everything back."""
        await self._await(self._session.rollback())

    async def _begin_sqlite(self) -> None:
        try:
            await self._execute("BEGIN IMMEDIATE", {})
        except BaseException:
            await self.rollback()
            raise

    async def _execute(self, statement: str, values: Values) -> object:
        return await self._await(self._session.execute(self._text(statement), dict(values)))

    async def _await(self, value: object) -> object:
        return value if self.synchronous else await cast("Awaitable[object]", value)


_SPOKEN: Final[dict[str, Dialect]] = {
    "sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql",
}  # fmt: skip
"""SQLAlchemy's names of dialects."""


def _mysql(connection: pymysql.Connection) -> Adapter:
    from formicary.idempotency.connection_mysql import MysqlConnection

    return MysqlConnection(connection)


def _alchemy(session: sqlalchemy.ext.asyncio.AsyncSession | sqlalchemy.orm.Session) -> Adapter:
    from formicary.idempotency.connection_mysql import AlchemyMysqlSession

    is_mysql = _SPOKEN.get(session.get_bind().dialect.name) == "mysql"
    return AlchemyMysqlSession(session) if is_mysql else AlchemySession(session)


_KINDS: Final = {
    ("pymysql", "Connection"): _mysql,
    ("sqlite3", "Connection"): SqliteConnection,
    ("psycopg", "AsyncConnection"): PsycopgConnection,
    ("psycopg", "Connection"): PsycopgSyncConnection,
    ("asyncpg", "Connection"): AsyncpgConnection,
    ("asyncpg", "PoolConnectionProxy"): AsyncpgConnection,
    ("sqlalchemy", "AsyncSession"): _alchemy,
    ("sqlalchemy", "Session"): _alchemy,
}


def adapt(connection: object) -> Adapter:
    """The verbs of a connection. Raises TypeError for a kind that is not known."""
    for kind in type(connection).__mro__:
        adapter = _KINDS.get((kind.__module__.partition(".")[0], kind.__name__))
        if adapter is not None:
            return cast("Callable[[object], Adapter]", adapter)(connection)
    known = ", ".join(sorted(".".join(key) for key in _KINDS))
    raise TypeError(f"a {type(connection).__qualname__} is no connection that can be used here; known are {known}")


async def ensure_table(connection: object) -> None:
    """Makes the table and its indexes where they are missing, and commits. For migrations of your own see
    :func:`formicary.idempotency.schema.table_statements`.
    """
    adapter = adapt(connection)
    await adapter.begin(5.0)
    try:
        for statement in () if await _is_there(adapter) else table_statements(adapter.dialect):
            await adapter.change(statement, {})
        await adapter.commit()
    except BaseException:
        await adapter.rollback()
        raise


async def _is_there(adapter: Adapter) -> bool:
    """On PostgreSQL two that make the same table at once would fail, and making an index again would lock the table."""
    if adapter.dialect != "postgresql":
        return False
    await adapter.fetch("SELECT 1 FROM pg_advisory_xact_lock(CAST(:lock AS bigint))", {"lock": SETUP_LOCK})
    return (await adapter.fetch(f"SELECT to_regclass('{TABLE}') IS NOT NULL", {}))[0][0] is True


def ensure_table_sync(connection: object) -> None:
    """The same for connections of synchronous drivers."""
    drive(ensure_table(connection))


@lru_cache(maxsize=64)
def percent(statement: str) -> bytes:
    """The statement with its parameters as psycopg and PyMySQL name them."""
    return _PARAMETER.sub(r"%(\1)s", statement).encode()


@lru_cache(maxsize=64)
def _numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return _PARAMETER.sub(number, statement), tuple(names)
