"""A store in PostgreSQL: each change is one statement and one commit, on the server's clock.

A claim tries a transaction's advisory lock first, so that a duplicate that comes in the same moment is told to wait
instead of waiting inside the server. The lock is a courtesy; what makes a claim atomic is that its row is written by
one INSERT that says in ON CONFLICT which rows it may take.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Final, cast

from formicary.idempotency.deciding import decide
from formicary.idempotency.model import Acquired, Busy, Claim, Outcome, State
from formicary.idempotency.refusals import store_unavailable
from formicary.idempotency.schema import (
    COLUMN_LIST,
    COLUMNS,
    SETUP_LOCK,
    TABLE,
    from_row,
    lock_number,
    table_statements,
)
from formicary.idempotency.server_store import Rows, ServerStore
from formicary.idempotency.store import Capabilities

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.AsyncConnection[tuple[object, ...]]

_MICROS: Final = "floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_MILLIS: Final = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_ABSENT: Final = "(t.expires_ms <= c.us / 1000 AND NOT (t.state = 'IN_PROGRESS' AND t.lease_ms > c.us / 1000))"
_FREE: Final = (
    f"({_ABSENT} OR (t.fingerprint = %(fingerprint)s AND (t.state = 'RELEASED'"
    " OR (t.state = 'IN_PROGRESS' AND t.lease_ms <= c.us / 1000))))"
)


def _in_conflict(condition: str) -> str:
    """The same condition where the row of the conflict is meant, and the time comes with the new row."""
    return condition.replace("c.us / 1000", "excluded.created_ms")


def _kept(column: str) -> str:
    """A column that a new life of the record replaces and a take-over keeps."""
    return f"{column} = CASE WHEN {_in_conflict(_ABSENT)} THEN excluded.{column} ELSE t.{column} END"


_ACQUIRE: Final = f"""
WITH c AS MATERIALIZED (SELECT {_MICROS} AS us),
old AS MATERIALIZED (SELECT t.*, {_FREE} AS free FROM {TABLE} t, c WHERE t.id = %(id)s),
lock AS MATERIALIZED (
    SELECT CASE WHEN coalesce((SELECT free FROM old), true) THEN pg_try_advisory_xact_lock(%(lock)s) END AS got
),
new AS (
    INSERT INTO {TABLE} AS t ({COLUMN_LIST})
    SELECT %(id)s, %(key)s, %(fingerprint)s, %(tenant)s, %(method)s, %(route)s, %(parent)s, 'IN_PROGRESS', c.us, 1,
        c.us / 1000, c.us / 1000 + %(lease)s, c.us / 1000 + %(ttl)s, NULL, '', ''::bytea
    FROM c, lock WHERE lock.got
    ON CONFLICT (id) DO UPDATE SET
        token = greatest(t.token + 1, excluded.token),
        attempts = CASE WHEN {_in_conflict(_ABSENT)} THEN 1 ELSE t.attempts + 1 END,
        state = 'IN_PROGRESS', lease_ms = excluded.lease_ms, expires_ms = excluded.expires_ms, response = NULL,
        {", ".join(_kept(column) for column in ("fingerprint", "parent", "created_ms", "point", "data"))}
    WHERE {_in_conflict(_FREE)}
    RETURNING token, attempts, point, data
)
SELECT c.us, new.token, new.attempts, new.point, new.data, lock.got, {", ".join(f"old.{name}" for name in COLUMNS)}
FROM c CROSS JOIN lock LEFT JOIN new ON true LEFT JOIN old ON true
"""
_PURGE: Final = f"""
DELETE FROM {TABLE} WHERE id IN (
    SELECT t.id FROM {TABLE} t, (SELECT {_MICROS} AS us) c WHERE {_ABSENT} LIMIT %(limit)s FOR UPDATE OF t SKIP LOCKED)
