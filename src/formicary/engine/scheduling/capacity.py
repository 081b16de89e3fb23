"""Place: the least loaded ant that fits and has room.

An ant runs at most `slots` tasks at a time, which the ant itself enforces; it may hold up to `window` granted tasks,
so that short tasks follow each other without a round trip. Free slots anywhere go before any queueing on an ant.
Ties go to the ant that came first.
"""

from __future__ import annotations

import heapq

from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import AntView
from formicary.engine.scheduling.placing import RANKS, Ranking


def least_loaded(ants: list[AntView]) -> AntView | None:
    """The ant with the smallest share of its slots taken, or None where every window is full."""
    best, best_load = None, 0.0
    for ant in ants:
        held = len(ant.held)
        if held >= ant.window or ant.draining or not ant.connected:
            continue
        load = held / ant.slots
        if best is None or load < best_load:
            best, best_load = ant, load
    return best


class LeastLoaded:
    """The same choice over many decisions of one slice, while ants are only ever given more.

    Tasks that hold resources or prefer some ants are placed by `placing`, with the load as the rank.

    It keeps a heap of the ants with room for each list of ants; an ant whose load has grown sinks when it comes up.
    """

    __slots__ = ("_heaps", "_others")

    def __init__(self) -> None:
        self._heaps: dict[int, tuple[list[AntView], list[tuple[float, int, AntView]]]] = {}
        """By identity of the list, which is kept so that no other gets its identity."""
        self._others: Ranking | None = None

    @property
    def looked(self) -> int:
        """Ants that were looked at one by one."""
        return self._others.looked if self._others is not None else 0

    def __call__(self, ants: list[AntView], demand: Demand) -> AntView | None:
        """The ant with the smallest share of its slots taken, or None where every window is full."""
        if not demand.is_plain:
            if self._others is None:
                self._others = Ranking(RANKS["least_loaded"], lambda ant: ant.window)
            return self._others(ants, demand)
        known = self._heaps.get(id(ants))
        if known is None:
            heap = [
                (len(ant.held) / ant.slots, at, ant)
                for at, ant in enumerate(ants)
                if ant.connected and not ant.draining and len(ant.held) < ant.window
            ]
            heapq.heapify(heap)
            known = self._heaps[id(ants)] = (ants, heap)
        heap = known[1]
        while heap:
            load, at, ant = heap[0]
            held = len(ant.held)
            if held >= ant.window:
                heapq.heappop(heap)
            elif held / ant.slots != load:
                heapq.heapreplace(heap, (held / ant.slots, at, ant))
            else:
                return ant
        return None
