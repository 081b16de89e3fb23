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
from formicary.engine.scheduling.simulation.state import TINY, AntState, ClusterState, Entry, Need, Shape


class Matchmaking(Ordered):
    """As many of the first jobs as there are places are assigned at once, at the best sum of preferences.

    An ant has as many places as it has room for one of the jobs; where they ask for different amounts it has one, and
    the next ones are assigned after that. What finds no ant does not hold up the others.

    Args:
        width: Most jobs of one assignment.
        best: All that wait are assigned, so that of more jobs than places those with the best sum start.
    """

    def __init__(self, width: int, *, best: bool = False) -> None:
        super().__init__(lambda entry, now: 0.0, blocking=False)
        self.width = width
        self.best = best

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
        """Takes the first jobs that some ant has room for, in order over all demands; no more than there are places."""
        heads, kinds, waiting = [], [], 0
        for group in self.groups.values():
            if group.heap and (able := self._able(group.head().shape)):
                heads.append((*group.heap[0][:2], group))
                kinds.append((group.head().shape, able))
                waiting += len(group.heap)
        heapq.heapify(heads)
        most = min(self.width, waiting)
        if not self.best:
            most = self._places_for(kinds, most)
        jobs: list[Entry] = []
        while heads and len(jobs) < most:
            group = heads[0][2]
            jobs.append(group.pop())
            next_head(heads, group)
        return jobs

    def _places_for(self, kinds: Sequence[tuple[Shape, Sequence[int]]], most: int) -> int:
        """How many places there are for jobs of these shapes on the ants that have room, up to `most`."""
        need = _common_need([shape for shape, _ in kinds])
        total, seen = 0, set[int]()
        for _, able in kinds:
            for number in able:
                if number not in seen:
                    seen.add(number)
                    total += _places(self.state.ants[number], need, most)
                    if total >= most:
                        return most
        return total

    def _ants(self, jobs: Sequence[Entry]) -> list[tuple[AntState, frozenset[int]]]:
        """Places that one of the jobs could have: the ant, with the shapes it has room for.

        Of those of equal ants no more than jobs.
        """
        shapes = {id(entry.shape): entry.shape for entry in jobs}
        able: dict[int, set[int]] = {}
        for name, shape in shapes.items():
            for number in self._able(shape):
                able.setdefault(number, set()).add(name)
        wanted = {name for entry in jobs for name in entry.job.prefer}
        takers = Counter(id(entry.shape) for entry in jobs)
        need = _common_need(list(shapes.values()))
        alike: Counter[object] = Counter()
        found = []
        for number in sorted(able):
            ant, own = self.state.ants[number], frozenset(able[number])
            kind = (own, frozenset(wanted & (ant.labels | {ant.id})))
            most = sum(takers[name] for name in own) - alike[kind]
            if most > 0:
                count = _places(ant, need, most)
                alike[kind] += count
                found += [(ant, own)] * count
        return found


def _common_need(shapes: Sequence[Shape]) -> Need | None:
    """What all of them ask for; None where they ask for different amounts."""
    need = shapes[0].need if shapes else ()
    return need if all(shape.need == need for shape in shapes) else None


def _places(ant: AntState, need: Need | None, most: int) -> int:
    """For how many of this need an ant that has room for one has room now, up to `most`; 1 where needs differ."""
    if need is None:
        return 1
    found = most
    for index, amount in need:
        room = (ant.free[index] + TINY) / amount
        if room < found:
            found = int(room)
    return found


def _cost(entry: Entry, ant: AntState, able: frozenset[int]) -> float:
    return -preference(entry.job.prefer, ant) if id(entry.shape) in able else inf


def preference(prefer: Mapping[str, float], ant: AntState) -> float:
    """Sum of the weights of what the ant has: its id, a tag, a label, or `label=value`."""
    return sum(weight for name, weight in prefer.items() if name == ant.id or name in ant.labels)
