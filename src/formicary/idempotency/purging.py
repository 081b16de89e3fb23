"""The duty of deleting records whose time is over, and of knowing how far behind it is."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from types import TracebackType
from typing import Self

from formicary.idempotency.deciding import is_absent
from formicary.idempotency.store import Store
from formicary.problems import Problem

log = logging.getLogger("formicary.idempotency")
PAGE = 500


class Purger:
    """Purges a store between ``async with Purger(store)`` and its end; several processes may do so at once.

    A record whose time is over counts as absent at once, purged or not: a purge only gives its space back.

    Args:
        store: Opened and closed by whoever made it.
        interval_s: Seconds between two rounds. Too long lets the store grow, too short costs it a look for nothing.
        batch: Most records in one commit: others wait while it is written.
        counted: How many records a round looks at to count them by state, in the order of their ids, which are hashes
            and so a fair sample; 0 = none, and then neither states nor the lag are known.

    Attributes:
        deleted: Records deleted since it was made.
        failures: Rounds that the store has not answered.
        states: Records by state as the last round found them, those whose time is over as `OVER`.
        lag_s: How long the oldest of these has been over, before the last round deleted it; 0 = there was none.
    """

    def __init__(self, store: Store, *, interval_s: float = 60.0, batch: int = 1000, counted: int = 10_000) -> None:
        if not interval_s > 0 or batch < 1 or counted < 0:
            raise ValueError("a purger needs an interval above 0, a batch of 1 or more, and no negative `counted`")
        self.store = store
        self._interval_s = interval_s
        self._batch = batch
        self._counted = counted
        self._task: asyncio.Task[None] | None = None
        self.deleted = 0
        self.failures = 0
        self.states: dict[str, int] = {}
        self.lag_s = 0.0

    async def __aenter__(self) -> Self:
        """Begins."""
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends; a batch that is being written is written."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def round(self) -> int:
        """Counts, and purges until nothing is over; says how many were deleted. Raises Problem where it cannot."""
        await self._census()
        deleted = 0
        while (count := await self.store.purge(self._batch)) > 0:
            deleted += count
            self.deleted += count
        return deleted

    async def _run(self) -> None:
        while True:
            try:
                await self.round()
            except Problem as error:
                self.failures += 1
                log.warning("a purge of idempotency records failed, trying again later: %s", error.detail)
            await asyncio.sleep(self._interval_s)

    async def _census(self) -> None:
        if not self._counted:
            return
        now_ms, after, seen = await self.store.now_ms(), b"", 0
        states: Counter[str] = Counter()
        lag_ms = 0
        while seen < self._counted:
            page = await self.store.records(after=after, limit=min(PAGE, self._counted - seen))
            for record in page:
                over = is_absent(record, now_ms)
                states["OVER" if over else record.state.value] += 1
                lag_ms = max(lag_ms, now_ms - record.expires_ms) if over else lag_ms
            if not page:
                break
            seen, after = seen + len(page), page[-1].id
        self.states, self.lag_s = dict(states), lag_ms / 1000
