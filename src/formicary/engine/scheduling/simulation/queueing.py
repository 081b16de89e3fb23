"""Order and place: waiting jobs in one total order, the first that fits an ant starts there.

Ties go to the earlier submission, then to the order of the file. With `blocking`, a job that finds no place keeps the
ants that it could use for itself: nothing behind it may take them (first come is first served, even where that leaves
room idle). Without, what fits may pass it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterator
from random import Random

from formicary.engine.scheduling.policies import degrade
from formicary.engine.scheduling.simulation.policy import Decision, Drop, Group, Key, Preempt, SortedGroup, Start
from formicary.engine.scheduling.simulation.runners import SLACK, Runners
from formicary.engine.scheduling.simulation.state import TINY, AntState, ClusterState, Entry, Shape

INFINITY = float("inf")
MOST_LEFT_AWAY = 64
"""Comparisons that cannot come to anything and are not made, in a row."""
Rank = Callable[[Entry, float], float]
"""(job, now) -> smaller goes first."""


def seconds_left(entry: Entry, now: float) -> float:
    """What a scheduler believes that the job still has to run."""
    if entry.ant is None:
        return entry.expected_left
    return max(0.0, entry.expected_left - (now - entry.since))


def find(state: ClusterState, shape: Shape, blocked: set[int], fit: float) -> AntState | None:
    """The ant for a demand outside the blocked ones: the first, or the best by `fit`; ties by order of the file.

    What would stay free counts by resource, as part of the whole cluster, of those that are asked for.
    """
    if not fit and not blocked:
        return state.first_fit(shape)
    need, total = shape.need, state.total
    bounded = [(index, amount, total[index]) for index, amount in need if 0 < total[index] < INFINITY]
    best, best_at = None, INFINITY
    for ant in shape.eligible:
        free = ant.free
        for index, amount in need:
            if free[index] + TINY < amount:
                break
        else:
            if ant.number in blocked:
                continue
            if not fit:
                return ant
            rest = 0.0
            for index, amount, whole in bounded:
                rest += (free[index] - amount) / whole
            rest *= fit
            if best is None or rest < best_at - TINY:
                best, best_at = ant, rest
    return best


class Ordered:
    """Jobs by a rank that stands while a job waits, and does not grow while it runs (see `look_every`).

    Args:
        rank: Smaller goes first.
        fit: 1 = the ant that has least left over, -1 = most, 0 = the first that fits.
        blocking: A job without a place keeps later ones off its ants.
        preemptive: A job takes the place of running jobs of a larger rank.
        look_every: Seconds between comparisons with what runs; infinity = only when something happens.
        drift: What the rank of a running job grows by each second, if anything; it may turn out smaller.
        stands: Keys of running jobs do not change at all.
        shed: Jobs that cannot end by their deadline any more are given up.
        floor: Per cent of the starts that go to who was submitted first of those that wait, whatever its rank.
    """

    def __init__(
        self,
        rank: Rank,
        *,
        fit: float = 0,
        blocking: bool = True,
        preemptive: bool = False,
        look_every: float = INFINITY,
        drift: float = 0.0,
        stands: bool = True,
        shed: bool = False,
        floor: float = 0.0,
    ) -> None:
        self.rank = rank
        self.fit = fit
        self.blocking = blocking
        self.preemptive = preemptive
        self.look_every = look_every
        self.shed = shed
        self.floor = floor
        self.groups: dict[Hashable, Group] = {}
        self._runners = Runners(self.key, drift=drift, stands=stands and not drift)
        self._groups_of: dict[Shape, Group] = {}
        self._look: float | None = None
        """When what waits is to be compared with what runs again; None where one of them is nothing."""
        self._compares = False
        """Whether there was both after the last round."""
        self._starts = 0
        self._longest: list[tuple[float, int, Entry]] = []
        """Who waits, by submission; also some that do so no longer. For the floor alone."""

    def bind(self, state: ClusterState, rng: Random) -> None:
        """Keeps the state."""
        self.state = state
        self.rng = rng

    def key(self, entry: Entry, now: float) -> Key:
        """The total order; what differs by rounding is equal."""
        return (round(self.rank(entry, now), 9), entry.job.submit, entry.number)

    def group_of(self, entry: Entry) -> Group:
        """Jobs that compete for the same ants are one group; without blocking, jobs of one demand."""
        shape = entry.shape
        found = self._groups_of.get(shape)
        if found is None:
            name: Hashable = shape.eligible if self.blocking else shape
            found = self.groups.get(name)
            if found is None:
                found = self.groups[name] = self.new_group(name)
            self._groups_of[shape] = found
        return found

    def new_group(self, name: Hashable) -> Group:
        """A subclass that moves waiting jobs keeps them sorted."""
        return SortedGroup(name) if self.floor else Group(name)

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        self.group_of(entry).push(self.key(entry, now), entry)
        if self.floor and entry.run == 0:  # one that was taken off has had its turn
            heapq.heappush(self._longest, (entry.job.submit, entry.number, entry))

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        if self.preemptive and entry.ant is not None:
            self._runners.add(entry, entry.ant, now)

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy."""
        if self.preemptive and entry.ant is not None:
            self._runners.remove(entry, entry.ant)

    def refresh(self, now: float) -> None:
        """Called before a round; a subclass moves what has aged."""

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        return self._with_floor(now) if self.floor else self._in_order(now, set())

    def _with_floor(self, now: float) -> Iterator[Decision]:
        while True:
            blocked: set[int] = set()
            entry = self._waits_longest() if self._is_floor_s_turn() else None
            if entry is not None:
                ant = find(self.state, entry.shape, blocked, self.fit)
                if ant is not None:
                    self.group_of(entry).remove(entry)
                    self._starts += 1
                    yield Start(entry, ant)
                    continue
                if self.blocking:
                    blocked |= entry.shape.numbers
            for decision in self._in_order(now, blocked):
                yield decision
                if isinstance(decision, Start):
                    self._starts += 1
                    break
            else:
                return

    def _is_floor_s_turn(self) -> bool:
        """Whether the next start is one of those that the floor gives away."""
        return int((self._starts + 1) * self.floor / 100) > int(self._starts * self.floor / 100)

    def _waits_longest(self) -> Entry | None:
        while self._longest:
            entry = self._longest[0][2]
            if entry.run == 0 and entry.ant is None and entry.end is None and not entry.dropped:
                return entry
            heapq.heappop(self._longest)
        return None

    def _in_order(self, now: float, blocked: set[int]) -> Iterator[Decision]:
        """By rank, off the blocked ants."""
        while True:
            self.refresh(now)
            heads = [(*group.heap[0][:2], group) for group in self.groups.values() if group.heap]
            if len(heads) > 1:
                heapq.heapify(heads)
            while heads:
                key, _, group = heads[0]
                entry = group.head()
                if self.shed and _late(entry, now):
                    group.pop()
                    yield Drop(entry, "it could not end by its deadline any more")
                    next_head(heads, group)
                    continue
                ant = self._place(group, entry, blocked)
                if ant is not None:
                    group.pop()
                    yield Start(entry, ant)
                    next_head(heads, group)
                    continue
                found = self._runners.victims(entry, key, blocked, now) if self.preemptive else None
                if found is not None:
                    group.pop()
                    for victim in found[1]:
                        yield Preempt(victim)
                    yield Start(entry, found[0])
                    break  # who gave way waits, too
                heapq.heappop(heads)
                if self.blocking:
                    blocked |= entry.shape.numbers
                    if len(blocked) == len(self.state.ants):
                        return
            else:
                return

    def _place(self, group: Group, entry: Entry, blocked: set[int]) -> AntState | None:
        releases = self.state.releases
        if group.failed_head is entry and group.failed_at == releases:
            return None
        ant = find(self.state, entry.shape, blocked, self.fit)
        if ant is None and not blocked:
            group.failed_head, group.failed_at = entry, releases
        return ant

    def time_slice(self, entry: Entry) -> float:
        """See Policy."""
        return INFINITY

    def expired(self, entry: Entry, now: float) -> bool:
        """See Policy."""
        return False

    def next_look(self, now: float) -> float:
        """See Policy."""
        if self.look_every == INFINITY:
            return INFINITY
        look = self._look
        while look is not None and look < now:  # looks that were left away, see below
            look = look + self.look_every if self._compares else None
        first = min((group.heap[0][0][0] for group in self.groups.values() if group.heap), default=None)
        largest = self._runners.largest()
        self._compares = first is not None and largest is not None
        if look is None or look <= now:
            look = now + self.look_every if self._compares else None
        self._look = look
        if look is None or first is None or largest is None:
            return INFINITY
        for _ in range(MOST_LEFT_AWAY):  # by then nobody who runs can have come behind the first who waits
            if self._runners.drift * look + largest > first - SLACK:
                break
            look += self.look_every
        return look


