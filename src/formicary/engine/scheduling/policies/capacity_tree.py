"""Hierarchical queues: guaranteed and maximum shares, borrowing, reclaim by preemption, limits.

Each queue has a guaranteed share of its parent and a maximum share. What a queue leaves unused its siblings may
borrow up to their maximum. When the owner wants its guarantee back, `reclaim` names what to take from queues that
hold more than they are entitled to; nothing is ever taken from a queue at or below its guarantee. `entitlements`
gives each queue the lesser of demand and guarantee first and shares what is left among those that still want, by
guarantee.

Amounts are numbers in one unit (slots, or the share of the dominant resource). Ties go to the name that sorts first.

Source: Apache Hadoop, "Capacity Scheduler" (capacity, maximum-capacity, minimum-user-limit-percent, user-limit-factor)
and its ProportionalCapacityPreemptionPolicy (YARN-569).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from typing import NamedTuple

from formicary.engine.scheduling.policies.fair import StartTags, max_min

EPSILON = 1e-9
LEAST_WEIGHT = 1.0
"""A queue that is guaranteed less, or nothing, has turns as if it were guaranteed this per cent."""
TreeTurns = dict[str | None, StartTags]
"""Turns of the queues below each queue, and of those below none."""
MOST_KNOWN = 4096
"""Entitlements that are remembered."""
GRACEFUL = "graceful"
AGGRESSIVE = "aggressive"


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as configured.

    Args:
        name: Unique.
        parent: Name of the queue it is part of; None = of the root.
        guaranteed: Per cent of the parent that is always its own.
        maximum: Per cent of the parent that it can hold at most.
        hard_limit: Amount never exceeded; None = none.
        soft_limit: Amount above which only what nobody else wants is given; None = none.
        burst: Amount above the hard limit that is let in while there is room anywhere; 0 = none.
        user_minimum: Per cent of the queue's guarantee that each of its users can count on when all want some.
        user_factor: Multiple of the guarantee that a single user can hold.
    """

    name: str
    parent: str | None = None
    guaranteed: float = 0.0
    maximum: float = 100.0
    hard_limit: float | None = None
    soft_limit: float | None = None
    burst: float = 0.0
    user_minimum: float = 100.0
    user_factor: float = inf


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with a configuration. `place` is the path of the field, such as `queues[2].guaranteed`."""

    place: str
    message: str


class CapacityError(ValueError):
    """A configuration that cannot be: every violation at once."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{one.place}: {one.message}" for one in violations))
        self.violations = tuple(violations)


class Running(NamedTuple):
    """Something that runs in a queue and could be preempted.

    Args:
        id: Unique.
        queue: A leaf.
        amount: That it holds.
        priority: Higher gives way later.
        started: When; any clock.
        number: Its place among those that started at the same time; the last of them gives way first.
    """

    id: str
    queue: str
    amount: float = 1.0
    priority: int = 0
    started: float = 0.0
    number: int = 0

    @property
    def turn(self) -> tuple[int, float, int, str]:
        """Who is preempted first: the lowest priority, then what started last, of that the last, then by id."""
        return self.priority, -self.started, -self.number, self.id


@dataclass(frozen=True, slots=True)
class Preemption:
    """Take this away: after a checkpoint and at most `grace_s`, or at once where that is 0."""

    id: str
    queue: str
    grace_s: float


