"""What holds for every workload: nothing is oversubscribed, nothing idles without need, the best order is found."""

from dataclasses import replace
from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.simulation.engine import Outcome, Simulation
from formicary.engine.scheduling.simulation.registry import POLICIES, read_settings
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job

SINGLE = Cluster((Ant("a", {"slots": 1}),))


def run(policy: str, jobs: list[Job], cluster: Cluster = SINGLE, **texts: str) -> Outcome:
    values, wrong = read_settings(policy, texts)
    assert not wrong
    return Simulation(cluster, jobs, POLICIES[policy].make(values, cluster, jobs), seed=1).run()


@st.composite
def workloads(draw: st.DrawFn) -> list[Job]:
    count = draw(st.integers(1, 12))
    return [
        Job(
            f"j{n}",
            float(draw(st.integers(0, 10))),
            float(draw(st.integers(1, 9))),
            {"cpu": float(draw(st.integers(1, 4)))},
            user=draw(st.sampled_from("uv")),
            queue=draw(st.sampled_from("pq")),
            priority=draw(st.integers(0, 10)),
            deadline=float(draw(st.integers(11, 60))),
            gang=draw(st.sampled_from(["", "", "", "g"])),
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("policy", POLICIES)
@settings(deadline=None, max_examples=40)
@given(jobs=workloads(), preemptive=st.booleans())
def test_never_oversubscribed(policy: str, jobs: list[Job], preemptive: bool) -> None:
    """On no ant is more held than it has, at any time, and whatever starts gets exactly its run time."""
    cluster = Cluster((Ant("x", {"cpu": 4, "slots": 3}), Ant("y", {"cpu": 5, "slots": 2})))
    texts = {"preemptive": "true"} if preemptive and "preemptive" in POLICIES[policy].parameters else {}
    outcome = run(policy, jobs, cluster, **texts)
    for ran in outcome.jobs:
        if ran.start is not None:
            assert sum(end - start for start, end, _ in ran.segments) == pytest.approx(ran.job.runtime)
            assert ran.start >= ran.job.submit
    for ant in cluster.ants:
        pieces = [
            (s, e, ran.job.demand["cpu"]) for ran in outcome.jobs for s, e, where in ran.segments if where == ant.id
        ]
        for at, _, _ in pieces:
            held = [cpu for start, end, cpu in pieces if start <= at < end - 1e-9]
            assert sum(held) <= ant.capacity["cpu"]
            assert len(held) <= ant.capacity["slots"]


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "gang"])
@settings(deadline=None, max_examples=40)
@given(workloads())
def test_no_slot_idles_while_a_job_waits(policy: str, jobs: list[Job]) -> None:
    """Work conservation on one slot: it is busy from each submission until nothing waits; the busy time is the work."""
    jobs = [Job(job.id, job.submit, job.runtime, user=job.user, queue=job.queue, deadline=job.deadline) for job in jobs]
    free = 0.0
    for job in sorted(jobs, key=lambda one: one.submit):
        free = max(free, job.submit) + job.runtime
    assert max(ran.end or 0.0 for ran in run(policy, jobs).jobs) == pytest.approx(free)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=7))
def test_shortest_first_is_minimal_over_all_orders(runtimes: list[int]) -> None:
    """The sum of the waits is the least of all permutations (n up to 7)."""
    outcome = run("sjf", [Job(f"j{n}", 0.0, float(size)) for n, size in enumerate(runtimes)])
    least = min(sum(sum(order[:at]) for at in range(len(order))) for order in permutations(runtimes))
    assert sum(ran.start or 0.0 for ran in outcome.jobs) == least


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5), st.integers(0, 25)), min_size=1, max_size=7))
def test_edf_meets_every_schedulable_set(rows: list[tuple[int, int, int]]) -> None:
    """A set is schedulable where no interval has more work to do in it than it is long (demand criterion)."""
    jobs = [Job(f"j{n}", float(s), float(r), deadline=float(s + r + d)) for n, (s, r, d) in enumerate(rows)]
    ends = {job.deadline or 0.0 for job in jobs}
    schedulable = all(
        sum(job.runtime for job in jobs if job.submit >= begin and (job.deadline or 0.0) <= end) <= end - begin
        for begin in {job.submit for job in jobs}
        for end in ends
        if end > begin
    )
    missed = any(ran.missed_deadline for ran in run("edf", jobs, preemptive="true").jobs)
    assert missed != schedulable


