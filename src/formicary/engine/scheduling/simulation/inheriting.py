"""Priority with locks that jobs hold from their first start to their end, and priority inheritance.

A lock is held while its holder is preempted, too: that is what makes inversion possible. A job that has started holds
all its locks, and one that waits holds none, so nobody waits in a circle and inheritance goes over one step. A job
whose lock somebody else holds stands aside: it keeps nobody off an ant, and gives the holder its priority.
Source: Sha, Rajkumar, Lehoczky, "Priority Inheritance Protocols", IEEE Transactions on Computers 39(9), 1990.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from formicary.engine.scheduling.simulation.policy import Decision, Group, SortedGroup, Start
from formicary.engine.scheduling.simulation.queueing import Ordered
from formicary.engine.scheduling.simulation.state import Entry


class Inheriting(Ordered):
    """Higher priority first, for jobs that hold locks.

    Args:
        inherits: Holders have the priority of who waits for their locks; else inversion takes its course.
        blocking: See Ordered.
        preemptive: See Ordered.
    """

    def __init__(self, *, inherits: bool = True, blocking: bool = True, preemptive: bool = False) -> None:
        super().__init__(self._reached, blocking=blocking, preemptive=preemptive, stands=False)
        self.inherits = inherits
        self._holders: dict[str, Entry] = {}
        self._waiting: dict[int, Entry] = {}
        """Those with locks that wait in a group, by number."""
        self._aside: dict[int, Entry] = {}
        """Those whose locks somebody else holds."""
        self._priorities: dict[int, float] = {}
        """Inherited, by number of the holder."""

    def new_group(self, name: Hashable) -> Group:
        """See Ordered."""
        return SortedGroup(name)

    def _reached(self, entry: Entry, now: float) -> float:
        return -max(entry.job.priority, self._priorities.get(entry.number, entry.job.priority))

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        if self._is_held_up(entry):
            self._aside[entry.number] = entry
            self._inherit(entry, now)
            return
        if entry.job.locks:
            self._waiting[entry.number] = entry
        super().queued(entry, now)

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().started(entry, now)
        if not entry.job.locks:
            return
        self._waiting.pop(entry.number, None)
        self._holders |= dict.fromkeys(entry.job.locks, entry)
        for other in [one for one in self._waiting.values() if self._is_held_up(one)]:
            del self._waiting[other.number]
            self.group_of(other).remove(other)
            self.queued(other, now)

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        self._release(now)
        while True:
            for decision in super().decide(now):
                yield decision
                if isinstance(decision, Start) and decision.entry.job.locks:
                    break  # others stand aside from now on
            else:
                return

    def _is_held_up(self, entry: Entry) -> bool:
        return any(self._holders.get(lock, entry) is not entry for lock in entry.job.locks)

    def _inherit(self, entry: Entry, now: float) -> None:
        for lock in entry.job.locks if self.inherits else ():
            holder = self._holders.get(lock)
            if holder is None or -self._reached(holder, now) >= entry.job.priority:
                continue
            waits = holder.number in self._waiting
            if waits:
                self.group_of(holder).remove(holder)
            self._priorities[holder.number] = entry.job.priority
            if waits:
                self.group_of(holder).push(self.key(holder, now), holder)

    def _release(self, now: float) -> None:
        """Gives back what jobs that have ended held; who waited for it takes his place again."""
        ended = [lock for lock, holder in self._holders.items() if holder.end is not None]
        for lock in ended:
            self._priorities.pop(self._holders.pop(lock).number, None)
        if ended:
            back, self._aside = list(self._aside.values()), {}
            for entry in back:
                self.queued(entry, now)
