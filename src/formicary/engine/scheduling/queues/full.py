"""Demands that no ant has room for: known from one round to the next, until an ant has been given something back.

Theory of operation. Room for a demand comes only from an ant that is given something back, or from a change of the
ants. So a demand that was refused for want of room is asked about again only where one of the few ants that were given
something back since then serves it and has room now; and then only these ants are candidates. After a change of the
ants, or where many of them have room again, everything is forgotten and asked anew. A demand that has to be near to
tasks or apart from them is also asked about where that has changed for it.
"""

from __future__ import annotations

from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import AntView
from formicary.engine.scheduling.placing import has_room

FEW = 16
"""Ants that are looked at one by one."""
SPARE = 64
NONE: list[AntView] = []


class Full:
    """What is known of one colony under one configuration."""

    __slots__ = ("_demands", "_given", "_members", "_near", "_recent")

    def __init__(self) -> None:
        self._demands: dict[Demand, int] = {}
        """With the stamp of their neighbours when they were asked about."""
        self._members = -1
        self._given: dict[AntView, None] = {}
        """Ants that have been given something back since the last round began."""
        self._recent: list[AntView] = []
        """The same before this round."""
        self._near: dict[int, tuple[list[AntView], list[AntView]]] = {}
        """Those of them that are in a list, by the list's identity; the list is kept so that it stays its own."""

    def given_back(self, ant: AntView) -> None:
        """The ant has less to do than before."""
        self._given[ant] = None

    def begin(self, members: int, demands: int) -> None:
        """A round begins.

        Args:
            members: Grows with each change of the ants.
            demands: How many wait.
        """
        self._recent, self._given = list(self._given), {}
        self._near.clear()
        if members != self._members or len(self._recent) > FEW or len(self._demands) > 2 * demands + SPARE:
            self._members = members
            self._demands.clear()

    def add(self, demand: Demand, ants: list[AntView]) -> None:
        """None of these ants, which serve it, has room for it now."""
        self._demands[demand] = _stamp(demand, ants)

    def __contains__(self, demand: Demand) -> bool:
        """Whether none had when it was last asked about."""
        return demand in self._demands

    def candidates(self, demand: Demand, ants: list[AntView]) -> list[AntView]:
        """Of ants that serve a demand of which none had room, those that may have room now; empty where none has.

        The same list for all demands that the same ants serve. The demand counts as open from now on if there are any.
        """
        if demand.affinity and self._demands[demand] != _stamp(demand, ants):
            del self._demands[demand]
            return ants
        if not self._recent:
            return NONE
        found = self._near.get(id(ants))
        if found is None:
            found = self._near[id(ants)] = (ants, [ant for ant in self._recent if ant in ants])
        for ant in found[1]:
            if has_room(ant, demand, ant.slots):
                del self._demands[demand]
                return found[1]
        return NONE


def _stamp(demand: Demand, ants: list[AntView]) -> int:
    return ants[0].neighbours.stamp(demand.affinity) if demand.affinity and ants else 0
