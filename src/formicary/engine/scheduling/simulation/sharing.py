"""Shares: jobs wait by user or queue, each decision picks whose turn it is; within one, first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from random import Random

from formicary.engine.scheduling.policies.capacity_tree import CapacityTree, Running, TreeTurns
from formicary.engine.scheduling.policies.fair import lottery
from formicary.engine.scheduling.serving import Owed, Serving
from formicary.engine.scheduling.simulation.policy import Decision, Group, Key, Preempt, Start
from formicary.engine.scheduling.simulation.state import TINY, AntState, ClusterState, Entry, Shape, Usage

INFINITY = float("inf")
By = Callable[[Entry], str]


class Shared:
    """Groups that take turns.

    A group whose first job finds no place, or may not have it, is passed over until something changes.

    Args:
        by: Whom a job counts for.
        weights: Claim by name; 1 where missing.
    """

    def __init__(self, by: By, weights: Mapping[str, float]) -> None:
        self.by = by
        self.weights = weights
        self.groups: dict[str, Group] = {}
        self.usage: dict[str, Usage] = {}
        self.changed: set[str] = set()
        """Groups whose head or usage is not what it was at the last choice."""
        self._rooms: dict[Shape, AntState | None] = {}
        """Places by demand, at the beginning of a round."""

    def bind(self, state: ClusterState, rng: Random) -> None:
        """Keeps the state."""
        self.state = state
        self.rng = rng

    def weight(self, name: str) -> float:
        """The claim of a group."""
        return self.weights.get(name, 1.0)

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        name = self.by(entry)
        if name not in self.groups:
            self.groups[name] = Group(name)
            self.usage[name] = Usage([0.0] * len(self.state.resources))
        self.groups[name].push(self.key(entry), entry)
        self.changed.add(name)

    def key(self, entry: Entry) -> Key:
        """Where a job stands in its group."""
        return (entry.job.submit, entry.number)

    def _count(self, entry: Entry, sign: int) -> Usage:
        name = self.by(entry)
        self.changed.add(name)
        usage = self.usage[name]
        usage.running += sign
        for index, amount in entry.shape.need:
            usage.held[index] += sign * amount
        return usage

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        self._count(entry, +1)

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy."""
        share = entry.shape.dominant or 1.0
        self._count(entry, -1).served += share * (now - entry.since)

    def pick(self, names: list[str], now: float) -> str:
        """Whose turn it is among those with waiting jobs."""
        return min(names, key=lambda name: self.groups[name].heap[0][:2])

    def refused(self, name: str, entry: Entry) -> bool:
        """True where a limit keeps the group's first job from starting."""
        return False

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        groups, state = self.groups, self.state
        waiting = self._able()
        rooms = self._rooms
        while waiting:
            name = waiting[0] if len(waiting) == 1 else self.pick(waiting, now)
            group = groups[name]
            entry = group.head()
            if self.refused(name, entry):
                waiting.remove(name)
                continue
            ant = rooms.get(entry.shape) or state.first_fit(entry.shape)
            if ant is None:  # nor has anybody else a place who asks for the same
                waiting = self._without(name, waiting)
                continue
            group.pop()
            rooms.clear()
            yield Start(entry, ant)
            self.served(name, entry)
            if not group.heap:
                waiting.remove(name)

    def served(self, name: str, entry: Entry) -> None:
        """A job of the group has been started."""

    def _able(self) -> list[str]:
        """Groups whose first job has a place."""
        rooms, first_fit = self._rooms, self.state.first_fit
        rooms.clear()
        found = []
        for name, group in self.groups.items():
            if group.heap:
                shape = group.heap[0][2].shape
                if shape not in rooms:
                    rooms[shape] = first_fit(shape)
                if rooms[shape] is not None:
                    found.append(name)
        return found

    def _without(self, refused: str, names: list[str]) -> list[str]:
        """The groups whose first job asks for something else than that of one that found no place."""
        shape = self.groups[refused].head().shape
        return [name for name in names if self.groups[name].head().shape is not shape]

    def time_slice(self, entry: Entry) -> float:
        """See Policy."""
        return INFINITY

    def expired(self, entry: Entry, now: float) -> bool:
        """See Policy."""
        return False

    def next_look(self, now: float) -> float:
        """See Policy."""
        return INFINITY


