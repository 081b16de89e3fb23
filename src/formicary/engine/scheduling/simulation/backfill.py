"""Backfill: jobs that wait have reservations, later ones may start now where they do not delay those.

EASY gives a reservation to the first that waits, conservative backfill to every one.

Source: Lifka, "The ANL/IBM SP Scheduling System", JSSPP 1995; Mu'alem and Feitelson, "Utilization, Predictability,
Workloads, and User Runtime Estimates in Scheduling the IBM SP2 with Backfilling", IEEE TPDS 12(6), 2001.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterator
from math import frexp, nextafter
from random import Random

from formicary.engine.scheduling.simulation.availability import Availability
from formicary.engine.scheduling.simulation.policy import Decision, Key, SortedGroup, Start
from formicary.engine.scheduling.simulation.queueing import INFINITY, Ordered, Rank
from formicary.engine.scheduling.simulation.state import TINY, AntState, ClusterState, Entry, Need, Shape
from formicary.engine.scheduling.simulation.waiting import ByLength

Item = tuple[Key, int, Entry]
MOST_HEADS = 32
"""Demands for which the ends of what runs are remembered in sums."""


class Reserving(Ordered):
    """One queue, and which ants have anything left of all that every job asks for.

    Args:
        rank: Order of the queue.
        depth: How many jobs a round looks at.
    """

    def __init__(self, rank: Rank, depth: int) -> None:
        super().__init__(rank)
        self.depth = depth
        self.queue = SortedGroup("")
        self.groups[""] = self.queue
        self.roomy: set[int] = set()
        self._shapes: set[Shape] = set()
        self._asked: frozenset[int] = frozenset()
        """Resources that each of these asks for."""

    def bind(self, state: ClusterState, rng: Random) -> None:
        """See Policy."""
        super().bind(state, rng)
        for ant in state.ants:
            self._look_for_room(ant)

    def group_of(self, entry: Entry) -> SortedGroup:
        """All jobs are one queue."""
        return self.queue

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        if entry.ant is not None:
            self._look_for_room(entry.ant)

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy."""
        if entry.ant is not None:
            self._look_for_room(entry.ant)

    def _asks(self, shape: Shape) -> None:
        """Notes the demand of a job that comes: what it does not need may be used up."""
        if shape in self._shapes:
            return
        needed = frozenset(index for index, _ in shape.need)
        self._asked = self._asked & needed if self._shapes else needed
        self._shapes.add(shape)
        for ant in self.state.ants:
            self._look_for_room(ant)

    def _look_for_room(self, ant: AntState) -> None:
        if any(ant.free[index] <= 0 for index in self._asked):
            self.roomy.discard(ant.number)
        else:
            self.roomy.add(ant.number)


