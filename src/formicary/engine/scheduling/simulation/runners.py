"""What runs, last in the order first: who has to make room is found without a look at everybody."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator
from itertools import count
from operator import itemgetter

from formicary.engine.scheduling.simulation.policy import Key
from formicary.engine.scheduling.simulation.state import TINY, AntState, Entry, Need

SLACK = 1e-6
"""More than what rounding makes of one rank."""
_first = itemgetter(0)
Item = tuple[Key, int, Entry]
"""Where a job stood in the order when it began, a number that grows with each start, the job."""


class Runners:
    """Running jobs by the key with which they began.

    Where keys stand, what an ant has is sorted already; else only a bound is known: the rank at the start, drift and
    all, and no job has a larger one now. So ants are looked at by the largest bound, until none can be better.

    Args:
        key: The total order at a moment.
        drift: What the rank of a running job grows by each second; it may turn out smaller.
        stands: Keys of running jobs do not change at all.
    """

    def __init__(self, key: Callable[[Entry, float], Key], *, drift: float = 0.0, stands: bool = False) -> None:
        self.key = key
        self.drift = drift
        self.stands = stands
        self._all: list[Item] = []
        self._by_ant: dict[int, list[Item]] = {}
        self._items: dict[int, Item] = {}
        """By number of the job."""
        self._serial = count()

    def add(self, entry: Entry, ant: AntState, now: float) -> None:
        """The job has begun there."""
        key = self.key(entry, now)
        item = (key if self.stands else (key[0] - self.drift * now,)), next(self._serial), entry
        self._items[entry.number] = item
        insort(self._all, item)
        insort(self._by_ant.setdefault(ant.number, []), item)

    def remove(self, entry: Entry, ant: AntState) -> None:
        """The job runs no more."""
        item = self._items.pop(entry.number)
        for items in (self._all, self._by_ant[ant.number]):
            del items[bisect_left(items, item)]

    def largest(self) -> float | None:
        """No running job has a larger rank, less what it has drifted since time 0; None where nothing runs."""
        return self._all[-1][0][0] if self._all else None

    def victims(
        self, entry: Entry, key: Key, blocked: Collection[int], now: float
    ) -> tuple[AntState, list[Entry]] | None:
        """The ant where the fewest, and of those the last in the order, have to make room; ties by order of the file.

        Args:
            entry: Who needs room, on none of the blocked ants.
            key: Its own, now.
            blocked: Numbers of ants.
            now: Seconds.
        """
        shift = self.drift * now
        enough = key[0] + TINY / 2 - shift
        best: tuple[AntState, list[Entry]] | None = None
        best_at: tuple[float, ...] = ()
        last: Key = ()
        seen, able = set[int](), entry.shape.numbers
        for bound, _, one in reversed(self._all):
            if bound[0] <= enough or (len(best_at) and best_at[0] == 1 and self._is_before(bound, last, shift)):
                break
            ant = one.ant
            if ant is None or ant.number in seen:
                continue
            seen.add(ant.number)
            taken = [] if ant.number not in able or ant.number in blocked else self._on(ant, entry.need, key[0], now)
            if taken:
                worst = self.key(taken[-1], now)
                at = (len(taken), *(-part for part in worst), ant.number)
                if best is None or at < best_at:
                    best, best_at, last = (ant, taken), at, worst
        return best

    def _is_before(self, bound: Key, last: Key, shift: float) -> bool:
        """Whether nobody of this bound, or a smaller one, comes as late as the best victim."""
        return bound < last if self.stands else bound[0] + shift < last[0] - SLACK

    def _on(self, ant: AntState, need: Need, rank: float, now: float) -> list[Entry]:
        """Who has to make room on an ant, the last in the order first; nobody where that does not do."""
        room = [(index, ant.free[index] - amount) for index, amount in need]
        taken: list[Entry] = []
        for key, one in self._last_first(ant, now):
            if key[0] <= rank + TINY:
                return []
            taken.append(one)
            given = dict(one.shape.need)
            room = [(index, left + given.get(index, 0.0)) for index, left in room]
            if all(left + TINY >= 0 for _, left in room):
                return taken
        return []

    def _last_first(self, ant: AntState, now: float) -> Iterator[tuple[Key, Entry]]:
        if self.stands:
            return ((key, one) for key, _, one in reversed(self._by_ant[ant.number]))
        return iter(sorted([(self.key(one, now), one) for one in ant.running.values()], key=_first, reverse=True))