class MaxMin(Shared):
    """Weighted max-min: next is who holds least for his weight, then who has had least, then who came first.

    Who neither waited nor ran anything owes nothing and is owed nothing when he comes: what he has had counts from
    what the one had who was served last (start-time fair queueing: Goyal, Vin, Cheng, SIGCOMM 1996).

    Args:
        by: Whom a job counts for.
        weights: Claim by name.
        resource: What is shared; None = the dominant share of each (DRF). An empty text is the number of running jobs.
    """

    def __init__(self, by: By, weights: Mapping[str, float], resource: str | None) -> None:
        super().__init__(by, weights)
        self.resource = resource
        self._keys: dict[str, tuple[float, ...]] = {}
        self._level = 0.0
        """What the group that was served last had had by then, for its weight."""

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().queued(entry, now)
        name = self.by(entry)
        usage = self.usage[name]
        if not usage.running and len(self.groups[name].heap) == 1:
            usage.served = max(usage.served, self._level * self.weight(name))

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().started(entry, now)
        name = self.by(entry)
        self._level = self.usage[name].served / self.weight(name)

    def holds(self, name: str) -> float:
        """What the group holds now, divided by its weight."""
        usage = self.usage[name]
        if self.resource is None:
            share = self.state.dominant(usage.held)
            if not share and usage.running:
                share = float(usage.running)
        elif self.resource in self.state.resources:
            share = usage.held[self.state.resources.index(self.resource)]
        else:
            share = float(usage.running)
        return share / self.weight(name)

    def pick(self, names: list[str], now: float) -> str:
        """See Shared. Only what has changed since the last choice is computed anew."""
        for name in self.changed:
            if self.groups[name].heap:
                self._keys[name] = (
                    round(self.holds(name), 9),
                    round(self.usage[name].served / self.weight(name), 9),
                    *self.groups[name].heap[0][0],
                )
        self.changed.clear()
        return min(names, key=self._keys.__getitem__)


class Lottery(Shared):
    """Each decision draws a ticket; a group's chance is its part of the tickets of those that wait.

    Who finds no place has drawn in vain: so a seed gives the same draws whatever is known of places beforehand.
    """

    def pick(self, names: list[str], now: float) -> str:
        """See Shared."""
        return lottery({name: self.weight(name) for name in sorted(names)}, self.rng)

    def _able(self) -> list[str]:
        return [name for name, group in self.groups.items() if group.heap]

    def _without(self, refused: str, names: list[str]) -> list[str]:
        return [name for name in names if name != refused]