"""


class PostgresStore(ServerStore):
    """Records in the table ``formicary_idempotency`` of a database, which may be the application's own.

    Args:
        url: ``postgresql://user:password@host:port/database``; the table is in the first schema of the search path.
        max_connections: Most connections; they are made when they are needed.
        timeout_s: Longest wait for a connection and its answer; then 503.
    """

    name = "postgresql"
    millis = _MILLIS
    capabilities = Capabilities(
        durable=True,
        shared=True,
        grouped=False,
        isolation="Read committed; a claim is one INSERT .. ON CONFLICT, which locks the row before it decides.",
    )

    def __init__(self, url: str, *, max_connections: int = 4, timeout_s: float = 5.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._max = max_connections
        self._free = asyncio.Semaphore(max_connections)
        self._idle: deque[Connection] = deque()
        self._open = False

    async def open(self) -> None:
        """Connects and makes the table. Raises Problem IDEMPOTENCY_STORE_UNAVAILABLE."""
        if self._open:
            return
        self._free = asyncio.Semaphore(self._max)
        self._open = True
        try:
            async with self._connection() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (SETUP_LOCK,))  # not two at once
                found = await (await connection.execute("SELECT to_regclass(%s)", (TABLE,))).fetchone()
                for statement in table_statements("postgresql") if found == (None,) else ():
                    await connection.execute(statement.encode())
        except BaseException:
            self._open = False
            raise

    async def close(self) -> None:
        """Closes the connections."""
        self._open = False
        while self._idle:
            await self._idle.pop().close()

    async def acquire(self, claim: Claim) -> Outcome:
        """One statement; a second look only where another claim was faster in the same moment."""
        values = {
            "id": claim.id, "key": claim.key, "fingerprint": claim.fingerprint, "tenant": claim.tenant,
            "method": claim.method, "route": claim.route, "parent": claim.parent, "lock": lock_number(claim.id),
            "lease": round(claim.lease_s * 1000), "ttl": round(claim.ttl_s * 1000),
        }  # fmt: skip
        for _ in range(3):
            rows, _ = await self._execute(_ACQUIRE, values)
            micros, token, attempts, point, data, locked, *old = rows[0]
            record = None if old[0] is None else from_row(old)
            now_ms = int(str(micros)) // 1000
            if token is not None:
                # the old row is of this statement's snapshot: good enough to say whether a lease had run out
                over = record is not None and record.state is State.IN_PROGRESS and attempts != 1
                return Acquired(cast(int, token), cast(int, attempts), str(point), cast(bytes, data), over)
            outcome, _ = decide(record, claim, now_ms)
            if not isinstance(outcome, Acquired):
                return outcome
            if not locked:
                return Busy(1)
        return Busy(1)

    async def purge(self, limit: int = 1000) -> int:
        """Deletes what is over."""
        return (await self._execute(_PURGE, {"limit": limit}))[1]

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _execute(self, statement: str, values: Mapping[str, object]) -> tuple[Rows, int]:
        async with self._connection() as connection:
            cursor = await connection.execute(statement.encode(), values)
            rows = await cursor.fetchall() if cursor.description else []
            return rows, cursor.rowcount

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """One connection; after an error it and all idle ones are given up: the server may have gone."""
        if not self._open:
            raise store_unavailable("the idempotency store in PostgreSQL is not open")
        driver = _driver()
        try:
            async with asyncio.timeout(self._timeout_s), self._free:
                connection = self._idle.pop() if self._idle else await self._connect()
                try:
                    yield connection
                except BaseException:
                    await self._give_up(connection)
                    raise
                self._idle.append(connection)
        except driver.Error as error:
            raise store_unavailable(f"PostgreSQL: {' '.join(str(error).split())}") from error
        except TimeoutError as error:
            raise store_unavailable(f"PostgreSQL gave no answer for {self._timeout_s:g} s") from error

    async def _give_up(self, connection: Connection) -> None:
        gone = [connection, *self._idle]
        self._idle.clear()
        for each in gone:
            await each.close()

    async def _connect(self) -> Connection:
        driver = _driver()
        connection: Connection = await driver.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=max(2, round(self._timeout_s)), application_name="formicary"
        )
        await connection.execute(
            "SELECT set_config('statement_timeout', %s, false)", (f"{self._timeout_s * 1000:.0f}",)
        )
        return connection


def _driver() -> ModuleType:
    try:
        import psycopg
    except ImportError as error:
        raise store_unavailable("PostgreSQL needs its driver: pip install 'formicary[postgres]'") from error
    return psycopg
