"""Gangs that start together or not at all: what `policies.gang.plan` decides anew over a whole queue, kept up to date.

What each ant has left is kept from event to event. Of gangs that need the same, either all later ones may start, or
only those that are short enough, or none: so the next one that may is found by need and length, and no other is looked
at. Gangs of several members are placed by `policies.gang.place`; single jobs, the common case, by one look at the ants.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nextafter
from random import Random
from typing import Protocol

from formicary.engine.scheduling.policies.gang import Gang, Held, _earliest, _free, place
from formicary.engine.scheduling.simulation.policy import Decision, Drop, Start
from formicary.engine.scheduling.simulation.precedence import cycle
from formicary.engine.scheduling.simulation.queueing import Ordered, seconds_left
from formicary.engine.scheduling.simulation.state import TINY, AntState, ClusterState, Entry, Need, Shape
from formicary.engine.scheduling.simulation.waiting import ByLength
from formicary.engine.scheduling.simulation.workload import Job

PLENTY = 1e9
"""Of a tag that an ant has, and of a resource that others have some of and this one no end."""
SLACK_S = 1e-3
"""More than what rounding makes of one moment: ends farther apart are told apart without a look at what is left."""
MOST_HEADS = 32
"""Needs for which the ends of what runs are remembered in sums."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A gang all of whose members wait."""

    members: tuple[Entry, ...]
    runtime: float
    kind: Hashable
    """Equal for gangs that need the same: the shape of a single job, the shapes of several."""


Item = tuple[tuple[float, float], int, Whole]
"""The rank and when the last member came, and the number of the first."""
Part = tuple[int, Need]
"""What a member takes, on the ant of this number."""


class Reserved(Protocol):
    """Room at the time at which the first that waits will fit."""

    starts_at: float

    def spares(self, parts: Sequence[Part]) -> bool:
        """True where the first still fits then beside these, which are taken away in that case."""
        ...


@dataclass(slots=True)
class _ForOne:
    """The first that waits is a single job: the ants that will have room for it, with all that each will have."""

    starts_at: float
    need: Need
    able: dict[int, list[float]]

    def spares(self, parts: Sequence[Part]) -> bool:
        """See Reserved."""
        after: dict[int, list[float]] = {}
        for number, need in parts:
            if number in self.able:
                room = after.setdefault(number, list(self.able[number]))
                for index, amount in need:
                    room[index] -= amount
        lost = [number for number, room in after.items() if not _fits(self.need, room)]
        if len(lost) == len(self.able):
            return False
        self.able |= after
        for number in lost:
            del self.able[number]
        return True


@dataclass(slots=True)
class _ForSeveral:
    """The first that waits has several members: what every ant will have."""

    starts_at: float
    gang: Gang
    free: dict[str, dict[str, float]]
    policy: Gangs

    def spares(self, parts: Sequence[Part]) -> bool:
        """See Reserved."""
        after = {name: dict(have) for name, have in self.free.items()}
        for number, need in parts:
            have = after[self.policy.state.ants[number].id]
            for index, amount in need:
                have[self.policy.names[index]] -= amount
        if place(self.gang, after) is None:
            return False
        self.free = after
        return True


@dataclass(slots=True)
class _Kind:
    """Single jobs of one shape: what they need, and who can give it, in the order of the names."""

    need: Need
    ants: list[AntState]
    shadows: list[Entry | None] = field(default_factory=list)
    """By ant: the running job with whose expected end one of these will fit there; for heads of the queue."""
    ends: list[float] = field(default_factory=list)
    """The same as times."""
    stale: set[int] | None = None
    """Ants for which that is to be found anew; None where it was never found."""


