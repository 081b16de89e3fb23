"""What the simulator keeps from event to event, against slow twins that work it all out anew at every decision."""

from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.policies.gang import Gang, Held, plan
from formicary.engine.scheduling.simulation import state as states
from formicary.engine.scheduling.simulation.availability import Availability
from formicary.engine.scheduling.simulation.backfill import Conservative
from formicary.engine.scheduling.simulation.engine import Outcome, Simulation
from formicary.engine.scheduling.simulation.gangs import PLENTY, Gangs
from formicary.engine.scheduling.simulation.groups import Matchmaking, preference
from formicary.engine.scheduling.simulation.policy import Decision, Drop, Policy, Start
from formicary.engine.scheduling.simulation.queueing import seconds_left
from formicary.engine.scheduling.simulation.registry import submitted
from formicary.engine.scheduling.simulation.state import AntState, ClusterState, Entry, Shape
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job, Queue
from tests.property.scheduling.test_simulation import run

ANTS = (
    Ant("y", {"cpu": 4}, frozenset({"t"})),
    Ant("x", {"cpu": 2, "memory": 4}),
    Ant("z", {"cpu": 8, "memory": 8, "slots": 3}, frozenset({"t", "u"})),
)
CLUSTER = Cluster(
    ANTS,
    (
        Queue("prod", guaranteed=0.5, maximum=0.75),
        Queue("dev", guaranteed=0.25),
        Queue("dev.a", parent="dev", guaranteed=0.5),
        Queue("dev.b", parent="dev", guaranteed=0.25, maximum=0.5),
    ),
)


@st.composite
def workloads(draw: st.DrawFn, *, wrong: bool = True) -> list[Job]:
    """Jobs with tags, two resources, gangs and queues; with `wrong` estimates that are so both ways."""
    at, jobs = 0.0, list[Job]()
    for number in range(draw(st.integers(1, 30))):
        at += draw(st.integers(0, 3))
        length = float(draw(st.integers(1, 12)))
        jobs.append(
            Job(
                f"j{number}",
                at,
                length,
                {"cpu": float(draw(st.integers(1, 3))), "memory": float(draw(st.sampled_from([0, 0, 1, 4])))},
                queue=draw(st.sampled_from(["prod", "dev.a", "dev.b", "elsewhere"])),
                priority=draw(st.integers(0, 2)),
                tags=frozenset(draw(st.sampled_from(["", "", "t", "tu"]))),
                gang=draw(st.sampled_from(["", "", "", "g", "h"])),
                estimate=max(1.0, length + draw(st.integers(-3, 6))) if wrong else None,
                prefer=draw(st.sampled_from([{}, {"z": 2.0}, {"t": 1.0, "x": 3.0}])),
            )
        )
    return jobs


def schedule(outcome: Outcome) -> list[object]:
    """Everything that a policy decided."""
    return [(one.job.id, one.start, one.end, one.ant, one.segments, one.reason) for one in outcome.jobs]


def simulated(policy: Policy, jobs: Sequence[Job]) -> list[object]:
    return schedule(Simulation(CLUSTER, jobs, policy).run())


class SlowGangs(Gangs):
    """`policies.gang.plan` over the whole queue, from nothing, in every round."""

    def _held(self, shape: Shape) -> dict[str, float]:
        return self._vector(self.kind_of(shape).need)

    def decide(self, now: float) -> Iterator[Decision]:
        state = self.state
        capacity = {
            ant.id: {
                name: min(most, PLENTY)
                for at, (name, most) in enumerate(zip(state.resources, ant.capacity, strict=True))
                if any(other.capacity[at] < PLENTY for other in state.ants)
            }
            | {f"tag {tag}": PLENTY for tag in ant.tags}
            for ant in state.ants
        }
        held = [
            Held(ant.id, self._held(one.shape), now + seconds_left(one, now))
            for ant in state.ants
            for one in ant.running.values()
        ]
        items = {str(item[1]): item for item in self.ready[: self.depth]}
        queue = [
            Gang(name, tuple(self._held(one.shape) for one in whole.members), whole.runtime)
            for name, (_, _, whole) in items.items()
        ]
        made = plan(queue, capacity, held, now, backfill=self.backfill)
        for name, why in made.impossible.items():
            self._gone(items[name])
            for entry in items[name][2].members:
                yield Drop(entry, why)
        ants = {ant.id: ant for ant in state.ants}
        for name, places in made.starts.items():
            self._gone(items[name])
            for entry, place in zip(items[name][2].members, places, strict=True):
                yield Start(entry, ants[place])


