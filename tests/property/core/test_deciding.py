"""Decisions by heaps against the obvious way: look at every queue and every ant for each decision."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.scheduling.candidates import CandidateQueue
from formicary.engine.scheduling.capacity import LeastLoaded, least_loaded
from formicary.engine.scheduling.concurrency import below_limit
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.fcfs import fcfs_within_priority
from formicary.engine.scheduling.pipeline import Policy, decide

TAGS = ("a", "b", "c")


@dataclass(eq=False, slots=True)
class Ant:
    """An ant as placement sees it."""

    id: int
    slots: int
    window: int
    tags: frozenset[str]
    draining: bool = False
    connected: bool = True
    held: dict[int, object] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Job:
    """A candidate; the follower is queued when it starts."""

    key: tuple[int, int, int]
    demand: Demand
    state: str = "PENDING"
    follower: "Job | None" = None


class World:
    """A view, and what applying a decision does to it."""

    def __init__(self, ants: list[tuple[int, int, int]], jobs: list[tuple[int, int, int, int]]) -> None:
        self.queues: dict[Demand, CandidateQueue] = {}
        self.fresh: dict[Demand, None] = {}
        self.ants = [
            Ant(at, slots, slots + more, frozenset(TAGS[: mask % 4])) for at, (slots, more, mask) in enumerate(ants)
        ]
        self.lists: dict[frozenset[str], list[Ant]] = {}
        self.running: dict[tuple[str, str], int] = {}
        for number, (priority, mask, gate, follows) in enumerate(jobs):
            demand = Demand("", frozenset(TAGS[: mask % 4]), ("org", "limited") if gate == 0 else None)
            job = Job(fcfs_within_priority(priority, number, 0), demand)
            if follows:
                job.follower = Job(
                    fcfs_within_priority(priority, number, 1), Demand("", frozenset(TAGS[: follows % 4]))
                )
            self.queue(job)

    def queue(self, job: Job) -> None:
        self.queues.setdefault(job.demand, CandidateQueue()).push(job.key, job)
        self.fresh[job.demand] = None

    def ants_for(self, demand: Demand) -> list[Ant]:
        found = self.lists.get(demand.tags)
        if found is None:
            found = self.lists[demand.tags] = [ant for ant in self.ants if demand.tags <= ant.tags]
        return found

    def running_of(self, gate: tuple[str, str]) -> int:
        return self.running.get(gate, 0)

    def limit_of(self, gate: tuple[str, str]) -> int:
        return 2

    def apply(self, job: Job, ant: Ant) -> tuple[tuple[int, int, int], int]:
        job.state = "EXECUTING"
        ant.held[len(ant.held)] = job
        if job.demand.gate is not None:
            self.running[job.demand.gate] = self.running_of(job.demand.gate) + 1
        if job.follower is not None:
            self.queue(job.follower)
        return job.key, ant.id


def fast(world: World, slice_: int) -> Iterator[tuple[tuple[int, int, int], int]]:
    policy = Policy((below_limit,), fcfs_within_priority, LeastLoaded)
    while True:
        made = 0
        for decision in decide(world, policy):  # type: ignore[arg-type]  # a World is a View of its ants
            yield world.apply(decision.candidate, decision.ant)  # type: ignore[arg-type]  # they are its own
            made += 1
            if made == slice_:
                break
        if made < slice_:
            return


def slow(world: World) -> Iterator[tuple[tuple[int, int, int], int]]:
    closed: set[Demand] = set()
    while True:
        heads = [
            (head[:3], demand)
            for demand, queue in world.queues.items()
            if demand not in closed and (head := queue.head())
        ]
        if not heads:
            return
        _, demand = min(heads, key=lambda one: one[0])
        ant = least_loaded(world.ants_for(demand)) if below_limit(world, demand) else None  # type: ignore[arg-type]  # as above
        if ant is None:
            closed.add(demand)
            continue
        job = world.queues[demand].pop()[4]
        yield world.apply(job, ant)  # type: ignore[arg-type]  # they are its own


ANTS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 3)), max_size=5)
JOBS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), max_size=25)


@given(ANTS, JOBS, st.integers(1, 9))
def test_the_same_decisions_in_the_same_order(
    ants: list[tuple[int, int, int]], jobs: list[tuple[int, int, int, int]], slice_: int
) -> None:
    """Who goes first and where, with limits and with tasks that are queued by what starts, in slices of any size."""
    assert list(fast(World(ants, jobs), slice_)) == list(slow(World(ants, jobs)))