class Backfill(Reserving):
    """One reservation, for the head of the queue: the shadow time at which it will fit, and what is left beside it.

    Of the jobs of one demand behind it, either any may start, or only those that end by the shadow time, or none: so
    the next one that may is found by demand and length, and no other is looked at.
    """

    def __init__(self, rank: Rank, depth: int) -> None:
        super().__init__(rank, depth)
        self.waiting: dict[Shape, ByLength[Item]] = {}
        self._ends: list[list[tuple[float, int, Entry]]] = []
        """By ant: what runs, by its expected end."""
        self._shadows: dict[Shape, list[float]] = {}
        """When one of this demand will fit, by ant of those that it may have."""
        self._stale: dict[Shape, set[int]] = {}
        """Ants for which that is to be found anew."""

    def bind(self, state: ClusterState, rng: Random) -> None:
        """See Policy."""
        super().bind(state, rng)
        self._ends = [[] for _ in state.ants]

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        self._asks(entry.shape)
        key = self.key(entry, now)
        self.queue.push(key, entry)
        waiting = self.waiting.get(entry.shape)
        if waiting is None:
            waiting = self.waiting[entry.shape] = ByLength(_length)
        waiting.push((key, entry.number, entry))

    def _taken(self, item: Item) -> None:
        shape = item[2].shape
        self.waiting[shape].remove(item)
        if not self.waiting[shape]:
            del self.waiting[shape]

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().started(entry, now)
        if entry.ant is not None:
            insort(self._ends[entry.ant.number], (entry.since + entry.expected_left, entry.number, entry))
            self._changed(entry.ant)

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().stopped(entry, now)
        if entry.ant is not None:
            ends = self._ends[entry.ant.number]
            del ends[bisect_left(ends, (entry.since + entry.expected_left, entry.number, entry))]
            self._changed(entry.ant)

    def _changed(self, ant: AntState) -> None:
        for stale in self._stale.values():
            stale.add(ant.number)

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        queue, state = self.queue, self.state
        while queue.heap:
            item = queue.heap[0]
            ant = state.first_fit(item[2].shape)
            if ant is None:
                break
            queue.pop()
            self._taken(item)
            yield Start(item[2], ant)
        if len(queue.heap) < 2 or not self.roomy:
            return
        able = [shape for shape in self.waiting if state.first_fit(shape) is not None]
        if able:
            yield from self._fill(able, queue.heap[min(self.depth, len(queue.heap) - 1)], now)

    def _fill(self, able: list[Shape], last: Item, now: float) -> Iterator[Decision]:
        """Starts what delays the head not, in order, up to the last item that is looked at."""
        shadow, reserved, spare = self._reservation(self.queue.head(), now)
        most = shadow + TINY - now
        heads: list[tuple[Item, Shape]] = []
        for shape in able:
            found = self.waiting[shape].first(None, INFINITY if self._beside(shape, reserved, spare) else most)
            if found is not None:
                heads.append((found, shape))
        heapq.heapify(heads)
        while heads and heads[0][0] <= last:
            item, shape = heads[0]
            entry = item[2]
            first = self.state.first_fit(shape)
            if first is None:
                heapq.heappop(heads)
                continue
            is_short = entry.expected_left <= most
            beside = self._beside(shape, reserved, spare)
            place = first if is_short else beside
            waiting = self.waiting[shape]
            if place is not None:
                if place is reserved and not is_short:
                    for index, amount in entry.need:
                        spare[index] -= amount
                self.queue.remove(entry)
                self._taken(item)
                yield Start(entry, place)
            found = waiting.first(item, most if beside is None else INFINITY)
            if found is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (found, shape))

    def _beside(self, shape: Shape, reserved: AntState | None, spare: list[float]) -> AntState | None:
        """The first ant where one of the shape may start however long it runs."""
        first = self.state.first_fit(shape)
        if first is None or first is not reserved:
            return first
        need = shape.need
        if all(spare[index] + TINY >= amount for index, amount in need):
            return first
        return next((ant for ant in shape.eligible[shape.first + 1 :] if ant.fits(need)), None)

    def _reservation(self, head: Entry, now: float) -> tuple[float, AntState | None, list[float]]:
        """The earliest time at which the head fits, where, and what is free there then beside it."""
        shape = head.shape
        shadows = self._shadows.get(shape)
        if shadows is None:
            if len(self._shadows) >= MOST_HEADS:
                self._shadows.clear()
                self._stale.clear()
            shadows = self._shadows[shape] = [self._shadow(shape, ant) for ant in shape.eligible]
            self._stale[shape] = set()
        elif stale := self._stale[shape]:
            for at, ant in enumerate(shape.eligible):
                if ant.number in stale:
                    shadows[at] = self._shadow(shape, ant)
            stale.clear()
        shadow = max(now, min(shadows))
        ant = next(ant for ant, at in zip(shape.eligible, shadows, strict=True) if at <= shadow + TINY)
        free = list(ant.free)
        for end, _, one in self._ends[ant.number]:
            if end > shadow:
                break
            for index, amount in one.need:
                free[index] += amount
        for index, amount in shape.need:
            free[index] -= amount
        return shadow, ant, free

    def _shadow(self, shape: Shape, ant: AntState) -> float:
        """When one of the shape fits on an ant, if all ends as expected; a time before now is now."""
        free = list(ant.free)
        need = shape.need
        for end, _, one in self._ends[ant.number]:
            for index, amount in one.need:
                free[index] += amount
            if all(free[index] + TINY >= amount for index, amount in need):
                return end
        return INFINITY


def _length(item: Item) -> float:
    return item[2].expected_left


