"""The cheapest assignment of many jobs at once."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from random import Random

from formicary.engine.scheduling.policies.assignment import assign
from formicary.engine.scheduling.simulation.policy import Decision, Start
from formicary.engine.scheduling.simulation.queueing import Ordered, next_head
from formicary.engine.scheduling.simulation.rooms import Rooms
from formicary.engine.scheduling.simulation.state import AntState, ClusterState, Entry, Shape


class Matchmaking(Ordered):
    """As many of the first jobs as there are ants with room are assigned at once, at the best sum of preferences.

    What finds no ant does not hold up the others.

    Args:
        width: Most jobs of one assignment.
    """

    def __init__(self, width: int) -> None:
        super().__init__(lambda entry, now: 0.0, blocking=False)
        self.width = width

    def bind(self, state: ClusterState, rng: Random) -> None:
        """See Policy."""
        super().bind(state, rng)
        self._rooms = Rooms(state)

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().started(entry, now)
        self._rooms.note(entry)

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().stopped(entry, now)
        self._rooms.note(entry)

    def _able(self, shape: Shape) -> list[int]:
        """Numbers of the ants with room for one of the shape now, in order."""
        return self._rooms.able(shape)

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        while True:
            jobs = self._first()
            if not jobs:
                return
            chosen = self._assigned(jobs)
            starting = {entry.number for entry, _ in chosen}
            for entry in jobs:
                if entry.number not in starting:
                    self.group_of(entry).push(self.key(entry, now), entry)
            for entry, ant in chosen:
                yield Start(entry, ant)
            if not chosen:
                return

    def _assigned(self, jobs: Sequence[Entry]) -> list[tuple[Entry, AntState]]:
        if len(jobs) == 1:
            entry = jobs[0]
            ants, prefer = [self.state.ants[number] for number in self._able(entry.shape)], entry.job.prefer
            return [(entry, max(ants, key=lambda ant: preference(prefer, ant)) if prefer else ants[0])]
        ants_able = self._ants(jobs)
        costs = [[_cost(entry, ant, able) for ant, able in ants_able] for entry in jobs]
        found = assign(costs)
        return [(entry, ants_able[at][0]) for entry, at in zip(jobs, found, strict=True) if at is not None]

    def _first(self) -> list[Entry]:
        """Takes the first jobs that some ant has room for, in order over all demands; no more than there are ants."""
        room: set[int] = set()
        heads = []
        for group in self.groups.values():
            able = self._able(group.head().shape) if group.heap else ()
            if able:
                heads.append((*group.heap[0][:2], group))
                room.update(able)
        heapq.heapify(heads)
        jobs: list[Entry] = []
        most = min(self.width, len(room))
        while heads and len(jobs) < most:
            group = heads[0][2]
            jobs.append(group.pop())
            next_head(heads, group)
        return jobs

    def _ants(self, jobs: Sequence[Entry]) -> list[tuple[AntState, frozenset[int]]]:
        """Ants that one of the jobs could have, with the shapes they have room for; of equal ones no more than jobs."""
        shapes = {id(entry.shape): entry.shape for entry in jobs}
        able: dict[int, set[int]] = {}
        for name, shape in shapes.items():
            for number in self._able(shape):
                able.setdefault(number, set()).add(name)
        wanted = {name for entry in jobs for name in entry.job.prefer}
        takers = Counter(id(entry.shape) for entry in jobs)
        alike: Counter[object] = Counter()
        found = []
        for number in sorted(able):
            ant, own = self.state.ants[number], frozenset(able[number])
            kind = (own, frozenset(wanted & (ant.labels | {ant.id})))
            alike[kind] += 1
            if alike[kind] <= sum(takers[name] for name in own):
                found.append((ant, own))
        return found


def _cost(entry: Entry, ant: AntState, able: frozenset[int]) -> float:
    return -preference(entry.job.prefer, ant) if id(entry.shape) in able else inf


def preference(prefer: Mapping[str, float], ant: AntState) -> float:
    """Sum of the weights of what the ant has: its id, a tag, a label, or `label=value`."""
    return sum(weight for name, weight in prefer.items() if name == ant.id or name in ant.labels)
