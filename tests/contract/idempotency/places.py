"""Where the stores of these tests keep their records, and how a test moves time there."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from formicary.idempotency import Claim, MemoryStore, Store
from formicary.idempotency.mysql import MysqlStore
from formicary.idempotency.postgres import PostgresStore
from formicary.idempotency.redis_store import RedisStore
from formicary.idempotency.schema import TABLE
from formicary.idempotency.sqlite import SqliteStore

Ask = Callable[[str], Any]
"""Gives a fixture by its name."""
SHARED = ("sqlite", "postgresql", "mysql", "redis")
KINDS = ("memory", *SHARED)


class Place:
    """One store's data. `store` gives a new store object on it, as another process would have."""

    kind = "memory"

    def __init__(self) -> None:
        self.passed_ms = 0
        self._memory = MemoryStore(self.clock)

    def clock(self) -> int:
        """This machine's time and what the test has let pass."""
        return time.time_ns() // 1_000_000 + self.passed_ms

    def store(self, timeout_s: float = 5.0) -> Store:
        return self._memory

    def advance(self, seconds: float) -> None:
        """Lets time pass for the store."""
        self.passed_ms += round(seconds * 1000)

    def damage(self, record_id: bytes) -> None:
        """Makes the state of a stored record a word that does not exist; in memory nothing can be damaged."""

    def remove(self) -> None:
        """Removes the data."""


class SqlitePlace(Place):
    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "records.db"

    def store(self, timeout_s: float = 5.0, max_batch_s: float = 0.01) -> Store:
        return SqliteStore(self.path, now_ms=self.clock, timeout_s=timeout_s, max_batch_s=max_batch_s)

    def damage(self, record_id: bytes) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(f"UPDATE {TABLE} SET state = 'LOST' WHERE id = ?", (record_id,))


class PostgresPlace(Place):
    """A schema of its own. Its clock is the server's: time passes by moving all records into the past."""

    kind = "postgresql"

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def store(self, timeout_s: float = 5.0) -> Store:
        return PostgresStore(self.url, timeout_s=timeout_s)

    def advance(self, seconds: float) -> None:
        self._execute(_MOVE, (round(seconds * 1000),) * 3)

    def damage(self, record_id: bytes) -> None:
        self._execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT {TABLE}_state_check")
        self._execute(f"UPDATE {TABLE} SET state = 'LOST' WHERE id = %s", (record_id,))

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> None:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode(), values)


class MysqlPlace(Place):
    kind = "mysql"

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self._execute(f"DROP TABLE IF EXISTS {TABLE}")

    def store(self, timeout_s: float = 5.0) -> Store:
        return MysqlStore(self.url, timeout_s=timeout_s)

    def advance(self, seconds: float) -> None:
        self._execute(_MOVE, (round(seconds * 1000),) * 3)

    def damage(self, record_id: bytes) -> None:
        self._execute("SET check_constraint_checks = OFF", f"UPDATE {TABLE} SET state = 'LOST'")

    def _execute(self, *statements: str | tuple[object, ...]) -> None:
        with closing(connect_mysql(self.url)) as connection, connection.cursor() as cursor:
            if len(statements) == 2 and isinstance(statements[1], tuple):
                cursor.execute(statements[0], statements[1])
                return
            for statement in statements:
                cursor.execute(statement)


class RedisPlace(Place):
    kind = "redis"

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.prefix = f"{{test-{uuid.uuid4().hex[:12]}}}"

    def store(self, timeout_s: float = 5.0) -> Store:
        return RedisStore(self.url, prefix=self.prefix, timeout_s=timeout_s)

    def advance(self, seconds: float) -> None:
        with closing(redis.Redis.from_url(self.url)) as client:
            for key in client.scan_iter(f"{self.prefix}:r:*".encode()):
                for field in ("created_ms", "lease_ms", "expires_ms"):
                    client.hincrby(key, field, -round(seconds * 1000))
            for record_id, score in client.zrange(f"{self.prefix}:expiry", 0, -1, withscores=True):
                client.zadd(f"{self.prefix}:expiry", {record_id: score - round(seconds * 1000)})

    def damage(self, record_id: bytes) -> None:
        with closing(redis.Redis.from_url(self.url)) as client:
            client.hset(f"{self.prefix}:r:".encode() + record_id, "state", "LOST")

    def remove(self) -> None:
        with closing(redis.Redis.from_url(self.url)) as client:
            for key in client.scan_iter(f"{self.prefix}:*"):
                client.delete(key)


_MOVE = f"UPDATE {TABLE} SET created_ms = created_ms - %s, lease_ms = lease_ms - %s, expires_ms = expires_ms - %s"


def make_place(kind: str, folder: Path, ask: Ask) -> Place:
    """An empty place of a kind; `ask` gives the fixtures of the servers."""
    if kind == "memory":
        return Place()
    if kind == "sqlite":
        return SqlitePlace(folder)
    return {"postgresql": PostgresPlace, "mysql": MysqlPlace, "redis": RedisPlace}[kind](ask(f"{kind}_place_url"))


def connect_mysql(url: str) -> Any:
    """A connection of the driver; a URL without a database gives one to the server."""
    import pymysql

    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname, port=parts.port or 3306, user=parts.username, password=parts.password or "",
        database=parts.path.lstrip("/") or None, autocommit=True, connect_timeout=3,
    )  # fmt: skip


def on(place: Place, scenario: Callable[[Store], Awaitable[None]], **options: float) -> None:
    """Runs a scenario on an open store and closes it."""

    async def run() -> None:
        store = place.store(**options)
        await store.open()
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(run())


def claim(key: str = "k", body: str = "a", **changes: Any) -> Claim:
    """A claim of an operation whose request was `body`."""
    scope = {"tenant": "t", "method": "POST", "route": "/orders"}
    return Claim(key, body.encode().ljust(32, b"."), **{**scope, **changes})
