"""Idempotency keys between the store and memory: no gap in which a repeated key is seen by neither.

A lookup reads the store on another thread. A key that is committed while that read is under way may be missing in what
it finds, and is no longer among the core's uncommitted ones when the answer arrives. So keys are remembered here from
their commit until every lookup that had begun before it is over. The same holds for the ids of jobs that were submitted
and have ended while a read was under way.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from formicary.engine.queen.core.batch import JobEnded

Pair = tuple[str, str]
"""(organisation, key)."""
Known = tuple[str, str]
"""(fingerprint, job id)."""


class KeyBook:
    """Keys that were committed while lookups were under way."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lookups: dict[int, None] = {}
        self._known: dict[Pair, Known] = {}
        self._order: deque[tuple[int, Pair]] = deque()
        self._ended: dict[str, None] = {}
        self._ended_order: deque[tuple[int, str]] = deque()
        self._latest = 0

    @contextmanager
    def lookup(self) -> Iterator[None]:
        """The time of one lookup, from before the read to after the answer was used."""
        number = self._latest = next(self._numbers)
        self._lookups[number] = None
        try:
            yield
        finally:
            del self._lookups[number]
            self._forget()

    def settle(self, keys: Mapping[Pair, Known]) -> None:
        """These keys have just been committed."""
        if self._lookups:
            for pair, known in keys.items():
                self._known[pair] = known
                self._order.append((self._latest, pair))

    def ended(self, ends: Iterable[JobEnded]) -> None:
        """The ends of these jobs have just been committed."""
        if self._lookups:
            for end in ends:
                self._ended[end.id] = None
                self._ended_order.append((self._latest, end.id))

    def has_ended(self, job_id: str) -> bool:
        """Whether the job ended during a lookup that is still under way."""
        return job_id in self._ended

    def find(self, pair: Pair) -> Known | None:
        """What the key made, if it was committed during a lookup that is still under way."""
        return self._known.get(pair)

    def _forget(self) -> None:
        oldest = next(iter(self._lookups), None)
        while self._order and (oldest is None or self._order[0][0] < oldest):
            self._known.pop(self._order.popleft()[1], None)
        while self._ended_order and (oldest is None or self._ended_order[0][0] < oldest):
            self._ended.pop(self._ended_order.popleft()[1], None)
