"""Candidates of one demand in order: ready tasks, and pending jobs whose parameters are at hand or still stored.

`ready` holds what can be placed at once; `cold` holds pending jobs whose parameters lie in the store. A cold job is
asked for shortly before its turn, so that memory per pending job stays small; until it has come, nothing behind it in
the order is placed, so the order holds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import chain
from math import inf
from typing import Protocol

OrderKey = tuple[float, int, int]
"""Smaller goes first; the last two make the order total (job number, position of the task)."""


class Candidate(Protocol):
    """A pending job or a ready task."""

    @property
    def state(self) -> str:
        """Its entry in a queue is void once this has changed."""
        ...

    @property
    def waiting_since(self) -> float:
        """When it could have begun, in seconds since the epoch."""
        ...


Entry = tuple[float, int, int, int, Candidate, str]
"""Order key, serial number (void twins may lie in the heap), the candidate, and the state it had when it was queued: in
another state the entry is void."""


class CandidateQueue:
    """All candidates of one demand."""

    __slots__ = ("_serial", "cold", "loading", "ready")

    def __init__(self) -> None:
        self._serial = 0
        self.ready: list[Entry] = []
        self.cold: list[Entry] = []
        self.loading: dict[int, Entry] = {}
        """By job number, in order; asked for and not yet here."""

    def push(self, key: OrderKey, candidate: Candidate, *, cold: bool = False) -> None:
        """Queues a candidate."""
        self._serial += 1
        heapq.heappush(self.cold if cold else self.ready, (*key, self._serial, candidate, candidate.state))

    def head(self) -> Entry | None:
        """The candidate whose turn it is, or None: empty, or its parameters are still to come."""
        ready = self.ready
        while ready and ready[0][4].state != ready[0][5]:  # as `_live`, without a call: asked for every decision
            heapq.heappop(ready)
        if not ready:
            return None
        first = ready[0]
        if self.loading:
            earliest = next(iter(self.loading.values()))
            if earliest[:3] < first[:3]:
                return None
        if self.cold:
            cold = _live(self.cold)
            if cold and cold[0][:3] < first[:3]:
                return None
        return first

    def pop(self) -> Entry:
        """Takes what `head` has returned."""
        return heapq.heappop(self.ready)

    def fetch(self, limit: int) -> list[int]:
        """Numbers of the next cold jobs to ask for; nothing while earlier ones are on their way, or enough is ready."""
        if self.loading or not _live(self.cold):
            return []
        ready = _live(self.ready)
        if len(ready) >= limit and ready[0][:3] < self.cold[0][:3]:
            return []
        while len(self.loading) < limit and _live(self.cold):
            entry = heapq.heappop(self.cold)
            self.loading[entry[1]] = entry
        return list(self.loading)

    def loaded(self, number: int) -> Candidate | None:
        """The job's parameters are here: it can be placed. Returns it, or None where it no longer waits."""
        entry = self.loading.pop(number, None)
        if entry is None or entry[4].state != entry[5]:
            return None
        heapq.heappush(self.ready, entry)
        return entry[4]

    def drained(self) -> list[tuple[Candidate, bool]]:
        """Everything that waits, each once, and whether its parameters are still stored."""
        live = [(one, False) for one in self.ready if one[4].state == one[5]]
        live += [(one, True) for one in (*self.cold, *self.loading.values()) if one[4].state == one[5]]
        found = {id(entry[4]): (entry[4], is_cold) for entry, is_cold in live}
        return list(found.values())

    def put_in_order(self, key: Callable[[Candidate], OrderKey]) -> None:
        """Places in the order have changed."""
        for heap in (self.ready, self.cold):
            live = [one for one in heap if one[4].state == one[5]]
            heap[:] = [(*key(one[4]), *one[3:]) for one in live]
            heapq.heapify(heap)
        loading = [(name, (*key(one[4]), *one[3:])) for name, one in self.loading.items()]
        self.loading = dict(sorted(loading, key=lambda pair: pair[1][:3]))

    def shortest_wait(self, wait_s: Callable[[Candidate], float]) -> float:
        """The least of a time of each that waits, in seconds; infinity where nobody does."""
        entries = chain(self.ready, self.cold, self.loading.values())
        return min((wait_s(one[4]) for one in entries), default=inf)

    def count_at_most(self, most: int) -> int:
        """How many wait, looking at no more than so many."""
        found = 0
        for entry in chain(self.ready, self.cold, self.loading.values()):
            found += entry[4].state == entry[5]
            if found >= most:
                break
        return found

    def ahead(self, key: OrderKey) -> int:
        """How many candidates go before this key; looks at all, for people who ask, not for decisions."""
        entries = (*self.ready, *self.cold, *self.loading.values())
        return sum(entry[:3] < key and entry[4].state == entry[5] for entry in entries)

    def __bool__(self) -> bool:
        """True where anything waits (void entries included until they come up)."""
        return bool(self.ready or self.cold or self.loading)


def _live(heap: list[Entry]) -> list[Entry]:
    """The heap without void entries at its head."""
    while heap and heap[0][4].state != heap[0][5]:
        heapq.heappop(heap)
    return heap
