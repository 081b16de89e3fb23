"""In which order those who share are expected to start: turns by share, by weight or by rank, played without draws.

What runs is taken to end oldest first, and one starts for each that ends; so whoever holds much waits until some of
his have ended. Run times are left to the estimate, which plays the order that comes out of this.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import TypeVar

from formicary.engine.scheduling.policies.capacity_tree import LEAST_WEIGHT
from formicary.engine.scheduling.policies.fair import StartTags

T = TypeVar("T")
Lines = Mapping[str, Sequence[tuple[float, T]]]
"""What waits by sharer, in order, each with what it will hold."""
Rank = tuple[float, float, str]
TINY = 1e-9


def by_shares(
    lines: Lines[T],
    weights: Mapping[str, float],
    running: Sequence[tuple[str, float]],
    slots: int,
    most: Mapping[str, float] | None = None,
    turns: StartTags | None = None,
) -> Iterator[T]:
    """Next is who holds least for his weight; of those that hold as much, whose turn it is, then the name.

    Args:
        lines: What waits.
        weights: By sharer; 1 where nothing is said. Who has none comes once the others hold their own.
        running: What runs by sharer, with what it holds, the oldest first.
        slots: Places that they have together.
        most: What a sharer may hold at most; he is passed over until some of his have ended.
        turns: Given so far; they are changed.
    """
    ranks = _Ranks(weights, StartTags() if turns is None else turns)
    out, held = deque(running), ranks.held
    for name, cost in out:
        held[name] = held.get(name, 0.0) + cost
    waiting = {name: deque(line) for name, line in lines.items() if line}
    for name in waiting:
        ranks.queue(name)
    full: set[str] = set()
    while waiting:
        if out and (len(out) >= slots or not ranks.heap):
            name, cost = out.popleft()
            held[name] -= cost
            if name in waiting:
                full.discard(name)
                ranks.queue(name)
            continue
        if not ranks.heap:  # nothing runs any more, so this could never be held: it keeps nobody back
            full.clear()
        first = ranks.pop() if ranks.heap else min(waiting)
        if first is None or first not in waiting or first in full:
            continue
        cost, found = waiting[first][0]
        if most is not None and out and held.get(first, 0.0) + cost > most.get(first, inf) + TINY:
            full.add(first)
            continue
        waiting[first].popleft()
        out.append((first, cost))
        held[first] = held.get(first, 0.0) + cost
        ranks.turns.served(first, weights.get(first, 1.0) or LEAST_WEIGHT)
        if waiting[first]:
            ranks.queue(first)
        else:
            del waiting[first]
        yield found


class _Ranks:
    """Who is next: a heap whose entries may be out of date."""

    def __init__(self, weights: Mapping[str, float], turns: StartTags) -> None:
        self.weights, self.turns = weights, turns
        self.held: dict[str, float] = {}
        self.heap: list[Rank] = []
        self._present: dict[str, Rank] = {}
        """The entry of each that counts; his turn may have become a later one since."""

    def _rank(self, name: str) -> Rank:
        weight, has = self.weights.get(name, 1.0), self.held.get(name, 0.0)
        share = has / weight if weight > 0 else inf if has > TINY else 1.0
        return round(share, 9), self.turns.tag(name), name

    def queue(self, name: str) -> None:
        """What he holds has changed."""
        self._present[name] = self._rank(name)
        heapq.heappush(self.heap, self._present[name])

    def pop(self) -> str | None:
        """Who is first; None where that is out of date."""
        entry = heapq.heappop(self.heap)
        name = entry[2]
        if entry != self._present[name]:
            return None
        if entry != self._rank(name):
            self.queue(name)
            return None
        return name


def by_weights(lines: Lines[T], weights: Mapping[str, float]) -> Iterator[T]:
    """Turns in proportion to weights among those of whom something waits; a lottery gives the same on average."""
    heap = [(1.0 / weights.get(name, 1.0), name) for name, line in lines.items() if line]
    heapq.heapify(heap)
    at = dict.fromkeys(lines, 0)
    while heap:
        turn, name = heap[0]
        yield lines[name][at[name]][1]
        at[name] += 1
        if at[name] < len(lines[name]):
            heapq.heapreplace(heap, (turn + 1.0 / weights.get(name, 1.0), name))
        else:
            heapq.heappop(heap)


def by_rank(lines: Lines[T], ranks: Mapping[str, float]) -> Iterator[T]:
    """All of the highest rank first; ties in the order in which they are given."""
    for name in sorted(lines, key=lambda one: -ranks.get(one, 0.0)):
        for _, found in lines[name]:
            yield found
