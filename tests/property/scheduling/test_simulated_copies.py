"""Second copies of what lags behind: the tail, the caps, and what holds for every workload."""

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.simulation.engine import Outcome, Simulation
from formicary.engine.scheduling.simulation.registry import POLICIES, make_policy, read_settings
from formicary.engine.scheduling.simulation.summary import summarise
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job
from tests.unit.scheduling.test_simulated_cases import Lab, job

FORTY = Cluster(tuple(Ant(f"a{n}", {"slots": 4}) for n in range(10)))


def run(policy: str, jobs: list[Job], cluster: Cluster, **texts: str) -> Outcome:
    values, wrong = read_settings(policy, texts)
    assert not wrong
    return Simulation(cluster, jobs, make_policy(policy, values, cluster, jobs), seed=1).run()


def heavy_tailed(seed: int) -> list[Job]:
    """One of fifty takes twenty times as long, for a reason that its copy most likely has not."""
    rng, at, jobs = Random(seed), 0.0, list[Job]()

    def length() -> float:
        return 10 * rng.uniform(0.8, 1.2) * (20 if rng.random() < 0.02 else 1)

    for number in range(2500):
        at += rng.expovariate(2.0)
        jobs.append(Job(str(number), at, length(), copy_runtime=length(), estimate=10.0))
    return jobs


@pytest.mark.parametrize("how", ["percentile", "progress"])
def test_the_tail_falls_at_five_per_cent_extra_work(how: str) -> None:
    """Dean and Ghemawat, OSDI 2004, section 3.6; Zaharia et al., OSDI 2008: p99 is a fifth of what it was, or less."""
    jobs = heavy_tailed(3)
    plain, helped = (summarise(run("fcfs", jobs, FORTY, speculate=one), FORTY) for one in ("none", how))
    slow, quick = plain["turnaround"], helped["turnaround"]
    assert isinstance(slow, dict) and isinstance(quick, dict)
    assert quick["p99"] <= slow["p99"] / 5
    assert isinstance(helped["extra_work"], float) and 0 < helped["extra_work"] <= 0.05
    assert (plain["copies"], plain["extra_work"]) == (0, None)


def test_the_first_result_is_the_end_of_the_job() -> None:
    """Five of ten seconds are the history; the sixth lags from its tenth second on and its copy ends ten later."""
    jobs = [Job(f"j{n}", 10.0 * n, 10) for n in range(5)]
    jobs += [Job("slow", 50, 100, copy_runtime=10), Job("next", 50, 1, after=frozenset({"slow"}))]
    two = Cluster((Ant("x", {"slots": 1}), Ant("y", {"slots": 1})))
    found = run("fcfs", jobs, two, speculate="percentile", extra_work="50")
    slow, after = found.jobs[5], found.jobs[6]
    assert (slow.start, slow.ant) == (50, "y")
    assert slow.end == pytest.approx(70, abs=1e-3) and after.start == slow.end
    assert [(start, ant) for start, _, ant in slow.segments] == [(50, "x"), (pytest.approx(60, abs=1e-3), "y")]
    assert slow.copied_s == pytest.approx(10, abs=1e-3) and found.copies == 1
    late = [*jobs[:5], Job("slow", 50, 15, copy_runtime=10)]
    ran = run("fcfs", late, two, speculate="percentile", extra_work="50").jobs[5]
    assert (ran.end, ran.ant) == (65, "x"), "the copy comes too late and is stopped"
    assert ran.copied_s == pytest.approx(5, abs=1e-3)


def test_no_copy_takes_the_place_of_who_waits() -> None:
    """While somebody waits, and where there is no other ant, nothing runs twice."""
    one = Cluster((Ant("x", {"slots": 1}),))
    jobs = [Job(f"j{n}", 10.0 * n, 10) for n in range(5)] + [Job("slow", 50, 100, copy_runtime=10)]
    assert run("fcfs", jobs, one, speculate="percentile", extra_work="50").copies == 0
    many = [*jobs, *(Job(f"w{n}", 50, 100) for n in range(9))]
    two = Cluster((Ant("x", {"slots": 1}), Ant("y", {"slots": 1})))
    found = run("fcfs", many, two, speculate="percentile", extra_work="50")
    last = max(ran.start or 0.0 for ran in found.jobs)
    assert all(ran.copied_s == 0 or (ran.end or 0.0) > last for ran in found.jobs)


@pytest.mark.parametrize("policy", POLICIES)
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6))
def test_whatever_decides_all_end_and_nothing_is_oversubscribed(policy: str, seed: int) -> None:
    """A copy runs on another ant, beside what is there, and the job ends with the first of the two."""
    rng, at, jobs = Random(seed), 0.0, list[Job]()
    for number in range(40):
        at += rng.choice([0, 1, 4])
        length = float(rng.choice([2, 2, 3, 40]))
        more = {
            "user": rng.choice("uv"),
            "queue": rng.choice("pq"),
            "gang": rng.choice(["", "", "", f"g{number // 4}"]),
        }
        jobs.append(
            Job(
                f"j{number}",
                at,
                length,
                {"cpu": float(rng.choice([1, 2]))},
                copy_runtime=float(rng.randint(1, 9)),
                **more,
            )
        )
    cluster = Cluster((Ant("x", {"cpu": 4, "slots": 3}), Ant("y", {"cpu": 5, "slots": 2}), Ant("z", {"cpu": 2})))
    how = rng.choice(["percentile", "progress"])
    outcome = run(policy, jobs, cluster, speculate=how, percentile="60", extra_work="60", copies="50")
    for ran in outcome.jobs:
        assert ran.end is not None and ran.start is not None
        assert ran.end <= ran.start + ran.job.runtime + 1e-6
        assert ran.end == max(end for _, end, _ in ran.segments)
        if ran.copied_s:
            assert len({ant for _, _, ant in ran.segments}) == 2 == len(ran.segments)
    for ant in cluster.ants:
        pieces = [
            (s, e, ran.job.demand["cpu"]) for ran in outcome.jobs for s, e, where in ran.segments if where == ant.id
        ]
        for begin, _, _ in pieces:
            held = [cpu for start, end, cpu in pieces if start <= begin < end - 1e-9]
            assert sum(held) <= ant.capacity["cpu"]
            assert len(held) <= ant.capacity.get("slots", 99)


@pytest.mark.parametrize(
    ("policy", "texts", "says"),
    [
        ("fcfs", ["speculate=yes"], "must be one of none, percentile, progress"),
        ("fcfs", ["speculate=percentile", "extra_work=200"], "extra_work is per cent, at most 100, not 200"),
        ("sjf", ["speculate=percentile", "preemptive=true"], "speculate goes neither with what preempts"),
        ("capacity", ["speculate=progress", "reclaim=graceful"], "speculate goes neither with what preempts"),
        ("backfill", ["speculate=progress", "reservations=all"], "nor with reservations=all"),
    ],
)
def test_what_does_not_go_together_is_told(tmp_path: Path, policy: str, texts: list[str], says: str) -> None:
    sets = [part for one in texts for part in ("--set", one)]
    one = {"ants": [{"id": "a", "capacity": {"slots": 1}}]}
    status, _, err = Lab(tmp_path).call(json.dumps(job("j", 0, 1, copy_runtime=1)), one, "--policy", policy, *sets)
    assert status == 2 and says in err