@settings(deadline=None, max_examples=60)
@given(workloads())
def test_fcfs_against_its_slow_twin(jobs: list[Job]) -> None:
    """Job by job in order: each starts at the first moment, not before its predecessor, at which it fits."""
    cluster = Cluster((Ant("x", {"cpu": 5}),))
    placed: list[tuple[float, float, float]] = []
    expected, floor = {}, 0.0
    for job in sorted(jobs, key=lambda one: one.submit):
        begin = max(floor, job.submit)
        moments = sorted({begin, *(end for _, end, _ in placed if end > begin)})
        need = job.demand["cpu"]
        floor = next(at for at in moments if sum(c for s, e, c in placed if s <= at < e) + need <= 5)
        placed.append((floor, floor + job.runtime, need))
        expected[job.id] = floor
    assert {ran.job.id: ran.start for ran in run("fcfs", jobs, cluster).jobs} == expected


@settings(deadline=None, max_examples=60)
@given(workloads())
def test_backfill_delays_no_first_job(jobs: list[Job]) -> None:
    """With true estimates the first job that waits starts no later than without backfill."""
    cluster = Cluster((Ant("x", {"cpu": 5}),))
    plain = {ran.job.id: ran.start or 0.0 for ran in run("fcfs", jobs, cluster).jobs}
    ahead = {ran.job.id: ran.start or 0.0 for ran in run("backfill", jobs, cluster).jobs}
    waiting = [job.id for job in sorted(jobs, key=lambda one: one.submit) if plain[job.id] > job.submit]
    if waiting:
        assert ahead[waiting[0]] <= plain[waiting[0]]


@pytest.mark.parametrize("inherit", ["true", "false"])
@pytest.mark.parametrize("preemptive", ["true", "false"])
@settings(deadline=None, max_examples=60)
@given(jobs=workloads(), data=st.data())
def test_a_lock_is_held_by_one_from_its_start_to_its_end(
    inherit: str, preemptive: str, jobs: list[Job], data: st.DataObject
) -> None:
    """Also while the holder is preempted; all end, and nothing is oversubscribed by those that stand aside."""
    names = st.frozensets(st.sampled_from("lmn"), max_size=2)
    jobs = [replace(job, locks=data.draw(names), gang="") for job in jobs]
    cluster = Cluster((Ant("x", {"cpu": 4, "slots": 2}), Ant("y", {"cpu": 4, "slots": 1})))
    outcome = run("priority", jobs, cluster, inherit=inherit, preemptive=preemptive)
    assert all(ran.end is not None for ran in outcome.jobs)
    for lock in "lmn":
        spans = sorted((ran.start or 0.0, ran.end or 0.0) for ran in outcome.jobs if lock in ran.job.locks)
        assert all(before[1] <= after[0] for before, after in pairwise(spans)), spans


@settings(deadline=None, max_examples=60)
@given(jobs=workloads(), preemptive=st.booleans())
def test_locks_that_nobody_else_wants_change_nothing(jobs: list[Job], preemptive: bool) -> None:
    """The twin of what decides about locks is what decides without them."""
    cluster = Cluster((Ant("x", {"cpu": 4, "slots": 2}), Ant("y", {"cpu": 5, "slots": 2})))
    own = [replace(job, locks=frozenset({job.id})) for job in jobs]
    texts = {"preemptive": str(preemptive).lower()}
    found, expected = run("priority", own, cluster, **texts), run("priority", jobs, cluster, **texts)
    assert [ran.segments for ran in found.jobs] == [ran.segments for ran in expected.jobs]