def crowd(seed: int) -> list[Job]:
    """More than the ants can serve for a while; one in six is of a gang of up to four."""
    rng, at, jobs = Random(seed), 0.0, list[Job]()
    for number in range(60):
        at += rng.choice([0, 0, 1])
        length = float(rng.randint(1, 15))
        demand = {"cpu": float(rng.choice([1, 1, 2, 4])), "memory": float(rng.choice([0, 0, 2]))}
        more = {
            "tags": frozenset(rng.choice(["", "", "t"])),
            "gang": f"g{number // 24}" if rng.random() < 1 / 6 else "",
        }
        jobs.append(Job(f"j{number}", at, length, demand, estimate=max(1.0, length + rng.randint(-4, 8)), **more))  # type: ignore[arg-type]  # keywords
    return jobs


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6).map(crowd), st.sampled_from([True, True, False]), st.sampled_from([3, 1000, 1000]))
def test_gangs_are_their_slow_twin_s(jobs: list[Job], backfill: bool, depth: int) -> None:
    fast, slow = (made(jobs, backfill=backfill, depth=depth) for made in (Gangs, SlowGangs))
    assert simulated(fast, jobs) == simulated(slow, jobs)


def test_gangs_keep_to_the_slots_of_an_ant_beside_one_without_bounds() -> None:
    """That one ant runs any number of jobs takes no bound off the other."""
    cluster = Cluster((Ant("few", {"cpu": 9, "slots": 2}), Ant("many", {"cpu": 1})))
    outcome = run("gang", [Job(f"j{n}", 0.0, 5.0, {"cpu": 1}) for n in range(6)], cluster)
    assert sorted((one.start, one.ant) for one in outcome.jobs if one.ant == "few")[:3] == [
        (0, "few"),
        (0, "few"),
        (5, "few"),
    ]


def planned(jobs: list[Job]) -> list[tuple[float, str]]:
    """Job by job in order of submission: each takes the earliest hole of any ant that may have it, of equal ones the
    first ant's."""
    held: dict[str, list[tuple[float, float, Job]]] = {ant.id: [] for ant in ANTS}
    found = []
    for job in jobs:
        demand = {"slots": 1.0, **job.demand}

        def fits(ant: Ant, at: float, job: Job = job, demand: dict[str, float] = demand) -> bool:
            steps = [at, *(s for s, _, _ in held[ant.id] if at < s < at + job.runtime)]
            for step in steps:
                there = [{"slots": 1.0, **other.demand} for s, e, other in held[ant.id] if s <= step < e]
                for name, amount in demand.items():
                    most = ant.capacity.get(name, float("inf") if name == "slots" else 0.0)
                    if sum(one.get(name, 0.0) for one in there) + amount > most:
                        return False
            return True

        able = [
            ant
            for ant in ANTS
            if job.tags <= ant.tags
            and all(ant.capacity.get(name, 0.0) >= amount for name, amount in job.demand.items())
        ]
        best = (float("inf"), "")
        for ant in able:
            moments = sorted({job.submit, *(end for _, end, _ in held[ant.id] if end > job.submit)})
            at = next(at for at in moments if fits(ant, at))
            if at < best[0]:
                best = at, ant.id
        if able:
            held[best[1]].append((best[0], best[0] + job.runtime, job))
        found.append(best)
    return found


