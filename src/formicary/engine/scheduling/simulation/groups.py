"""Decisions over many jobs at once: gangs that start together or not at all, and the cheapest assignment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from formicary.engine.scheduling.policies.assignment import assign
from formicary.engine.scheduling.policies.gang import Gang, Held, plan
from formicary.engine.scheduling.simulation.policy import Decision, Drop, Group, Start
from formicary.engine.scheduling.simulation.queueing import Ordered, seconds_left
from formicary.engine.scheduling.simulation.state import AntState, Entry
from formicary.engine.scheduling.simulation.workload import Job

_PLENTY = 1e9


class Gangs(Ordered):
    """Gangs in order of submission, single jobs are gangs of one; the first that waits has a reservation.

    A gang is submitted when its last member is.

    Args:
        jobs: The whole workload: how many members each gang has.
        backfill: Later ones may start where they do not delay the reservation.
        depth: How many gangs are looked at in a round.
    """

    def __init__(self, jobs: Sequence[Job], *, backfill: bool, depth: int) -> None:
        super().__init__(lambda entry, now: 0.0)
        self.backfill = backfill
        self.depth = depth
        self.sizes: dict[str, int] = {}
        for job in jobs:
            if job.gang:
                self.sizes[job.gang] = self.sizes.get(job.gang, 0) + 1
        self.waiting: dict[str, list[Entry]] = {}

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        name = f"gang {entry.job.gang}" if entry.job.gang else f"job {entry.number}"
        self.waiting.setdefault(name, []).append(entry)

    def _vector(self, entry: Entry) -> dict[str, float]:
        names = self.state.resources
        need = {names[index]: amount for index, amount in entry.need if self.state.total[index] < inf}
        return {**need, **{f"tag {tag}": 1.0 for tag in entry.job.tags}}

    def _has(self, ant: AntState) -> dict[str, float]:
        bounded = {
            name: most
            for name, most, total in zip(self.state.resources, ant.capacity, self.state.total, strict=True)
            if total < inf
        }
        return {**bounded, **{f"tag {tag}": _PLENTY for tag in ant.tags}}

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        ready = [
            (max(entry.job.submit for entry in members), members[0].number, name)
            for name, members in self.waiting.items()
            if len(members) == self.sizes.get(members[0].job.gang, 1)
        ]
        if not ready:
            return
        gangs = [
            Gang(
                name,
                tuple(self._vector(entry) for entry in self.waiting[name]),
                max(entry.expected_left for entry in self.waiting[name]),
            )
            for _, _, name in sorted(ready)[: self.depth]
        ]
        held = [
            Held(ant.id, self._vector(one), now + seconds_left(one, now))
            for ant in self.state.ants
            for one in ant.running.values()
        ]
        made = plan(gangs, {ant.id: self._has(ant) for ant in self.state.ants}, held, now, backfill=self.backfill)
        ants = {ant.id: ant for ant in self.state.ants}
        for name, why in made.impossible.items():
            for entry in self.waiting.pop(name):
                yield Drop(entry, why)
        for name, places in made.starts.items():
            for entry, place in zip(self.waiting.pop(name), places, strict=True):
                yield Start(entry, ants[place])


class Matchmaking(Ordered):
    """As many of the first jobs as there are ants with room are assigned at once, at the best sum of preferences.

    Args:
        width: Most jobs of one assignment.
    """

    def __init__(self, width: int) -> None:
        super().__init__(lambda entry, now: 0.0)
        self.width = width

    def group_of(self, entry: Entry) -> Group:
        """All jobs are one queue; what finds no ant does not hold up the others."""
        return self.groups.setdefault("", Group(""))

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        queue = self.groups.get("")
        while queue is not None and queue.heap:
            ants = [
                ant for ant in self.state.ants if all(f > 0 for f, c in zip(ant.free, ant.capacity, strict=True) if c)
            ]
            jobs: list[Entry] = []
            for entry in queue.in_order():
                if any(ant.fits(entry.need) for ant in entry.shape.eligible):
                    jobs.append(entry)
                    if len(jobs) >= min(self.width, max(1, len(ants))):
                        break
            if not jobs or not ants:
                return
            found = assign([[self._cost(entry, ant) for ant in ants] for entry in jobs])
            chosen = [(entry, ants[at]) for entry, at in zip(jobs, found, strict=True) if at is not None]
            if not chosen:
                return
            for entry, ant in chosen:
                queue.remove(entry)
                yield Start(entry, ant)

    def _cost(self, entry: Entry, ant: AntState) -> float:
        if ant not in entry.shape.eligible or not ant.fits(entry.need):
            return inf
        return -preference(entry.job.prefer, ant)


def preference(prefer: Mapping[str, float], ant: AntState) -> float:
    """Sum of the weights of what the ant has: its id, a tag, a label, or `label=value`."""
    return sum(weight for name, weight in prefer.items() if name == ant.id or name in ant.labels)
