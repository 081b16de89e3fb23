"""Fair sharing of one divisible amount, and of turns.

- `max_min`: nobody can get more without taking from one who has less for its weight (Bertsekas and Gallager, "Data
  Networks", 6.5.2; water filling).
- `WeightedFairQueue`: packets (jobs) in the order in which they would end under fluid sharing; self-clocked (Demers,
  Keshav, Shenker, SIGCOMM 1989; Golestani, INFOCOM 1994).
- `DeficitRoundRobin`: a quantum per round and flow, what is left is kept (Shreedhar and Varghese, SIGCOMM 1995).
- `Stride`: the client with the smallest pass goes next, and its pass grows by its stride (Waldspurger and Weihl,
  MIT/LCS/TM-528, 1995).
- `StartTags`: whose turn it is among equal claims; start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996).
- `lottery`: a winning ticket per turn (Waldspurger and Weihl, OSDI 1994).

Ties go to the name that sorts first. The classes keep their state and nothing else; the random source is an argument.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")
MOST_ENDS = 10_000
"""Ends of turns that are remembered before those that no longer matter are forgotten."""


@dataclass(frozen=True, slots=True)
class Share:
    """A node of a tree of claims: a demand of its own, or children that share."""

    name: str
    weight: float = 1.0
    demand: float = 0.0
    children: tuple[Share, ...] = ()

    def wanted(self) -> float:
        """All that the node can use."""
        return sum(child.wanted() for child in self.children) if self.children else self.demand


def max_min(
    capacity: float, demands: Mapping[str, float], weights: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Weighted max-min shares in one pass over the claims by demand per weight.

    Args:
        capacity: What there is to share; not below zero.
        demands: What each can use at most.
        weights: Above zero; 1 where missing.

    Raises:
        ValueError: Naming the weight or demand that breaks a rule.
    """
    claims = weights or {}
    for name, demand in demands.items():
        if claims.get(name, 1.0) <= 0:
            raise ValueError(f"{name!r}: weight must be above zero, is {claims[name]:g}")
        if demand < 0:
            raise ValueError(f"{name!r}: demand is below zero")
    left, weight_left = max(0.0, capacity), sum(claims.get(name, 1.0) for name in demands)
    shares: dict[str, float] = {}
    for name in sorted(demands, key=lambda one: (demands[one] / claims.get(one, 1.0), one)):
        weight = claims.get(name, 1.0)
        part = left * weight / weight_left if weight_left > 0 else left
        shares[name] = min(demands[name], part)
        left -= shares[name]
        weight_left -= weight
    return {name: shares[name] for name in demands}


def max_min_tree(capacity: float, root: Share) -> dict[str, float]:
    """Weighted max-min level by level: what falls to a node is shared among its children. Leaves only."""
    if not root.children:
        return {root.name: min(capacity, root.demand)}
    weights = {child.name: child.weight for child in root.children}
    parts = max_min(capacity, {child.name: child.wanted() for child in root.children}, weights)
    shares: dict[str, float] = {}
    for child in root.children:
        shares.update(max_min_tree(parts[child.name], child))
    return shares


class WeightedFairQueue(Generic[T]):
    """Jobs of flows, taken in the order of their virtual ends.

    A job that comes gets `max(virtual time, its flow's last end) + size / weight`; the virtual time is the end of the
    job last taken. While two flows both have jobs, what they were served per weight differs by less than one of the
    largest jobs of each per weight.
    """

    def __init__(self) -> None:
        self._clock = 0.0
        self._ends: dict[str, float] = {}
        self._heap: list[tuple[float, str, int, T]] = []
        self._serial = 0

    def push(self, flow: str, job: T, size: float = 1.0, weight: float = 1.0) -> None:
        """Queues a job. `size` is its expected work, `weight` its flow's; both above zero."""
        if size <= 0 or weight <= 0:
            raise ValueError(f"flow {flow!r}: size and weight must be above zero")
        end = max(self._clock, self._ends.get(flow, 0.0)) + size / weight
        self._ends[flow] = end
        self._serial += 1
        heapq.heappush(self._heap, (end, flow, self._serial, job))

    def pop(self) -> tuple[str, T]:
        """Takes the next job with its flow. Raises IndexError where none waits."""
        self._clock, flow, _, job = heapq.heappop(self._heap)
        if not self._heap:
            self._clock = 0.0
            self._ends.clear()
        return flow, job

    def __len__(self) -> int:
        """Jobs that wait."""
        return len(self._heap)


