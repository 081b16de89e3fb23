"""Fair deadlines: when not all can be kept, users miss alike many of theirs.

Earliest deadline first alone is unfair under overload: whoever names near deadlines, or has short jobs, keeps his, and
the others miss theirs. Here the next job is that of the user who has missed the largest part of his latest deadlines
(times his weight: with weight 2 he may miss half as many), and of his the earliest. As long as nobody misses any, all
are alike and the earliest deadline of all goes first; so nothing that could be kept is missed for the sake of fairness.

A job that cannot be kept any more counts as missed at once and goes behind all that can, or its user would go first
for the sake of jobs that are lost. One that could not have been kept when it was submitted counts for nothing: else he
would go first who asks for what is impossible.

Source: Pang, Carey, Livny, "Multiclass Query Scheduling in Real-Time Database Systems", IEEE TKDE 7(4), 1995: misses
are scattered over the classes by a given distribution, through priorities that follow what each has missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from math import inf

WINDOW = 100
"""Deadlines of a user that are looked at, the latest."""
MOST = 10_000
"""Users that are remembered; of more, those that have not had a deadline for longest are forgotten."""


class Misses:
    """Which part of their deadlines users have missed lately."""

    __slots__ = ("_latest", "_missed", "version")

    def __init__(self) -> None:
        self._latest: dict[Hashable, deque[bool]] = {}
        self._missed: dict[Hashable, int] = {}
        self.version = 0
        """Grows with each deadline."""

    def record(self, user: Hashable, *, missed: bool) -> None:
        """A deadline of a user has been kept or missed."""
        self.version += 1
        latest = self._latest.pop(user, None)
        if latest is None:
            latest = deque()
            if len(self._latest) >= MOST:
                oldest = next(iter(self._latest))
                del self._latest[oldest], self._missed[oldest]
        self._latest[user] = latest
        latest.append(missed)
        gone = latest.popleft() if len(latest) > WINDOW else False
        self._missed[user] = self._missed.get(user, 0) + missed - gone

    def ratio(self, user: Hashable) -> float:
        """Part of his latest deadlines that a user has missed, 0 to 1."""
        latest = self._latest.get(user)
        return self._missed[user] / len(latest) if latest else 0.0

    def rank(self, user: Hashable, weight: float, deadline: float) -> tuple[float, float]:
        """Where a user stands whose first job has this deadline; smaller goes first, infinity is no deadline."""
        return (inf, inf) if deadline == inf else (-self.ratio(user) * weight, deadline)


def counts(submitted: float, deadline: float, runtime: float) -> bool:
    """Whether a deadline could have been kept when the job was submitted; its run time is 0 where nobody knows it."""
    return submitted + runtime <= deadline
