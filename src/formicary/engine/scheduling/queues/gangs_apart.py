"""Places for gangs whose members ask for neighbours or devices: each is tried with those that were chosen before it.

Members go to the first ant that suits, one after the other, those that need a neighbour last; where one finds none, the
one before it is moved on, up to a bound on the steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from formicary.engine.scheduling.affinity import Held, Neighbours, read
from formicary.engine.scheduling.demand import EPSILON, Demand
from formicary.engine.scheduling.pipeline import AntView
from formicary.engine.scheduling.queues.ledger import SLOTS

MOST_STEPS = 1000
"""Of one search: it stays below some milliseconds."""


def place_apart(
    members: Sequence[Demand], least: int, ants: Sequence[AntView], *, in_use: bool
) -> list[AntView] | None:
    """Ants for all members, in their order; fewer only where `least` allows it; None where they do not fit.

    Args:
        members: What each needs.
        least: How many are enough.
        ants: Those to choose from.
        in_use: What runs counts; else nothing does.
    """
    for count in range(len(members), least - 1, -1):
        found = _Search(members[:count], ants, in_use=in_use).run()
        if found is not None:
            return found
    return None


class _Search:
    """One search; while it runs, those that are placed count as neighbours."""

    def __init__(self, members: Sequence[Demand], ants: Sequence[AntView], *, in_use: bool) -> None:
        self._members = members
        self._ants = ants
        self._book = ants[0].neighbours if in_use and ants else Neighbours(lambda org, job: ())
        self._in_use = in_use
        self._wants: list[list[str]] = [[] for _ in ants]
        """Devices that are asked for, by process."""
        self._room = [_room(ant, in_use=in_use) for ant in ants]
        self._fits = [[at for at, ant in enumerate(ants) if member.fits(ant)] for member in members]
        self._order = sorted(range(len(members)), key=lambda at: (_needs_a_neighbour(members[at]), at))
        self._chosen: list[tuple[int, int]] = []
        """Member and where in its list of ants it is."""

    def run(self) -> list[AntView] | None:
        """Ants by member, or None."""
        at, steps = 0, 0
        try:
            while len(self._chosen) < len(self._members):
                member = self._order[len(self._chosen)]
                found = self._next(member, at)
                steps += 1
                if found is not None:
                    self._take(member, found)
                    at = 0
                elif self._chosen and steps <= MOST_STEPS:
                    at = self._give_back() + 1
                else:
                    return None
            places = {member: self._ants[self._fits[member][where]] for member, where in self._chosen}
            return [places[member] for member in range(len(self._members))]
        finally:
            while self._chosen:
                self._give_back()

    def _next(self, member: int, start: int) -> int | None:
        demand, fits = self._members[member], self._fits[member]
        for where in range(start, len(fits)):
            room = self._room[fits[where]]
            if room[SLOTS] < 1 or any(room.get(name, 0.0) + EPSILON < amount for name, amount in demand.needs):
                continue
            if demand.devices and not self._has_devices(fits[where], demand.devices):
                continue
            if not demand.affinity or self._book.admits(demand.affinity, self._ants[fits[where]]):
                return where
        return None

    def _has_devices(self, at: int, text: str) -> bool:
        ant, texts = self._ants[at], (*self._wants[at], text)
        if any(wants and self._ants[other].id == ant.id for other, wants in enumerate(self._wants) if other != at):
            return False  # two processes of one ant, with the same devices
        return ant.devices.could(ant.key, texts) if self._in_use else ant.devices.has(ant.key, *texts)

    def _take(self, member: int, where: int) -> None:
        demand, at = self._members[member], self._fits[member][where]
        _add(self._room[at], demand, -1)
        if demand.devices:
            self._wants[at].append(demand.devices)
        if demand.affinity:
            asks = read(demand.affinity)
            held = Held(-1 - member, asks.org, asks.labels, demand.affinity, self._ants[at])
            self._book.take(held)
        self._chosen.append((member, where))

    def _give_back(self) -> int:
        member, where = self._chosen.pop()
        at = self._fits[member][where]
        _add(self._room[at], self._members[member], +1)
        if self._members[member].devices:
            self._wants[at].pop()
        self._book.leave(-1 - member)
        return where


def _needs_a_neighbour(demand: Demand) -> bool:
    return bool(demand.affinity and read(demand.affinity).near)


def _room(ant: AntView, *, in_use: bool) -> dict[str, float]:
    found = {SLOTS: float(ant.slots - (len(ant.held) if in_use else 0))}
    for name, amount in ant.resources.items():
        found[name] = amount - (ant.used.get(name, 0.0) if in_use else 0.0)
    return found


def _add(room: dict[str, float], demand: Demand, sign: int) -> None:
    room[SLOTS] += sign
    for name, amount in demand.needs:
        room[name] = room.get(name, 0.0) + sign * amount
