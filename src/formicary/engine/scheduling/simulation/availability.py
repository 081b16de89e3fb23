"""The availability of one ant over time: how much is taken or reserved from when until when, as a step function."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from math import frexp, ldexp

from formicary.engine.scheduling.simulation.state import TINY, Need

INFINITY = float("inf")
Kind = tuple[Hashable, int]
"""A demand, or a name of it that is hashed faster, and the power of two that its length reaches."""


class Availability:
    """What is taken between one moment and the next at which it changes; times closer than TINY are one.

    Args:
        capacity: All that the ant has, by index of the resource.
    """

    __slots__ = ("_capacity", "_taken", "_times", "bounds")

    def __init__(self, capacity: Sequence[float]) -> None:
        self._capacity = capacity
        self._times = [-INFINITY]
        self._taken = [[0.0] * len(capacity)]
        """`_taken[i]` holds from `_times[i]` until `_times[i + 1]`."""
        self.bounds: dict[Kind, float] = {}
        """Before which nothing of a kind fits, which may be much later; where none is known it is now.

        What is taken can only move that later; what is given back makes it unknown."""

    def take(self, start: float, end: float, need: Need) -> None:
        """Holds the demand from `start` until `end`."""
        self._change(start, end, need, 1.0)

    def give_back(self, start: float, end: float, need: Need) -> None:
        """Undoes `take` for a stretch of what was taken."""
        self.bounds.clear()
        self._change(start, end, need, -1.0)

    def _change(self, start: float, end: float, need: Need, sign: float) -> None:
        if end - start <= TINY:
            return
        first = self._cut(start)
        last = self._cut(end)
        for taken in self._taken[first:last]:
            for index, amount in need:
                taken[index] += sign * amount
        for at in (last, first):
            if at and self._taken[at] == self._taken[at - 1]:
                del self._taken[at], self._times[at]

    def _cut(self, time: float) -> int:
        """The position of the step that begins then, which is made where there is none."""
        at = bisect_right(self._times, time + TINY) - 1
        if self._times[at] < time - TINY:
            at += 1
            self._times.insert(at, time)
            self._taken.insert(at, list(self._taken[at - 1]))
        return at

    def forget(self, now: float) -> None:
        """Steps that are over are not kept."""
        past = bisect_right(self._times, now) - 1
        del self._times[:past], self._taken[:past]
        self._times[0] = -INFINITY

    def earliest(
        self, need: Need, length: float, now: float, before: float = INFINITY, kind: Kind | None = None
    ) -> float:
        """The first moment, not before `now`, from which the demand fits for so long beside all that is taken.

        Infinity where there is none before `before`. A demand is always asked about by its own `kind`, or by names.
        """
        if kind is None:
            kind = need, frexp(length)[1]
        start = self.bounds.get(kind, now)
        if start <= now + TINY:
            start = now
        if start >= before:
            return INFINITY
        times, capacity = self._times, self._capacity
        at = bisect_right(times, start + TINY) - 1
        shortest = ldexp(0.5, kind[1])
        found: float | None = None
        for step in range(at, len(times)):
            taken = self._taken[step]
            end = times[step + 1] if step + 1 < len(times) else INFINITY
            for index, amount in need:
                if taken[index] + amount > capacity[index] + TINY:
                    start = end
                    if start >= before:
                        self.bounds[kind] = start if found is None else found
                        return INFINITY
                    break
            else:
                if found is None and end >= start + shortest - TINY:
                    found = start
                if end >= start + length - TINY:
                    self.bounds[kind] = start if found is None else found
                    return start
        return INFINITY
