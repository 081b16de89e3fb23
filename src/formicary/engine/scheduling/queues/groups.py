"""Who goes first: the groups of one round, the order within each, and whose turn it is between them.

A group is what one order holds for: all jobs, or those of one queue. In it the first candidates of each demand lie in
heaps by rank, one per tenant where tenants share. A round begins with a look at each demand that waits; from then on a
decision costs the logarithm of their number.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Protocol

from formicary.engine.jobs.amounts import Needs
from formicary.engine.scheduling.candidates import CandidateQueue, Entry
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.policies.capacity_tree import CapacityTree, TreeTurns
from formicary.engine.scheduling.policies.deadline_fairness import Misses
from formicary.engine.scheduling.policies.drf import dominant_share
from formicary.engine.scheduling.policies.fair import StartTags, Stride, lottery
from formicary.engine.scheduling.queues.ledger import SLOTS, Ledger
from formicary.engine.scheduling.queues.model import SHARES, Queues, Rule
from formicary.engine.scheduling.serving import Serving

Head = tuple[float, float, int, int, int, Demand, CandidateQueue, Entry]
"""Rank, key of the first candidate, a number that no other has, its demand, its queue, the candidate."""
WHOLE = 100.0
"""All the colony has, in per cent."""


@dataclass(slots=True)
class Moment:
    """What a round is decided on beside the queues.

    Attributes:
        wall: Seconds since the epoch.
        rng: Of lotteries.
        totals: What all ants have together, slots among it.
        ledger: Who holds what.
        starts: How many have started under each order, as long as the configuration holds.
        tags: Turns of tenants under each order, as long.
        turns: The same of queues.
        misses: Which deadlines tenants have missed under each order.
    """

    wall: float
    rng: Random
    totals: Mapping[str, float]
    ledger: Ledger
    starts: dict[str, int] = field(default_factory=dict)
    tags: dict[str, StartTags] = field(default_factory=dict)
    turns: TreeTurns = field(default_factory=dict)
    misses: Misses = field(default_factory=Misses)
    _amounts: dict[Needs, float] = field(default_factory=dict)

    def is_floor_s_turn(self, group: str, floor: float) -> bool:
        """Whether the next start of a group is one of those that its floor gives away."""
        number = self.starts.get(group, 0)
        return int((number + 1) * floor / WHOLE) > int(number * floor / WHOLE)

    def share(self, used: Mapping[str, float]) -> float:
        """Per cent of the colony: the largest share of one resource."""
        return dominant_share(used, self.totals) * WHOLE

    def amount(self, demand: Demand) -> float:
        """The same of one task."""
        found = self._amounts.get(demand.needs)
        if found is None:
            found = self._amounts[demand.needs] = self.share({SLOTS: 1.0, **dict(demand.needs)})
        return found


class Group:
    """Candidates under one order.

    Args:
        name: Of the queue; empty = all jobs.
        rule: The order.
        moment: Of the round.
    """

    __slots__ = ("_moment", "_numbers", "_shares", "_tags", "_tenants", "_version", "name", "rule", "waiting")

    def __init__(self, name: str, rule: Rule, moment: Moment) -> None:
        self.name = name
        self.rule = rule
        self.waiting = 0
        """Demands that may still start something in this round."""
        self._moment = moment
        self._numbers = 0
        self._tenants: dict[str, list[Head]] = {}
        self._shares: list[tuple[tuple[float, float], str]] = []
        self._tags = moment.tags.setdefault(name, StartTags())
        self._version = moment.misses.version

    def add(self, demand: Demand, queue: CandidateQueue) -> None:
        """Takes in the first candidate of a demand, if there is one."""
        entry = queue.head()
        if entry is None:
            return
        tenant = demand.tenant
        heads = self._tenants.get(tenant)
        if heads is None:
            heads = self._tenants[tenant] = []
        was_empty = not heads
        self._numbers += 1
        heapq.heappush(heads, (self._rank(entry, demand), *entry[:3], self._numbers, demand, queue, entry))
        if was_empty or self.rule.fair_by:
            heapq.heappush(self._shares, (self._share(tenant), tenant))
        self.waiting += 1

    def first(self) -> Head | None:
        """Whose turn it is; None where nobody waits."""
        while self._shares:
            share, tenant = self._shares[0]
            head = self._head(tenant)
            if head is None:
                heapq.heappop(self._shares)
            elif self.rule.fair_by and share != self._share(tenant):  # his first job is another one now
                heapq.heapreplace(self._shares, (self._share(tenant), tenant))
            else:
                return head
        return None

    def _head(self, tenant: str) -> Head | None:
        """The first job of a tenant."""
        heads = self._tenants[tenant]
        while heads:
            _, _, _, _, _, demand, queue, entry = heads[0]
            now = queue.head()
            if now is entry:
                return heads[0]
            heapq.heappop(heads)  # withdrawn meanwhile, or another goes before it
            self.waiting -= 1
            if now is not None:
                self._numbers += 1
                heapq.heappush(heads, (self._rank(now, demand), *now[:3], self._numbers, demand, queue, now))
                self.waiting += 1
        return None

    def draw(self) -> Head | None:
        """The same where turns are drawn: a tenant by lot, its first candidate."""
        if self.rule.policy == "lottery":
            names, weights = sorted(name for name, heads in self._tenants.items() if heads), self.rule.weights
            if names:
                winner = lottery({name: weights.get(name, 1.0) for name in names}, self._moment.rng)
                self._shares = [((float(name != winner), 0.0), name) for name in names]
                heapq.heapify(self._shares)
        if self.rule.fair_by and self._version != self._moment.misses.version:
            self._version = self._moment.misses.version
            self._shares = [(self._share(name), name) for name, heads in self._tenants.items() if heads]
            heapq.heapify(self._shares)
        if self.rule.floor and self.waiting and self._moment.is_floor_s_turn(self.name, self.rule.floor):
            self._raise_oldest()
        return self.first()

    def _raise_oldest(self) -> None:
        """Who has waited longest goes first this time."""
        tenant = self._shares[0][1] if self._shares else ""
        heads = self._tenants.get(tenant, [])
        if heads:
            oldest = min(heads, key=lambda head: (head[2], head[3]))
            heads.remove(oldest)
            heapq.heapify(heads)
            heapq.heappush(heads, (-inf, *oldest[1:]))

    def close(self) -> None:
        """The demand of the first candidate can place nothing more in this round."""
        tenant = self._shares[0][1]
        heapq.heappop(self._tenants[tenant])
        self.waiting -= 1

    def served(self) -> None:
        """The first candidate has been taken, and holds what it needs."""
        tenant = self._shares[0][1]
        if self.rule.floor:
            self._moment.starts[self.name] = self._moment.starts.get(self.name, 0) + 1
        if self.rule.policy in ("fair", "drf"):
            self._tags.served(tenant, self.rule.weights.get(tenant, 1.0))
        heapq.heapreplace(self._shares, (self._share(tenant), tenant))

    def _share(self, tenant: str) -> tuple[float, float]:
        """What the tenant holds for its weight, and of those that hold as much whose turn it is; smaller goes first."""
        rule, moment = self.rule, self._moment
        if rule.fair_by:
            heads = self._tenants[tenant]
            deadline = heads[0][1] if heads else inf
            return moment.misses.rank((self.name, tenant), rule.weights.get(tenant, 1.0), deadline)
        if rule.policy not in ("fair", "drf"):
            return 0.0, 0.0
        used = moment.ledger.of_tenant(self.name, tenant)
        weight = rule.weights.get(tenant, 1.0)
        held = moment.share(used) if rule.policy == "drf" else used.get(rule.resource, 0.0)
        return held / weight, self._tags.tag(tenant)

    def _rank(self, entry: Entry, demand: Demand) -> float:
        """With aging the priority that it has reached; else its key says all."""
        rule = self.rule
        if rule.policy != "priority" or not (rule.aging or rule.floor):
            return entry[0]
        waited_s = max(0.0, self._moment.wall - entry[4].waiting_since)
        return -max(demand.level, min(rule.cap, demand.level + rule.aging * waited_s))


class Between(Protocol):
    """Whose turn it is among groups."""

    def pick(self, groups: Mapping[str, Group]) -> Group | None:
        """The group to serve next; None where none may be."""
        ...

    def refuses(self, group: Group, amount: float) -> bool:
        """Whether the group may not have this much more now (per cent of the colony)."""
        ...

    def served(self, group: Group) -> None:
        """One of its tasks has been given to an ant."""
        ...


class Only:
    """One group, or several in no need of turns."""

    def pick(self, groups: Mapping[str, Group]) -> Group | None:
        """See Between."""
        return next((group for group in groups.values() if group.waiting), None)

    def refuses(self, group: Group, amount: float) -> bool:
        """See Between."""
        return False

    def served(self, group: Group) -> None:
        """See Between."""


@dataclass(slots=True)
class Strict(Only):
    """The queue of the highest priority first; ties in the order of the file."""

    priorities: Mapping[str, float]

    def pick(self, groups: Mapping[str, Group]) -> Group | None:
        """See Between."""
        waiting = [group for group in groups.values() if group.waiting]
        return max(waiting, key=lambda group: self.priorities.get(group.name, 0.0), default=None)


@dataclass(slots=True)
class Turns(Only):
    """Turns by weight among the queues that wait. `stride` lives as long as the configuration."""

    stride: Stride

    def pick(self, groups: Mapping[str, Group]) -> Group | None:
        """See Between."""
        waiting = [name for name, group in groups.items() if group.waiting]
        return groups[self.stride.peek(waiting)] if waiting else None

    def served(self, group: Group) -> None:
        """See Between."""
        self.stride.next([group.name])


@dataclass(slots=True)
class Drawn(Only):
    """A queue by lot, in proportion to its weight."""

    weights: Mapping[str, float]
    rng: Random

    def pick(self, groups: Mapping[str, Group]) -> Group | None:
        """See Between."""
        waiting = {name: self.weights[name] for name, group in groups.items() if group.waiting}
        return groups[lottery(waiting, self.rng)] if waiting else None


@dataclass(slots=True)
class Least(Only):
    """The queue that holds least for its weight; of those that hold as much, whose turn it is."""

    rule: Rule
    weights: Mapping[str, float]
    moment: Moment
    tags: StartTags

    def pick(self, groups: Mapping[str, Group]) -> Group | None:
        """See Between."""
        waiting = [group for group in groups.values() if group.waiting]
        return min(waiting, key=self._share, default=None)

    def _share(self, group: Group) -> tuple[float, float, str]:
        used = self.moment.ledger.of_queue(group.name)
        held = self.moment.share(used) if self.rule.policy == "drf" else used.get(self.rule.resource, 0.0)
        return round(held / self.weights[group.name], 9), self.tags.tag(group.name), group.name

    def served(self, group: Group) -> None:
        """See Between."""
        self.tags.served(group.name, self.weights[group.name])


@dataclass(slots=True)
class Capacity(Only):
    """Guaranteed and maximum shares: the queue that is served least for its guarantee, within its maximum."""

    serving: Serving
    moment: Moment

    def pick(self, groups: Mapping[str, Group]) -> Group | None:
        """See Between."""
        waiting = [name for name, group in groups.items() if group.waiting]
        return groups[self.serving.first(waiting, self.moment.turns) or ""] if waiting else None

    def refuses(self, group: Group, amount: float) -> bool:
        """See Between."""
        return self.serving.refuses(group.name, amount)

    def served(self, group: Group) -> None:
        """See Between."""
        self.serving.change(group.name, self.moment.share(self.moment.ledger.of_queue(group.name)))
        self.serving.tree.turn(group.name, self.moment.turns)


def between(config: Queues, moment: Moment, stride: Stride, tree: CapacityTree) -> Between:
    """What a configuration says about turns.

    Args:
        config: The queues.
        moment: Of the round.
        stride: Turns so far.
        tree: Of the configuration.
    """
    rule = config.rule
    weights = {queue.name: rule.weights.get(queue.name, queue.weight) for queue in config.leaves()}
    if rule.policy == "capacity":
        used = {name: moment.share(held) for name, held in moment.ledger.queues.items() if held}
        return Capacity(Serving(tree, WHOLE, used), moment)
    if rule.policy == "multilevel" and rule.mode == "strict":
        return Strict({queue.name: queue.priority for queue in config.leaves()})
    if rule.policy == "multilevel" and rule.mode == "weighted":
        return Turns(stride)
    if rule.policy in SHARES and rule.by == "queue":
        turns = moment.turns.setdefault(None, StartTags())
        return Drawn(weights, moment.rng) if rule.policy == "lottery" else Least(rule, weights, moment, turns)
    return Only()
