"""A scheduling policy as the simulator drives it, and the queues of waiting jobs that policies share.

A policy groups waiting jobs (by demand, user or queue). Within a group the order is fixed when a job is queued; between
groups the heads are compared anew for each decision. Its answer is a sequence of starts, preemptions and drops, which
the simulator applies one by one, so the state is always current.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterator
from random import Random
from typing import NamedTuple, Protocol

from formicary.engine.scheduling.simulation.state import AntState, ClusterState, Entry, Shape

Key = tuple[float, ...]
"""Smaller goes first."""
Place = Callable[[ClusterState, Shape], AntState | None]
"""The ant for a demand now, or None."""


class Start(NamedTuple):
    """Run this job on this ant from now on."""

    entry: Entry
    ant: AntState


class Preempt(NamedTuple):
    """Take this running job off its ant; it waits again, and what it has done counts where `keep` says so."""

    entry: Entry
    keep: bool = True


class Renew(NamedTuple):
    """This running job begins a new stretch where it is; the policy is told that it stopped, and started."""

    entry: Entry


class Copy(NamedTuple):
    """Run a second copy of this running job on this ant; whichever ends first is the end of the job."""

    entry: Entry
    ant: AntState


class Drop(NamedTuple):
    """Never run this job."""

    entry: Entry
    reason: str


Decision = Start | Preempt | Renew | Drop | Copy


class Policy(Protocol):
    """What the simulator asks of a policy."""

    def bind(self, state: ClusterState, rng: Random) -> None:
        """Called once, before anything happens."""
        ...

    def queued(self, entry: Entry, now: float) -> None:
        """The job waits from now on: it was submitted, or taken off an ant."""
        ...

    def started(self, entry: Entry, now: float) -> None:
        """The job runs from now on."""
        ...

    def stopped(self, entry: Entry, now: float) -> None:
        """The job does not run any more: it has ended, or was taken off."""
        ...

    def decide(self, now: float) -> Iterator[Decision]:
        """What to do now. Every decision is applied before the next is asked for."""
        ...

    def time_slice(self, entry: Entry) -> float:
        """Seconds that a job may run before the others get their turn; infinity for no end."""
        ...

    def expired(self, entry: Entry, now: float) -> bool:
        """The slice is over: True where the job has to make room and wait again."""
        ...

    def next_look(self, now: float) -> float:
        """When to decide again even if nothing happens; infinity for never. Asked after each round; later than now."""
        ...


class Group:
    """Waiting jobs of one group in order."""

    __slots__ = ("failed_at", "failed_head", "heap", "name")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.heap: list[tuple[Key, int, Entry]] = []
        self.failed_at = -1
        """`releases` of the state when the head last found no place."""
        self.failed_head: Entry | None = None

    def push(self, key: Key, entry: Entry) -> None:
        """Queues a job."""
        heapq.heappush(self.heap, (key, entry.number, entry))

    def head(self) -> Entry:
        """The job whose turn it is; the group must not be empty."""
        return self.heap[0][2]

    def pop(self) -> Entry:
        """Takes the head."""
        return heapq.heappop(self.heap)[2]

    def remove(self, entry: Entry) -> None:
        """Takes a job from anywhere in the group."""
        for position, item in enumerate(self.heap):
            if item[2] is entry:
                self.heap[position] = self.heap[-1]
                self.heap.pop()
                heapq.heapify(self.heap)
                return

    def in_order(self) -> list[Entry]:
        """All of them, first to last."""
        return [entry for _, _, entry in sorted(self.heap)]


class SortedGroup(Group):
    """The same, sorted at all times: for policies that look behind the head, or move jobs about."""

    __slots__ = ("_keys",)

    def __init__(self, name: Hashable) -> None:
        super().__init__(name)
        self._keys: dict[int, Key] = {}
        """By number of the job."""

    def push(self, key: Key, entry: Entry) -> None:
        """See Group."""
        self._keys[entry.number] = key
        insort(self.heap, (key, entry.number, entry))

    def pop(self) -> Entry:
        """See Group."""
        entry = self.heap.pop(0)[2]
        del self._keys[entry.number]
        return entry

    def remove(self, entry: Entry) -> None:
        """See Group."""
        key = self._keys.pop(entry.number)
        del self.heap[bisect_left(self.heap, (key, entry.number, entry))]
