"""A store in this process's memory: for tests, and for one process whose answers need not outlive it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice

from msgspec.structs import replace

from formicary.idempotency.deciding import decide, is_absent
from formicary.idempotency.model import Claim, Outcome, Record, State
from formicary.idempotency.refusals import lease_lost, store_unavailable
from formicary.idempotency.store import Capabilities


class MemoryStore:
    """Records in a dictionary.

    Args:
        now_ms: The clock; None = this machine's. Tests move it.
        max_records: Most records; when full, those whose time is over go, and if there are none a new key is refused
            rather than an old one forgotten.
    """

    name = "memory"
    capabilities = Capabilities(
        durable=False, shared=False, grouped=False, isolation="One event loop: a claim is decided without an await."
    )

    def __init__(self, now_ms: Callable[[], int] | None = None, *, max_records: int = 100_000) -> None:
        self._now = now_ms or _wall_ms
        self._records: dict[bytes, Record] = {}
        self._max = max_records
        self._last_token = 0

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to release."""

    async def now_ms(self) -> int:
        """The clock's time."""
        return self._now()

    async def acquire(self, claim: Claim) -> Outcome:
        """Decides and writes without giving way to another task."""
        now = self._now()
        record = self._records.get(claim.id)
        outcome, changed = decide(record, claim, now, self._last_token + 1)
        if changed is not None:
            if record is None and len(self._records) >= self._max:
                self._make_room(now)
            self._records[claim.id] = changed
            self._last_token = max(self._last_token, changed.token)
        return outcome

    async def renew(self, record_id: bytes, token: int, lease_s: float) -> None:
        """Moves the lease's end."""
        record = self._held(record_id, token)
        self._records[record_id] = replace(record, lease_ms=self._now() + round(lease_s * 1000))

    async def checkpoint(self, record_id: bytes, token: int, point: str, data: bytes) -> None:
        """Notes a recovery point."""
        self._records[record_id] = replace(self._held(record_id, token), point=point, data=data)

    async def complete(self, record_id: bytes, token: int, response: bytes, ttl_s: float) -> None:
        """Keeps the answer."""
        record = self._held(record_id, token)
        expires = self._now() + round(ttl_s * 1000)
        self._records[record_id] = replace(record, state=State.COMPLETED, response=response, expires_ms=expires)

    async def release(self, record_id: bytes, token: int) -> None:
        """May be tried again."""
        self._records[record_id] = replace(self._held(record_id, token), state=State.RELEASED)

    async def discard(self, record_id: bytes, token: int) -> None:
        """Keeps nothing."""
        self._held(record_id, token)
        del self._records[record_id]

    async def get(self, record_id: bytes) -> Record | None:
        """The record as it is."""
        return self._records.get(record_id)

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
        found = (self._records[each] for each in sorted(self._records) if each > after)
        wanted = (("tenant", tenant), ("state", state), ("parent", parent), ("key", key))
        asked = [(name, value) for name, value in wanted if value is not None]
        fitting = (record for record in found if all(getattr(record, name) == value for name, value in asked))
        return list(islice(fitting, limit))

    async def purge(self, limit: int = 1000) -> int:
        """Deletes what is over."""
        now = self._now()
        over = list(islice((each for each, record in self._records.items() if is_absent(record, now)), limit))
        for each in over:
            del self._records[each]
        return len(over)

    def _held(self, record_id: bytes, token: int) -> Record:
        record = self._records.get(record_id)
        if record is None or record.token != token or record.state is not State.IN_PROGRESS:
            raise lease_lost()
        return record

    def _make_room(self, now: int) -> None:
        self._records = {each: record for each, record in self._records.items() if not is_absent(record, now)}
        if len(self._records) >= self._max:
            raise store_unavailable(f"the memory store is full: {self._max} records are still valid")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
