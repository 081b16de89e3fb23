"""Affinity between tasks by counts, against the obvious way: look at all that runs for each question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.queen.core.core import POLICY
from formicary.engine.scheduling.affinity import Affinity, Held, Neighbours, Term, _encode
from formicary.engine.scheduling.candidates import CandidateQueue
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import decide
from formicary.engine.scheduling.queues.deciding import Deciding
from formicary.engine.scheduling.queues.ledger import Ledger
from formicary.engine.scheduling.queues.reading import read_queues

COLOURS = ("red", "blue")
ZONES = ("eu", "us", None)
QUEUES = ("", "policy: fcfs\n", "policy: fcfs\nplacement: best_fit\n")


@dataclass(eq=False)
class Ant:
    """An ant as decisions see it."""

    id: str
    neighbours: Neighbours
    labels: dict[str, str]
    slots: int
    window: int = 0
    is_known: bool = True
    draining: bool = False
    connected: bool = True
    methods: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    resources: dict[str, float] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    held: dict[int, Job] = field(default_factory=dict)

    def zone(self, key: str) -> str | None:
        return self.id if key == "ant" else self.labels.get(key)


@dataclass(eq=False)
class Job:
    """A candidate."""

    number: int
    asks: Affinity
    state: str = "READY"
    waiting_since: float = 0.0

    @property
    def text(self) -> str:
        return _encode(self.asks).decode()


class World:
    """A view, what its decisions do, and the slow way to look at it."""

    def __init__(self, source: str, slots: list[tuple[int, str | None]], asks: list[Affinity]) -> None:
        self.book = Neighbours(lambda org, job: self.granted())
        self.ants = [
            Ant(f"a{at}", self.book, {"zone": zone} if zone else {}, most, most)
            for at, (most, zone) in enumerate(slots)
        ]
        self.jobs = [Job(number, one) for number, one in enumerate(asks)]
        self.fresh: dict[Demand, None] = {}
        self.queues: dict[Demand, CandidateQueue] = {}
        self.lists: dict[Demand, list[Ant]] = {}
        self.version = 0
        found = read_queues(source) if source else None
        queue = "default" if source else ""
        self.deciding = Deciding(found.queues, Ledger()) if found is not None and found.queues is not None else None
        for job in self.jobs:
            demand = Demand("", frozenset(), queue=queue, affinity=job.text)
            self.queues.setdefault(demand, CandidateQueue()).push((0, job.number, 0), job)

    def granted(self) -> Iterator[Held]:
        for ant in self.ants:
            for job in ant.held.values():
                yield self.as_held(job, ant)

    def as_held(self, job: Job, ant: Ant) -> Held:
        return Held(job.number, "org", job.asks.labels, job.text, ant)

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
        """One round to its end; each decision is looked at the slow way first."""
        if self.deciding is not None:
            decisions = self.deciding.decide(self, 0.0, Random(1))  # type: ignore[arg-type]  # a view of its own ants
        else:
            decisions = decide(self, POLICY)  # type: ignore[arg-type]  # a view of its own ants
        for decision in decisions:
            if decision is None:
                continue
            job: Job = decision.candidate  # type: ignore[assignment]  # the only candidates there are
            ant: Ant = decision.ant  # type: ignore[union-attr,assignment]  # there are no gangs
            assert len(ant.held) < ant.slots and self.admits(job, ant), (job, ant)
            best = max(
                self.score(job, other) for other in self.ants if self.admits(job, other) and self.has_slot(other)
            )
            assert self.score(job, ant) == best
            job.state = "STARTED"
            ant.held[job.number] = job
            self.book.take(self.as_held(job, ant))
        left = [job for job in self.jobs if job.state == "READY" and any(map(self.may_go(job), self.ants))]
        assert not left, "nobody who could start is left"

    def may_go(self, job: Job):  # type: ignore[no-untyped-def]  # a predicate over ants
        return lambda ant: self.has_slot(ant) and self.admits(job, ant)

    def has_slot(self, ant: Ant) -> bool:
        return len(ant.held) < ant.slots

    def end(self, job: Job) -> None:
        ant = next(ant for ant in self.ants if job.number in ant.held)
        del ant.held[job.number]
        job.state = "OVER"
        self.book.leave(job.number)
        self.version += 1
        if self.deciding is not None:
            self.deciding.given_back(ant)  # type: ignore[arg-type]  # of this view

    # --- the slow way -----------------------------------------------------------------------------------------------

    def others(self, term: Term, ant: Ant) -> list[Job]:
        """What runs in the domain of an ant and is selected."""
        here = ant.zone(term.key)
        near = [other for other in self.ants if here is not None and other.zone(term.key) == here]
        return [job for other in near for job in other.held.values() if matches(term, job)]

    def admits(self, job: Job, ant: Ant) -> bool:
        if any(self.others(term, ant) for term in job.asks.apart):
            return False
        for other in self.ants:
            for one in other.held.values():
                for term in one.asks.apart:
                    if (
                        matches(term, job)
                        and other.zone(term.key) is not None
                        and other.zone(term.key) == ant.zone(term.key)
                    ):
                        return False
        near = job.asks.near
        if not near:
            return True
        group = [one for other in self.ants for one in other.held.values() if all(matches(term, one) for term in near)]
        if not group and all(matches(term, job) for term in near):
            return all(ant.zone(term.key) is not None for term in near)
        return all(any(one in group for one in self.others(term, ant)) for term in near)

    def score(self, job: Job, ant: Ant) -> int:
        return sum(term.weight * len(self.others(term, ant)) for term in job.asks.preferred)


def matches(term: Term, job: Job) -> bool:
    return all(
        job.asks.labels.get(key) in values if operator == "In" else job.asks.labels.get(key) not in values
        for key, operator, values in term.match
    )


def terms(weight: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[Term, ...]]:
    one = st.builds(
        lambda key, operator, colour, size: Term(key, (("colour", operator, (colour,)),), size),
        st.sampled_from(("zone", "ant")),
        st.sampled_from(("In", "In", "NotIn")),
        st.sampled_from(COLOURS),
        weight,
    )
    return st.lists(one, max_size=2).map(tuple)


NONE = st.just(0)
ASKS = st.lists(
    st.builds(
        lambda colour, near, apart, preferred: Affinity("org", {"colour": colour}, near, apart, preferred),
        st.sampled_from(COLOURS),
        terms(NONE),
        terms(NONE),
        terms(st.integers(-3, 3)),
    ),
    max_size=12,
)
ANTS = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(ZONES)), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(QUEUES), ANTS, ASKS, st.randoms(use_true_random=False))
def test_the_same_as_the_slow_way(
    source: str, ants: list[tuple[int, str | None]], asks: list[Affinity], rng: Random
) -> None:
    """In both pipelines, while what runs ends: where each goes, that its score is the best, that nobody is left."""
    world = World(source, ants, asks)
    for _ in range(6):
        world.run()
        running = [job for ant in world.ants for job in ant.held.values()]
        for job in rng.sample(running, min(len(running), rng.randint(0, 3))):
            world.end(job)
        if rng.random() < 0.2:  # everything that was at hand is forgotten
            world.book._made, world.book._limit = 1, 0
            world.book.prune(lambda: [demand.affinity for demand in world.queues])
