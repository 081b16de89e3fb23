"""`placement: optimal`: all that can start together do, at the best sum of preferences, in small steps."""

from __future__ import annotations

from itertools import permutations
from random import Random
from time import thread_time

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.requirements import requirements
from tests.property.core.test_deciding_queues import Ant, Job, World

ZONES = ("a", "b", "c")
OPTIMAL = "policy: fcfs\nplacement: optimal\n"


def wish(tags: frozenset[str], likes: dict[str, int]) -> Demand:
    preferred = [{"weight": weight, "labels": {"zone": zone}} for zone, weight in sorted(likes.items())]
    match = msgspec.json.encode({"preferred": preferred}).decode() if preferred else ""
    return Demand("", tags, match=match, queue="default")


WISHES = st.builds(
    wish,
    st.sampled_from((frozenset[str](), frozenset({"big"}))),
    st.dictionaries(st.sampled_from(ZONES), st.integers(1, 9), max_size=3),
)
ANTS = st.lists(st.tuples(st.integers(1, 2), st.sampled_from(ZONES), st.booleans()), min_size=1, max_size=4)


def best_of(jobs: list[Job], ants: list[Ant]) -> int | None:
    """The best sum over all ways to start all of them at once; None where there is none."""
    places = [ant for ant in ants for _ in range(ant.slots)]
    sums = [
        sum(
            requirements(job.demand.match).score(ant) if job.demand.match else 0
            for job, ant in zip(jobs, chosen, strict=True)
        )  # type: ignore[arg-type]  # an ant of the test
        for chosen in permutations(places, len(jobs))
        if all(job.demand.fits(ant) for job, ant in zip(jobs, chosen, strict=True))  # type: ignore[arg-type]  # an ant of the test
    ]
    return max(sums, default=None)


def score(world: World) -> int:
    held = [(demand, ant) for ant in world.ants for demand in ant.held.values()]
    return sum(requirements(demand.match).score(ant) for demand, ant in held if demand.match)  # type: ignore[arg-type]  # an ant of the test


@settings(max_examples=200, deadline=None)
@given(ANTS, st.lists(WISHES, max_size=5))
def test_the_best_sum_of_all_ways(ants: list[tuple[int, str, bool]], wishes: list[Demand]) -> None:
    """Where all that wait can start together, they do, and no way to place them is better."""
    made = [Ant(slots, {}, frozenset({"big"} if big else ()), labels={"zone": zone}) for slots, zone, big in ants]
    world = World(OPTIMAL, made, [Job(number, demand) for number, demand in enumerate(wishes)])
    best = best_of(world.jobs, made)
    world.run()
    if best is not None:
        assert all(job.state == "STARTED" for job in world.jobs)
        assert score(world) == best
    assert not [job for job in world.jobs if job.state == "READY" and world.could_start(job)]


@settings(max_examples=100, deadline=None)
@given(ANTS, st.lists(WISHES, max_size=20), st.integers(0, 999))
def test_nobody_is_left_while_ants_come_free(
    ants: list[tuple[int, str, bool]], wishes: list[Demand], seed: int
) -> None:
    """Rounds are broken off at their pauses and begun anew while tasks end: in the end all that fit have started."""
    rng = Random(seed)
    made = [Ant(slots, {}, frozenset({"big"} if big else ()), labels={"zone": zone}) for slots, zone, big in ants]
    world = World(OPTIMAL, made, [Job(number, demand) for number, demand in enumerate(wishes)])
    for _ in range(200):
        for decision in world.deciding.decide(world, 0.0, Random(1)):  # type: ignore[arg-type]  # a view of its own ants
            if decision is not None:
                job: Job = decision.candidate  # type: ignore[assignment]  # the only candidates there are
                job.state = "STARTED"
                world.started.append(job)
                world.give(decision.ant, job, job.demand)  # type: ignore[union-attr,arg-type]  # no gangs here
                world.check()
            elif rng.random() < 0.5:
                break
        busy = [ant for ant in world.ants if ant.held]
        for ant in rng.sample(busy, min(len(busy), rng.randint(0, 2))):
            world.end(ant)
    assert not [job for job in world.jobs if job.state == "READY" and any(map(job.demand.fits, made))]  # type: ignore[arg-type]  # ants of the test


def test_a_wide_plan_pauses_often() -> None:
    """Two hundred wishes of all kinds over two hundred ants: no step holds up the loop for long."""
    rng = Random(7)
    made = [Ant(1, {}, frozenset(), labels={"zone": f"z{at}", "rack": f"r{at % 20}"}) for at in range(200)]
    jobs = []
    for number in range(200):
        likes = {f"z{rng.randrange(200)}": rng.randint(1, 100) for _ in range(3)}
        jobs.append(Job(number, wish(frozenset(), likes)))
    world = World(OPTIMAL, made, jobs)
    pauses, longest, before = 0, 0.0, thread_time()
    for decision in world.deciding.decide(world, 0.0, Random(1)):  # type: ignore[arg-type]  # a view of its own ants
        longest = max(longest, thread_time() - before)
        if decision is None:
            pauses += 1
        else:
            job: Job = decision.candidate  # type: ignore[assignment]  # the only candidates there are
            job.state = "STARTED"
            world.give(decision.ant, job, job.demand)  # type: ignore[union-attr,arg-type]  # no gangs here
        before = thread_time()
    print(f"{pauses} pauses, the longest step {longest * 1e3:.1f} ms")
    assert all(job.state == "STARTED" for job in jobs) and pauses > 500
