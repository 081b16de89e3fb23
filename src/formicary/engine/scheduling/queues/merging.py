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
    turns = StartTags() if turns is None else turns
    held: dict[str, float] = {}
    out = deque(running)
    for name, cost in out:
        held[name] = held.get(name, 0.0) + cost
    waiting = {name: deque(line) for name, line in lines.items() if line}

    def rank(name: str) -> tuple[float, float, str]:
        weight, has = weights.get(name, 1.0), held.get(name, 0.0)
        share = has / weight if weight > 0 else inf if has > TINY else 1.0
        return round(share, 9), turns.tag(name), name

    def queue(name: str) -> None:
        present[name] = rank(name)
        heapq.heappush(heap, present[name])

    heap: list[tuple[float, float, str]] = []
    present: dict[str, tuple[float, float, str]] = {}
    """The entry of each in the heap that counts; his turn may have become a later one since."""
    for name in waiting:
        queue(name)
    full: set[str] = set()
    while waiting:
        if out and (len(out) >= slots or not heap):
            name, cost = out.popleft()
            held[name] -= cost
            if name in waiting:
                full.discard(name)
                queue(name)
            continue
        if not heap:  # what waits could never be held: the others of the line are not kept back by that
            full.clear()
            name = min(waiting)
        else:
            entry = heapq.heappop(heap)
            name = entry[2]
            if name not in waiting or name in full or entry != present[name]:
                continue
            if entry != rank(name):
                queue(name)
                continue
            if most is not None and held.get(name, 0.0) + waiting[name][0][0] > most.get(name, inf) + TINY:
                full.add(name)
                continue
        cost, found = waiting[name].popleft()
        out.append((name, cost))
        held[name] = held.get(name, 0.0) + cost
        turns.served(name, weights.get(name, 1.0) or LEAST_WEIGHT)
        if waiting[name]:
            queue(name)
        else:
            del waiting[name]
        yield found


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
