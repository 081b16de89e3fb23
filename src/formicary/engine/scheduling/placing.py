"""Place: the ant with room that a rank puts first, for tasks that hold resources of their ant or prefer some ants.

An ant has room where a slot is free and every amount asked for is. So no ant is ever oversubscribed: what it has been
given and has not begun counts like what runs. Preferences go before the rank; ties go to the ant that came first.

Source of the fits: Coffman, Garey, Johnson, "Approximation Algorithms for Bin Packing", 1996.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping

from formicary.engine.jobs.amounts import Needs
from formicary.engine.scheduling.demand import EPSILON, Demand
from formicary.engine.scheduling.pipeline import AntView
from formicary.engine.scheduling.preferring import Board
from formicary.engine.scheduling.requirements import requirements

Rank = Callable[[AntView, Demand], float]
"""Smaller is better."""


def has_room(ant: AntView, demand: Demand, places: int) -> bool:
    """True where the ant may be given one more such task.

    Args:
        ant: Which fits the demand.
        demand: Of the task.
        places: Tasks that it may hold in all.
    """
    if not ant.connected or ant.draining or len(ant.held) >= places:
        return False
    used, resources = ant.used, ant.resources
    for name, amount in demand.needs:
        if used.get(name, 0.0) + amount > resources.get(name, 0.0) + EPSILON:
            return False
    if demand.devices and not ant.devices.could(ant.key, (demand.devices,)):
        return False
    return not demand.affinity or ant.neighbours.admits(demand.affinity, ant)


def load(ant: AntView, demand: Demand) -> float:
    """The share of its slots that is taken: spreads tasks."""
    return len(ant.held) / ant.slots


def nothing(ant: AntView, demand: Demand) -> float:
    """All ants are alike: first fit."""
    return 0.0


def left_over(ant: AntView, demand: Demand) -> float:
    """What would stay free of the slots and the resources asked for, as parts of the ant: best fit."""
    rest = (ant.slots - len(ant.held) - 1) / ant.slots
    for name, amount in demand.needs:
        rest += (ant.resources.get(name, 0.0) - ant.used.get(name, 0.0) - amount) / (ant.resources.get(name) or 1.0)
    return rest


RANKS: Mapping[str, Rank] = {
    "least_loaded": load,
    "optimal": load,
    "first_fit": nothing,
    "best_fit": left_over,
    "worst_fit": lambda ant, demand: -left_over(ant, demand),
}
"""By the name of the placement."""


class Ranking:
    """The choice over many decisions, while ants are only ever given more.

    Ants lie in a heap by the rank that they had when somebody last looked. Most ranks only grow by that, so the first
    whose rank is still true is the best; what is left over only shrinks, so there ants that changed are queued again.

    Args:
        rank: How ants are compared.
        places: How many tasks an ant may hold.
        kept: Ants that are left for others.
    """

    __slots__ = ("_boards", "_changed", "_heaps", "_kept", "_last", "_open", "_places", "_rank", "looked")

    def __init__(self, rank: Rank, places: Callable[[AntView], int], kept: Collection[AntView] = frozenset()) -> None:
        self._rank = rank
        self._kept = kept
        self._places = places
        self._heaps: dict[tuple[int, Needs, str, str, str], _Heap] = {}
        self._boards: dict[tuple[int, Needs, str, str, str], Board] = {}
        self._open: dict[int, list[tuple[int, AntView]]] = {}
        """Of each list those with a free place, and where they stand; by identity of the list."""
        self._changed: list[AntView] = []
        self._last: AntView | None = None
        self.looked = 0
        """Ants that were looked at for the first time, by demand."""

    def __call__(self, ants: list[AntView], demand: Demand) -> AntView | None:
        """The ant to use, or None where none has room. The next call assumes that it was used."""
        rises = self._rank is not left_over
        if self._last is not None and not rises:
            self._changed.append(self._last)
            self._last = None
        name = (id(ants), demand.needs, demand.match, demand.affinity, demand.devices)
        heap = self._heaps.get(name)
        stamp = 0
        if demand.affinity and ants:
            stamp = ants[0].neighbours.stamp(demand.affinity)
            if ants[0].neighbours.is_hopeless(demand.affinity):
                return None
            if ants[0].neighbours.preferred_keys(demand.affinity):
                return self._by_preference(name, ants, demand, rises=rises)
        if heap is None or heap.stamp != stamp:  # with other neighbours each ant may be better or worse than it was
            heap = self._heaps[name] = _Heap(ants, [], stamp)
            able = self._with_a_place(ants)
            self.looked += len(able)
            for at, ant in able:
                if has_room(ant, demand, self._places(ant)):
                    heap.entries.append((*self._key(ant, demand), at, ant))
            heapq.heapify(heap.entries)
            heap.seen = len(self._changed)
        elif not rises and heap.seen < len(self._changed):
            self._catch_up(heap, demand)
        entries, places = heap.entries, self._places
        while entries:
            score, rank, at, ant = entries[0]
            if not has_room(ant, demand, places(ant)):
                heapq.heappop(entries)
                continue
            now = self._rank(ant, demand)
            if rank == now:  # preferences do not change
                self._last = ant
                return ant
            if rises:
                heapq.heapreplace(entries, (score, now, at, ant))
            else:
                heapq.heappop(entries)  # queued again with its present rank
        return None

    def _by_preference(
        self, name: tuple[int, Needs, str, str, str], ants: list[AntView], demand: Demand, *, rises: bool
    ) -> AntView | None:
        """The same for a demand that prefers neighbours."""
        board, places = self._boards.get(name), self._places
        if board is None or not board.follow():
            able = self._with_a_place(ants)
            self.looked += len(able)
            board = self._boards[name] = Board(ants, able, demand, self._rank)
        elif not rises and board.caught_up < len(self._changed):
            board.ranked_anew(self._changed[board.caught_up :])
        board.caught_up = len(self._changed)
        self._last = board.best(lambda ant: has_room(ant, demand, places(ant)), rises=rises)
        return self._last

    def open_ants(self, ants: list[AntView]) -> list[AntView]:
        """Those with a free place that are not kept, as far as is known."""
        return [ant for _, ant in self._with_a_place(ants) if len(ant.held) < self._places(ant)]

    def _with_a_place(self, ants: list[AntView]) -> list[tuple[int, AntView]]:
        """Where nearly all are full, each demand then looks at the few others alone."""
        found = self._open.get(id(ants))
        if found is None:
            kept, places = self._kept, self._places
            found = self._open[id(ants)] = [
                (at, ant) for at, ant in enumerate(ants) if len(ant.held) < places(ant) and ant not in kept
            ]
        return found

    def _catch_up(self, heap: _Heap, demand: Demand) -> None:
        entries, places, most = heap.entries, heap.places, self._places
        for ant in heap.places.keys() & self._changed[heap.seen :]:
            if has_room(ant, demand, most(ant)):
                heapq.heappush(entries, (*self._key(ant, demand), places[ant], ant))
        heap.seen = len(self._changed)

    def _key(self, ant: AntView, demand: Demand) -> tuple[float, float]:
        return -(requirements(demand.match).score(ant) if demand.match else 0), self._rank(ant, demand)


class _Heap:
    """Ants of one list with room for one shape of demand."""

    __slots__ = ("ants", "entries", "places", "seen", "stamp")

    def __init__(self, ants: list[AntView], entries: list[tuple[float, float, int, AntView]], stamp: int) -> None:
        self.ants = ants
        """Kept, so that no other list gets its identity."""
        self.entries = entries
        self.stamp = stamp
        """Of its neighbours when the ants were looked at."""
        self.places = {ant: at for at, ant in enumerate(ants)}
        self.seen = 0
