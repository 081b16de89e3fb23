"""Candidates of one demand in order: ready tasks, and pending jobs whose parameters are at hand or still stored.

`ready` holds what can be placed at once; `cold` holds pending jobs whose parameters lie in the store. A cold job is
asked for shortly before its turn, so that memory per pending job stays small; until it has come, nothing behind it in
the order is placed, so the order holds. Where places in the order change by themselves all that wait get theirs step by
step; until then those that have none yet stand where they stood.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import chain
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


_NOBODY: list[Entry] = []
"""Stays empty: there may be a queue for each of a hundred thousand candidates."""


class CandidateQueue:
    """All candidates of one demand."""

    __slots__ = ("_older_cold", "_older_ready", "_serial", "cold", "loading", "ready")

    def __init__(self) -> None:
        self._serial = 0
        self.ready: list[Entry] = []
        self.cold: list[Entry] = []
        self.loading: dict[int, Entry] = {}
        """By job number, in order; asked for and not yet here."""
        self._older_ready = self._older_cold = _NOBODY
        """Heaps of those that are still to be put in order anew."""

    def push(self, key: OrderKey, candidate: Candidate, *, cold: bool = False) -> None:
        """Queues a candidate."""
        self._serial += 1
        heapq.heappush(self.cold if cold else self.ready, (*key, self._serial, candidate, candidate.state))

    def head(self) -> Entry | None:
        """The candidate whose turn it is, or None: empty, or its parameters are still to come."""
        ready = self.ready
        while ready and ready[0][4].state != ready[0][5]:  # as `_live`, without a call: asked for every decision
            heapq.heappop(ready)
        if self._older_ready:
            ready = self._first_ready()
        if not ready:
            return None
        first = ready[0]
        if self.loading:
            earliest = next(iter(self.loading.values()))
            if earliest[:3] < first[:3]:
                return None
        if self.cold or self._older_cold:
            cold = self._first_cold()
            if cold and cold[0][:3] < first[:3]:
                return None
        return first

    def pop(self) -> Entry:
        """Takes what `head` has returned."""
        return heapq.heappop(self._first_ready() if self._older_ready else self.ready)

    def _first_ready(self) -> list[Entry]:
        """The heap with the first of those at hand."""
        return _first(self.ready, self._older_ready)

    def _first_cold(self) -> list[Entry]:
        """The same of those that are stored."""
        return _first(self.cold, self._older_cold)

    @property
    def has_ready(self) -> bool:
        """Something is at hand (void entries included until they come up)."""
        return bool(self.ready or self._older_ready)

    @property
    def has_cold(self) -> bool:
        """Something is stored only (the same)."""
        return bool(self.cold or self._older_cold)

    def heaps(self) -> tuple[list[Entry], list[Entry]]:
        """All that is at hand, as two heaps."""
        return self.ready, self._older_ready

    def entries(self) -> Iterator[Entry]:
        """Everything that waits, void entries included, in no order."""
        return chain(self.ready, self._older_ready, self.cold, self._older_cold, self.loading.values())

    def fetch(self, limit: int) -> list[int]:
        """Numbers of the next cold jobs to ask for; nothing while earlier ones are on their way, or enough is ready."""
        if self.loading or not (cold := self._first_cold()):
            return []
        ready = self._first_ready()
        if len(self.ready) + len(self._older_ready) >= limit and ready and ready[0][:3] < cold[0][:3]:
            return []
        while len(self.loading) < limit and (cold := self._first_cold()):
            entry = heapq.heappop(cold)
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
        stored = (*self.cold, *self._older_cold, *self.loading.values())
        live = [(one, False) for heap in self.heaps() for one in heap if one[4].state == one[5]]
        live += [(one, True) for one in stored if one[4].state == one[5]]
        found = {id(entry[4]): (entry[4], is_cold) for entry, is_cold in live}
        return list(found.values())

    def put_in_order(self, key: Callable[[Candidate], OrderKey]) -> Iterator[None]:
        """Places in the order have changed: a step for each that waits, whose place is the one that it has then.

        Whatever happens between two steps, the first by what is known goes first, and everything is there once. Those
        that come first are looked at last, so until the end the order is all but the one that it was.
        """
        loading = [(name, (*key(one[4]), *one[3:])) for name, one in self.loading.items()]
        self.loading = dict(sorted(loading, key=lambda pair: pair[1][:3]))
        for heap, older in ((self.ready, self._older_ready), (self.cold, self._older_cold)):
            heap += older
            if older:  # somebody has begun and not gone on
                heapq.heapify(heap)
        self._older_ready, self.ready = self.ready, []
        self._older_cold, self.cold = self.cold, []
        for older, heap in ((self._older_ready, self.ready), (self._older_cold, self.cold)):
            while older:
                one = older.pop()  # without its last leaf a heap is one still
                if one[4].state == one[5]:
                    heapq.heappush(heap, (*key(one[4]), *one[3:]))
                yield

    def count_at_most(self, most: int) -> int:
        """How many wait, looking at no more than so many."""
        found = 0
        for entry in self.entries():
            found += entry[4].state == entry[5]
            if found >= most:
                break
        return found

    def ahead(self, key: OrderKey) -> int:
        """How many candidates go before this key; looks at all, for people who ask, not for decisions."""
        return sum(entry[:3] < key and entry[4].state == entry[5] for entry in self.entries())

    def __bool__(self) -> bool:
        """True where anything waits (void entries included until they come up)."""
        return bool(self.ready or self.cold or self.loading or self._older_ready or self._older_cold)


def _first(heap: list[Entry], other: list[Entry]) -> list[Entry]:
    """Of two heaps the one whose first live entry goes first; an empty one where there is none."""
    one, two = _live(heap), _live(other)
    return two if two and (not one or two[0] < one[0]) else one


def _live(heap: list[Entry]) -> list[Entry]:
    """The heap without void entries at its head."""
    while heap and heap[0][4].state != heap[0][5]:
        heapq.heappop(heap)
    return heap
