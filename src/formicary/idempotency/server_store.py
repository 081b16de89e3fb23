"""What the stores in database servers share: the statements on one record, in SQL that all of them understand.

A record is changed only by whoever holds it: the token of the claim, and the state it gives, are in every condition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from formicary.idempotency.model import Record, State
from formicary.idempotency.refusals import lease_lost
from formicary.idempotency.schema import COLUMN_LIST, TABLE, from_row, listing

Rows = list[tuple[object, ...]]
_HELD = " WHERE id = %(id)s AND token = %(token)s AND state = 'IN_PROGRESS'"


class ServerStore(ABC):
    """A store whose statements go to a server."""

    millis: str
    """The server's time in milliseconds since the epoch, as an expression of its SQL."""

    @abstractmethod
    async def _execute(self, statement: str, values: Mapping[str, object]) -> tuple[Rows, int]:
        """Runs a statement in a transaction of its own; its rows, and how many it has changed."""

    async def now_ms(self) -> int:
        """The server's time."""
        rows, _ = await self._execute(f"SELECT {self.millis}", {})
        return int(str(rows[0][0]))

    async def renew(self, record_id: bytes, token: int, lease_s: float) -> None:
        """Moves the lease's end."""
        await self._change(f"SET lease_ms = {self.millis} + %(lease)s", record_id, token, lease=round(lease_s * 1000))

    async def checkpoint(self, record_id: bytes, token: int, point: str, data: bytes) -> None:
        """Notes a recovery point."""
        await self._change("SET point = %(point)s, data = %(data)s", record_id, token, point=point, data=data)

    async def complete(self, record_id: bytes, token: int, response: bytes, ttl_s: float) -> None:
        """Keeps the answer."""
        change = f"SET state = 'COMPLETED', response = %(response)s, expires_ms = {self.millis} + %(ttl)s"
        await self._change(change, record_id, token, response=response, ttl=round(ttl_s * 1000))

    async def release(self, record_id: bytes, token: int) -> None:
        """May be tried again."""
        await self._change("SET state = 'RELEASED'", record_id, token)

    async def discard(self, record_id: bytes, token: int) -> None:
        """Keeps nothing."""
        _, count = await self._execute(f"DELETE FROM {TABLE}{_HELD}", {"id": record_id, "token": token})
        if not count:
            raise lease_lost()

    async def get(self, record_id: bytes) -> Record | None:
        """The record as it is."""
        rows, _ = await self._execute(f"SELECT {COLUMN_LIST} FROM {TABLE} WHERE id = %(id)s", {"id": record_id})
        return from_row(rows[0]) if rows else None

    async def records(
        self,
        *,
        tenant: str | None = None,
        state: State | None = None,
        parent: str | None = None,
        key: str | None = None,
        after: bytes = b"",
        limit: int = 100,
    ) -> Sequence[Record]:
        """Records in the order of their ids."""
        rows, _ = await self._execute(*listing(tenant, state, parent, key, after, limit))
        return [from_row(row) for row in rows]

    async def _change(self, change: str, record_id: bytes, token: int, **values: object) -> None:
        _, count = await self._execute(f"UPDATE {TABLE} {change}{_HELD}", {"id": record_id, "token": token, **values})
        if not count:
            raise lease_lost()
