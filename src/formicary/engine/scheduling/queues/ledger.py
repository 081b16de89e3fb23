"""Who holds what: kept at each start and end, read by the policies that share."""

from __future__ import annotations

from formicary.engine.jobs.amounts import Needs
from formicary.engine.scheduling.demand import EPSILON

SLOTS = "slots"
"""The resource of which each task holds one."""
Charge = tuple[str, str, str, Needs]
"""Queue, the group that its order holds for, tenant and amounts of one attempt."""
NOTHING: dict[str, float] = {}


class Ledger:
    """Amounts in use by queue and by (group, tenant)."""

    __slots__ = ("queues", "running", "tenants")

    def __init__(self) -> None:
        self.queues: dict[str, dict[str, float]] = {}
        self.tenants: dict[tuple[str, str], dict[str, float]] = {}
        self.running: dict[str, int] = {}
        """Tasks by queue."""

    def take(self, charge: Charge) -> None:
        """An attempt begins to hold its amounts."""
        queue, group, tenant, needs = charge
        self.running[queue] = self.running.get(queue, 0) + 1
        _add(self.queues.setdefault(queue, {}), needs, +1)
        _add(self.tenants.setdefault((group, tenant), {}), needs, +1)

    def give(self, charge: Charge) -> None:
        """An attempt holds them no more."""
        queue, group, tenant, needs = charge
        self.running[queue] -= 1
        _add(self.queues[queue], needs, -1)
        held = self.tenants[group, tenant]
        _add(held, needs, -1)
        if not held:
            del self.tenants[group, tenant]

    def of_queue(self, queue: str) -> dict[str, float]:
        """What a queue holds."""
        return self.queues.get(queue, NOTHING)

    def of_tenant(self, group: str, tenant: str) -> dict[str, float]:
        """What a tenant holds under one order."""
        return self.tenants.get((group, tenant), NOTHING)


def _add(held: dict[str, float], needs: Needs, sign: int) -> None:
    held[SLOTS] = held.get(SLOTS, 0.0) + sign
    for name, amount in needs:
        held[name] = held.get(name, 0.0) + sign * amount
    if sign < 0:
        for name in [name for name, amount in held.items() if amount <= EPSILON]:
            del held[name]
