"""Order and place: waiting jobs in one total order, the first that fits an ant starts there.

Ties go to the earlier submission, then to the order of the file. With `blocking`, a job that finds no place keeps the
ants that it could use for itself: nothing behind it may take them (first come is first served, even where that leaves
room idle). Without, what fits may pass it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterator, Mapping
from operator import itemgetter
from random import Random

from formicary.engine.scheduling.policies import degrade
from formicary.engine.scheduling.simulation.policy import Decision, Drop, Group, Key, Preempt, SortedGroup, Start
from formicary.engine.scheduling.simulation.state import TINY, AntState, ClusterState, Entry, Shape

INFINITY = float("inf")
_first = itemgetter(0)
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
        look_every: Seconds between comparisons with what runs, for ranks that grow while a job runs, by no more than
            a second each second; infinity = only when something happens.
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
        self._ranks: list[list[float]] = []
        """By ant: the ranks with which those that run there began, sorted: no job of an ant has a larger rank now."""
        self._all_ranks: list[float] = []
        self._began: dict[int, float] = {}
        """The same by number of the job."""
        self._starts = 0
        self._longest: list[tuple[float, int, Entry]] = []
        """Who waits, by submission; also some that do so no longer. For the floor alone."""

    def bind(self, state: ClusterState, rng: Random) -> None:
        """Keeps the state."""
        self.state = state
        self.rng = rng
        self._ranks = [[] for _ in state.ants]

    def key(self, entry: Entry, now: float) -> Key:
        """The total order."""
        return (self.rank(entry, now), entry.job.submit, entry.number)

    def group_of(self, entry: Entry) -> Group:
        """Jobs that compete for the same ants are one group; without blocking, jobs of one demand."""
        shape = entry.shape
        name: Hashable = shape.eligible if self.blocking else shape
        found = self.groups.get(name)
        if found is None:
            found = self.groups[name] = self.new_group(name)
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
            rank = self.key(entry, now)[0] - (now if self.look_every < INFINITY else 0.0)
            self._began[entry.number] = rank
            insort(self._ranks[entry.ant.number], rank)
            insort(self._all_ranks, rank)

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy."""
        if self.preemptive and entry.ant is not None:
            rank = self._began.pop(entry.number)
            for ranks in (self._ranks[entry.ant.number], self._all_ranks):
                del ranks[bisect_left(ranks, rank)]

    def refresh(self, now: float) -> None:
        """Called before a round; a subclass moves what has aged."""

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        if not self.floor:
            yield from self._in_order(now, set())
            return
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
                    blocked.update(one.number for one in entry.shape.eligible)
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
            if ant is None and self.preemptive:
                found = self._victims(entry, key, blocked, now)
                if found is not None:
                    group.pop()
                    for victim in found[1]:
                        yield Preempt(victim)
                    yield Start(entry, found[0])
                    yield from self._in_order(now, blocked)
                    return
            if ant is not None:
                group.pop()
                yield Start(entry, ant)
                next_head(heads, group)
                continue
            heapq.heappop(heads)
            if self.blocking:
                blocked.update(one.number for one in entry.shape.eligible)
                if len(blocked) == len(self.state.ants):
                    return

    def _place(self, group: Group, entry: Entry, blocked: set[int]) -> AntState | None:
        releases = self.state.releases
        if group.failed_head is entry and group.failed_at == releases:
            return None
        ant = find(self.state, entry.shape, blocked, self.fit)
        if ant is None and not blocked:
            group.failed_head, group.failed_at = entry, releases
        return ant

    def _victims(self, entry: Entry, key: Key, blocked: set[int], now: float) -> tuple[AntState, list[Entry]] | None:
        """The ant where the fewest, and of those the last in the order, have to make room."""
        best: tuple[AntState, list[Entry]] | None = None
        best_at: tuple[float, ...] = ()
        enough = key[0] + TINY / 2 - (now if self.look_every < INFINITY else 0.0)
        if not self._all_ranks or self._all_ranks[-1] <= enough:
            return None
        all_of_them, free = self._ranks, dict(entry.shape.need)
        for ant in entry.shape.eligible:
            ranks = all_of_them[ant.number]
            if not ranks or ranks[-1] <= enough or ant.number in blocked:
                continue
            ranked = sorted([(self.key(one, now), one) for one in ant.running.values()], key=_first)
            room = {index: ant.free[index] for index in free}
            taken: list[Entry] = []
            while ranked and not _covers(room, free):
                worst, victim = ranked.pop()
                if worst[0] <= key[0] + TINY:
                    break
                taken.append(victim)
                for index, amount in victim.shape.need:
                    if index in room:
                        room[index] += amount
            if _covers(room, free):
                at = (len(taken), *(-part for part in self.key(taken[-1], now)))
                if best is None or at < best_at:
                    best, best_at = (ant, taken), at
        return best

    def time_slice(self, entry: Entry) -> float:
        """See Policy."""
        return INFINITY

    def expired(self, entry: Entry, now: float) -> bool:
        """See Policy."""
        return False

    def next_look(self, now: float) -> float:
        """See Policy."""
        if self.look_every == INFINITY or not self.state.running or not any(g.heap for g in self.groups.values()):
            return INFINITY
        return now + self.look_every


