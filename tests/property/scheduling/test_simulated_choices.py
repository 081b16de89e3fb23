"""What is kept from decision to decision about queues and running jobs, against a look at all of them."""

from collections.abc import Iterator
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.policies.capacity_tree import CapacityTree, Queue, Running, TreeTurns
from formicary.engine.scheduling.serving import Owed, Serving
from formicary.engine.scheduling.simulation.engine import Simulation
from formicary.engine.scheduling.simulation.policy import Decision, Key
from formicary.engine.scheduling.simulation.queueing import Ordered
from formicary.engine.scheduling.simulation.registry import by_priority
from formicary.engine.scheduling.simulation.runners import Runners
from formicary.engine.scheduling.simulation.state import TINY, AntState, ClusterState, Entry
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job
from tests.property.scheduling.test_simulation import run

TREE = CapacityTree(
    [
        Queue("a", guaranteed=50, maximum=75),
        Queue("b", guaranteed=30),
        Queue("c", guaranteed=0, maximum=40),
        Queue("b1", "b", guaranteed=60),
        Queue("b2", "b", guaranteed=40, maximum=50, hard_limit=0.125, burst=0.0625),
        Queue("a1", "a", guaranteed=100, user_factor=1.25),
    ]
)
LEAVES = TREE.leaves()
SIZES = [1 / 16, 1 / 8, 3 / 32]
"""Sums of them are exact."""


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 10**6))
def test_what_is_known_of_a_tree_is_what_its_sums_say(seed: int) -> None:
    """Whatever changed before: the same queue is next, and the same is refused."""
    rng, used, turns = Random(seed), dict[str, float](), TreeTurns()
    serving = Serving(TREE, 1.0, used)
    for _ in range(40):
        leaf, amount = rng.choice(LEAVES), rng.choice(SIZES)
        waiting = rng.sample(LEAVES, rng.randint(0, len(LEAVES)))
        assert serving.first(waiting, turns) == TREE.first(1.0, used, waiting, turns)
        assert serving.refuses(leaf, amount) == (TREE.refusal(leaf, 1.0, used, amount) is not None)
        path = [queue.name for queue in TREE.path(leaf)]
        over = any(TREE.total(name, used) + amount > TREE.ceiling(name, 1.0) + 1e-9 for name in path)
        assert serving.exceeds(leaf, amount) == over
        used[leaf] = max(0.0, used.get(leaf, 0.0) + rng.choice([-1, 1, 1]) * amount)
        serving.change(leaf, used[leaf])
        TREE.turn(leaf, turns)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 10**6))
def test_what_is_owed_is_what_the_tree_would_take(seed: int) -> None:
    """Whatever began and ended before: the same jobs have to go, in the same order."""
    rng, owed, running, number = Random(seed), Owed(TREE), list[Running](), count()
    for _ in range(60):
        if running and (sum(one.amount for one in running) > 0.9 or rng.random() < 0.3):
            owed.ended(running.pop(rng.randrange(len(running))))
        else:
            job = Running(str(next(number)), rng.choice(LEAVES), rng.choice(SIZES), rng.randint(0, 2), rng.random())
            running.append(job)
            owed.began(job)
        pending = {leaf: rng.choice([0.0, 0.1, 1.5]) for leaf in rng.sample(LEAVES, rng.randint(0, len(LEAVES)))}
        sizes = {leaf: rng.choice(SIZES) for leaf in pending}
        due = TREE.reclaim(1.0, running, pending, sizes=sizes)
        assert [job.id for job in owed.victims(pending, sizes)] == [one.id for one in due]


def slow_victims(
    runners: Runners, ants: list[AntState], entry: Entry, key: Key, blocked: set[int], now: float
) -> tuple[int, list[str]] | None:
    """Every ant is looked at, and all that runs on it is sorted anew."""
    best: tuple[int, list[str]] | None = None
    best_at: tuple[float, ...] = ()
    for ant in ants:
        if ant.number in blocked or ant not in entry.shape.eligible:
            continue
        room, taken = list(ant.free), list[Entry]()
        for one in sorted(ant.running.values(), key=lambda one: runners.key(one, now), reverse=True):
            if all(room[index] + TINY >= amount for index, amount in entry.need):
                break
            if runners.key(one, now)[0] <= key[0] + TINY:
                break
            taken.append(one)
            for index, amount in one.need:
                room[index] += amount
        if taken and all(room[index] + TINY >= amount for index, amount in entry.need):
            at = (len(taken), *(-part for part in runners.key(taken[-1], now)))
            if best is None or at < best_at:
                best, best_at = (ant.number, [one.job.id for one in taken]), at
    return best


