"""How long jobs of a kind run: the newest run times of each, and what is left of one that runs already.

A kind is a job type, or whatever else tells jobs apart. What is left of a run of some age is drawn from the recorded
run times that were longer ("conditional on having lived so long"): for heavy tails it grows with the age, as it
should. Source: Downey, "Predicting Queue Times on Space-Sharing Parallel Computers", IPPS 1997.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable
from random import Random

WINDOW = 200
"""Run times of a kind that are kept, the newest."""
MOST_KINDS = 1000
UNKNOWN_S = 60.0
"""Run time of a job while nothing at all has ended."""
ARTICLE_WINDOW = 20
"""Run times that the article's formula averages over."""


class _Recent:
    """The newest run times of one kind, in order of time and of length."""

    __slots__ = ("by_length", "by_time", "total")

    def __init__(self) -> None:
        self.by_time: deque[float] = deque()
        self.by_length: list[float] = []
        self.total = 0.0

    def copy(self) -> _Recent:
        found = _Recent()
        found.by_time, found.by_length, found.total = self.by_time.copy(), self.by_length.copy(), self.total
        return found

    def add(self, seconds: float) -> None:
        self.by_time.append(seconds)
        insort(self.by_length, seconds)
        self.total += seconds
        if len(self.by_time) > WINDOW:
            oldest = self.by_time.popleft()
            del self.by_length[bisect_right(self.by_length, oldest) - 1]
            self.total -= oldest


class Durations:
    """Run times by kind."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Recent] = {}
        self._all = _Recent()

    def add(self, kind: str, seconds: float) -> None:
        """A job of this kind has ended after so many seconds."""
        self._all.add(seconds)
        found = self._kinds.get(kind)
        if found is None:
            if len(self._kinds) >= MOST_KINDS:
                del self._kinds[next(iter(self._kinds))]
            found = self._kinds[kind] = _Recent()
        found.add(seconds)

    def only(self, kinds: Iterable[str]) -> Durations:
        """A copy that knows of these kinds and of all together: for plays on another thread."""
        found = Durations()
        found._all = self._all.copy()
        found._kinds = {kind: self._kinds[kind].copy() for kind in set(kinds) if kind in self._kinds}
        return found

    def __bool__(self) -> bool:
        """True where anything has ended."""
        return bool(self._kinds)

    def __contains__(self, kind: str) -> bool:
        """True where a job of this kind has ended."""
        return kind in self._kinds

    def _of(self, kind: str) -> _Recent:
        return self._kinds.get(kind, self._all)

    def mean_s(self, kind: str) -> float:
        """Mean run time; of all kinds where none of this one has ended."""
        recent = self._of(kind)
        return recent.total / len(recent.by_time) if recent.by_time else UNKNOWN_S

    def article_s(self, kind: str) -> float:
        """Mean of the newest few, as the article's formula has it."""
        recent = list(self._of(kind).by_time)[-ARTICLE_WINDOW:]
        return sum(recent) / len(recent) if recent else UNKNOWN_S

    def draw_s(self, kind: str, rng: Random) -> float:
        """A run time as they have been."""
        lengths = self._of(kind).by_length
        return lengths[int(rng.random() * len(lengths))] if lengths else rng.expovariate(1.0 / UNKNOWN_S)

    def left_s(self, kind: str, age_s: float, rng: Random) -> float:
        """What is left of a job that has run for `age_s`, as it has been with those that ran longer.

        A job that is older than all of them is expected to go on for half its age.
        """
        lengths = self._of(kind).by_length
        first = bisect_right(lengths, age_s)
        longer = len(lengths) - first
        if longer:
            return lengths[first + int(rng.random() * longer)] - age_s
        return rng.expovariate(2.0 / max(age_s, UNKNOWN_S if not lengths else 1e-3))
