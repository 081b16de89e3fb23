"""Which job ids can be taken without asking the store.

Theory of operation. Ids are made by clients, and one that exists already would spoil the commit of everybody's jobs.
An id begins with its time and sorts by it. One that was made within the last `WITHIN_S` is new where it is neither
in memory nor among the jobs that ended since, which are remembered here; every other one is looked up in the store.
What cannot be remembered (too many, or an earlier life of the server) raises the floor: ids up to it are looked up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from formicary.engine.queen import edge
from formicary.engine.queen.core.batch import JobEnded

WITHIN_S = 5.0
AHEAD_S = 2.0
"""How far the clock of a client may be ahead before its ids are looked up."""
MOST = 50_000


class RecentIds:
    """Ids of jobs that ended lately and whose own time is recent.

    Args:
        most: Ids that are remembered at once, at least 1.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._floor = edge.BIGGEST_ID
        self._ended: dict[str, None] = {}
        self._order: deque[str] = deque()

    def begin(self, wall: float) -> None:
        """What ended before this moment is not known here: a start, or a store that has failed."""
        self._floor = edge.first_id(wall + AHEAD_S)
        self._ended.clear()
        self._order.clear()

    def are_new(self, ids: Iterable[str], wall: float) -> bool:
        """Whether all of these ids are recent enough to be known here, and no job of theirs has ended."""
        low, high, ended = max(self._floor, edge.first_id(wall - WITHIN_S)), edge.first_id(wall + AHEAD_S), self._ended
        return all(low < job_id < high and job_id not in ended for job_id in ids)

    def ended(self, ends: Iterable[JobEnded], wall: float) -> None:
        """The ends of these jobs have just been committed."""
        low = self._floor = max(self._floor, edge.first_id(wall - WITHIN_S))
        known, order = self._ended, self._order
        for end in ends:
            if end.id > low:
                known[end.id] = None
                order.append(end.id)
        while order and (order[0] <= self._floor or len(order) > self._most):
            oldest = order.popleft()
            self._floor = max(self._floor, oldest)
            known.pop(oldest, None)

    def __len__(self) -> int:
        return len(self._order)