class Gangs(Ordered):
    """Gangs in order, single jobs are gangs of one; the first that waits has a reservation.

    A gang is submitted when its last member is.

    Args:
        jobs: The whole workload: how many members each gang has.
        backfill: Later ones may start where they do not delay the reservation.
        depth: How many gangs are looked at in a round.
        by_priority: The highest priority first, of a gang that of its highest member; equal ones by submission.
    """

    def __init__(self, jobs: Sequence[Job], *, backfill: bool, depth: int, by_priority: bool = False) -> None:
        super().__init__(lambda entry, now: 0.0)
        self.by_priority = by_priority
        self.backfill = backfill
        self.depth = depth
        self.sizes: dict[str, int] = {}
        for job in jobs:
            if job.gang:
                self.sizes[job.gang] = self.sizes.get(job.gang, 0) + 1
        self._check_order(jobs)
        self.tags = sorted({tag for job in jobs for tag in job.tags})
        self.gathering: dict[str, list[Entry]] = {}
        """Members of gangs that are not whole yet, by gang."""
        self.ready: list[Item] = []
        """Gangs that are whole, in order."""
        self.waiting: dict[Hashable, ByLength[Item]] = {}
        """The same, by kind."""
        self._kinds: dict[Shape, _Kind] = {}
        self._ends: list[list[tuple[float, int, Entry]]] = []
        """By ant: what runs, by its expected end."""
        self._together: dict[int, float] = {}
        """Ends of members that began in this round: those of their gangs."""
        self._never: dict[Hashable, bool] = {}
        """True for kinds of gangs that do not fit even into an empty cluster."""
        self._heads: list[_Kind] = []

    @staticmethod
    def _check_order(jobs: Sequence[Job]) -> None:
        """Raises ValueError where a gang would have to end before it begins: its members start together."""
        names = {job.id: f"gang {job.gang}" if job.gang else job.id for job in jobs}
        before: dict[str, set[str]] = {}
        for job in jobs:
            for name in job.after:
                before.setdefault(names[job.id], set()).add(names.get(name, name))
        if circle := cycle(before):
            raise ValueError(
                f"members of a gang start together, and one comes after another: {' before '.join(circle)}"
            )

    def bind(self, state: ClusterState, rng: Random) -> None:
        """See Policy."""
        super().bind(state, rng)
        self.names = [*state.resources, *(f"tag {tag}" for tag in self.tags)]
        self._bounded = [any(ant.capacity[at] < inf for ant in state.ants) for at in range(len(state.resources))]
        self._capacity = [
            [*(min(most, PLENTY) for most in ant.capacity), *(PLENTY * (tag in ant.tags) for tag in self.tags)]
            for ant in state.ants
        ]
        self._room = [list(most) for most in self._capacity]
        self._totals = [sum(room[at] for room in self._room) for at in range(len(self.names))]
        self._ends = [[] for _ in state.ants]

    def kind_of(self, shape: Shape) -> _Kind:
        """What single jobs of a shape need."""
        found = self._kinds.get(shape)
        if found is None:
            tags = next(key[1] for key, value in self.state.shapes.items() if value is shape)
            need = [(index, amount) for index, amount in shape.need if self._bounded[index]]
            need += [(self.names.index(f"tag {tag}"), 1.0) for tag in tags]
            ants = sorted(shape.eligible, key=lambda ant: ant.id)
            found = self._kinds[shape] = _Kind(tuple(need), ants)
        return found

    # --- what waits and what runs -----------------------------------------------------------------------------------

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        members = [entry]
        if entry.job.gang:
            members = self.gathering.setdefault(entry.job.gang, [])
            members.append(entry)
            if len(members) < self.sizes[entry.job.gang]:
                return
            del self.gathering[entry.job.gang]
        kind: Hashable = entry.shape if len(members) == 1 else tuple(one.shape for one in members)
        whole = Whole(tuple(members), max(one.expected_left for one in members), kind)
        rank = -max(one.job.priority for one in members) if self.by_priority else 0.0
        item = ((rank, max(one.job.submit for one in members)), members[0].number, whole)
        insort(self.ready, item)
        waiting = self.waiting.get(kind)
        if waiting is None:
            waiting = self.waiting[kind] = ByLength(_length)
        waiting.push(item)

    def _gone(self, item: Item) -> None:
        del self.ready[bisect_left(self.ready, item)]
        waiting = self.waiting[item[2].kind]
        waiting.remove(item)
        if not waiting:
            del self.waiting[item[2].kind]

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        if entry.ant is not None:
            end = self._together.get(entry.number, entry.since + entry.expected_left)
            insort(self._ends[entry.ant.number], (end, entry.number, entry))
            self._changed(entry.ant.number, entry, -1.0)

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy."""
        if entry.ant is not None:
            ends = self._ends[entry.ant.number]
            end = self._together.pop(entry.number, entry.since + entry.expected_left)
            del ends[bisect_left(ends, (end, entry.number, entry))]
            self._changed(entry.ant.number, entry, +1.0)

    def _changed(self, number: int, entry: Entry, sign: float) -> None:
        room = self._room[number]
        totals = self._totals
        for index, amount in self.kind_of(entry.shape).need:
            room[index] += sign * amount
            totals[index] += sign * amount
        for kind in self._heads:
            if kind.stale is not None:
                kind.stale.add(number)

    def _apart(self) -> None:
        """Members that began in the last round end when they do, not when their gang does."""
        for number, end in self._together.items():
            for ends in self._ends:
                at = bisect_left(ends, (end, number))
                if at < len(ends) and ends[at][1] == number:
                    entry = ends.pop(at)[2]
                    insort(ends, (entry.since + entry.expected_left, number, entry))
                    break
        self._together.clear()
        for kind in self._heads:
            kind.stale = None

    def _end(self, entry: Entry, now: float) -> float:
        """When a running job ends, as far as anybody knows."""
        return self._together.get(entry.number, now + seconds_left(entry, now))

    # --- where a gang fits ------------------------------------------------------------------------------------------

    def _places(self, whole: Whole) -> list[Part] | None:
        """Ants for all members now, or None."""
        if len(whole.members) == 1:
            shape = whole.members[0].shape
            if self.state.first_fit(shape) is None:
                return None
            kind = self.kind_of(shape)
            number = self._closest(kind)
            return None if number is None else [(number, kind.need)]
        if not self._has_room(whole.kind):
            return None
        found = place(self._gang(whole), self._named(self._room))
        if found is None:
            return None
        numbers = {ant.id: ant.number for ant in self.state.ants}
        needs = [self.kind_of(one.shape).need for one in whole.members]
        return [(numbers[name], need) for name, need in zip(found, needs, strict=True)]

    def _closest(self, kind: _Kind) -> int | None:
        """The ant where one of the kind fits and least is left over, as parts of all that is free."""
        rooms, totals = self._room, self._totals
        best, least = None, inf
        if len(kind.need) == 1:  # the same, as it is asked most of all
            ((index, amount),) = kind.need
            total = totals[index] or 1.0
            for ant in kind.ants:
                have = rooms[ant.number][index]
                if amount <= have + TINY and (best is None or (have - amount) / total < least):
                    best, least = ant.number, (have - amount) / total
            return best
        need = [(index, amount, totals[index] or 1.0) for index, amount in kind.need]
        for ant in kind.ants:
            room, left = rooms[ant.number], 0.0
            for index, amount, total in need:
                have = room[index]
                if amount > have + TINY:
                    break
                left += (have - amount) / total
            else:
                if best is None or left < least:
                    best, least = ant.number, left
        return best

    def _gang(self, whole: Whole) -> Gang:
        """The same as `policies.gang` wants it."""
        vectors = tuple(self._vector(self.kind_of(one.shape).need) for one in whole.members)
        return Gang(whole.members[0].job.gang, vectors, whole.runtime)

    def _vector(self, need: Need) -> dict[str, float]:
        return {self.names[index]: amount for index, amount in need}

    def _named(self, rooms: Sequence[Sequence[float]]) -> dict[str, Mapping[str, float]]:
        """By name of the ant and of the resource, those without bounds left out."""
        bounded = [*self._bounded, *(True for _ in self.tags)]
        return {
            ant.id: {name: amount for name, amount, is_in in zip(self.names, room, bounded, strict=True) if is_in}
            for ant, room in zip(self.state.ants, rooms, strict=True)
        }

    def _reserve(self, whole: Whole, now: float) -> Reserved:
        """Room for a gang at the earliest time at which it will fit."""
        if len(whole.members) == 1:
            return self._reserve_one(self.kind_of(whole.members[0].shape), now)
        gang, capacity = self._gang(whole), self._named(self._capacity)
        running = [
            Held(ant.id, self._vector(self.kind_of(one.shape).need), self._end(one, now))
            for ant in self.state.ants
            for one in ant.running.values()
        ]
        at = _earliest(gang, capacity, running, now)
        free = _free(capacity, [one for one in running if one.ends_at > at])
        return _ForSeveral(at, gang, free, self)

    def _reserve_one(self, kind: _Kind, now: float) -> Reserved:
        if kind.stale is None:
            if len(self._heads) >= MOST_HEADS:
                for other in self._heads:
                    other.stale = None
                self._heads.clear()
            if kind not in self._heads:
                self._heads.append(kind)
            kind.shadows, kind.ends = [None] * len(kind.ants), [inf] * len(kind.ants)
            kind.stale = {ant.number for ant in kind.ants}
        if kind.stale:
            for position, ant in enumerate(kind.ants):
                if ant.number in kind.stale:
                    kind.ends[position], kind.shadows[position] = self._shadow(kind, ant)
            kind.stale.clear()
        soon = max(now, min(kind.ends)) + SLACK_S
        near = [position for position, end in enumerate(kind.ends) if end <= soon]
        lasts = ((kind.ants[position], kind.shadows[position]) for position in near)
        times = {ant: inf if last is None else self._end(last, now) for ant, last in lasts}
        at = max(now, min(times.values()))
        able = {ant.number: self._room_at(at, ant, now) for ant, time in times.items() if time <= at}
        return _ForOne(at, kind.need, able)

    def _shadow(self, kind: _Kind, ant: AntState) -> tuple[float, Entry | None]:
        """With whose end, and when, one of the kind will fit on an ant; infinity and None where it never does."""
        room, need = list(self._room[ant.number]), kind.need
        for end, _, one in self._ends[ant.number]:
            for index, amount in self._kinds[one.shape].need:
                room[index] += amount
            if _fits(need, room):
                return end, one
        return inf, None

    def _room_at(self, at: float, ant: AntState, now: float) -> list[float]:
        """All that an ant will have left then."""
        room = list(self._room[ant.number])
        for _, _, one in self._ends[ant.number]:
            if self._end(one, now) <= at:
                for index, amount in self.kind_of(one.shape).need:
                    room[index] += amount
        return room

    def _is_impossible(self, whole: Whole) -> bool:
        if len(whole.members) == 1:
            return False
        known = self._never.get(whole.kind)
        if known is None:
            known = self._never[whole.kind] = place(self._gang(whole), self._named(self._capacity)) is None
        return known

    # --- the decision -----------------------------------------------------------------------------------------------

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        if not self.ready:
            return
        if self._together:
            self._apart()
        last = self.ready[min(self.depth, len(self.ready)) - 1]
        while self.ready and self.ready[0] <= last:
            item = self.ready[0]
            parts = self._places(item[2])
            if parts is not None:
                yield from self._start(item, parts, now)
            elif self._is_impossible(item[2]):
                self._gone(item)
                for entry in item[2].members:
                    yield Drop(entry, f"{len(item[2].members)} members do not fit even when nothing else runs")
            else:
                break
        else:
            return
        if self.backfill and item < last:
            yield from self._fill(item, last, now)

    def _start(self, item: Item, parts: Sequence[Part], now: float) -> Iterator[Decision]:
        self._gone(item)
        whole = item[2]
        if len(whole.members) > 1:
            self._together.update((one.number, now + whole.runtime) for one in whole.members)
        for entry, (number, _) in zip(whole.members, parts, strict=True):
            yield Start(entry, self.state.ants[number])

    def _fill(self, head: Item, last: Item, now: float) -> Iterator[Decision]:
        """Starts what does not delay the head, in order, up to the last item that is looked at."""
        without = {head[2].kind}
        able = [kind for kind in self.waiting if kind not in without and self._has_room(kind)]
        if not able:
            return
        reserved = self._reserve(head[2], now)
        limits: dict[Hashable, float] = {}
        heads = self._next(head, able, limits)
        while heads and heads[0] <= last:
            item = heads[0]
            whole = item[2]
            parts = self._places(whole)
            if parts is None:
                without.add(whole.kind)
                heapq.heappop(heads)
            elif now + whole.runtime <= reserved.starts_at or reserved.spares(parts):
                yield from self._start(item, parts, now)
                limits.clear()  # another ant may be the best one now
                able = [kind for kind in able if kind in self.waiting and kind not in without]
                heads = self._next(item, able, limits)
            else:
                # Others of the kind would delay it, too, but for those that end before: the length is all that differs.
                limits[whole.kind] = min(nextafter(whole.runtime, -inf), reserved.starts_at - now + SLACK_S)
                found = self.waiting[whole.kind].first(item, limits[whole.kind])
                if found is None:
                    heapq.heappop(heads)
                else:
                    heapq.heapreplace(heads, found)

    def _has_room(self, kind: Hashable) -> bool:
        if isinstance(kind, Shape):
            return self.state.first_fit(kind) is not None
        return isinstance(kind, tuple) and all(self.state.first_fit(shape) is not None for shape in kind)

    def _next(self, item: Item, kinds: Sequence[Hashable], limits: Mapping[Hashable, float]) -> list[Item]:
        """The first of each kind behind an item that is short enough, as a heap."""
        found = [self.waiting[kind].first(item, limits.get(kind, inf)) for kind in kinds]
        heads = [one for one in found if one is not None]
        heapq.heapify(heads)
        return heads


def _fits(need: Need, room: Sequence[float]) -> bool:
    for index, amount in need:  # noqa: SIM110  as in AntState.fits
        if amount > room[index] + TINY:
            return False
    return True


def _length(item: Item) -> float:
    return item[2].runtime