class CapacityTree:
    """A checked tree of queues. Raises CapacityError with all violations."""

    def __init__(self, queues: Iterable[Queue]) -> None:
        listed = list(queues)
        violations = check(listed)
        if violations:
            raise CapacityError(violations)
        self.queues = {queue.name: queue for queue in listed}
        self._children: dict[str | None, list[Queue]] = {}
        for queue in sorted(listed, key=lambda one: one.name):
            self._children.setdefault(queue.parent, []).append(queue)
        self._leaves = sorted(name for name in self.queues if name not in self._children)
        self._paths: dict[str, list[Queue]] = {}
        self._parts: dict[str, tuple[float, float, float]] = {}
        """Of the whole: the guarantee and the maximum, as parts; and the least hard limit with burst."""
        self._weights: dict[str, list[tuple[str | None, str, float]]] = {}
        """Of a queue and each one above it: whose turns it shares, its name, its weight among them."""
        self._most: tuple[float, list[float]] = (-1.0, [])
        """A capacity, and of it the most that each leaf can hold."""
        self._ideal: dict[tuple[float, ...], dict[str, float]] = {}
        """Entitlements of that capacity by what each leaf wants of it, as the same are asked for again and again."""
        for name in self.queues:
            path = self._paths[name] = self._path(name)
            own, most, limit = 1.0, 1.0, inf
            for queue in reversed(path):
                own *= queue.guaranteed / 100
                most *= queue.maximum / 100
                if queue.hard_limit is not None:
                    limit = min(limit, queue.hard_limit + queue.burst)
            self._parts[name] = own, most, limit
            self._weights[name] = [(one.parent, one.name, max(one.guaranteed, LEAST_WEIGHT)) for one in path]

    def children(self, name: str | None) -> list[Queue]:
        """Queues right below one, None for the top; by name."""
        return self._children.get(name, [])

    def leaves(self) -> list[str]:
        """Queues that hold jobs, by name."""
        return self._leaves

    def path(self, name: str) -> list[Queue]:
        """The queue and all above it, from the queue upwards."""
        return self._paths[name]

    def _path(self, name: str) -> list[Queue]:
        found = []
        at: str | None = name
        while at is not None:
            found.append(self.queues[at])
            at = self.queues[at].parent
        return found

    def guarantee(self, name: str, capacity: float) -> float:
        """The amount that is always the queue's own."""
        return capacity * self._parts[name][0]

    def ceiling(self, name: str, capacity: float) -> float:
        """The most that the queue can hold: every maximum above it, and its hard limit with burst."""
        _, most, limit = self._parts[name]
        return min(limit, most * capacity)

    def total(self, name: str | None, amounts: Mapping[str, float]) -> float:
        """Sum over the leaves of a queue."""
        below = self.children(name)
        if not below and name is not None:
            return amounts.get(name, 0.0)
        children = self._children
        return sum(
            self.total(child.name, amounts) if child.name in children else amounts.get(child.name, 0.0)
            for child in below
        )

    # --- may it start? ----------------------------------------------------------------------------------------------

    def refusal(
        self,
        name: str,
        capacity: float,
        used: Mapping[str, float],
        amount: float = 1.0,
        *,
        user_used: float = 0.0,
        users: int = 1,
        others_want: bool = False,
    ) -> str | None:
        """Why a queue may not take an amount now, with the figures; None where it may.

        Args:
            name: A leaf.
            capacity: All there is.
            used: By leaf.
            amount: What is asked for.
            user_used: What the asking user holds in the queue.
            users: How many users of the queue hold or want something.
            others_want: Another queue below its guarantee waits: nothing above a soft limit or guarantee plus burst.
        """
        total = self.total(None, used)
        if total + amount > capacity + EPSILON:
            return f"no capacity: {total:g} of {capacity:g} in use, {amount:g} asked for"
        for queue in self.path(name):
            held, most = self.total(queue.name, used), self.ceiling(queue.name, capacity)
            if held + amount > most + EPSILON:
                return f"queue {queue.name}: {held:g} of at most {most:g} in use, {amount:g} asked for"
            if not others_want:
                continue
            for limit, what in ((queue.soft_limit, "soft limit"), (queue.hard_limit, "limit without burst")):
                if limit is not None and held + amount > limit + EPSILON:
                    return f"queue {queue.name}: {held:g} in use, {what} {limit:g}, and other queues wait"
        limit = self.user_limit(name, capacity, self.total(name, used) + amount, users)
        if user_used + amount > limit + EPSILON:
            return f"queue {name}: the user holds {user_used:g} of at most {limit:g}"
        return None

    def user_limit(self, name: str, capacity: float, wanted: float, users: int) -> float:
        """The most one user may hold: an equal part of the queue, not below its minimum, not above its factor."""
        queue, own = self.queues[name], self.guarantee(name, capacity)
        size = max(own, wanted)
        part = max(size / max(1, users), size * queue.user_minimum / 100) if users > 1 else size
        return max(min(part, own * queue.user_factor if own else inf), 0.0)

    def order(self, capacity: float, used: Mapping[str, float], waiting: Iterable[str]) -> list[str]:
        """Leaves with waiting jobs, most under-served first: at each level by use per guarantee, then name."""
        wanted = set(waiting)

        def walk(name: str | None) -> list[str]:
            below = self.children(name)
            if not below and name is not None:
                return [name] if name in wanted else []
            ranked = sorted(below, key=lambda child: (self._served(child.name, capacity, used), child.name))
            return [leaf for child in ranked for leaf in walk(child.name)]

        return walk(None)

    def first(
        self, capacity: float, used: Mapping[str, float], waiting: Iterable[str], turns: TreeTurns | None = None
    ) -> str | None:
        """The first of `order`, without the others.

        Args:
            capacity: All there is.
            used: Amounts in use by leaf.
            waiting: Leaves with waiting jobs.
            turns: Decides between queues that are served alike, see `turn`; None = the order of the file does.
        """
        wanted = {queue.name for leaf in waiting for queue in self._paths[leaf]}
        at: str | None = None
        while below := [queue.name for queue in self.children(at) if queue.name in wanted]:
            if len(below) == 1:
                at = below[0]
                continue
            least, equal = inf, below
            for name in below:
                served = self._served(name, capacity, used)
                if served < least - EPSILON:
                    least, equal = served, [name]
                elif served <= least + EPSILON and equal is not below:
                    equal.append(name)
            tags = turns.get(at) if turns and len(equal) > 1 else None
            at = min(equal, key=tags.tag) if tags is not None else equal[0]
        return at

    def turn(self, leaf: str, turns: TreeTurns) -> None:
        """Notes that a job of the leaf has started: at each level it was its queue's turn, by guarantee."""
        for parent, name, weight in self._weights[leaf]:
            tags = turns.get(parent)
            if tags is None:
                tags = turns[parent] = StartTags()
            tags.served(name, weight)

    def _served(self, name: str, capacity: float, used: Mapping[str, float]) -> float:
        own, held = self.guarantee(name, capacity), self.total(name, used)
        return held / own if own > 0 else (inf if held else 1.0)

    # --- who is entitled to what ------------------------------------------------------------------------------------

    def entitlements(self, capacity: float, demand: Mapping[str, float]) -> dict[str, float]:
        """What each leaf should hold, given all that its jobs, running and waiting, could use."""
        return dict(self._entitlements(capacity, [demand.get(leaf, 0.0) for leaf in self._leaves]))

    def _entitlements(self, capacity: float, demand: Sequence[float]) -> Mapping[str, float]:
        """The same for the demands of the leaves, by name; not to be changed."""
        if self._most[0] != capacity:
            self._most = capacity, [self.ceiling(leaf, capacity) for leaf in self._leaves]
            self._ideal.clear()
        claims = tuple(map(min, demand, self._most[1]))
        found = self._ideal.get(claims)
        if found is None:
            if len(self._ideal) >= MOST_KNOWN:
                self._ideal.clear()
            found = self._ideal[claims] = {}
            wanted, usable = dict(zip(self._leaves, claims, strict=True)), dict[str, float]()
            for queue in self._children.get(None, ()):
                self._use(queue.name, capacity, wanted, usable)
            self._entitle(None, capacity, capacity, usable, found)
        return found

    def _entitle(
        self, name: str | None, amount: float, capacity: float, usable: Mapping[str, float], found: dict[str, float]
    ) -> None:
        below = self._children.get(name)
        if not below:
            if name is not None:
                found[name] = amount
            return
        parts = self._parts
        shares = {child.name: min(usable[child.name], capacity * parts[child.name][0], amount) for child in below}
        left = amount - sum(shares.values())
        # Those that want more share the rest by guarantee; a queue without one gets what nobody else can use.
        for guaranteed in (True, False) if left > 0 else ():
            claims = [
                (child.name, usable[child.name] - shares[child.name], child.guaranteed or 1.0)
                for child in below
                if usable[child.name] > shares[child.name] and (child.guaranteed > 0) == guaranteed
            ]
            left -= _share_out(left, claims, shares)
        for child in below:
            if child.name in self._children:
                self._entitle(child.name, shares[child.name], capacity, usable, found)
            else:
                found[child.name] = shares[child.name]

    def _use(self, name: str, capacity: float, demand: Mapping[str, float], usable: dict[str, float]) -> float:
        """What a queue and those below it could use."""
        below = self._children.get(name)
        wanted = (
            sum([self._use(one.name, capacity, demand, usable) for one in below]) if below else demand.get(name, 0.0)
        )
        usable[name] = found = min(wanted, self.ceiling(name, capacity))
        return found

    def reclaim(
        self,
        capacity: float,
        running: Sequence[Running],
        pending: Mapping[str, float],
        *,
        sizes: Mapping[str, float] | None = None,
        mode: str = GRACEFUL,
        grace_s: float = 15.0,
        tolerance: float = 0.0,
    ) -> list[Preemption]:
        """What to preempt so that queues that wait get what they are entitled to.

        Args:
            capacity: All there is.
            running: What runs now.
            pending: Amounts that wait, by leaf.
            sizes: What the next job of a leaf asks for. A leaf is owed whole ones only: else two that share what is
                left over would take a job from each other again and again. None or 0 = any part of a job counts.
            mode: `graceful` gives `grace_s` for a checkpoint, `aggressive` none.
            grace_s: Seconds.
            tolerance: Excess as a part of the entitlement that is let be.

        Returns:
            The lowest priority first, then what started last, as YARN takes the newest container; never more than the
            excess rounded up to whole jobs, and never what would take a queue below its guarantee: but with `sizes`
            one job of which a part is above the guarantee, for whole ones that are guaranteed to another queue.
        """
        used: dict[str, float] = {}
        for job in running:
            used[job.queue] = used.get(job.queue, 0.0) + job.amount
        taken = self.take_back(
            capacity,
            used,
            pending,
            lambda leaf: sorted([one for one in running if one.queue == leaf], key=attrgetter("turn")),
            sizes=sizes,
            tolerance=tolerance,
        )
        return [Preemption(job.id, job.queue, grace_s if mode == GRACEFUL else 0.0) for job in taken]

    def take_back(
        self,
        capacity: float,
        used: Mapping[str, float],
        pending: Mapping[str, float],
        running: Callable[[str], Iterable[Running]],
        *,
        sizes: Mapping[str, float] | None = None,
        tolerance: float = 0.0,
    ) -> list[Running]:
        """The same, for who keeps what is in use by leaf, and what runs there in the order of its turns."""
        holds, waits = used.get, pending.get
        ideal = self._entitlements(capacity, [holds(leaf, 0.0) + waits(leaf, 0.0) for leaf in self._leaves])
        claims: dict[str, float] = {}
        firm: dict[str, float] = {}
        for leaf, own in ideal.items():
            gap = own - holds(leaf, 0.0)
            if gap <= 0:
                continue
            size = sizes.get(leaf, 0.0) if sizes else 0.0
            owed = (gap + EPSILON) // size * size if size > 0 else gap
            if owed > 0:
                claims[leaf] = owed
                if size > 0:
                    gap = min(own, self.guarantee(leaf, capacity)) - holds(leaf, 0.0)
                    firm[leaf] = max(0.0, (gap + EPSILON) // size * size)
        found: list[Running] = []
        if not claims:
            return found
        free = max(0.0, capacity - sum(used.values()))  # needs no preemption
        short = sum(claims.values()) - free
        if short <= EPSILON:
            return found
        left = dict(used)
        for leaf in sorted(ideal, key=lambda one: (ideal[one] - used.get(one, 0.0), one)):
            excess = used.get(leaf, 0.0) - ideal[leaf]
            if short <= EPSILON or excess <= ideal[leaf] * tolerance + EPSILON:
                continue
            taken = self._victims(leaf, min(excess, short), capacity, left, running(leaf), claims if sizes else {})
            found += taken
            short -= sum([job.amount for job in taken])
        short = sum(firm.values()) - free - sum([job.amount for job in found])
        if short > EPSILON:
            found += self._of_parts(short, ideal, capacity, left, running, [leaf for leaf in firm if firm[leaf]], found)
        enough = min(sizes.get(leaf, 0.0) for leaf in claims) if sizes else 0.0
        return found if free + sum([job.amount for job in found]) > enough - EPSILON else []

    def _of_parts(
        self,
        short: float,
        ideal: Mapping[str, float],
        capacity: float,
        left: dict[str, float],
        running: Callable[[str], Iterable[Running]],
        claims: Sequence[str],
        gone: Sequence[Running],
    ) -> list[Running]:
        """Jobs of which only a part is above the guarantee, for whole ones that are guaranteed to others."""
        found: list[Running] = []
        for leaf in sorted(ideal, key=lambda one: (ideal[one] - left.get(one, 0.0), one)):
            held = left.get(leaf, 0.0)
            if short <= EPSILON or held <= max(ideal[leaf], self.guarantee(leaf, capacity)) + EPSILON:
                continue
            job = next((one for one in running(leaf) if one not in gone), None)
            if job is None:
                continue
            left[leaf] = held - job.amount
            if self._is_served_before(leaf, claims, capacity, left):
                left[leaf] = held
                continue
            found.append(job)
            short -= job.amount
        return found

    def _victims(
        self,
        leaf: str,
        amount: float,
        capacity: float,
        left: dict[str, float],
        running: Iterable[Running],
        claims: Iterable[str],
    ) -> list[Running]:
        """Who gives way of one leaf; `left` is what each leaf keeps, and is changed."""
        own, taken, found = self.guarantee(leaf, capacity), 0.0, []
        for job in running:
            if taken >= amount - EPSILON:
                break
            if left[leaf] - job.amount < own - EPSILON:
                continue
            left[leaf] -= job.amount
            if claims and self._is_served_before(leaf, claims, capacity, left):
                left[leaf] += job.amount
                continue
            found.append(job)
            taken += job.amount
        return found

    def _is_served_before(self, leaf: str, others: Iterable[str], capacity: float, used: Mapping[str, float]) -> bool:
        """Whether the leaf goes before all others, so that it would take what it gives at once again."""
        for other in others:
            pairs = zip(reversed(self._paths[leaf]), reversed(self._paths[other]), strict=False)
            mine, theirs = next((one for one in pairs if one[0] is not one[1]), (None, None))
            if mine is None or theirs is None:
                continue
            served = self._served(theirs.name, capacity, used)
            if self._served(mine.name, capacity, used) >= served - EPSILON:
                return False
        return True


def _share_out(amount: float, claims: Sequence[tuple[str, float, float]], shares: dict[str, float]) -> float:
    """Adds to the shares of those that want more: all that they want, or by weight; returns what that is in all."""
    if not claims or sum([want for _, want, _ in claims]) <= amount:
        given = {name: want for name, want, _ in claims}
    else:
        part = max(0.0, amount) / sum([weight for _, _, weight in claims])
        given = {name: part * weight for name, _, weight in claims}
        if any(want < part * weight for _, want, weight in claims):  # and others have what these leave
            given = max_min(amount, {name: want for name, want, _ in claims}, {name: one for name, _, one in claims})
    for name, more in given.items():
        shares[name] += more
    return sum(given.values())


def check(queues: Sequence[Queue]) -> list[Violation]:
    """Everything that is wrong with a configuration of queues."""
    found: list[Violation] = []
    first: dict[str, int] = {}
    for at, queue in enumerate(queues):
        here = f"queues[{at}]"
        if queue.name in first:
            found.append(Violation(f"{here}.name", f"{queue.name!r} is also queues[{first[queue.name]}]"))
        first.setdefault(queue.name, at)
        if not 0 <= queue.guaranteed <= 100:
            found.append(Violation(f"{here}.guaranteed", f"must be 0-100 per cent, is {queue.guaranteed:g}"))
        if not 0 < queue.maximum <= 100:
            found.append(
                Violation(f"{here}.maximum", f"must be above 0 and at most 100 per cent, is {queue.maximum:g}")
            )
        elif queue.guaranteed > queue.maximum:
            found.append(
                Violation(f"{here}.maximum", f"{queue.maximum:g} is below the guarantee of {queue.guaranteed:g}")
            )
        if queue.soft_limit is not None and queue.hard_limit is not None and queue.soft_limit > queue.hard_limit:
            found.append(Violation(f"{here}.soft_limit", "is above the hard limit"))
    parents = {queue.name: queue.parent for queue in queues}
    for at, queue in enumerate(queues):
        if queue.parent is not None and queue.parent not in parents:
            found.append(Violation(f"queues[{at}].parent", f"there is no queue {queue.parent!r}"))
    found += _cycles(parents, first)
    for parent in dict.fromkeys(queue.parent for queue in queues):
        total = sum(queue.guaranteed for queue in queues if queue.parent == parent)
        if total > 100 + EPSILON:
            place = f"queues[{first[parent]}]" if parent in first else "queues"
            found.append(Violation(place, f"guarantees below {parent or 'the root'} are {total:g} %, over 100 %"))
    return found


def _cycles(parents: Mapping[str, str | None], first: Mapping[str, int]) -> list[Violation]:
    found, known = [], set()
    for name in parents:
        trail: list[str] = []
        at: str | None = name
        while at is not None and at in parents and at not in known and at not in trail:
            trail.append(at)
            at = parents[at]
        if at in trail:
            loop = trail[trail.index(at) :]
            found.append(Violation(f"queues[{first[at]}].parent", f"a cycle: {' -> '.join([*loop, at])}"))
        known.update(trail)
    return found
