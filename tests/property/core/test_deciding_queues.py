"""Decisions by configured queues: never too much on an ant, nobody left out who could start, order as asked."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import inf
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.jobs.amounts import Needs
from formicary.engine.scheduling.candidates import CandidateQueue
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.policies.drf import dominant_share
from formicary.engine.scheduling.queues.deciding import Deciding, GangDecision
from formicary.engine.scheduling.queues.ledger import Ledger
from formicary.engine.scheduling.queues.reading import read_queues

A = "- {name: a, guaranteed: 50, maximum: 75, weight: 2, priority: 1}\n"
QUEUES = f"queues:\n{A}- {{name: b, guaranteed: 25}}\ndefault: b\n"
POLICIES = (
    "policy: fcfs\n" + QUEUES,
    "policy: priority\nset: {aging: 1}\nplacement: best_fit\n" + QUEUES,
    "policy: multilevel\nplacement: worst_fit\n" + QUEUES,
    "policy: multilevel\nset: {mode: weighted}\nplacement: first_fit\n" + QUEUES,
    "policy: capacity\n" + QUEUES,
    "policy: fair\nset: {by: queue}\n" + QUEUES,
    "policy: drf\n" + QUEUES,
    "policy: lottery\nset: {by: queue}\n" + QUEUES,
)


@dataclass(eq=False)
class Ant:
    """An ant as decisions see it."""

    slots: int
    resources: dict[str, float]
    tags: frozenset[str]
    window: int = 99
    draining: bool = False
    connected: bool = True
    methods: frozenset[str] = frozenset()
    labels: dict[str, str] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    held: dict[int, Demand] = field(default_factory=dict)


@dataclass(eq=False)
class Job:
    """A candidate; with `members` a gang."""

    number: int
    demand: Demand
    members: tuple[Demand, ...] = ()
    state: str = "READY"
    waiting_since: float = 0.0
    waited: bool = False

    @property
    def least(self) -> int:
        """All of them."""
        return len(self.members)


class World:
    """A view and what its decisions do."""

    def __init__(self, source: str, ants: list[Ant], jobs: list[Job]) -> None:
        found = read_queues(source)
        assert found.queues is not None, found.violations
        self.config, self.ants, self.jobs, self.version = found.queues, ants, jobs, 0
        self.given = 0
        self.fresh: dict[Demand, None] = {}
        self.queues: dict[Demand, CandidateQueue] = {}
        self.ledger = Ledger()
        self.promised = Ledger() if found.queues.quality_of_service else self.ledger
        self.deciding = Deciding(found.queues, self.ledger, promised=self.promised)
        self.chosen: list[tuple[int, int]] = []
        """Number of the job and of its ant, of those that ask for amounts, in order."""
        self.lists: dict[Demand, list[Ant]] = {}
        self.started: list[Job] = []
        for job in jobs:
            self.queues.setdefault(job.demand, CandidateQueue()).push((0, job.number, 0), job)

    def ants_for(self, demand: Demand) -> list[Ant]:
        if demand not in self.lists:
            self.lists[demand] = [ant for ant in self.ants if demand.fits(ant)]
        return self.lists[demand]

    @property
    def versions(self) -> tuple[int, int]:
        return self.version, 0

    def all_ants(self) -> list[Ant]:
        return self.ants

    def running_of(self, gate: tuple[str, str]) -> int:
        return 0

    def limit_of(self, gate: tuple[str, str]) -> int:
        return 1

    def permits(self, gate: tuple[str, str]) -> bool:
        return True

    def run(self) -> None:
        """One round to its end."""
        for decision in self.deciding.decide(self, 0.0, Random(1)):  # type: ignore[arg-type]  # a view of its own ants
            if decision is None:
                continue
            job: Job = decision.candidate  # type: ignore[assignment]  # the only candidates there are
            job.state = "STARTED"
            self.started.append(job)
            if isinstance(decision, GangDecision):
                assert len(decision.ants) == len(job.members), "a gang is placed whole"
                for ant, member in zip(decision.ants, job.members, strict=True):
                    self.give(ant, job, member)  # type: ignore[arg-type]  # of this view
            else:
                self.give(decision.ant, job, job.demand)  # type: ignore[arg-type]  # of this view
            self.check()

    def give(self, ant: Ant, job: Job, demand: Demand) -> None:
        assert demand.fits(ant)
        self.given += 1
        ant.held[self.given] = demand
        for name, amount in demand.needs:
            ant.used[name] = ant.used.get(name, 0.0) + amount
        group = job.demand.queue if self.config.apart else ""
        self.ledger.take((job.demand.queue, group, job.demand.tenant, demand.needs))
        if not job.demand.best_effort:
            self.chosen.append((job.number, self.ants.index(ant)))
            if self.promised is not self.ledger:
                self.promised.take((job.demand.queue, group, job.demand.tenant, demand.needs))
        elif self.deciding.config.rule.policy != "capacity":  # where a maximum may keep something waiting
            asking = [one for one in self.jobs if one.state == "READY" and not one.demand.best_effort]
            assert not [one for one in asking if self.could_start(one)], "best-effort took a place from them"

    def end(self, ant: Ant) -> None:
        """What the ant was given first has ended."""
        demand = ant.held.pop(min(ant.held))
        for name, amount in demand.needs:
            ant.used[name] -= amount
        self.ledger.give((demand.queue, demand.queue if self.config.apart else "", demand.tenant, demand.needs))
        self.deciding.given_back(ant)
        self.version += 1

    def check(self) -> None:
        for ant in self.ants:
            assert len(ant.held) <= ant.slots
            assert all(amount <= ant.resources.get(name, 0.0) + 1e-6 for name, amount in ant.used.items())
        if self.config.rule.policy == "capacity":
            totals = self.deciding.totals(self)  # type: ignore[arg-type]  # a view of its own ants
            assert dominant_share(self.ledger.of_queue("a"), totals) <= 0.75 + 1e-6

    def could_start(self, job: Job) -> bool:
        """A slow look: some ant has room for it."""
        return any(
            job.demand.fits(ant)
            and len(ant.held) < ant.slots
            and all(
                ant.used.get(name, 0.0) + amount <= ant.resources.get(name, 0.0) + 1e-9
                for name, amount in job.demand.needs
            )
            for ant in self.ants
        )


def needs(cpu: int, memory: int) -> Needs:
    return tuple((name, float(amount)) for name, amount in (("cpu", cpu), ("memory", memory)) if amount)


ANTS = st.lists(
    st.builds(
        lambda slots, cpu, memory, big: Ant(
            slots, {"cpu": float(cpu), "memory": float(memory)}, frozenset({"big"} if big else ())
        ),
        st.integers(1, 4),
        st.integers(0, 6),
        st.integers(0, 6),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)
SHAPES = st.tuples(
    st.integers(0, 3), st.integers(0, 3), st.booleans(), st.sampled_from("ab"), st.integers(0, 5), st.integers(0, 9)
)


def jobs_of(source: str, shapes: list[tuple[int, int, bool, str, int, int]], *, gangs: bool) -> list[Job]:
    found = []
    for number, (cpu, memory, big, queue, gang, user) in enumerate(shapes):
        member = Demand("", frozenset({"big"} if big else ()), needs=needs(cpu, memory))
        tenant = f"u{user % 3}" if "drf" in source else ""
        level = user if "aging" in source else 0
        if gangs and gang > 3:
            demand = Demand("", frozenset({f"{gang}{member}"}), queue=queue, tenant=tenant, level=level, gang=True)
            found.append(Job(number, demand, (member,) * (gang - 2)))
        else:
            demand = Demand("", member.tags, needs=member.needs, queue=queue, tenant=tenant, level=level)
            found.append(Job(number, demand))
    return found


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(POLICIES), ANTS, st.lists(SHAPES, max_size=20))
def test_nothing_is_oversubscribed_and_nobody_who_could_start_is_left(
    source: str, ants: list[Ant], shapes: list[tuple[int, int, bool, str, int, int]]
) -> None:
    world = World(source, ants, jobs_of(source, shapes, gangs=False))
    world.run()
    if "capacity" not in source:  # where a maximum may keep something waiting
        assert not [job for job in world.jobs if job.state == "READY" and world.could_start(job)]
    for demand in world.queues:
        numbers = [job.number for job in world.started if job.demand == demand]
        assert numbers == sorted(numbers), "first come, first served among equals"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(POLICIES), ANTS, st.lists(SHAPES, max_size=40), st.randoms(use_true_random=False))
def test_what_was_full_is_asked_about_again_once_it_matters(
    source: str, ants: list[Ant], shapes: list[tuple[int, int, bool, str, int, int]], rng: Random
) -> None:
    """Rounds remember which demands no ant had room for: none may be forgotten when an ant is given something back."""
    world = World(source, ants, jobs_of(source, shapes, gangs=False))
    later = [job for job in world.jobs if rng.random() < 0.3]
    for job in later:
        job.state = "LATER"
    for _ in range(12):
        world.run()
        if "capacity" not in source:
            assert not [job for job in world.jobs if job.state == "READY" and world.could_start(job)]
        for job in [job for job in later if job.state == "LATER" and rng.random() < 0.2]:
            job.state = "READY"
            world.queues[job.demand].push((0, job.number, 0), job)
        busy = [ant for ant in world.ants if ant.held]
        for ant in rng.sample(busy, min(len(busy), rng.randint(0, 2))):
            world.end(ant)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(POLICIES), ANTS, st.lists(SHAPES, max_size=30))
def test_those_that_ask_for_amounts_start_as_if_there_were_no_others(
    source: str, ants: list[Ant], shapes: list[tuple[int, int, bool, str, int, int]]
) -> None:
    """The slow way: the same colony without the best-effort jobs."""
    source = f"{source}quality_of_service: true\n"
    jobs = jobs_of(source, shapes, gangs=False)
    for job in jobs:
        job.demand = replace(job.demand, best_effort=not job.demand.needs)
    alone = World(source, deepcopy(ants), [Job(one.number, one.demand) for one in jobs if not one.demand.best_effort])
    alone.run()
    world = World(source, ants, jobs)
    world.run()
    assert world.chosen == alone.chosen
    if "capacity" not in source:
        assert not [job for job in world.jobs if job.state == "READY" and world.could_start(job)]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(POLICIES), ANTS, st.lists(SHAPES, max_size=12))
def test_gangs_start_whole_and_all_that_fit_start_in_the_end(
    source: str, ants: list[Ant], shapes: list[tuple[int, int, bool, str, int, int]]
) -> None:
    """Rounds go on while what runs ends: whatever fits into an empty colony has its turn, large gangs too."""
    world = World(source.replace("capacity", "fcfs"), ants, jobs_of(source, shapes, gangs=True))
    for _ in range(len(shapes) + 1):
        world.run()
        for ant in world.ants:  # all that runs ends
            ant.held.clear()
            ant.used.clear()
            world.deciding.given_back(ant)
        world.ledger.queues.clear()
        world.ledger.tenants.clear()
        world.ledger.running.clear()
        world.version += 1
    alone = [job for job in world.jobs if job.state == "READY"]
    for job in alone:
        members = job.members or (job.demand,)
        empty = World(source.replace("capacity", "fcfs"), ants, [Job(0, job.demand, job.members)])
        empty.run()
        assert not empty.started, (members, "fits into an empty colony and never started")
        for ant in world.ants:
            ant.held.clear()
            ant.used.clear()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("uvw"), st.integers(0, 5), st.integers(0, 2)), max_size=15),
    st.lists(st.tuples(st.sampled_from("uvw"), st.booleans()), max_size=10),
    st.sampled_from(["", ", weights: {u: 2}"]),
)
def test_fair_deadlines_start_in_the_order_of_a_slow_look(
    rows: list[tuple[str, int, int]], told: list[tuple[str, bool]], weights: str
) -> None:
    """Users and deadlines (5 = none), each waiting for one of several demands: the next is looked for among all."""
    world = World(f"policy: edf\nset: {{fair_by: user{weights}}}\n", [Ant(99, {}, frozenset())], [])
    for user, is_missed in told:
        world.deciding.misses.record(("", user), missed=is_missed)
    for number, (user, due, kind) in enumerate(rows):
        demand = Demand(f"m{kind}", frozenset(), queue="default", tenant=user)
        job = Job(number, demand)
        world.jobs.append(job)
        world.queues.setdefault(demand, CandidateQueue()).push((float(due) if due < 5 else inf, number, 0), job)
    world.ants[0].methods = frozenset({"m0", "m1", "m2"})
    world.run()
    waiting, expected = list(enumerate(rows)), []
    while waiting:
        firsts = {
            user: min((due if due < 5 else inf, n) for n, (who, due, _) in waiting if who == user)
            for _, (user, _, _) in waiting
        }
        ranks = {
            user: world.deciding.misses.rank(("", user), 2.0 if user == "u" and weights else 1.0, first[0])
            for user, first in firsts.items()
        }
        user = min(firsts, key=lambda one: (ranks[one], one))
        expected.append(firsts[user][1])
        waiting = [row for row in waiting if row[0] != expected[-1]]
    assert [job.number for job in world.started] == expected
