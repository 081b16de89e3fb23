"""Place: the first that wait are given to the ants with room all at once, where that is best for all of them together.

Who starts is for the order alone to say. Where it starts follows from a plan: the next of those that wait, as many as
there are free places, are assigned to them at once: as many as possible, then at the best sum of preferences, then to
the ants with least to do. Whoever's turn it is goes where the plan has him; where the plan knows nothing of him, or
his place is taken by now, he goes to the ant that is best for him alone.

Theory of operation. A plan is made in small steps with pauses, in which anything may happen: so it is advice, looked at
again before it is followed, and a plan that took long is finished and used, not begun anew. It is made again when the
ants have had less to do since, and somebody asks who may choose between ants.

Source: `policies.assignment` (Jonker and Volgenant 1987). Equal demands have equal preferences, so each is looked at
once for each ant.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from math import inf

from formicary.engine.scheduling.candidates import CandidateQueue, Entry
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import LOOKS, AntView
from formicary.engine.scheduling.placing import has_room
from formicary.engine.scheduling.policies.assignment import assign_in_steps
from formicary.engine.scheduling.requirements import requirements

WIDTH = 200
"""Most candidates of one plan, and most places."""
MOST_LOOKS = 20_000
"""Pairs of a demand and an ant that a plan looks at."""
STEPS = 4
"""Steps of the assignment in the time of a decision."""
LOAD = 1e-3
"""What a full ant costs beside preferences, which are whole numbers."""


class Plan:
    """Where the next ones go, of one configuration."""

    __slots__ = ("_is_cut", "_made_at", "_making", "_places", "_tried")

    def __init__(self) -> None:
        self._places: dict[Demand, list[AntView]] = {}
        self._tried: set[Demand] = set()
        """Demands that were looked at, with a place or without."""
        self._made_at = -1
        self._is_cut = False
        """More were waiting than it holds."""
        self._making: Generator[None, None, dict[Demand, list[AntView]]] | None = None

    def is_due(self, demand: Demand, version: int) -> bool:
        """Whether a plan has to be made, or finished, before somebody of this demand is placed."""
        if self._making is not None or version != self._made_at or demand not in self._tried:
            return True
        return self._is_cut and not self._places.get(demand)

    def take(self, demand: Demand, kept: Collection[AntView]) -> AntView | None:
        """The planned ant if it still has room and is not kept for others."""
        places = self._places.get(demand)
        while places:
            ant = places.pop(0)
            if has_room(ant, demand, ant.slots) and demand.fits(ant) and ant not in kept:
                return ant
        return None

    def make(
        self,
        asked: Demand,
        line: Callable[[], Sequence[Demand]],
        able: Callable[[Demand], Sequence[AntView]],
        version: Callable[[], int],
    ) -> Iterator[None]:
        """Makes one, or goes on with the one that was begun; each pause comes after the time of a decision.

        Args:
            asked: Whose turn it is.
            line: Says the demands of those that wait, in order, `WIDTH` at most.
            able: Says the ants with a free place that serve a demand, those that are kept for others left out.
            version: Says the state of the ants.
        """
        if self._making is None:
            waiting = line()
            self._tried = {*waiting, asked}
            self._is_cut = len(waiting) >= WIDTH
            self._places = {}
            if len(self._tried) > 1:  # those that are alike need no plan: each takes the best that is left
                self._making = _assigned(waiting, able)
        while self._making is not None:
            try:
                next(self._making)
            except StopIteration as ended:
                self._places, self._making = ended.value, None
            else:
                yield
        self._made_at = version()


def first_in_line(queues: Sequence[tuple[Demand, CandidateQueue]], most: int) -> list[Demand]:
    """The demands of the first that wait, merged by their order keys."""
    heaps = [(at, heap) for at, (_, queue) in enumerate(queues) for heap in queue.heaps()]
    merged = heapq.merge(*(_keyed(at, heap) for at, heap in heaps))
    found = []
    for _, at in merged:
        found.append(queues[at][0])
        if len(found) >= most:
            break
    return found


def _keyed(at: int, heap: list[Entry]) -> Iterator[tuple[tuple[float, int, int], int]]:
    """Order keys of one heap, smallest first, without taking anything out: a heap is a tree of them."""
    open_ones = [(heap[0][:4], 0)] if heap else []
    while open_ones:
        key, place = heapq.heappop(open_ones)
        entry = heap[place]
        for child in (2 * place + 1, 2 * place + 2):
            if child < len(heap):
                heapq.heappush(open_ones, (heap[child][:4], child))
        if entry[4].state == entry[5]:
            yield key[:3], at


def _assigned(
    waiting: Sequence[Demand], able: Callable[[Demand], Sequence[AntView]]
) -> Generator[None, None, dict[Demand, list[AntView]]]:
    """Ants by demand, for as many of those that wait as there are places."""
    kinds = list(dict.fromkeys(waiting))
    scores: list[dict[AntView, float]] = []
    looks, most = 0, max(WIDTH, MOST_LOOKS // max(1, len(kinds)))
    for kind in kinds:
        found: dict[AntView, float] = {}
        for ant in able(kind)[:most]:
            looks += 1
            if has_room(ant, kind, ant.slots):
                found[ant] = _score(kind, ant)
            if looks % LOOKS == 0:
                yield
        scores.append(found)
    places = yield from _places(scores, len(waiting))
    numbers = {kind: at for at, kind in enumerate(kinds)}
    rows = [demand for demand in waiting if scores[numbers[demand]]][: len(places)]
    costs = []
    for demand in rows:
        score = scores[numbers[demand]]
        costs.append([load - score[ant] if ant in score else inf for ant, load in places])
        yield
    steps, count = assign_in_steps(costs), 0
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            columns: list[int | None] = ended.value
            break
        count += 1
        if count % STEPS == 0:
            yield
    chosen: dict[Demand, list[AntView]] = {}
    for demand, column in zip(rows, columns, strict=True):
        if column is not None:
            chosen.setdefault(demand, []).append(places[column][0])
    return chosen


def _score(demand: Demand, ant: AntView) -> float:
    score = requirements(demand.match).score(ant) if demand.match else 0
    return score + (ant.neighbours.score(demand.affinity, ant) if demand.affinity else 0)


def _places(scores: Sequence[dict[AntView, float]], most: int) -> Generator[None, None, list[tuple[AntView, float]]]:
    """Free places with what they cost by their load, the best of each demand in turn, as many as may be needed."""
    lines: list[Iterator[tuple[float, float, int, AntView]]] = []
    for found in scores:
        ranked = [(-score, len(ant.held) / ant.slots, at, ant) for at, (ant, score) in enumerate(found.items())]
        ranked.sort()
        lines.append(iter(ranked))
        yield
    chosen: dict[AntView, None] = {}
    count = 0
    while lines and count < WIDTH:
        for line in list(lines):
            first = next(line, None)
            if first is None:
                lines.remove(line)
            elif (ant := first[3]) not in chosen:
                chosen[ant] = None
                count += min(ant.slots - len(ant.held), most)
        yield
    places = [
        (ant, LOAD * (len(ant.held) + more) / ant.slots)
        for ant in chosen
        for more in range(min(ant.slots - len(ant.held), most))
    ]
    return places[:WIDTH]
