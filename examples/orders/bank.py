"""A bank with a file of its own: an outside system that knows idempotency keys and nothing of the shop's database."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from formicary.problems import problem

DECLINED = "declined"
"""The card that has no money."""


class Bank:
    """Moves money; a key that comes again moves nothing.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._do("CREATE TABLE IF NOT EXISTS moves (key TEXT PRIMARY KEY, card TEXT NOT NULL, cents INTEGER NOT NULL)")

    async def charge(self, key: str, card: str, cents: int) -> str:
        """Takes money from a card; the number of the charge. Raises Problem FAILED_PRECONDITION if it is declined."""
        if card == DECLINED:
            raise problem("FAILED_PRECONDITION", "The card was declined.")
        await self._move(key, card, cents)
        return f"charge-{key[:12]}"

    async def refund(self, key: str, card: str, cents: int) -> None:
        """Gives it back."""
        await self._move(key, card, -cents)

    def moves(self) -> list[int]:
        """Everything that was moved, in cents."""
        return [int(str(row[0])) for row in self._do("SELECT cents FROM moves ORDER BY rowid")]

    async def _move(self, key: str, card: str, cents: int) -> None:
        statement = "INSERT INTO moves VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
        await asyncio.to_thread(self._do, statement, (key, card, cents))

    def _do(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        db = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        try:
            return db.execute(statement, values).fetchall()
        finally:
            db.close()
