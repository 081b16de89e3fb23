"""Gate: virtual resources. Who holds which, and what is left of each.

A name that nobody has configured is a lock: one holder at a time, however much it asks for, or several whose amounts
come to no more than one. All that a demand asks for is taken in one decision or not at all, so two tasks never wait for
each other with half of it. Who waits for a name goes before those behind it that want the same name, so one that asks
for much is not passed over by many that ask for little; one that asks for more than there ever is holds nobody up.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from formicary.engine.scheduling.demand import EPSILON, Lock

Name = tuple[str, str]
"""Organisation and name."""


class LockBook:
    """Capacities and holders of one colony."""

    __slots__ = ("_held", "capacities", "holders", "used")

    def __init__(self) -> None:
        self.capacities: dict[Name, float] = {}
        """Of those that are configured."""
        self.used: dict[Name, float] = {}
        self.holders: dict[Name, dict[Hashable, float]] = {}
        self._held: dict[Hashable, tuple[int, tuple[Lock, ...]]] = {}

    def take(self, holder: Hashable, locks: tuple[Lock, ...]) -> None:
        """A holder begins to hold; the same holder again (a second copy of its attempt) adds nothing."""
        times, held = self._held.get(holder, (0, locks))
        self._held[holder] = (times + 1, held)
        if times:
            return
        for org, name, amount in locks:
            self.holders.setdefault((org, name), {})[holder] = amount
            self.used[org, name] = self.used.get((org, name), 0.0) + amount

    def give(self, holder: Hashable) -> bool:
        """A holder ends, as often as it began; True where something is free now."""
        times, locks = self._held.get(holder, (0, ()))
        if times > 1:
            self._held[holder] = (times - 1, locks)
            return False
        if not times:
            return False
        del self._held[holder]
        for org, name, amount in locks:
            key = (org, name)
            del self.holders[key][holder]
            if not self.holders[key]:
                del self.holders[key], self.used[key]  # sums of fractions do not come back to zero by themselves
            else:
                self.used[key] -= amount
        return True

    def has_room(self, lock: Lock) -> bool:
        """Whether so much of it is free now."""
        org, name, amount = lock
        used, capacity = self.used.get((org, name), 0.0), self.capacities.get((org, name))
        if capacity is None:
            return not used or used + amount <= 1.0 + EPSILON
        return used + amount <= capacity + EPSILON

    def is_hopeless(self, lock: Lock) -> bool:
        """Whether there is never so much of it, as it is configured."""
        org, name, amount = lock
        capacity = self.capacities.get((org, name))
        return capacity is not None and amount > capacity + EPSILON

    def lacking(self, locks: Iterable[Lock]) -> list[Lock]:
        """Those of which too little is free."""
        return [lock for lock in locks if not self.has_room(lock)]

    def refusal(self, locks: Iterable[Lock]) -> str | None:
        """What is missing, in words; None where all of it is free."""
        for org, name, amount in self.lacking(locks):
            used, capacity = self.used.get((org, name), 0.0), self.capacities.get((org, name), 1.0)
            if self.is_hopeless((org, name, amount)):
                return f"it needs {amount:g} of {name}, and there are only {capacity:g}"
            return f"{used:g} of {capacity:g} of {name} are held, and it needs {amount:g} (resources)"
        return None
