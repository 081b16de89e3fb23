"""A transaction of one's own on MySQL (8.0.16 on) or MariaDB (10.3 on), tables of InnoDB: PyMySQL's ``Connection``, and
SQLAlchemy's ``Session`` and ``AsyncSession``.

A key has a named lock of the server, which belongs to the connection and outlives the transaction. It is given back
after the transaction's end. A session of SQLAlchemy parts with its connection when it commits: there the lock is given
back just before, and whoever gets it in between is refused by the primary key when it writes its record.
A statement that ends the transaction by itself (MySQL commits before every DDL) is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from formicary.idempotency.connections import SAVEPOINT, AlchemySession, Values, percent
from formicary.idempotency.schema import Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pymysql  # type: ignore[import-untyped]  # the driver has no types
    import sqlalchemy.ext.asyncio
    import sqlalchemy.orm

_IN_TRANSACTION: Final = 1
"""The server's flag SERVER_STATUS_IN_TRANS."""
_DUPLICATE: Final = 1062
_NO_SAVEPOINT: Final = 1305


_NAME: Final = "SHA2(CONCAT(COALESCE(DATABASE(), ''), :name), 224)"
"""Of a lock: names are the whole server's, and other databases of it may know the same keys."""
_GET_LOCK: Final = f"SELECT GET_LOCK({_NAME}, 0), {_NAME}"
_RELEASE_LOCK: Final = "SELECT RELEASE_LOCK(:name)"
_ENDED: Final = "the block has ended the transaction itself: its writes may be there without a record"


def _lock_name(record_id: bytes) -> str:
    return f"formicary:{record_id.hex()}"


class MysqlConnection:
    """PyMySQL's ``Connection``, with or without autocommit, with any class of cursors."""

    dialect: Dialect = "mysql"
    synchronous = True
    database = ""

    def __init__(self, connection: pymysql.Connection) -> None:
        import pymysql

        self._connection = connection
        self._cursor = pymysql.cursors.Cursor
        self._error = pymysql.err.Error
        self._locked = ""
        self.unavailable: tuple[type[Exception], ...] = (pymysql.err.OperationalError, pymysql.err.InterfaceError)

    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._connection.server_status & _IN_TRANSACTION)

    async def begin(self, wait_s: float) -> bool:
        """BEGIN."""
        self._connection.begin()
        return True

    async def lock(self, record_id: bytes) -> bool:
        """Takes the named lock, if nobody has it."""
        rows = await self.fetch(_GET_LOCK, {"name": _lock_name(record_id)})
        if rows[0][0] != 1:
            return False
        self._locked = str(rows[0][1])
        return True

    async def unlock(self) -> None:
        """Gives it back; with the session it goes by itself."""
        name, self._locked = self._locked, ""
        if name and self._connection.open:
            await self.fetch(_RELEASE_LOCK, {"name": name})
            if not self._connection.get_autocommit():
                self._connection.rollback()  # without autocommit a question begins a transaction

    async def fetch(self, statement: str, values: Mapping[str, object]) -> Sequence[Sequence[object]]:
        """The rows of a question."""
        with self._connection.cursor(self._cursor) as cursor:
            cursor.execute(percent(statement).decode(), values)
            return list(cursor.fetchall())

    async def change(self, statement: str, values: Mapping[str, object]) -> int:
        """How many rows a statement has changed; 0 where the row is there already."""
        with self._connection.cursor(self._cursor) as cursor:
            try:
                return int(cursor.execute(percent(statement).decode(), values))
            except self._error as error:
                if error.args[:1] != (_DUPLICATE,):
                    raise
                return 0

    async def savepoint(self) -> None:
        """SAVEPOINT."""
        await self.change(f"SAVEPOINT {SAVEPOINT}", {})

    async def keep(self) -> None:
        """RELEASE."""
        await self._to_savepoint("RELEASE")

    async def undo(self) -> None:
        """ROLLBACK TO."""
        await self._to_savepoint("ROLLBACK TO")

    async def _to_savepoint(self, verb: str) -> None:
        try:
            await self.change(f"{verb} SAVEPOINT {SAVEPOINT}", {})
        except self._error as error:
            if error.args[:1] != (_NO_SAVEPOINT,):
                raise
            raise RuntimeError(_ENDED) from error

    async def commit(self) -> None:
        """COMMIT."""
        self._connection.commit()

    async def rollback(self) -> None:
        """ROLLBACK."""
        self._connection.rollback()


class AlchemyMysqlSession(AlchemySession):
    """SQLAlchemy's ``Session`` and ``AsyncSession`` on MySQL or MariaDB."""

    def __init__(self, session: sqlalchemy.ext.asyncio.AsyncSession | sqlalchemy.orm.Session) -> None:
        from sqlalchemy import exc

        super().__init__(session)
        self._integrity = exc.IntegrityError
        self._failed = exc.DBAPIError
        self._locked = ""

    async def lock(self, record_id: bytes) -> bool:
        """Takes the named lock, if nobody has it."""
        rows = await self.fetch(_GET_LOCK, {"name": _lock_name(record_id)})
        if rows[0][0] != 1:
            return False
        self._locked = str(rows[0][1])
        return True

    async def change(self, statement: str, values: Values) -> int:
        """How many rows a statement has changed; 0 where the row is there already."""
        try:
            return await super().change(statement, values)
        except self._integrity as error:
            if _number(error) != _DUPLICATE:
                raise
            return 0

    async def keep(self) -> None:
        """Writes what the session has gathered, and ends the nested transaction."""
        try:
            await super().keep()
        except self._failed as error:
            raise self._told(error) from error

    async def undo(self) -> None:
        """Undoes the nested transaction."""
        try:
            await super().undo()
        except self._failed as error:
            raise self._told(error) from error

    async def commit(self) -> None:
        """Gives the lock back, and commits."""
        await self._let_go()
        await super().commit()

    async def rollback(self) -> None:
        """Gives the lock back, and rolls back: also where the connection has gone, and the lock with it."""
        try:
            await self._let_go()
        except self._failed:
            pass
        await super().rollback()

    async def _let_go(self) -> None:
        name, self._locked = self._locked, ""
        if name:
            await self.fetch(_RELEASE_LOCK, {"name": name})

    @staticmethod
    def _told(error: Exception) -> Exception:
        return RuntimeError(_ENDED) if _number(error) == _NO_SAVEPOINT else error


def _number(error: Exception) -> object:
    """The server's number of an error that SQLAlchemy has wrapped."""
    arguments: tuple[object, ...] = getattr(getattr(error, "orig", None), "args", ())
    return arguments[0] if arguments else None
