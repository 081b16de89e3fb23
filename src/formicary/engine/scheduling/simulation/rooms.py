"""Which ants have room for one of a demand, kept up to date by what begins and ends."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from formicary.engine.scheduling.simulation.state import ClusterState, Entry, Shape

MOST_CHANGES = 10_000
"""Changes that are remembered before all ants are looked at anew."""


class Rooms:
    """By demand, for as many demands as are asked about.

    Args:
        state: The cluster.
    """

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self._rooms: dict[Shape, _Room] = {}
        self._changes: list[int] = []
        """Numbers of ants on which something began or ended, in order."""

    def note(self, entry: Entry) -> None:
        """The job began, or stopped, on its ant."""
        if len(self._changes) >= MOST_CHANGES:
            self._changes.clear()
            self._rooms.clear()
        if entry.ant is not None:
            self._changes.append(entry.ant.number)

    def able(self, shape: Shape) -> list[int]:
        """Numbers of the ants with room for one of the shape now, in order."""
        room = self._rooms.get(shape)
        if room is None:
            room = self._rooms[shape] = _Room(shape, len(self._changes))
        elif room.seen < len(self._changes):
            room.catch_up(self._changes)
        return room.able


class _Room:
    """Ants with room for one demand."""

    __slots__ = ("able", "eligible", "seen", "shape")

    def __init__(self, shape: Shape, seen: int) -> None:
        self.shape = shape
        self.eligible = {ant.number: ant for ant in shape.eligible}
        self.able = [ant.number for ant in shape.eligible if ant.fits(shape.need)]
        self.seen = seen
        """Changes that are looked at already."""

    def catch_up(self, changes: Sequence[int]) -> None:
        """Looks anew at those that have changed."""
        able, need = self.able, self.shape.need
        for number in {*changes[self.seen :]}:
            ant = self.eligible.get(number)
            if ant is None:
                continue
            at = bisect_left(able, number)
            is_in = at < len(able) and able[at] == number
            if ant.fits(need) != is_in:
                if is_in:
                    del able[at]
                else:
                    able.insert(at, number)
        self.seen = len(changes)
