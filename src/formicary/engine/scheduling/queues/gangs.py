"""Places for whole gangs on the colony's ants, and ants kept for the first gang that has to wait.

A gang that does not fit keeps as many ants as would hold it if nothing else ran on them, those with least work first:
nothing else begins there, so it starts once what runs there has ended. There is one such reservation at a time, of the
gang whose turn came first. So two gangs never hold parts of what the other needs, and a large one is not starved.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import AntView
from formicary.engine.scheduling.policies.gang import Gang, place
from formicary.engine.scheduling.queues.gangs_apart import place_apart
from formicary.engine.scheduling.queues.ledger import SLOTS

PLENTY = 1e6
"""Of what is no resource: more than any gang has members."""


def places_for(
    members: Sequence[Demand], least: int, ants: Sequence[AntView], *, kept: Collection[AntView] = frozenset()
) -> list[AntView] | None:
    """Ants for all members now, in their order; fewer only where `least` allows; None where they do not fit.

    Args:
        members: What each needs.
        least: How many are enough.
        ants: All of the colony.
        kept: Ants that are left for another gang.
    """
    able = [ant for ant in ants if ant.connected and not ant.draining and len(ant.held) < ant.slots and ant not in kept]
    if sum(ant.slots - len(ant.held) for ant in able) < least:
        return None
    return _place(members, least, able, in_use=True)


def ants_to_keep(members: Sequence[Demand], least: int, ants: Sequence[AntView]) -> frozenset[AntView] | None:
    """Ants that would hold the gang if nothing else ran there; None where not even all of them would."""
    able = sorted((ant for ant in ants if ant.connected and not ant.draining), key=lambda ant: len(ant.held))
    count = max(1, least // max((ant.slots for ant in able), default=1))
    while True:
        found = _place(members, least, able[:count], in_use=False)
        if found is not None:
            return frozenset(found)
        if count >= len(able):
            return None
        count *= 2


def _place(members: Sequence[Demand], least: int, ants: Sequence[AntView], *, in_use: bool) -> list[AntView] | None:
    if any(member.affinity or member.devices for member in members):
        return place_apart(members, least, ants, in_use=in_use)
    kinds = list(dict.fromkeys(members))
    room: dict[str, dict[str, float]] = {}
    for at, ant in enumerate(ants):
        have = {SLOTS: float(ant.slots - (len(ant.held) if in_use else 0))}
        for name, amount in ant.resources.items():
            have[name] = amount - (ant.used.get(name, 0.0) if in_use else 0.0)
        # Which ants fit which member is a resource too: the search knows nothing of tags and methods.
        have |= {f"@{number}": PLENTY for number, kind in enumerate(kinds) if kind.fits(ant)}
        room[f"{at:09}"] = have
    numbers = {kind: number for number, kind in enumerate(kinds)}
    vectors = tuple({SLOTS: 1.0, **dict(member.needs), f"@{numbers[member]}": 1.0} for member in members)
    found = place(Gang("", vectors, least=least), room)
    return None if found is None else [ants[int(name)] for name in found]