@pytest.mark.parametrize("seed", [888, 1007])
def test_a_reservation_is_kept_where_nothing_runs_any_more(seed: int) -> None:
    """Every job runs in the end, where estimates were wrong and no end is left to wait for."""
    rng = Random(seed)
    tags = ("", "t")
    rows = [
        (rng.randint(0, 3), rng.randint(1, 12), rng.randint(-3, 6), rng.randint(1, 4), rng.choice(tags))
        for _ in range(rng.randint(5, 40))
    ]
    cluster = Cluster((Ant("x", {"cpu": 4}), Ant("y", {"cpu": 5}, frozenset({"t"})), Ant("z", {"cpu": 6, "slots": 2})))
    at, jobs = 0.0, list[Job]()
    for number, (gap, length, wrong, cpu, tag) in enumerate(rows):
        at += gap
        guess, wanted = float(max(1, length + wrong)), frozenset({tag} - {""})
        jobs.append(Job(f"j{number}", at, float(length), {"cpu": float(cpu)}, estimate=guess, tags=wanted))
    ran = Simulation(cluster, jobs, Conservative(submitted, 3)).run().jobs
    assert [one.job.id for one in ran if one.end is None and not one.reason] == []


@settings(deadline=None, max_examples=120)
@given(workloads(wrong=False))
def test_conservative_backfill_on_several_ants(jobs: list[Job]) -> None:
    """With true estimates each takes the earliest hole of all ants, also who needs none of what is used up."""
    jobs = [Job(job.id, job.submit, job.runtime, job.demand, tags=job.tags) for job in jobs]
    ran = Simulation(CLUSTER, jobs, Conservative(submitted, 1000)).run().jobs
    assert [(float("inf") if one.start is None else one.start, one.ant or "") for one in ran] == planned(jobs)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 10**6))
def test_what_is_known_of_holes_changes_no_answer(seed: int) -> None:
    """Whatever was taken, given back and asked for before: the earliest hole is that of a profile made anew."""
    rng = Random(seed)
    profile, held, now = Availability([5.0, 3.0]), list[tuple[float, float, states.Need]](), 0.0
    for _ in range(60):
        now += rng.choice([0, 0, 1])
        need: states.Need = tuple((index, float(rng.randint(1, most))) for index, most in ((0, 4), (1, 2)))[
            : rng.randint(1, 2)
        ]
        length = float(rng.choice([1, 2, 3, 5, 9]))
        fresh = Availability([5.0, 3.0])
        for start, end, other in held:
            fresh.take(start, end, other)
        before = rng.choice([float("inf"), now + rng.randint(0, 20)])
        found = profile.earliest(need, length, now, before)
        assert found == fresh.earliest(need, length, now, before)
        if found < float("inf") and rng.random() < 0.7:
            held.append((found, found + length, need))
            profile.take(*held[-1])
        if held and rng.random() < 0.2:
            start, end, need = held.pop(rng.randrange(len(held)))
            begin = max(start, now)
            profile.give_back(begin, max(begin, end), need)
        if rng.random() < 0.3:
            profile.forget(now)
        held = [one for one in held if one[1] > now]


@pytest.mark.parametrize("most", [3, 4096])
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_the_first_that_fits(most: int, seed: int) -> None:
    """Whatever began and ended since: it is the one that a look at every ant finds."""
    rng = Random(seed)
    ants = tuple(Ant(f"a{n}", {"cpu": rng.randint(1, 6)}, frozenset(rng.choice(["", "t"]))) for n in range(7))
    jobs = [
        Job(f"j{n}", 0.0, 1.0, {"cpu": float(rng.randint(1, 3))}, tags=frozenset(rng.choice(["", "", "t"])))
        for n in range(80)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "MOST_RELEASES", most)
        cluster = ClusterState.of(Cluster(ants), jobs)
        running: list[Entry] = []
        for number, job in enumerate(jobs):
            entry = Entry(number, job, cluster.shape_of(job))
            while running and rng.random() < 0.5:
                cluster.give_back(running.pop(rng.randrange(len(running))))
            ant = cluster.first_fit(entry.shape)
            assert ant is next((one for one in entry.shape.eligible if one.fits(entry.need)), None)
            if ant is not None:
                cluster.take(entry, ant)
                running.append(entry)