def _covers(room: Mapping[int, float], need: Mapping[int, float]) -> bool:
    for index, amount in need.items():  # noqa: SIM110  as in AntState.fits
        if room[index] + TINY < amount:
            return False
    return True


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
    it, or have a priority above the cap of their own, go before it from then on.
    """

    def __init__(
        self, rate: float, cap: float, *, blocking: bool = True, preemptive: bool = False, floor: float = 0.0
    ) -> None:
        super().__init__(self._linear, blocking=blocking, preemptive=preemptive, floor=floor)
        self.rate_s = rate
        self.cap = cap
        self._growing: list[tuple[float, int, Entry]] = []

    def new_group(self, name: Hashable) -> Group:
        """See Ordered."""
        return SortedGroup(name)

    def _linear(self, entry: Entry, now: float) -> float:
        """As time goes by all of them grow alike, so this order stands until the cap is reached."""
        if self._reached(entry) <= now:
            return -max(self.cap, entry.job.priority) * 1e12
        return -(entry.job.priority - self.rate_s * entry.job.submit)

    def _reached(self, entry: Entry) -> float:
        return entry.job.submit + max(0.0, self.cap - entry.job.priority) / self.rate_s

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().queued(entry, now)
        if self._reached(entry) > now:
            heapq.heappush(self._growing, (self._reached(entry), entry.number, entry))

    def refresh(self, now: float) -> None:
        """Those that reached the cap go to the front, by submission."""
        while self._growing and self._growing[0][0] <= now:
            _, _, entry = heapq.heappop(self._growing)
            if entry.ant is None and entry.end is None and not entry.dropped:
                group = self.group_of(entry)
                group.remove(entry)
                group.push(self.key(entry, now), entry)


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
        return -degrade.degraded(entry.job.priority, now - entry.job.submit, self.how)

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().queued(entry, now)
        self._next_attempt(entry, now)

    def _next_attempt(self, entry: Entry, now: float) -> None:
        made = degrade.attempts(now - entry.job.submit)
        due = entry.job.submit + degrade.attempt_at(made + 1)
        heapq.heappush(self._attempts, (due, entry.number, entry))

    def refresh(self, now: float) -> None:
        """Those that have tried again fall back."""
        while self._attempts and self._attempts[0][0] <= now:
            _, _, entry = heapq.heappop(self._attempts)
            if entry.ant is None and entry.end is None and not entry.dropped:
                group = self.group_of(entry)
                group.remove(entry)
                group.push(self.key(entry, now), entry)
                self._next_attempt(entry, now)
