"""What is known of demands without room against a look at all ants: nobody is passed over who has a place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import AntView
from formicary.engine.scheduling.placing import has_room
from formicary.engine.scheduling.queues.full import FEW, Full


@dataclass(eq=False)
class Ant:
    """What `has_room` asks about."""

    slots: int = 2
    connected: bool = True
    draining: bool = False
    held: dict[int, float] = field(default_factory=lambda: {-1: 1.0, -2: 3.0})
    resources: dict[str, float] = field(default_factory=lambda: {"cpu": 4.0})

    @property
    def used(self) -> dict[str, float]:
        """Processors."""
        return {"cpu": sum(self.held.values())}


DEMANDS = [Demand("", frozenset(), needs=needs) for needs in ((("cpu", 1.0),), (("cpu", 3.0),))]
STEPS = st.lists(
    st.tuples(st.sampled_from(("take", "give", "round", "round", "half")), st.integers(0, 99)), max_size=80
)


@given(STEPS, st.sampled_from((1, 3, FEW + 4)))
def test_who_has_a_place_is_asked(steps: list[tuple[str, int]], size: int) -> None:
    """Whoever waited before or came anew, and whether or not the last round was gone on with."""
    full, ants = Full(), [Ant() for _ in range(size)]
    all_ants = cast("list[AntView]", ants)
    tokens = 0
    for what, value in steps:
        ant = ants[value % size]
        if what == "take" and len(ant.held) < ant.slots:
            tokens += 1
            ant.held[tokens] = (0.0, 1.0, 3.0)[value % 3]
        elif what == "give" and ant.held:
            ant.held.popitem()
            full.given_back(cast("AntView", ant))
        elif what in ("round", "half"):
            waiting = [demand for at, demand in enumerate(DEMANDS) if value >> at & 1]
            full.begin(1, len(waiting))
            for demand in waiting[: 1 if what == "half" else None]:
                able = [one for one in all_ants if has_room(one, demand, one.slots)]
                known = demand in full
                found = full.candidates(demand, all_ants) if known else all_ants
                assert not able or set(able) & set(found), "room, and nobody looks"
                if known and found is not all_ants:
                    assert bool(able) == bool(found) and set(found) >= set(able), "all that have come free"
                if not able:
                    full.add(demand, all_ants)
