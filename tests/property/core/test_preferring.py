"""Where tasks go that would rather be near to others, or away: against a look at each ant for each task."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.scheduling import affinity
from formicary.engine.scheduling.affinity import Held, Neighbours, affinity_text
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import AntView
from formicary.engine.scheduling.placing import RANKS, Ranking, has_room

APPS = ("red", "blue")


@dataclass(eq=False)
class Ant:
    """What placement asks about."""

    id: str
    labels: dict[str, str]
    neighbours: Neighbours
    slots: int
    held: dict[int, Held] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    resources: dict[str, float] = field(default_factory=dict)
    connected: bool = True
    draining: bool = False
    is_known: bool = True


def preferred(rng: Random) -> dict[str, Any]:
    """Terms of both kinds, and sometimes a required one."""
    found: dict[str, Any] = {}
    for name in ("podAffinity", "podAntiAffinity"):
        terms = [{"weight": rng.choice((1, 5)), "podAffinityTerm": term(rng)} for _ in range(rng.choice((0, 1, 1, 2)))]
        found[name] = {"preferredDuringSchedulingIgnoredDuringExecution": terms}
    if rng.random() < 0.3:
        name = "requiredDuringSchedulingIgnoredDuringExecution"
        found[rng.choice(("podAffinity", "podAntiAffinity"))][name] = [term(rng)]
    return found


def term(rng: Random) -> dict[str, Any]:
    """Tasks of one colour."""
    return {"topologyKey": rng.choice(("ant", "zone")), "labelSelector": {"matchLabels": {"app": rng.choice(APPS)}}}


def slow(ants: list[Ant], demand: Demand, rank: Any) -> Ant | None:
    """The best score, then the smallest rank, then the first."""
    able = [ant for ant in ants if has_room(cast("AntView", ant), demand, ant.slots)]
    keys = [(-ant.neighbours.score(demand.affinity, ant), rank(ant, demand), ants.index(ant)) for ant in able]
    return ants[min(keys)[2]] if keys else None


@pytest.mark.parametrize("name", sorted(RANKS))
@given(st.integers(0, 10**9), st.sampled_from((3, 1024)))
def test_the_best_ant_each_time(name: str, seed: int, remembered: int) -> None:
    """Whatever is granted, or ends, in between: also where more has changed than is remembered."""
    rng, before = Random(seed), affinity.MOST_RECENT
    affinity.MOST_RECENT = remembered
    try:
        _compare(RANKS[name], rng)
    finally:
        affinity.MOST_RECENT = before


def _compare(rank: Any, rng: Random) -> None:
    ants: list[Ant] = []
    book = Neighbours(lambda _org, _job: [held for ant in ants for held in ant.held.values()])
    for number in range(rng.randint(1, 8)):
        labels = {"zone": rng.choice("abc")} if rng.random() < 0.9 else {}
        ants.append(Ant(f"ant{number}", labels, book, rng.randint(1, 4)))
    apps = [rng.choice(APPS) for _ in range(3)]
    texts = [affinity_text("org", {"app": app}, preferred(rng)) for app in apps]
    demands = [Demand("", frozenset(), affinity=text) for text in texts]
    views = cast("list[AntView]", ants)
    ranking, token = Ranking(rank, lambda ant: ant.slots), 0
    for _ in range(40):
        at = rng.randrange(3)
        if rng.random() < 0.2 and (busy := [ant for ant in ants if ant.held]):
            gone = rng.choice(busy)
            book.leave(gone.held.popitem()[0])
            ranking = Ranking(rank, lambda ant: ant.slots)  # as it is where an ant has less to do
        if not demands[at].affinity:
            continue
        found = ranking(views, demands[at])
        assert found is cast("Any", slow(ants, demands[at], rank))
        if found is not None:
            token += 1
            ant = cast("Ant", found)
            ant.held[token] = Held(token, "org", {"app": apps[at]}, texts[at], ant)
            book.take(ant.held[token])