class DeficitRoundRobin(Generic[T]):
    """Flows served in turn, each by its quantum; constant work per job.

    Args:
        quantum: Work that a flow of weight 1 gains each round; at least the largest size keeps the work constant.
    """

    def __init__(self, quantum: float = 1.0) -> None:
        if quantum <= 0:
            raise ValueError(f"quantum must be above zero, is {quantum:g}")
        self._quantum = quantum
        self._flows: dict[str, deque[tuple[float, T]]] = {}
        self._weights: dict[str, float] = {}
        self._deficits: dict[str, float] = {}
        self._round: deque[str] = deque()
        self._fresh = True

    def push(self, flow: str, job: T, size: float = 1.0, weight: float = 1.0) -> None:
        """Queues a job; the flow's weight is the one given last."""
        if size <= 0 or weight <= 0:
            raise ValueError(f"flow {flow!r}: size and weight must be above zero")
        self._weights[flow] = weight
        queue = self._flows.get(flow)
        if queue is None:
            queue = self._flows[flow] = deque()
            self._deficits[flow] = 0.0
            self._round.append(flow)
        queue.append((size, job))

    def pop(self) -> tuple[str, T]:
        """Takes the next job with its flow. Raises IndexError where none waits."""
        while True:
            flow = self._round[0]
            if self._fresh:
                self._deficits[flow] += self._quantum * self._weights[flow]
                self._fresh = False
            queue = self._flows[flow]
            size, job = queue[0]
            if size <= self._deficits[flow] + 1e-12:
                queue.popleft()
                self._deficits[flow] -= size
                if not queue:  # an idle flow saves nothing up
                    self._round.popleft()
                    del self._flows[flow], self._deficits[flow], self._weights[flow]
                    self._fresh = True
                return flow, job
            self._round.rotate(-1)
            self._fresh = True

    def __len__(self) -> int:
        """Jobs that wait."""
        return sum(len(queue) for queue in self._flows.values())


class Stride:
    """Turns in exact proportion to tickets: after n turns each client is less than one turn off its share per pair.

    A client that joins starts one stride after the pass that was served last, so that it neither owes nor is owed
    turns.
    """

    def __init__(self, tickets: Mapping[str, int] | None = None) -> None:
        self._unit = 1
        """A pass of one: a multiple of every number of tickets, so that passes are whole and exact."""
        self._strides: dict[str, int] = {}
        self._passes: dict[str, int] = {}
        self._served = 0
        for name, count in (tickets or {}).items():
            self.join(name, count)

    def join(self, name: str, tickets: int) -> None:
        """A client comes, or gets another number of tickets and keeps its place."""
        if tickets <= 0:
            raise ValueError(f"{name!r}: tickets must be above zero, are {tickets}")
        unit = lcm(self._unit, tickets)
        if unit != self._unit:
            finer, self._unit = unit // self._unit, unit
            self._strides = {one: stride * finer for one, stride in self._strides.items()}
            self._passes = {one: at * finer for one, at in self._passes.items()}
            self._served *= finer
        self._strides[name] = unit // tickets
        if name not in self._passes:
            self._passes[name] = self._served + self._strides[name]

    def leave(self, name: str) -> None:
        """A client goes."""
        del self._strides[name], self._passes[name]

    def peek(self, among: Sequence[str]) -> str:
        """Whose turn it is of these, without taking it. Raises ValueError where none is there."""
        return min(among, key=lambda one: (self._passes[one], one))

    def has(self, name: str) -> bool:
        """Whether a client has come and not gone."""
        return name in self._passes

    def next(self, among: Sequence[str] | None = None) -> str:
        """Whose turn it is, of all or of those that have something to run. Raises ValueError where none is there."""
        names = self._passes if among is None else among
        name = self.peek(list(names))
        self._served = max(self._served, self._passes[name])
        self._passes[name] += self._strides[name]
        return name


class StartTags:
    """Turns among clients whose claims are equal otherwise: the smallest tag goes next.

    A client's tag is the end of its last turn, but not before the start of the turn that was given last; a turn takes
    1 / weight. So turns are in proportion to weights, and a client that comes or was idle neither owes nor is owed any.
    """

    __slots__ = ("_ends", "_now")

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}
        self._now = 0.0

    def tag(self, name: str) -> float:
        """Where the client's next turn would begin."""
        return max(self._now, self._ends.get(name, 0.0))

    def served(self, name: str, weight: float = 1.0) -> None:
        """The client has a turn. `weight` is above zero."""
        self._now = self.tag(name)
        if len(self._ends) >= MOST_ENDS:
            self._ends = {one: end for one, end in self._ends.items() if end > self._now}
        self._ends[name] = self._now + 1.0 / weight


def lottery(tickets: Mapping[str, float], rng: Random) -> str:
    """Draws a winner with a chance in proportion to its tickets.

    Args:
        tickets: By name; none below zero, not all zero. Names are drawn in sorted order: same seed, same winner.
        rng: Source of the draw.

    Raises:
        ValueError: No ticket, or one below zero.
    """
    total = 0.0
    for name, count in tickets.items():
        if count < 0:
            raise ValueError(f"{name!r}: tickets are below zero")
        total += count
    if total <= 0:
        raise ValueError("a lottery needs at least one ticket")
    at = rng.random() * total
    winner = ""
    for name in sorted(tickets):
        if tickets[name] > 0:
            winner = name
            at -= tickets[name]
            if at < 0:
                break
    return winner
