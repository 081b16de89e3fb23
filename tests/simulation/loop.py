"""The simulated clock: a heap of things to do, one seed, and the last events for whoever has to find a fault."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Event = tuple[float, int, Callable[..., None], tuple[Any, ...]]


class Violation(AssertionError):
    """Something happened that must never happen."""


class Loop:
    """Runs events in order of time; ties in order of their making. Nothing here reads a real clock.

    Args:
        seed: of the only source of randomness.
        trace: print every event as it happens.
    """

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 0.0
        self.events = 0
        self._heap: list[Event] = []
        self._made = 0
        self._trace = trace
        self._last: deque[tuple[Any, ...]] = deque(maxlen=400)

    def at(self, when: float, do: Callable[..., None], *arguments: Any) -> None:
        """Does something at a time; at once, but after what is under way, if that time is over."""
        self._made += 1
        heappush(self._heap, (when if when > self.now else self.now, self._made, do, arguments))

    def after(self, delay: float, do: Callable[..., None], *arguments: Any) -> None:
        """Does something after a delay in seconds."""
        self._made += 1
        heappush(self._heap, (self.now + delay, self._made, do, arguments))

    def chance(self, share: float) -> bool:
        """True in this share of cases."""
        return self.random.random() < share

    def note(self, *words: Any) -> None:
        """Remembers what happened, for the report of a failure."""
        self._last.append((self.now, *words))
        if self._trace:
            print(_line((self.now, *words)))

    def run(self, until: float, scan: Callable[[], None], over: Callable[[], bool], every: int = 50) -> bool:
        """Runs to a time or until nothing is left to do; `scan` and `over` are asked every few events.

        Returns True when `over` said so.
        """
        heap, events = self._heap, self.events
        due = events + every
        while heap and heap[0][0] <= until:
            self.now, _, do, arguments = heappop(heap)
            do(*arguments)
            events += 1
            if events >= due:
                self.events, due = events, events + every
                scan()
                if over():
                    return True
        self.events = events
        return over()

    def story(self, lines: int) -> list[str]:
        """The last things that happened."""
        return [_line(entry) for entry in list(self._last)[-lines:]]


def _line(entry: tuple[Any, ...]) -> str:
    return f"{entry[0]:10.4f}  " + " ".join(str(word) for word in entry[1:])
