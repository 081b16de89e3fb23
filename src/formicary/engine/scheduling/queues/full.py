"""Demands that no ant has room for: known from one round to the next, until an ant has been given something back.

Theory of operation. Room for a demand comes only from an ant that is given something back, or from a change of the
ants. So a demand that was refused for want of room is asked about again only where one of the few ants that were given
something back since then serves it and has room now; and then only these ants are candidates. Each demand knows since
when: it may have been asked about last many rounds ago, because nobody waited for it meanwhile, or because a round was
not gone on with. After a change of the ants everything is forgotten and asked anew, and so is a demand since whose
refusal many ants were given something back. A demand that has to be near to tasks or apart from them is also asked
about where that has changed for it.
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

    __slots__ = ("_began", "_clock", "_demands", "_given", "_members", "_near")

    def __init__(self) -> None:
        self._demands: dict[Demand, tuple[int, int]] = {}
        """Refused ones: the stamp of their neighbours, and the time after which room may have come."""
        self._members = -1
        self._clock = self._began = 0
        """Counts what was given back, in all and when the round began."""
        self._given: dict[AntView, int] = {}
        """When ants have been given something back for the last time, the latest last."""
        self._near: dict[tuple[int, int, int], tuple[list[AntView], list[AntView]]] = {}
        """Those of a list since a time, by the list's identity; the list is kept so that it stays its own."""

    def given_back(self, ant: AntView) -> None:
        """The ant has less to do than before."""
        self._clock += 1
        self._given.pop(ant, None)
        self._given[ant] = self._clock

    def begin(self, members: int, demands: int) -> None:
        """A round begins.

        Args:
            members: Grows with each change of the ants.
            demands: How many wait.
        """
        self._began = self._clock
        self._near.clear()
        if members != self._members or len(self._demands) > 2 * demands + SPARE:
            self._members = members
            self._demands.clear()
            self._given.clear()

    def add(self, demand: Demand, ants: list[AntView]) -> None:
        """None of these ants, which serve it, has had room for it in this round."""
        self._demands[demand] = (_stamp(demand, ants), self._began)

    def __contains__(self, demand: Demand) -> bool:
        """Whether none had when it was last asked about."""
        return demand in self._demands

    def candidates(self, demand: Demand, ants: list[AntView]) -> list[AntView]:
        """Of ants that serve a demand of which none had room, those that may have room now; empty where none has.

        The same list for all demands that the same ants serve and that were asked about last at the same time. The
        demand counts as open from now on if there are any.
        """
        stamp, since = self._demands[demand]
        if demand.affinity and stamp != _stamp(demand, ants):
            del self._demands[demand]
            return ants
        if since == self._clock:
            return NONE
        name = (id(ants), since, self._clock)
        found = self._near.get(name)
        if found is None:
            recent = self._since(since)
            near = ants if len(recent) > FEW else [ant for ant in recent if ant in ants]
            found = self._near[name] = (ants, near)
        if found[1] is ants or any(has_room(ant, demand, ant.slots) for ant in found[1]):
            del self._demands[demand]
            return found[1]
        self._demands[demand] = (stamp, self._clock)
        return NONE

    def _since(self, since: int) -> list[AntView]:
        """Ants that have been given something back after a time, the latest last: all, or more than few."""
        found: list[AntView] = []
        for ant, at in reversed(self._given.items()):
            if at <= since or len(found) > FEW:
                break
            found.append(ant)
        found.reverse()
        return found


def _stamp(demand: Demand, ants: list[AntView]) -> int:
    return ants[0].neighbours.stamp(demand.affinity) if demand.affinity and ants else 0