class DeficitRounds(Shared):
    """Deficit round robin between queues: each gains its weight per round and spends what its jobs cost.

    A queue whose first job finds no place is passed over, and gains nothing meanwhile; one that becomes empty keeps
    nothing, and goes to the end of the round when jobs come again. See `policies.fair.DeficitRoundRobin`.

    Args:
        by: The queue of a job.
        weights: Quantum by queue.
        cost: What a job costs.
    """

    def __init__(self, by: By, weights: Mapping[str, float], cost: Callable[[Entry], float]) -> None:
        super().__init__(by, weights)
        self.cost = cost
        self.round: deque[str] = deque()
        """Queues in which jobs wait; the first has its turn."""
        self.fresh = True
        """The first has not had its quantum for this turn yet."""
        self.deficits: dict[str, float] = {}

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().queued(entry, now)
        name = self.by(entry)
        if name not in self.deficits:
            self.round.append(name)
            self.deficits[name] = 0.0

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        heads: dict[str, tuple[Entry, AntState]] = {}
        costs: dict[str, float] = {}
        """Of those whose first job has a place."""

        def look(name: str) -> None:
            entry = self.groups[name].head()
            ant = self.state.first_fit(entry.shape)
            if ant is not None:
                heads[name], costs[name] = (entry, ant), self.cost(entry)
            elif name in heads:
                del heads[name], costs[name]

        for name in self.round:
            look(name)
        while heads:
            name = self._turn(costs)
            entry, ant = heads[name]
            group = self.groups[name]
            self.deficits[name] -= costs[name]
            group.pop()
            yield Start(entry, ant)
            if group.heap:
                look(name)
            else:
                self.round.popleft()
                del self.deficits[name], heads[name], costs[name]
                self.fresh = True
            for other in [other for other, (_, place) in heads.items() if place is ant and other != name]:
                look(other)

    def _turn(self, costs: Mapping[str, float]) -> str:
        """Whose turn it is, who is the first of the round from then on.

        Args:
            costs: Of the next job of each that could start it.
        """
        passed = 0
        while True:
            name = self.round[0]
            if name in costs:
                if self.fresh:
                    # What was kept is less than the next job costs, unless that found no place for a while.
                    self.deficits[name] = min(self.deficits[name], costs[name]) + self.weight(name)
                    self.fresh = False
                if costs[name] <= self.deficits[name] + TINY:
                    return name
            self.round.rotate(-1)
            self.fresh = True
            passed += 1
            if passed == len(self.round):  # further rounds in which nobody can pay are gone through at once
                passed = 0
                lacks = {one: cost - self.deficits[one] - TINY for one, cost in costs.items()}
                rounds = min(-(-lack // self.weight(one)) - 1 for one, lack in lacks.items())
                for one in costs:
                    self.deficits[one] += max(0.0, rounds) * self.weight(one)


class Capacity(Shared):
    """Hierarchical queues with guarantees and maxima; shares are parts of the dominant resource.

    Args:
        tree: The queues.
        by: The leaf of a job.
        reclaim: `none`, or how running jobs make room for guarantees (`graceful`, `aggressive`).
    """

    def __init__(self, tree: CapacityTree, by: By, reclaim: str) -> None:
        super().__init__(by, {})
        self.tree = tree
        self.reclaim = reclaim
        self.pending: dict[str, float] = {}
        """What waits, as part of the cluster, by leaf."""
        self.held: dict[int, tuple[Entry, Running]] = {}
        """What runs, where it may have to make room, by number."""
        self._serving = Serving(tree, 1.0, {})
        self._turns: TreeTurns = {}
        self._owed = Owed(tree)
        self._starts = 0
        self._vectors: dict[str, list[float]] = {}
        """What is held below each queue, where more than one resource with bounds is asked for."""
        self._below: dict[str, list[str]] = {}
        """Leaves by queue, in that case."""

    def bind(self, state: ClusterState, rng: Random) -> None:
        """See Policy."""
        super().bind(state, rng)
        asked = {index for shape in state.shapes.values() for index, _ in shape.need}
        if sum(0 < state.total[index] < INFINITY for index in asked) > 1:
            self._vectors = {name: [0.0] * len(state.total) for name in self.tree.queues}
            for leaf in self.tree.leaves():
                for queue in self.tree.path(leaf):
                    self._below.setdefault(queue.name, []).append(leaf)

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().queued(entry, now)
        name = self.by(entry)
        self.pending[name] = self.pending.get(name, 0.0) + entry.shape.dominant

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().started(entry, now)
        name = self.by(entry)
        self.tree.turn(name, self._turns)
        if entry.original is None:  # a copy was never waited for
            self.pending[name] -= entry.shape.dominant
        if self.reclaim != "none":
            self._starts += 1
            priority = int(entry.job.priority)
            running = Running(str(entry.number), name, entry.shape.dominant, priority, now, self._starts)
            self.held[entry.number] = (entry, running)
            self._owed.began(running)

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy."""
        super().stopped(entry, now)
        if self.reclaim != "none":
            self._owed.ended(self.held.pop(entry.number)[1])

    def _served(self) -> Serving:
        """Who holds how much of the cluster, up to date."""
        for name in self.changed:
            if not self._vectors:
                self._serving.change(name, self.state.dominant(self.usage[name].held))
                continue
            for queue in self.tree.path(name):
                held = [self.usage[leaf].held for leaf in self._below[queue.name] if leaf in self.usage]
                self._vectors[queue.name] = [sum(amounts) for amounts in zip(*held, strict=True)]
                self._serving.put(queue.name, self.state.dominant(self._vectors[queue.name]))
        self.changed.clear()
        return self._serving

    def pick(self, names: list[str], now: float) -> str:
        """See Shared."""
        return self._served().first(names, self._turns) or names[0]

    def refused(self, name: str, entry: Entry) -> bool:
        """See Shared. The share of a queue is the dominant one of all that is held below it."""
        serving = self._served() if self.changed else self._serving
        if not self._vectors:
            return serving.exceeds(name, entry.shape.dominant)
        for queue in self.tree.path(name):
            held = list(self._vectors[queue.name])
            for index, amount in entry.shape.need:
                held[index] += amount
            if self.state.dominant(held) > self.tree.ceiling(queue.name, 1.0) + TINY:
                return True
        return False

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy. Reclaims after what is free has been given away."""
        return super().decide(now) if self.reclaim == "none" else self._reclaiming(now)

    def _reclaiming(self, now: float) -> Iterator[Decision]:
        yield from super().decide(now)
        waiting, sizes = dict[str, float](), dict[str, float]()
        for name, group in self.groups.items():
            if group.heap:
                waiting[name], sizes[name] = self.pending[name], group.heap[0][2].shape.dominant
        victims = self._owed.victims(waiting, sizes) if waiting else []
        for victim in victims:
            yield Preempt(self.held[int(victim.id)][0])
        if victims:
            yield from super().decide(now)