@pytest.mark.parametrize("drift", [0, -1, 1])
@pytest.mark.parametrize("stands", [True, False])
@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 10**6))
def test_who_makes_room_is_who_a_look_at_all_finds(drift: int, stands: bool, seed: int) -> None:
    """Also where some run longer than expected, so that their rank is smaller than its bound."""
    rng, now = Random(seed), 0.0

    def key(entry: Entry, at: float) -> Key:
        ran = at - entry.since if entry.ant is not None and not stands else 0.0
        ran = min(ran, entry.expected_left) if drift > 0 else ran
        return (entry.job.priority + drift * ran, entry.job.submit, entry.number)

    ants = tuple(Ant(f"a{n}", {"cpu": rng.randint(2, 6)}, frozenset(rng.choice(["", "t"]))) for n in range(5))
    jobs = [
        Job(
            f"j{n}",
            float(n // 3),
            float(rng.randint(1, 9)),
            {"cpu": float(rng.randint(1, 3))},
            priority=rng.choice([0, 1, 2, 4.5]),
            tags=frozenset(rng.choice(["", "", "t"])),
        )
        for n in range(50)
    ]
    state = ClusterState.of(Cluster(ants), jobs)
    runners = Runners(key, drift=0 if stands else drift, stands=stands)
    running: list[Entry] = []
    for number, job in enumerate(jobs):
        now += rng.choice([0, 0.5, 2])
        entry = Entry(number, job, state.shape_of(job))
        blocked = set(rng.sample(range(5), rng.randint(0, 2)))
        place = state.first_fit(entry.shape)
        if place is None and entry.shape.eligible:
            own = key(entry, now)
            made = runners.victims(entry, own, blocked, now)
            found = None if made is None else (made[0].number, [one.job.id for one in made[1]])
            assert found == slow_victims(runners, state.ants, entry, own, blocked, now)
            for victim in made[1] if made is not None else ():
                assert victim.ant is not None
                runners.remove(victim, victim.ant)
                state.give_back(victim)
                victim.ant = None
                running.remove(victim)
            place = made[0] if made is not None else None
        if place is not None:
            state.take(entry, place)
            entry.since = now
            runners.add(entry, place, now)
            running.append(entry)
        if running and rng.random() < 0.3:
            one = running.pop(rng.randrange(len(running)))
            assert one.ant is not None
            runners.remove(one, one.ant)
            state.give_back(one)
            one.ant = None


class Watched(Ordered):
    """Remembers when it was asked."""

    def __init__(self) -> None:
        super().__init__(by_priority, preemptive=True)
        self.asked: set[float] = set()

    def decide(self, now: float) -> Iterator[Decision]:
        self.asked.add(now)
        return super().decide(now)


def test_the_end_of_a_run_that_was_cut_short_is_no_event() -> None:
    """Low would have ended at 10, but gave way at 4 and ends at 12: nothing happens at 10."""
    policy = Watched()
    jobs = [Job("low", 0, 10, priority=0), Job("high", 4, 2, priority=9), Job("waits", 5, 1, priority=0)]
    outcome = Simulation(Cluster((Ant("a", {"slots": 1}),)), jobs, policy).run()
    assert [ran.end for ran in outcome.jobs] == [12, 6, 13]
    assert policy.asked == {0, 4, 5, 6, 12, 13}
    assert (outcome.events, outcome.preemptions) == (7, 1)


@pytest.mark.parametrize("part", [3, 7])
def test_an_attempt_that_is_due_at_once_by_rounding_is_made_once(part: int) -> None:
    """Where times are no sums of powers of two the next attempt is later all the same, and the run ends."""
    jobs = [Job(f"j{n}", n / part, 50 + n / part, priority=n % 10) for n in range(40)]
    outcome = run("priority", jobs, degrade="log")
    assert all(ran.end is not None for ran in outcome.jobs)
