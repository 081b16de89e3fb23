"""One timer wheel for everything that happens later: delays, time-outs, leases.

Far timers lie in buckets of one second (added and cancelled in constant time, millions of job time-outs cost nothing);
a bucket that comes near is moved to a heap with full resolution. Every timer that must survive a restart is also a
column of the row it belongs to; the wheel is rebuilt from rows.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any

NEAR_S = 2.0


class Timer:
    """One entry; `what` is None once cancelled or fired."""

    __slots__ = ("bucket", "due", "what")

    def __init__(self, due: float, what: Any) -> None:
        self.due = due
        self.what = what
        self.bucket: dict[Timer, None] | None = None

    def cancel(self) -> None:
        """Forgets the timer; harmless when it has fired."""
        self.what = None
        if self.bucket is not None:
            self.bucket.pop(self, None)
            self.bucket = None


class Alarm:
    """A timer of the runtime around the core: it is told, and does what is to be done by itself."""

    __slots__ = ("ring",)

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring


class TimerWheel:
    """Timers ordered by due time; ties fire in order of their setting."""

    __slots__ = ("_buckets", "_count", "_far", "_horizon", "_near")

    def __init__(self) -> None:
        self._near: list[tuple[float, int, Timer]] = []
        self._buckets: dict[int, dict[Timer, None]] = {}
        self._far: list[int] = []
        self._count = 0
        self._horizon = 0.0

    def set(self, due: float, what: Any) -> Timer:
        """Adds a timer that fires at `due` (seconds on the caller's monotonic clock)."""
        timer = Timer(due, what)
        if due <= self._horizon:
            self._count += 1
            heapq.heappush(self._near, (due, self._count, timer))
            return timer
        second = int(due)
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = {}
            heapq.heappush(self._far, second)
        bucket[timer] = None
        timer.bucket = bucket
        return timer

    def due(self, now: float) -> Iterator[Any]:
        """What is due by `now`, in order, each once; a timer that is cancelled before its turn does not fire."""
        self._advance(now)
        near = self._near
        while near and near[0][0] <= now:
            timer = heapq.heappop(near)[2]
            what, timer.what = timer.what, None
            if what is not None:
                yield what

    def next_due(self) -> float | None:
        """When to look again: the next timer's due time or the beginning of the next far bucket; None = never."""
        near = self._near
        while near and near[0][2].what is None:
            heapq.heappop(near)
        candidates = [near[0][0]] if near else []
        while self._far and not self._buckets[self._far[0]]:
            del self._buckets[heapq.heappop(self._far)]
        if self._far:
            candidates.append(float(self._far[0]))
        return min(candidates, default=None)

    def _advance(self, now: float) -> None:
        horizon = now + NEAR_S
        while self._far and self._far[0] <= horizon:
            second = heapq.heappop(self._far)
            for timer in sorted(self._buckets.pop(second), key=lambda timer: timer.due):
                timer.bucket = None
                self._count += 1
                heapq.heappush(self._near, (timer.due, self._count, timer))
            self._horizon = max(self._horizon, second + 1.0)
