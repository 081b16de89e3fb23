"""How many of those that wait could start, were there room for all: what limits and virtual resources let through.

A look that makes room counts what those take that it has made room for, so that nobody gives way for a place that stays
empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formicary.engine.scheduling.demand import EPSILON, Demand, Gate, Lock, Payer
from formicary.engine.scheduling.locks import Name

if TYPE_CHECKING:
    from formicary.engine.queen.core.queueing import Queueing


class Claims:
    """What is asked for in one look, beside what is held."""

    def __init__(self, queueing: Queueing) -> None:
        self._queueing = queueing
        self._gates: dict[Gate, int] = {}
        self._queues: dict[str, int] = {}
        self._payers: dict[Payer, int] = {}
        self._locks: dict[Name, float] = {}

    def allows(self, demand: Demand) -> bool:
        """Whether one more of this demand could start beside those that are counted."""
        payer, quotas = demand.payer, self._queueing.quotas
        claimed = self._payers.get(payer, 0) if payer is not None else 0
        if payer is not None and claimed:
            wall = self._queueing.core.wall
            if quotas.refusal(payer, wall, tasks=1 + claimed) is not None:
                return False
        return self._most(demand, 1) > 0

    def take(self, demand: Demand, count: int = 1) -> None:
        """So many of this demand are made room for."""
        if demand.gate is not None:
            self._gates[demand.gate] = self._gates.get(demand.gate, 0) + count
        self._queues[demand.queue] = self._queues.get(demand.queue, 0) + count
        if demand.payer is not None:
            self._payers[demand.payer] = self._payers.get(demand.payer, 0) + count
        for org, name, amount in demand.locks:
            self._locks[org, name] = self._locks.get((org, name), 0.0) + amount * count

    def take_most(self, demand: Demand, enough: int) -> int:
        """How many of this demand could start together, up to `enough`; they are counted."""
        found = self._most(demand, enough)
        self.take(demand, found)
        return found

    def _most(self, demand: Demand, enough: int) -> int:
        core, gate = self._queueing.core, demand.gate
        limit = self._queueing.config.named(demand.queue).limit
        if gate is not None:
            enough = min(enough, core.limit_of(gate) - core.running_of(gate) - self._gates.get(gate, 0))
        if limit is not None:
            running = self._queueing.ledger.running.get(demand.queue, 0) + self._queues.get(demand.queue, 0)
            enough = min(enough, limit - running)
        return max(0, min([enough, *map(self._times, demand.locks)]))

    def _times(self, lock: Lock) -> int:
        """How often so much of a virtual resource is left."""
        org, name, amount = lock
        book = self._queueing.core.leases.locks
        taken = book.used.get((org, name), 0.0) + self._locks.get((org, name), 0.0)
        left = int((book.capacities.get((org, name), 1.0) - taken + EPSILON) / amount)
        return max(1, left) if not taken and (org, name) not in book.capacities else left  # see `locks`
