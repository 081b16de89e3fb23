"""Every order of the simulator against its slow twin: all that waits is looked at anew at every moment."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.policies.degrade import attempt_at, attempts, degraded
from formicary.engine.scheduling.policies.fair import DeficitRoundRobin
from formicary.engine.scheduling.simulation.backfill import Conservative
from formicary.engine.scheduling.simulation.engine import Outcome, Simulation
from formicary.engine.scheduling.simulation.policy import Decision
from formicary.engine.scheduling.simulation.registry import POLICIES, read_settings, submitted
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job, Queue
from tests.property.scheduling.test_simulation import SINGLE, run, workloads

CPU = 5.0
CLUSTER = Cluster((Ant("x", {"cpu": CPU}),), (Queue("p", priority=2), Queue("q", priority=1)))
Rank = Callable[[Job, float], float]


def aged(job: Job, now: float) -> float:
    """Half a point for each second, up to ten."""
    return -max(job.priority, min(10.0, job.priority + 0.5 * (now - job.submit)))


RANKS: dict[str, tuple[str, dict[str, str], Rank]] = {
    "priority": ("priority", {}, lambda job, now: -job.priority),
    "aging": ("priority", {"aging": "0.5"}, aged),
    "step": ("priority", {"degrade": "step"}, lambda job, now: -degraded(job.priority, now - job.submit, "step")),
    "log": ("priority", {"degrade": "log"}, lambda job, now: -degraded(job.priority, now - job.submit, "log")),
    "sjf": ("sjf", {}, lambda job, now: job.runtime),
    "edf": ("edf", {}, lambda job, now: job.deadline or 1e9),
    "llf": ("llf", {}, lambda job, now: (job.deadline or 1e9) - job.runtime),
    "strict": ("multilevel", {}, lambda job, now: {"p": -2.0, "q": -1.0}[job.queue]),
}


def by_rank(jobs: list[Job], rank: Rank) -> dict[str, float]:
    """At each moment the first of all that wait starts, if it fits; nobody passes it.

    A moment is a submission, an end, and with aging also when somebody has reached the cap.
    """
    starts: dict[str, float] = {}
    moments = {job.submit for job in jobs}
    if rank is aged:
        moments |= {job.submit + max(0.0, 10.0 - job.priority) / 0.5 for job in jobs}
    while moments:
        now = min(moments)
        moments.discard(now)
        while True:
            waiting = [(rank(job, now), job.submit, n) for n, job in enumerate(jobs) if job.submit <= now]
            waiting = [one for one in waiting if jobs[one[2]].id not in starts]
            held = sum(j.demand["cpu"] for j in jobs if j.id in starts and starts[j.id] + j.runtime > now)
            first = jobs[min(waiting)[2]] if waiting else None
            if first is None or held + first.demand["cpu"] > CPU:
                break
            starts[first.id] = now
            moments.add(now + first.runtime)
    return starts


@pytest.mark.parametrize("name", RANKS)
@settings(deadline=None, max_examples=60)
@given(jobs=workloads())
def test_an_order_is_its_slow_twin_s(name: str, jobs: list[Job]) -> None:
    policy, texts, rank = RANKS[name]
    found = {ran.job.id: ran.start for ran in run(policy, jobs, CLUSTER, **texts).jobs}
    assert found == by_rank(jobs, rank)


def by_share(jobs: list[Job]) -> dict[str, float]:
    """At each moment the user who holds least cpu, then who has had least, starts his first job if it fits.

    Who comes after he had nothing to do counts as having had what the last one served had had when he was served.
    """
    starts: dict[str, float] = {}
    moments = {job.submit for job in jobs}
    granted, level = dict.fromkeys({job.user for job in jobs}, 0.0), 0.0

    def had(user: str, now: float) -> float:
        over = [j for j in jobs if j.user == user and j.id in starts and starts[j.id] + j.runtime <= now]
        return granted[user] + sum(j.demand["cpu"] / CPU * j.runtime for j in over)

    while moments:
        now = min(moments)
        moments.discard(now)
        for user in granted:
            mine = [j for j in jobs if j.user == user and j.submit <= now]
            waited = any(j.submit < now and j.id not in starts for j in mine)
            runs = any(j.id in starts and starts[j.id] + j.runtime > now for j in mine)
            if any(j.submit == now for j in mine) and not waited and not runs:
                granted[user] += max(0.0, level - had(user, now))
        passed: set[str] = set()
        while True:
            claims = []
            for user in sorted(granted.keys() - passed):
                queue = [(j.submit, n) for n, j in enumerate(jobs) if j.user == user and j.submit <= now]
                queue = sorted(one for one in queue if jobs[one[1]].id not in starts)
                mine = [j for j in jobs if j.user == user and j.id in starts]
                held = sum(j.demand["cpu"] for j in mine if starts[j.id] + j.runtime > now)
                if queue:
                    claims.append((held, round(had(user, now), 6), queue[0], user))
            if not claims:
                break
            _, _, (_, number), user = min(claims)
            free = CPU - sum(j.demand["cpu"] for j in jobs if j.id in starts and starts[j.id] + j.runtime > now)
            if jobs[number].demand["cpu"] > free:
                passed.add(user)
                continue
            level = had(user, now)
            starts[jobs[number].id] = now
            moments.add(now + jobs[number].runtime)
    return starts


@pytest.mark.parametrize("policy", ["fair", "drf"])
@settings(deadline=None, max_examples=60)
@given(jobs=workloads())
def test_shares_are_their_slow_twin_s(policy: str, jobs: list[Job]) -> None:
    """With one resource dominant shares are the shares of it."""
    found = {ran.job.id: ran.start for ran in run(policy, jobs, CLUSTER, by="user").jobs}
    assert found == by_share(jobs)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=25),
    st.sampled_from(["0.1", "0.5", "2"]),
)
def test_aging_bounds_every_wait(rows: list[tuple[int, int, int]], rate: str) -> None:
    """A job of priority p is overtaken only by what was submitted before its priority has reached the cap.

    So it starts within (cap - p) / rate seconds and the work of all that was submitted until then, come what may.
    """
    jobs = [Job(f"j{n}", float(at), float(length), priority=p) for n, (at, length, p) in enumerate(rows)]
    for ran in run("priority", jobs, aging=rate).jobs:
        reached = ran.job.submit + (10 - ran.job.priority) / float(rate)
        work = sum(job.runtime for job in jobs if job.submit <= reached and job is not ran.job)
        assert ran.start is not None
        assert ran.start <= max(reached, max(job.submit for job in jobs if job.submit <= reached)) + work


def test_a_job_of_aged_priority_takes_the_place_of_a_running_one() -> None:
    """`preemptive` holds with `aging`: an urgent one pushes the other aside, which goes on where it was."""
    jobs = [Job("low", 0, 10, priority=0), Job("high", 4, 2, priority=9)]
    found = run("priority", jobs, aging="0.01", preemptive="true").jobs
    assert found[0].segments == ((0, 4, "a"), (6, 12, "a"))
    assert found[1].start == 4


def overload(**texts: str) -> Outcome:
    """One job of priority 8 that came first, and more urgent ones than the ant can serve."""
    urgent = [Job(f"h{n}", float(n), 1.5, priority=9) for n in range(400)]
    return run("priority", [Job("old", 0, 1, priority=8), *urgent], **texts)


def test_degradation_starves_and_aging_does_not() -> None:
    """Of 400 urgent jobs the one before them waits for all with degradation, for few with aging."""
    starts = {
        how: overload(**texts).jobs[0].start
        for how, texts in (("step", {"degrade": "step"}), ("aging", {"aging": "0.1"}))
    }
    assert starts["step"] == max(ran.start or 0.0 for ran in overload(degrade="step").jobs)
    assert (starts["aging"] or 0.0) <= 30


def test_attempts_are_those_of_the_original() -> None:
    """After 5, 10, 15, 20, 25 seconds more, then every 30; one point is lost at each fifth, never below 5."""
    assert [attempt_at(n) for n in range(1, 9)] == [5, 15, 30, 50, 75, 105, 135, 165]
    assert [attempts(s) for s in (0, 4.9, 5, 74, 75, 104, 105, 134, 135)] == [0, 0, 1, 4, 5, 5, 6, 6, 7]
    assert [degraded(9, s, "step") for s in (0, 74, 75, attempt_at(10), 1e6)] == [9, 9, 8, 7, 5]
    assert degraded(3, 1e6, "step") == 3
    assert degraded(9, 5, "log") == pytest.approx(9 - 0.6931, abs=1e-3)
    assert degraded(2, 1e6, "log") == 0


@pytest.mark.parametrize("texts", [{"aging": "1"}, {"preemptive": "true"}])
def test_degradation_with_its_opposite_is_refused(texts: dict[str, str]) -> None:
    values, _ = read_settings("priority", {"degrade": "log", **texts})
    with pytest.raises(ValueError, match="neither with aging"):
        Simulation(SINGLE, [], POLICIES["priority"].make(values, SINGLE, []))


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.sampled_from("pqr"), st.integers(1, 30)), min_size=1, max_size=30),
    st.fixed_dictionaries({name: st.integers(1, 12) for name in "pqr"}),
)
def test_weighted_turns_are_the_deficit_round_robin_of_the_functions(
    rows: list[tuple[str, int]], weights: dict[str, int]
) -> None:
    """Jobs that come together on one slot run in the order in which the function takes them."""
    rounds = DeficitRoundRobin[str](1.0)
    for number, (queue, size) in enumerate(rows):
        rounds.push(queue, str(number), size=size, weight=weights[queue])
    expected = [rounds.pop()[1] for _ in rows]
    jobs = [Job(str(number), 0.0, float(size), queue=queue) for number, (queue, size) in enumerate(rows)]
    cluster = Cluster((Ant("x", {"slots": 1}),), tuple(Queue(name, weight=weights[name]) for name in "pqr"))
    found = run("multilevel", jobs, cluster, mode="weighted").jobs
    assert [ran.job.id for ran in sorted(found, key=lambda ran: ran.start or 0.0)] == expected


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("pq"), st.integers(0, 30), st.booleans()), min_size=1, max_size=30))
def test_weighted_turns_of_queues_that_need_other_ants_hold_nobody_up(rows: list[tuple[str, int, bool]]) -> None:
    """Two ants, jobs of one second for one of them or both: none idles while one waits that could use it."""
    jobs = [
        Job(str(n), float(at), 1.0, queue=queue, tags=frozenset({queue}) if bound else frozenset())
        for n, (queue, at, bound) in enumerate(sorted(rows, key=lambda row: row[1]))
    ]
    ants = tuple(Ant(name, {"slots": 1}, frozenset({name})) for name in "pq")
    found = run("multilevel", jobs, Cluster(ants), mode="weighted").jobs
    busy = {(ran.ant, ran.start) for ran in found}
    for ran in found:
        for second in range(int(ran.job.submit), int(ran.start or 0)):
            if ran is next(
                other for other in found if other.job.queue == ran.job.queue and (other.start or 0) > second
            ):
                assert all((ant.id, float(second)) in busy for ant in ants if ran.job.tags <= ant.tags)


# --- conservative backfill --------------------------------------------------------------------------------------------


def planned(jobs: list[Job]) -> dict[str, float]:
    """Job by job in order of submission: each takes the first hole that is long enough for it."""
    placed: list[tuple[float, float, float]] = []
    starts: dict[str, float] = {}
    for job in sorted(jobs, key=lambda one: one.submit):
        need = job.demand["cpu"]
        for at in sorted({job.submit, *(end for _, end, _ in placed if end > job.submit)}):
            steps = [at, *(start for start, _, _ in placed if at < start < at + job.runtime)]
            if all(sum(c for s, e, c in placed if s <= step < e) + need <= CPU for step in steps):
                break
        placed.append((at, at + job.runtime, need))
        starts[job.id] = at
    return starts


@settings(deadline=None, max_examples=80)
@given(workloads())
def test_conservative_backfill_is_its_slow_twin_and_delays_nobody(jobs: list[Job]) -> None:
    """With true estimates each job takes the first hole, and none starts later than first come, first served."""
    found = {ran.job.id: ran.start or 0.0 for ran in run("backfill", jobs, CLUSTER, reservations="all").jobs}
    assert found == planned(jobs)
    plain = {ran.job.id: ran.start or 0.0 for ran in run("fcfs", jobs, CLUSTER).jobs}
    assert all(found[name] <= plain[name] for name in plain)


def test_easy_may_delay_the_second_and_conservative_does_not() -> None:
    """Mu'alem and Feitelson, TPDS 12(6), 2001: EASY keeps only the first reservation."""
    machine = Cluster((Ant("m", {"cpu": 10}),))
    rows = (("running", 0, 10, 6), ("first", 1, 10, 8), ("second", 2, 10, 10), ("narrow", 3, 50, 2))
    jobs = [Job(name, float(submit), float(runtime), {"cpu": cpu}) for name, submit, runtime, cpu in rows]
    starts = {
        how: {ran.job.id: ran.start for ran in run("backfill", jobs, machine, reservations=how).jobs}
        for how in ("first", "all")
    }
    assert starts["first"] == {"running": 0, "first": 10, "narrow": 3, "second": 53}
    assert starts["all"] == {"running": 0, "first": 10, "second": 20, "narrow": 30}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=20))
