"""Where the stores of these tests keep their records, and how a test moves time there."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from formicary.idempotency import Claim, MemoryStore, Store
from formicary.idempotency.schema import TABLE
from formicary.idempotency.sqlite import SqliteStore

Ask = Callable[[str], Any]
"""Gives a fixture by its name."""
KINDS = ("memory", "sqlite")
SHARED = ("sqlite",)


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

    def store(self, timeout_s: float = 5.0) -> Store:
        return SqliteStore(self.path, now_ms=self.clock, timeout_s=timeout_s)

    def damage(self, record_id: bytes) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(f"UPDATE {TABLE} SET state = 'LOST' WHERE id = ?", (record_id,))


def make_place(kind: str, folder: Path, ask: Ask) -> Place:
    """An empty place of a kind."""
    return Place() if kind == "memory" else SqlitePlace(folder)


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
