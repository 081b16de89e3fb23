"""The shop's own data in SQLite. Every change and the key that it was asked with are one commit, so it happens once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from formicary.idempotency import Claim, SqliteStore, StoredResponse, digest
from formicary.problems import parse_http, problem

CENTS = 350
"""What everything costs."""
_TABLES = """
CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, available INTEGER NOT NULL CHECK (available >= 0));
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, workflow TEXT NOT NULL, tenant TEXT NOT NULL, sku TEXT NOT NULL, quantity INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('NEW', 'DONE', 'CANCELLED')));
"""
Change = Callable[[sqlite3.Connection], object]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a customer asks for."""

    sku: str
    quantity: int
    card: str


class Order(msgspec.Struct, frozen=True):
    """An order as it is kept; `workflow` and `tenant` say under which id it is bought."""

    id: str
    workflow: str
    tenant: str
    sku: str
    quantity: int
    state: str


class Shop:
    """Stock and orders, in the file that also holds the keys.

    Args:
        path: The file.

    Attributes:
        store: The keys.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.store = SqliteStore(path)

    async def open(self) -> None:
        """Makes the tables."""

        def make() -> None:
            db = sqlite3.connect(self._path)
            db.executescript(_TABLES)
            db.close()

        await asyncio.to_thread(make)
        await self.store.open()

    async def close(self) -> None:
        """Closes the file."""
        await self.store.close()

    async def create(self, key: str, workflow: str, tenant: str, wanted: Wanted) -> str:
        """A new order; its id."""
        order_id = f"order-{key[:12]}"

        def change(db: sqlite3.Connection) -> str:
            values = (order_id, workflow, tenant, wanted.sku, wanted.quantity)
            db.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, 'NEW')", values)
            return order_id

        return str(await self._once(key, "create", change))

    async def cancel(self, key: str, order_id: str) -> None:
        """The order will not be."""

        def change(db: sqlite3.Connection) -> str:
            db.execute("UPDATE orders SET state = 'CANCELLED' WHERE id = ?", (order_id,))
            return order_id

        await self._once(key, "cancel", change)

    async def allocate(self, key: str, order_id: str, wanted: Wanted) -> int:
        """Takes the goods; what is left. Raises Problem CONFLICT where there are not enough."""

        def change(db: sqlite3.Connection) -> int:
            taken = db.execute(
                "UPDATE stock SET available = available - ?2 WHERE sku = ?1 AND available >= ?2 RETURNING available",
                (wanted.sku, wanted.quantity),
            ).fetchone()
            if taken is None:
                raise problem("CONFLICT", f"Fewer than {wanted.quantity} of {wanted.sku} are left.")
            db.execute("UPDATE orders SET state = 'DONE' WHERE id = ?", (order_id,))
            return int(taken[0])

        return msgspec.convert(await self._once(key, "allocate", change), int)

    async def set_stock(self, sku: str, available: int) -> None:
        """What there is; setting it twice is setting it once."""
        statement = "INSERT INTO stock VALUES (?1, ?2) ON CONFLICT (sku) DO UPDATE SET available = ?2"
        await asyncio.to_thread(self._ask, statement, (sku, available))

    async def stock(self, sku: str) -> int:
        """What is left. Raises Problem NOT_FOUND."""
        rows = await asyncio.to_thread(self._ask, "SELECT available FROM stock WHERE sku = ?", (sku,))
        if not rows:
            raise problem("NOT_FOUND", f"The shop has no {sku}.")
        return msgspec.convert(rows[0][0], int)

    async def order(self, order_id: str) -> Order:
        """An order. Raises Problem NOT_FOUND."""
        statement = "SELECT id, workflow, tenant, sku, quantity, state FROM orders WHERE id = ?"
        rows = await asyncio.to_thread(self._ask, statement, (order_id,))
        if not rows:
            raise problem("NOT_FOUND", f"There is no {order_id}.")
        return msgspec.convert(dict(zip(Order.__struct_fields__, rows[0], strict=True)), Order)

    async def _once(self, key: str, route: str, change: Change) -> object:
        """Grouped mode: the change and its key in one commit, which is shared with others that wait."""

        def effect(db: sqlite3.Connection) -> StoredResponse:
            return StoredResponse(200, (), msgspec.json.encode(change(db)))

        claim = Claim(key, digest(route.encode()), method="SHOP", route=route)
        response = (await self.store.run(claim, effect)).response
        if response.status >= 400:
            headers = [(name.decode(), value.decode()) for name, value in response.headers]
            raise parse_http(response.status, headers, response.body)
        return msgspec.json.decode(response.body)

    def _ask(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        db = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        try:
            return db.execute(statement, values).fetchall()
        finally:
            db.close()