def test_what_lasts_longer_than_expected_puts_nobody_behind_who_came_later(rows: list[tuple[int, int, int]]) -> None:
    """Jobs that need more than half of the ant run one by one, in order, whatever was expected of them."""
    jobs = [
        Job(str(n), float(at), float(runtime), {"cpu": 3.0}, estimate=float(expected))
        for n, (at, runtime, expected) in enumerate(sorted(rows, key=lambda row: row[0]))
    ]
    starts = [ran.start or 0.0 for ran in run("backfill", jobs, CLUSTER, reservations="all").jobs]
    assert starts == [ran.start for ran in run("fcfs", jobs, CLUSTER).jobs]


class Watched(Conservative):
    """Remembers the reservation that each job was given first."""

    def __init__(self) -> None:
        super().__init__(submitted, 1000)
        self.promised: dict[int, float] = {}

    def decide(self, now: float) -> Iterator[Decision]:
        yield from super().decide(now)
        for number, (start, _) in self.reserved.items():
            self.promised.setdefault(number, start)


@settings(deadline=None, max_examples=60)
@given(workloads(), st.integers(0, 99))
def test_no_job_starts_after_its_reservation(jobs: list[Job], seed: int) -> None:
    """Where run times are overestimated reservations only come forward."""
    wrong = [
        Job(job.id, job.submit, job.runtime, job.demand, estimate=job.runtime + (seed + at) % 4)
        for at, job in enumerate(jobs)
    ]
    policy = Watched()
    found = Simulation(CLUSTER, wrong, policy).run().jobs
    assert all((found[number].start or 0.0) <= promised for number, promised in policy.promised.items())
