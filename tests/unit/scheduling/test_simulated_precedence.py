"""Jobs that come after others, and jobs that may not begin yet, run through `formicary simulate`."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.simulation.registry import POLICIES
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job
from tests.property.scheduling.test_simulation import run
from tests.unit.scheduling.test_simulated_cases import ONE, Lab, job

TIMES = {1: 3, 2: 2, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 8: 4, 9: 9}
BEFORE = {9: [1], 5: [4], 6: [4], 7: [4], 8: [4]}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def makespan(lab: Lab, order: list[int], count: int, less: int, before: dict[int, list[int]]) -> Any:
    jobs = [job(f"T{n}", 0, TIMES[n] - less, after=[f"T{one}" for one in before.get(n, [])]) for n in order]
    cluster = {"ants": [{"id": f"p{n}", "capacity": {"slots": 1}} for n in range(count)]}
    return lab.run(jobs, "fcfs", cluster=cluster)["summary"]["makespan"]


def test_anomalies_of_graham(lab: Lab) -> None:
    """Graham, SIAM J. Appl. Math. 17(2), 1969, figures 2 to 7: 12; worse in another order, with one processor more,
    with shorter tasks, and with fewer that have to wait for others."""
    listed = list(range(1, 10))
    fewer = {number: one for number, one in BEFORE.items() if number not in (5, 6)}
    assert makespan(lab, listed, 3, 0, BEFORE) == 12
    assert makespan(lab, [1, 2, 4, 5, 6, 3, 9, 7, 8], 3, 0, BEFORE) == 14
    assert makespan(lab, listed, 4, 0, BEFORE) == 15
    assert makespan(lab, listed, 3, 1, BEFORE) == 13
    assert makespan(lab, listed, 3, 0, fewer) == 16


def test_waits_begin_when_a_job_could_begin(lab: Lab) -> None:
    """The wait counts from the last end before it and from `not_before`, the turnaround from the submission."""
    jobs = [
        job("first", 0, 10),
        job("second", 0, 5, after="first"),
        job("later", 1, 2, not_before=20, deadline=30),
        job("third", 2, 1, after=["second", "later"]),
    ]
    found = lab.run(jobs, "fcfs")
    assert {one["id"]: one["start"] for one in found["jobs"]} == {"first": 0, "second": 10, "later": 20, "third": 22}
    assert found["summary"]["wait"]["max"] == 0
    assert found["summary"]["mean_turnaround"] == (10 + 15 + 21 + 21) / 4


def test_who_comes_after_what_never_ends_never_begins(lab: Lab) -> None:
    """With the reason, over any number of steps; also where a policy gives a job up."""
    jobs = [job("big", 0, 1, demand={"gpu": 1}), job("next", 0, 1, after="big"), job("last", 0, 1, after="next")]
    found = {one["id"]: one.get("reason", "") for one in lab.run(jobs, "fcfs")["jobs"]}
    assert found["next"] == "comes after 'big', which never ends"
    assert found["last"] == "comes after 'next', which never ends"
    jobs = [job("long", 0, 10), job("late", 1, 5, deadline=9), job("next", 1, 1, after="late")]
    assert lab.starts(jobs, "edf") == {"long": 0, "late": 10, "next": 15}
    found = {one["id"]: one.get("reason", "") for one in lab.run(jobs, "edf", "overload=shed")["jobs"]}
    assert found["next"] == "comes after 'late', which never ends"


def test_recurring_jobs_come_after_each_other(lab: Lab) -> None:
    """Instance by instance; one that comes after a single instance names it; what is beyond the horizon never comes."""
    jobs = [
        job("read", 1, 2, period=10),
        job("write", 0, 1, period=10, after="read"),
        job("report", 0, 1, after=["write#1"]),
    ]
    two = {"ants": [{"id": "a", "capacity": {"slots": 2}}]}
    found = {one["id"]: one for one in lab.run(jobs, "fcfs", "until=31", cluster=two)["jobs"]}
    assert [found[f"write#{n}"]["start"] for n in range(3)] == [3, 13, 23]
    assert found["report"]["start"] == 14
    assert found["write#3"]["start"] is None
    assert found["write#3"]["reason"] == "comes after 'read#3', which is not in the workload"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([job("a", 0, 1), job("b", 0, 1, after="c")], "w.jsonl:2: after: there is no job 'c'"),
        (
            [job("a", 0, 1, after="c"), job("b", 0, 1, after="a"), job("c", 0, 1, after="b")],
            "after: a circle: ",
        ),
        ([job("a", 0, 1, after="a")], "w.jsonl:1: after: a circle: a before a"),
        ([job("a", 0, 1, period=5), job("b", 0, 1, after="a")], "w.jsonl:2: after: 'a' recurs: name one of its"),
        (
            [job("a", 0, 1, period=5), job("b", 0, 1, after="a", period=7)],
            "w.jsonl:2: after: 'a' recurs every 5 s, not every 7 s",
        ),
        ([job("a", 0, 1, after=[1])], "w.jsonl:1: after must be a list of texts"),
        ([job("a", 0, 1, not_before=-1)], "w.jsonl:1: not_before must be a number not below 0"),
        (
            [job("a", 0, 2, data=["x"], remote_runtime=1)],
            "w.jsonl:1: remote_runtime must be a number not below runtime",
        ),
        (
            [job("a", 0, 2, remote_runtime=3)],
            "w.jsonl:1: remote_runtime says how long it runs away from its data: data is",
        ),
        ([job("a", 0, 2, data={})], "w.jsonl:1: data must be a list of texts"),
        ([job("a", 0, 1, not_before=9, deadline=5)], "w.jsonl:1: deadline 5 is before the first moment at which it"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(lab: Lab, lines: list[dict[str, Any]], says: str) -> None:
    status, out, err = lab.call("\n".join(map(json.dumps, lines)), ONE, "--policy", "fcfs")
    assert (status, out) == (2, "") and says in err, err


def test_a_gang_that_would_wait_for_itself_is_refused(lab: Lab) -> None:
    """Its members start together, so none can come after another; under other policies they are single jobs."""
    jobs = [job("a", 0, 1, gang="g"), job("b", 0, 1, gang="g", after="c"), job("c", 0, 1, after="a")]
    lines = "\n".join(map(json.dumps, jobs))
    status, _, err = lab.call(lines, ONE, "--policy", "gang")
    assert status == 2 and "members of a gang start together" in err
    assert lab.starts(jobs, "fcfs") == {"a": 0, "c": 1, "b": 2}


@pytest.mark.parametrize("policy", POLICIES)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_nobody_begins_too_early(policy: str, seed: int) -> None:
    """Under every policy each job runs to its end, after all that it comes after and not before its time."""
    rng, jobs = Random(seed), list[Job]()
    for number in range(rng.randint(1, 25)):
        after = frozenset(f"j{rng.randrange(number)}" for _ in range(rng.choice([0, 0, 1, 2])) if number)
        at, length = float(rng.randint(0, 10)), float(rng.randint(0, 6))
        jobs.append(
            Job(
                f"j{number}",
                at,
                length,
                {"cpu": float(rng.randint(1, 3))},
                user=rng.choice("uv"),
                queue=rng.choice("pq"),
                priority=rng.randint(0, 3),
                after=after,
                not_before=float(rng.choice([0, 0, 15])),
            )
        )
    rng.shuffle(jobs)
    ended = {ran.job.id: ran for ran in run(policy, jobs, Cluster((Ant("x", {"cpu": 3}), Ant("y", {"cpu": 4})))).jobs}
    for ran in ended.values():
        before = [ended[name].end for name in ran.job.after]
        assert ran.end is not None and None not in before
        ready = max(ran.job.submit, ran.job.not_before, *(end for end in before if end is not None))
        assert ran.start is not None and ran.start >= ready
        assert ran.waits_from == ready