def _late(entry: Entry, now: float) -> bool:
    deadline = entry.job.deadline
    return deadline is not None and now + entry.expected_left > deadline + TINY


def next_head(heads: list[tuple[Key, int, Group]], group: Group) -> None:
    """The group at the head of the heap has another first job now, or none."""
    if group.heap:
        heapq.heapreplace(heads, (*group.heap[0][:2], group))
    else:
        heapq.heappop(heads)


class Aging(Ordered):
    """Priority that grows while a job waits: `priority + rate * waited`, up to `cap`; equal ones by submission.

    So a job of priority p is among the first after (cap - p) / rate seconds, and only those that were submitted before
    it, or have a priority above the cap of their own, go before it from then on. What runs gains nothing, and keeps
    what it has gained. The order is looked at when something comes or ends, and when a waiting job reaches the cap.
    """

    def __init__(
        self, rate: float, cap: float, *, blocking: bool = True, preemptive: bool = False, floor: float = 0.0
    ) -> None:
        super().__init__(self._linear, blocking=blocking, preemptive=preemptive, drift=rate, stands=False, floor=floor)
        self.rate_s = rate
        self.cap = cap
        self._growing: list[tuple[float, int, Entry]] = []
        self._waited: dict[int, float] = {}
        """Seconds for which those that have begun had waited before, by number."""

    def new_group(self, name: Hashable) -> Group:
        """See Ordered."""
        return SortedGroup(name)

    def _linear(self, entry: Entry, now: float) -> float:
        """As time goes by all that wait grow alike, so their order stands until the cap is reached."""
        stands_s = 0.0 if entry.ant is None else now - entry.since  # while the others grow
        if self._reached(entry) + stands_s <= now + TINY:
            return -max(self.cap, entry.job.priority) * 1e12
        return self.rate_s * (self._began(entry) + stands_s) - entry.job.priority

    def _began(self, entry: Entry) -> float:
        """Since when it would have waited, had it done so without a pause until its last arrival or start."""
        last = entry.arrived if entry.ant is None else entry.since
        return last - self._waited.get(entry.number, 0.0)

    def _reached(self, entry: Entry) -> float:
        """When its priority is the cap, if it waits until then."""
        return self._began(entry) + max(0.0, self.cap - entry.job.priority) / self.rate_s

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().queued(entry, now)
        if self._reached(entry) > now + TINY:
            heapq.heappush(self._growing, (self._reached(entry), entry.number, entry))

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        if self.preemptive:
            self._waited[entry.number] = self._waited.get(entry.number, 0.0) + now - entry.arrived
        super().started(entry, now)

    def refresh(self, now: float) -> None:
        """Those that reached the cap go to the front, by submission."""
        while self._growing and self._growing[0][0] <= now + TINY:
            _, _, entry = heapq.heappop(self._growing)
            if _waits(entry):
                group = self.group_of(entry)
                group.remove(entry)
                group.push(self.key(entry, now), entry)

    def next_look(self, now: float) -> float:
        """See Policy."""
        while self._growing and not self._grows(*self._growing[0]):
            heapq.heappop(self._growing)
        return self._growing[0][0] if self._growing else INFINITY

    def _grows(self, reached: float, _: int, entry: Entry) -> bool:
        """Whether it waits for the cap; not from before a stretch in which it ran."""
        return _waits(entry) and self._reached(entry) == reached


