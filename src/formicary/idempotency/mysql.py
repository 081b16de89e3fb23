"""A store in MySQL or MariaDB. The driver is synchronous, so a few threads hold a connection each.

A claim reads its record, decides, and writes only if the record is still what was read (INSERT of an absent one, UPDATE
of the token that was seen); where another was faster it looks again. Every statement is a transaction of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import unquote, urlsplit

from formicary.idempotency.deciding import decide
from formicary.idempotency.model import Busy, Claim, Outcome
from formicary.idempotency.refusals import store_unavailable
from formicary.idempotency.schema import COLUMN_LIST, COLUMNS, TABLE, from_row, table_statements, to_row
from formicary.idempotency.server_store import Rows, ServerStore
from formicary.idempotency.store import Capabilities

if TYPE_CHECKING:
    import pymysql  # type: ignore[import-untyped]  # the driver has no types

T = TypeVar("T")

_MICROS: Final = "CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)"
_MILLIS: Final = f"({_MICROS} DIV 1000)"
_LOOK: Final = (
    f"SELECT n.us, {', '.join(f't.{name}' for name in COLUMNS)} FROM (SELECT {_MICROS} AS us) n"
    f" LEFT JOIN {TABLE} t ON t.id = %(id)s"
)
_INSERT: Final = f"INSERT INTO {TABLE} ({COLUMN_LIST}) VALUES ({', '.join(f'%({name})s' for name in COLUMNS)})"
_SWAP: Final = (
    f"UPDATE {TABLE} SET {', '.join(f'{name} = %({name})s' for name in COLUMNS[1:])}"
    " WHERE id = %(id)s AND token = %(seen_token)s AND state = %(seen_state)s AND lease_ms = %(seen_lease_ms)s"
    " AND point = %(seen_point)s AND data = %(seen_data)s"
)
_PURGE: Final = (
    f"DELETE FROM {TABLE} WHERE expires_ms <= %(now)s AND NOT (state = 'IN_PROGRESS' AND lease_ms > %(now)s)"
    " LIMIT %(limit)s"
)
_TRIES: Final = 8
_DUPLICATE: Final = 1062
_DEADLOCK: Final = 1213


class MysqlStore(ServerStore):
    """Records in the table ``formicary_idempotency`` of a MySQL (8.0.16 on) or MariaDB (10.3 on) database.

    Args:
        url: ``mysql://user:password@host:port/database``.
        max_connections: How many threads with a connection each.
        timeout_s: Longest wait for an answer; then 503.
    """

    name = "mysql"
    millis = _MILLIS
    capabilities = Capabilities(
        durable=True,
        shared=True,
        grouped=False,
        isolation="Compare-and-set: INSERT on the primary key, or UPDATE of the very token, state and lease seen.",
    )

    def __init__(self, url: str, *, max_connections: int = 4, timeout_s: float = 5.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._max = max_connections
        self._threads: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._made: list[pymysql.Connection] = []

    async def open(self) -> None:
        """Connects and makes the table. Raises Problem IDEMPOTENCY_STORE_UNAVAILABLE."""
        if self._threads is not None:
            return
        self._threads = ThreadPoolExecutor(self._max, thread_name_prefix="formicary-idempotency")
        try:
            for statement in table_statements("mysql"):
                await self._execute(statement, {})
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Closes the connections."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        for connection in self._made:
            if connection.open:
                connection.close()
        self._made.clear()
        self._local = threading.local()

    async def acquire(self, claim: Claim) -> Outcome:
        """Look, decide, compare and set."""
        return await self._call(lambda: self._acquire(claim))

    async def purge(self, limit: int = 1000) -> int:
        """Deletes what is over."""
        now = await self.now_ms()
        return (await self._execute(_PURGE, {"limit": limit, "now": now}))[1]

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _execute(self, statement: str, values: Mapping[str, object]) -> tuple[Rows, int]:
        return await self._call(lambda: self._statement(statement, values))

    async def _call(self, work: Callable[[], T]) -> T:
        if self._threads is None:
            raise store_unavailable("the idempotency store in MySQL is not open")
        driver = _driver()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (driver.Error, OSError, TimeoutError) as error:
            raise store_unavailable(f"MySQL: {str(error) or f'no answer for {self._timeout_s:g} s'}") from error

    # --- on a thread ------------------------------------------------------------------------------------------------

    def _acquire(self, claim: Claim) -> Outcome:
        driver = _driver()
        for _ in range(_TRIES):
            rows, _ = self._statement(_LOOK, {"id": claim.id})
            micros, *row = rows[0]
            record = None if row[0] is None else from_row(row)
            outcome, changed = decide(record, claim, int(str(micros)) // 1000, int(str(micros)))
            if changed is None:
                return outcome
            values = dict(zip(COLUMNS, to_row(changed), strict=True))
            if record is not None:
                seen = ("token", "state", "lease_ms", "point", "data")
                values |= {f"seen_{name}": getattr(record, name) for name in seen}
                values["seen_state"] = record.state.value
            try:
                _, count = self._statement(_INSERT if record is None else _SWAP, values)
            except driver.Error as error:
                if error.args[:1] not in ((_DUPLICATE,), (_DEADLOCK,)):
                    raise
                continue
            if count:
                return outcome
        return Busy(1)

    def _statement(self, statement: str, values: Mapping[str, object]) -> tuple[Rows, int]:
        connection = self._connection()
        try:
            with connection.cursor() as cursor:
                count = cursor.execute(statement, values)
                return list(cursor.fetchall()), count
        except (_driver().err.OperationalError, _driver().err.InterfaceError, OSError):
            self._local.connection = None  # it may be broken; the next statement makes a new one
            if connection.open:
                connection.close()
            raise

    def _connection(self) -> pymysql.Connection:
        connection: pymysql.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            parts = urlsplit(self._url)
            connection = _driver().connect(
                host=parts.hostname or "127.0.0.1",
                port=parts.port or 3306,
                user=unquote(parts.username or "root"),
                password=unquote(parts.password or ""),
                database=parts.path.lstrip("/"),
                charset="utf8mb4",
                autocommit=True,
                client_flag=_driver().constants.CLIENT.FOUND_ROWS,
                connect_timeout=max(1, round(self._timeout_s)),
                read_timeout=max(1, round(self._timeout_s)),
                write_timeout=max(1, round(self._timeout_s)),
            )
            self._local.connection = connection
            self._made.append(connection)
        return connection


def _driver() -> ModuleType:
    try:
        import pymysql
    except ImportError as error:
        raise store_unavailable("MySQL needs its driver: pip install 'formicary[mysql]'") from error
    driver: ModuleType = pymysql
    return driver