class Conservative(Reserving):
    """Every job that waits has a reservation: nobody is ever delayed by who came later.

    A job gets its reservation when it comes, in the first hole that is long enough beside all others. When something
    ends earlier than expected reservations are brought forward one by one, the next one first; none is put back. Only
    those are looked at again that could begin before, or overlap, a stretch that has become free. While something runs
    longer than expected no reservation can be relied on: all are made anew, in the order of the queue.

    Args:
        rank: Order in which jobs that come together are planned.
        depth: How many jobs have reservations at a time; the others wait for one.
    """

    def __init__(self, rank: Rank, depth: int) -> None:
        super().__init__(rank, depth)
        self.reserved: dict[int, tuple[float, int]] = {}
        """Start and ant by number of the job."""
        self._planned: list[tuple[float, Item]] = []
        """Those that have one, by their start."""
        self._unplanned: list[Item] = []
        """Those that have none yet, in order."""
        self._profiles: list[Availability] = []
        """What runs and what is reserved, by ant."""
        self._held: dict[int, tuple[float, float, int]] = {}
        """Of each job in a profile, by its number: from when until when, and on which ant."""
        self._ends: list[tuple[float, int]] = []
        """Expected ends of what runs, sorted."""
        self._freed: dict[int, float] = {}
        """Since when something has become free that was taken, by ant."""
        self._names: dict[Need, int] = {}
        """A number for each demand, which is hashed faster."""
        self._announced = INFINITY
        """When a reservation begins that nothing else would remind of."""

    def bind(self, state: ClusterState, rng: Random) -> None:
        """See Policy."""
        super().bind(state, rng)
        self._profiles = [Availability(ant.capacity) for ant in state.ants]

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().started(entry, now)
        insort(self._ends, (now + entry.expected_left, entry.number))

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy. What ends before its time leaves a hole."""
        super().stopped(entry, now)
        del self._ends[bisect_left(self._ends, (entry.since + entry.expected_left, entry.number))]
        _, end, ant = self._held.pop(entry.number)
        self._profiles[ant].forget(now)
        if end > now + TINY:
            self._profiles[ant].give_back(now, end, entry.need)
            self._free(ant, now)

    def _free(self, ant: int, since: float) -> None:
        self._freed[ant] = min(since, self._freed.get(ant, INFINITY))

    def _hold(self, entry: Entry, start: float, ant: int) -> None:
        end = start + entry.expected_left
        self._profiles[ant].take(start, end, entry.need)
        self._held[entry.number] = (start, end, ant)

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        self._asks(entry.shape)
        super().queued(entry, now)
        insort(self._unplanned, (self.key(entry, now), entry.number, entry))

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        if not self.queue.heap or not self.roomy:
            return
        self._prolong(now)
        freed, self._freed = self._freed, {}
        looked_at = self._planned[: None if freed else bisect_left(self._planned, (now + TINY, ()))]
        added = max(0, self.depth - len(self._planned))
        new = self._unplanned[:added]
        del self._unplanned[:added]
        for item in [*(one[1] for one in looked_at), *new]:
            entry = item[2]
            start, place = self._plan(item, freed, now)
            ant = self.state.ants[place]
            if start <= now + TINY and ant.fits(entry.need):
                self.queue.remove(entry)
                self._unlist(item)
                yield Start(entry, ant)

    def next_look(self, now: float) -> float:
        """See Policy. Where nothing runs nothing will end: the next reservation is waited for."""
        if self._announced <= now:
            self._announced = INFINITY
        if not self.state.running and self._planned and self._planned[0][0] > now:
            self._announced = min(self._announced, self._planned[0][0])
        return self._announced

    def _unlist(self, item: Item) -> None:
        del self._planned[bisect_left(self._planned, (self.reserved.pop(item[1])[0], item))]

    def _reserve(self, item: Item, start: float, ant: int) -> None:
        self.reserved[item[1]] = (start, ant)
        insort(self._planned, (start, item))
        self._hold(item[2], start, ant)

    def _plan(self, item: Item, freed: dict[int, float], now: float) -> tuple[float, int]:
        """Where and when a job runs that is looked at now."""
        number, entry = item[1], item[2]
        known = self.reserved.get(number)
        if known is None:
            best = self._earliest(entry, [ant.number for ant in entry.shape.eligible], now)
            self._reserve(item, *best)
            return best
        if not any(since < known[0] for since in freed.values()):
            return known
        start, end, place = self._held[number]
        self._profiles[place].give_back(start, end, entry.need)
        places = [ant.number for ant in entry.shape.eligible if ant.number in freed or ant.number == place]
        best = self._earliest(entry, places, now)
        if best == known:
            self._profiles[place].take(start, end, entry.need)
            return known
        self._unlist(item)
        self._reserve(item, *best)
        self._free(place, start)
        freed[place] = min(start, freed.get(place, INFINITY))
        return best

    def _earliest(self, entry: Entry, places: list[int], now: float) -> tuple[float, int]:
        """The first moment and, of those with an equal one, the first ant."""
        best, where = INFINITY, places[0]
        need, length, profiles = entry.shape.need, entry.expected_left, self._profiles
        kind = self._names.setdefault(need, len(self._names)), frexp(length)[1]
        for bound, place in sorted([(profiles[place].bounds.get(kind, now), place) for place in places]):
            if bound > best:
                break
            before = best if place > where else nextafter(best, INFINITY)
            at = profiles[place].earliest(need, length, now, before, kind)
            if (at, place) < (best, where):
                best, where = at, place
        return best, where

    def _prolong(self, now: float) -> None:
        """Where jobs run longer than expected all profiles are made anew, as those go on for a moment."""
        late = bool(self._ends) and self._ends[0][0] <= now
        if not late and not (self._planned and self._planned[0][0] < now):
            return
        self._profiles = [Availability(ant.capacity) for ant in self.state.ants]
        for ant in self.state.ants:
            for number, one in ant.running.items():
                end = max(now + 2 * TINY, one.since + one.expected_left)
                self._profiles[ant.number].take(now, end, one.need)
                self._held[number] = (now, end, ant.number)
        for _, (_, number, _) in self._planned:
            del self._held[number]
        self._unplanned = sorted([*(item for _, item in self._planned), *self._unplanned])
        self._planned.clear()
        self.reserved.clear()
        self._freed.clear()