MOST_LOOKED_AT = 5
"""Jobs of one assignment all of whose ways are looked at."""


class SlowMatchmaking(Matchmaking):
    """All ants are looked at anew, and no assignment of the chosen jobs is better than the one that is made.

    An ant has as many places as it could take of the jobs, where all ask for the same, else one.
    """

    def _able(self, shape: Shape) -> list[int]:
        return [ant.number for ant in shape.eligible if ant.fits(shape.need)]

    def _assigned(self, jobs: Sequence[Entry]) -> list[tuple[Entry, AntState]]:
        made = super()._assigned(jobs)
        if len(jobs) > MOST_LOOKED_AT:
            return made
        able = {job.number: self._able(job.shape) for job in jobs}
        places = [0] * len(self.state.ants)
        alike = len({job.need for job in jobs}) == 1
        for job in jobs:
            for number in able[job.number]:
                free = self.state.ants[number].free
                fits = [n for n in range(1, len(jobs) + 1) if all(free[at] >= n * much for at, much in job.need)]
                places[number] = fits[-1] if alike else 1

        def best(first: int) -> tuple[int, float]:
            """How many of the jobs from this one on, and with which sum."""
            if first == len(jobs):
                return 0, 0.0
            found = best(first + 1)
            for number in able[jobs[first].number]:
                if places[number]:
                    places[number] -= 1
                    count, total = best(first + 1)
                    own = preference(jobs[first].job.prefer, self.state.ants[number])
                    found = max(found, (count + 1, total + own))
                    places[number] += 1
            return found

        assert best(0) == (len(made), pytest.approx(sum(preference(job.job.prefer, ant) for job, ant in made)))
        return made


@settings(deadline=None, max_examples=60)
@given(workloads())
def test_matchmaking_is_its_slow_twin_s(jobs: list[Job]) -> None:
    assert simulated(Matchmaking(200), jobs) == simulated(SlowMatchmaking(200), jobs)


PREEMPTIVE = {
    "priority": lambda job, left: -job.priority,
    "sjf": lambda job, left: left,
    "edf": lambda job, left: job.deadline,
    "llf": lambda job, left: job.deadline - left,
}


@pytest.mark.parametrize("policy", PREEMPTIVE)
@settings(deadline=None, max_examples=80)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 12), st.integers(1, 6), st.integers(0, 20), st.integers(0, 3)), min_size=1, max_size=9
    )
)
def test_preemption_second_by_second(policy: str, rows: list[tuple[int, int, int, int]]) -> None:
    """Each second the first in the order runs; who runs gives way only to who is strictly before it."""
    jobs = [
        Job(f"j{n}", float(at), float(length), priority=p, deadline=float(at + length + slack))
        for n, (at, length, slack, p) in enumerate(rows)
    ]
    rank, left = PREEMPTIVE[policy], [job.runtime for job in jobs]
    ends: list[float | None] = [None] * len(jobs)
    now, current = 0.0, -1
    while None in ends:
        waiting = [n for n, job in enumerate(jobs) if job.submit <= now and left[n] > 0 and n != current]
        if waiting:
            first = min(waiting, key=lambda n: (rank(jobs[n], left[n]), jobs[n].submit, n))
            if current < 0 or rank(jobs[first], left[first]) < rank(jobs[current], left[current]):
                current = first
        now += 1
        if current >= 0:
            left[current] -= 1
            if left[current] == 0:
                ends[current], current = now, -1
    assert [one.end for one in run(policy, jobs, preemptive="true").jobs] == ends
