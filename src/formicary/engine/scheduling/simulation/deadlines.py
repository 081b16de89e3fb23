"""Earliest deadline first between users who miss alike many deadlines, see `policies.deadline_fairness`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from formicary.engine.scheduling.policies.deadline_fairness import Misses, counts
from formicary.engine.scheduling.simulation.policy import Decision, Key
from formicary.engine.scheduling.simulation.sharing import INFINITY, By, Shared
from formicary.engine.scheduling.simulation.state import TINY, Entry


class FairDeadlines(Shared):
    """The user who has missed most goes next, with the earliest of his deadlines.

    Args:
        by: Whom a job counts for.
        weights: Of misses, by name.
    """

    def __init__(self, by: By, weights: Mapping[str, float]) -> None:
        super().__init__(by, weights)
        self.misses = Misses()
        self._now = 0.0
        self._lost: set[int] = set()
        """Numbers of jobs that cannot be kept any more, and count as missed already."""

    def key(self, entry: Entry) -> Key:
        """The earliest deadline; none, and one that is lost, come last."""
        deadline = entry.job.deadline
        due = INFINITY if deadline is None or entry.number in self._lost else deadline
        return (due, entry.job.submit, entry.number)

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().stopped(entry, now)
        if entry.number in self._lost:
            self._lost.discard(entry.number)
        elif entry.job.deadline is not None:
            self._record(entry, entry.job.deadline, missed=now > entry.job.deadline + TINY)

    def _record(self, entry: Entry, deadline: float, *, missed: bool) -> None:
        if counts(entry.job.submit, deadline, entry.job.expected):
            self.misses.record(self.by(entry), missed=missed)

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        self._now = now
        for name in self.groups:
            self._put_late_ones_behind(name)
        yield from super().decide(now)

    def served(self, name: str, entry: Entry) -> None:
        """See Shared."""
        self._put_late_ones_behind(name)

    def _put_late_ones_behind(self, name: str) -> None:
        group = self.groups[name]
        while group.heap and group.heap[0][0][0] < INFINITY:
            entry, deadline = group.head(), group.heap[0][0][0]
            if self._now + entry.expected_left <= deadline + TINY:
                return
            group.pop()
            self._lost.add(entry.number)
            self._record(entry, deadline, missed=True)
            group.push(self.key(entry), entry)

    def pick(self, names: list[str], now: float) -> str:
        """See Shared."""
        return min(names, key=self._rank)

    def _rank(self, name: str) -> tuple[float, ...]:
        key = self.groups[name].heap[0][0]
        return (*self.misses.rank(name, self.weight(name), key[0]), *key[1:])
