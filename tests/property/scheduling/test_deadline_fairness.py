"""Fair deadlines: as earliest deadline first while all are kept, and under overload users miss alike many."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.policies.deadline_fairness import WINDOW, Misses
from formicary.engine.scheduling.simulation.engine import Outcome
from formicary.engine.scheduling.simulation.registry import POLICIES, read_settings
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job
from tests.property.scheduling.test_simulation import run


def lost(outcome: Outcome, user: str, since: float = 0.0) -> float:
    """Part of a user's deadlines that were not kept."""
    own = [ran for ran in outcome.jobs if ran.job.user == user and ran.job.submit >= since]
    return sum(ran.end is None or ran.missed_deadline for ran in own) / len(own)


def overloaded(users: dict[str, tuple[float, float]], load: float, seed: int, end: float = 300.0) -> list[Job]:
    """Users with a run time and a patience of their own submit more work than there is time for, all as much of it."""
    rng, found = Random(seed), []
    for user, (runtime, slack) in users.items():
        every = runtime * len(users) / load
        for n in range(int(end / every)):
            at = every * (n + rng.random())
            due = at + runtime + slack * rng.uniform(0.5, 1.5)
            found.append(Job(f"{user}{n}", at, runtime, user=user, deadline=due))
    return found


def test_edf_is_unkind_to_long_jobs_and_fairness_is_not() -> None:
    """Two users alike but for the length of their jobs, together half more work than can be done."""
    jobs = overloaded({"short": (0.6, 8.0), "long": (3.0, 8.0)}, 1.5, seed=1)
    domino, shed, fair = run("edf", jobs), run("edf", jobs, overload="shed"), run("edf", jobs, fair_by="user")
    assert lost(shed, "long") > 3 * lost(shed, "short")
    assert abs(lost(fair, "short") - lost(fair, "long")) < 0.05
    assert lost(fair, "short") + lost(fair, "long") < 0.8 < lost(domino, "short") + lost(domino, "long")


def test_weights_say_who_misses_how_many() -> None:
    """With weight 2 a user misses half as many as the other, in proportion."""
    jobs = overloaded({"a": (1.0, 5.0), "b": (1.0, 5.0)}, 1.5, seed=2, end=1000.0)
    fair = run("edf", jobs, fair_by="user", weights="a:2")
    assert lost(fair, "b") / lost(fair, "a") == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("seed", range(8))
def test_under_overload_users_miss_alike_many(seed: int) -> None:
    """Whatever the lengths of their jobs and their patience are."""
    rng = Random(seed)
    users = {f"u{n}": (rng.uniform(0.5, 3.0), rng.uniform(2.0, 15.0)) for n in range(rng.randint(2, 4))}
    jobs = overloaded(users, 1.6, seed)
    fair, shed = run("edf", jobs, fair_by="user"), run("edf", jobs, overload="shed")
    shares = [lost(fair, user, since=30.0) for user in users]
    unfair = [lost(shed, user, since=30.0) for user in users]
    assert max(shares) - min(shares) < 0.06 < max(unfair) - min(unfair)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(1, 6), st.integers(5, 80), st.sampled_from("uvw")),
        min_size=1,
        max_size=14,
    )
)
def test_what_earliest_deadline_first_keeps_is_kept_in_the_same_order(rows: list[tuple[int, int, int, str]]) -> None:
    jobs = [
        Job(f"j{n}", float(at), float(runtime), user=user, deadline=float(at + runtime + slack))
        for n, (at, runtime, slack, user) in enumerate(rows)
    ]
    plain = run("edf", jobs)
    if any(ran.missed_deadline for ran in plain.jobs):
        return
    fair = run("edf", jobs, fair_by="user")
    assert [(ran.job.id, ran.start) for ran in fair.jobs] == [(ran.job.id, ran.start) for ran in plain.jobs]


def test_nobody_gains_by_asking_for_what_is_impossible() -> None:
    """The one with jobs that are lost from the start counts no miss for them, and does not go before the other."""
    honest = [Job(f"h{n}", float(n), 1.0, user="honest", deadline=n + 3.0) for n in range(200)]
    greedy = [Job(f"g{n}", float(n), 5.0, user="greedy", deadline=n + 1.0) for n in range(200)]
    fair = run("edf", [*honest, *greedy], fair_by="user")
    assert lost(fair, "greedy") == 1.0 and lost(fair, "honest") < 0.1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=300))
def test_ratios_are_those_of_the_latest_deadlines(told: list[tuple[str, bool]]) -> None:
    misses = Misses()
    for user, is_missed in told:
        misses.record(user, missed=is_missed)
    for user in "ab":
        latest = [is_missed for name, is_missed in told if name == user][-WINDOW:]
        assert misses.ratio(user) == (sum(latest) / len(latest) if latest else 0.0)
    assert misses.rank("nobody", 1.0, 5.0) == (0.0, 5.0) and misses.rank("a", 1.0, inf) == (inf, inf)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"fair_by": "user", "preemptive": "true"}, "fair_by goes neither with preemptive nor with overload"),
        ({"weights": "a:2"}, "weights are for fair_by"),
        ({"fair_by": "user", "weights": "nobody:2"}, "nobody is called nobody"),
    ],
)
def test_what_does_not_go_together_is_refused(texts: dict[str, str], words: str) -> None:
    values, _ = read_settings("edf", texts)
    with pytest.raises(ValueError, match=words):
        POLICIES["edf"].make(values, Cluster((Ant("a", {"slots": 1}),)), [Job("j", 0, 1, user="a")])