def _waits(entry: Entry) -> bool:
    return entry.ant is None and entry.end is None and not entry.dropped


class Degrading(Ordered):
    """Priority that falls with each attempt to start, see `policies.degrade`.

    Args:
        how: `log` or `step`.
    """

    def __init__(self, how: str, *, blocking: bool = True) -> None:
        super().__init__(self._left, blocking=blocking)
        self.how = how
        self._attempts: list[tuple[float, int, Entry]] = []

    def new_group(self, name: Hashable) -> Group:
        """See Ordered."""
        return SortedGroup(name)

    def _left(self, entry: Entry, now: float) -> float:
        return -degrade.degraded(entry.job.priority, now - entry.ready, self.how)

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().queued(entry, now)
        self._next_attempt(entry, now)

    def _next_attempt(self, entry: Entry, now: float) -> None:
        made = degrade.attempts(now - entry.ready)
        due = now
        while due <= now:  # rounding may put the next one at this very moment
            made += 1
            due = entry.ready + degrade.attempt_at(made)
        heapq.heappush(self._attempts, (due, entry.number, entry))

    def refresh(self, now: float) -> None:
        """Those that have tried again fall back."""
        while self._attempts and self._attempts[0][0] <= now:
            _, _, entry = heapq.heappop(self._attempts)
            if _waits(entry):
                group = self.group_of(entry)
                group.remove(entry)
                group.push(self.key(entry, now), entry)
                self._next_attempt(entry, now)
