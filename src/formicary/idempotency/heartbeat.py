"""Renews the leases of executions that take long, with one timer for all of them.

Nearly every execution ends long before its lease, so one costs an entry in a dictionary, no timer and no look at the
clock. The timer beats four times a lease: at each beat those that began before the last one are renewed, so a lease is
renewed after a quarter of it at the earliest and after a half at the latest. The timer rests while nothing executes.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from formicary.idempotency.execution import Execution
    from formicary.idempotency.policy import Rule

log = logging.getLogger("formicary.idempotency")
BEATS: Final = 4
"""Beats in one lease."""


class Heartbeat:
    """The executions of one adapter that have leases of one length, for one event loop at a time.

    Args:
        lease_s: Their length in seconds.
        renew_for_s: How long each of them is renewed at most; None = as long as it executes.

    Attributes:
        alive: Each execution with the number of the beat after which it began or was renewed; an adapter takes those
            that have ended out by itself.
    """

    __slots__ = ("_beat", "_every_s", "_loop", "_most_beats", "_renewals", "alive")

    def __init__(self, lease_s: float, renew_for_s: float | None = None) -> None:
        self._every_s = lease_s / BEATS
        self._most_beats = math.inf if renew_for_s is None else renew_for_s / self._every_s
        self._beat = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._renewals: set[asyncio.Task[None]] = set()
        self.alive: dict[Execution, int] = {}

    def watch(self, execution: Execution, loop: asyncio.AbstractEventLoop) -> None:
        """Renews the execution's lease, on its loop, as long as it is in `alive`."""
        self.alive[execution] = execution.first_beat = self._beat
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self._every_s, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            return  # another loop has begun to use it
        for execution in [each for each, beat in self.alive.items() if beat < self._beat]:
            if self._beat - execution.first_beat > self._most_beats:
                del self.alive[execution]
                continue
            self.alive[execution] = self._beat
            renewal = loop.create_task(self._renew(execution))
            self._renewals.add(renewal)
            renewal.add_done_callback(self._renewed)
        self._beat += 1
        if self.alive:
            loop.call_later(self._every_s, self._tick)
        else:
            self._loop = None

    async def _renew(self, execution: Execution) -> None:
        if not await execution.renew():
            self.alive.pop(execution, None)

    def _renewed(self, renewal: asyncio.Task[None]) -> None:
        self._renewals.discard(renewal)
        if not renewal.cancelled() and (error := renewal.exception()) is not None:
            log.error("renewing a lease failed", exc_info=error)


class Heartbeats:
    """The heartbeats of one adapter, one for each length of lease."""

    __slots__ = ("_by_lease",)

    def __init__(self) -> None:
        self._by_lease: dict[tuple[float, float | None], Heartbeat] = {}

    def of(self, rule: Rule) -> Heartbeat:
        """The one for leases of a rule."""
        length = rule.lease_s, rule.renew_for_s
        found = self._by_lease.get(length)
        if found is None:
            found = self._by_lease[length] = Heartbeat(*length)
        return found
