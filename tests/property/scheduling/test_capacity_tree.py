"""Capacity queues: YARN's published cases, bad configurations, guarantees under any borrowing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.scheduling.policies.capacity_tree import (
    AGGRESSIVE,
    CapacityError,
    CapacityTree,
    Queue,
    Running,
    TreeTurns,
)


def running(**used: int) -> list[Running]:
    """So many jobs of one slot in each queue."""
    return [Running(f"{name}{i}", name, started=i) for name, count in used.items() for i in range(count)]


def tree(*shares: float, maximum: float = 100) -> CapacityTree:
    return CapacityTree(Queue("abcd"[i], guaranteed=share, maximum=maximum) for i, share in enumerate(shares))


def taken(found: list, queue: str) -> int:  # type: ignore[type-arg]  # of any preemption
    return sum(one.queue == queue for one in found)


def test_proportional_preemption_of_yarn() -> None:
    """TestProportionalCapacityPreemptionPolicy.testProportionalPreemption (YARN-569): 16 containers of A."""
    queues = tree(10, 40, 20, 30)
    demand = {"a": 50.0, "b": 65.0, "c": 30.0}
    assert queues.entitlements(100, demand) == pytest.approx({"a": 14.29, "b": 57.14, "c": 28.57, "d": 0}, abs=0.01)
    found = queues.reclaim(100, running(a=30, b=60, c=10), {"a": 20, "b": 5, "c": 20})
    assert taken(found, "a") == 16


def test_no_preemption_without_demand_of_yarn() -> None:
    """testIgnore: an imbalance that nobody suffers from is let be."""
    assert tree(40, 40, 20).reclaim(100, running(b=60, c=40), {}) == []


def test_preempt_cycle_of_yarn() -> None:
    """testPreemptCycle: A has nothing and wants 10; all of it comes from C, which holds the most above its share."""
    found = tree(40, 40, 20).reclaim(100, running(b=60, c=40), {"a": 10})
    assert len(found) == 10 and taken(found, "c") >= taken(found, "b")


def test_maximum_capacity_of_yarn() -> None:
    """testMaxCap: B is at its maximum of 45, so nothing is taken from A for its sake."""
    queues = CapacityTree([Queue("a", guaranteed=40), Queue("b", guaranteed=40, maximum=45), Queue("c", guaranteed=20)])
    assert taken(queues.reclaim(100, running(a=55, b=45), {"a": 10, "b": 10}), "a") == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from([100.0, 200.0]), st.lists(st.integers(0, 3).map(lambda n: n * 40.0), min_size=3, max_size=3)
        ),
        max_size=8,
    )
)
def test_what_is_remembered_is_what_is_found(asked: list[tuple[float, list[float]]]) -> None:
    """A tree that is asked again and again, for other capacities too, says what a new one says; so does `reclaim`."""

    def new() -> CapacityTree:
        return CapacityTree([Queue("p", guaranteed=60), Queue("a", "p", 50, 70), Queue("b", "p", 20), Queue("c")])

    old = new()
    for capacity, demands in asked:
        demand = dict(zip("abc", demands, strict=True))
        found = old.entitlements(capacity, demand)
        assert found == new().entitlements(capacity, demand)
        found["a"] = -1.0  # the answer is the caller's own
        assert old.reclaim(capacity, running(a=30, c=70), demand) == new().reclaim(
            capacity, running(a=30, c=70), demand
        )


def test_what_is_taken_first() -> None:
    """The lowest priority, then what started last; graceful gives time, aggressive none."""
    queues = tree(50, 50)
    jobs = [Running("old", "a", started=1), Running("new", "a", started=2), Running("vip", "a", priority=5, started=3)]
    jobs += [Running("x", "a", started=0)]
    assert [one.id for one in queues.reclaim(4, jobs, {"b": 2}, grace_s=30)] == ["new", "old"]
    together = [Running(name, "a", started=7, number=at) for at, name in enumerate(["x", "z", "y", "w"])]
    assert [one.id for one in queues.reclaim(4, together, {"b": 2})] == ["w", "y"], "the last that started first"
    assert {one.grace_s for one in queues.reclaim(4, jobs, {"b": 2}, grace_s=30)} == {30}
    assert {one.grace_s for one in queues.reclaim(4, jobs, {"b": 2}, mode=AGGRESSIVE)} == {0}


def test_elastic_borrowing_up_to_the_maximum() -> None:
    """A queue grows over its guarantee into what is free, and not over its maximum or a limit."""
    queues = CapacityTree(
        [
            Queue("a", guaranteed=20, maximum=60),
            Queue("b", guaranteed=80, hard_limit=30, burst=5, soft_limit=20),
        ]
    )
    assert queues.refusal("a", 100, {"a": 59}) is None
    assert queues.refusal("a", 100, {"a": 60}) == "queue a: 60 of at most 60 in use, 1 asked for"
    assert queues.refusal("b", 100, {"b": 34}) is None, "burst"
    assert queues.refusal("b", 100, {"b": 35}) == "queue b: 35 of at most 35 in use, 1 asked for"
    assert queues.refusal("b", 100, {"b": 20}, others_want=True) == (
        "queue b: 20 in use, soft limit 20, and other queues wait"
    )
    assert (queues.refusal("a", 100, {"a": 50, "b": 50}) or "").startswith("no capacity: 100 of 100")


def test_user_limits_of_the_documentation() -> None:
    """minimum-user-limit-percent 25: two users get 50 % each at most, three 33 %, four or more 25 %."""
    queues = CapacityTree([Queue("a", guaranteed=100, user_minimum=25, user_factor=1)])
    assert [queues.user_limit("a", 100, 100, users) for users in (1, 2, 3, 4, 8)] == pytest.approx(
        [100, 50, 100 / 3, 25, 25]
    )
    assert queues.refusal("a", 100, {"a": 60}, user_used=50, users=2) == "queue a: the user holds 50 of at most 50"


def test_most_under_served_first() -> None:
    """By use per guarantee at each level."""
    queues = CapacityTree(
        [
            Queue("eng", guaranteed=60),
            Queue("dev", "eng", guaranteed=50),
            Queue("qa", "eng", guaranteed=50),
            Queue("ops", guaranteed=40),
        ]
    )
    assert queues.order(100, {"dev": 10, "qa": 5, "ops": 20}, ["dev", "qa", "ops"]) == ["qa", "dev", "ops"]
    assert queues.guarantee("qa", 100) == 30


def test_every_violation_with_its_place() -> None:
    """Guarantees over 100 %, cycles, unknown parents, figures out of range: all at once."""
    with pytest.raises(CapacityError) as caught:
        CapacityTree(
            [
                Queue("a", guaranteed=70),
                Queue("b", guaranteed=40, maximum=30),
                Queue("c", "d"),
                Queue("d", "c"),
                Queue("e", "nobody"),
                Queue("a", guaranteed=-1),
            ]
        )
    found = {one.place: one.message for one in caught.value.violations}
    assert found == {
        "queues[1].maximum": "30 is below the guarantee of 40",
        "queues[2].parent": "a cycle: c -> d -> c",
        "queues[4].parent": "there is no queue 'nobody'",
        "queues[5].name": "'a' is also queues[0]",
        "queues[5].guaranteed": "must be 0-100 per cent, is -1",
        "queues": "guarantees below the root are 109 %, over 100 %",
    }


COUNTS = st.lists(st.integers(0, 40), min_size=4, max_size=4)


@given(COUNTS, COUNTS, st.lists(st.integers(0, 25), min_size=4, max_size=4))
def test_guarantees_hold_under_any_borrowing(use: list[int], wait: list[int], shares: list[int]) -> None:
    """Whatever was borrowed: after the reclaim each queue can hold the lesser of demand and guarantee."""
    queues = tree(*shares)
    used = dict(zip("abcd", use, strict=True))
    while sum(used.values()) > 100:
        used[max(used, key=lambda one: used[one])] -= 1
    pending = dict(zip("abcd", map(float, wait), strict=True))
    found = queues.reclaim(100, running(**used), pending)
    after = {name: used[name] - taken(found, name) for name in used}
    free = 100 - sum(after.values())
    owed = sum(max(0.0, min(shares[i], used[n] + pending[n]) - used[n]) for i, n in enumerate("abcd"))
    assert free >= owed - 1e-6
    ideal = queues.entitlements(100, {name: used[name] + pending[name] for name in used})
    for i, name in enumerate("abcd"):
        if taken(found, name):
            assert after[name] >= shares[i] - 1e-6, "nothing is taken from a guarantee"
        assert ideal[name] >= min(shares[i], used[name] + pending[name]) - 1e-6
    assert sum(ideal.values()) <= 100 + 1e-6


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.integers(2, 23),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=4, max_size=4),
)
def test_whole_jobs_are_taken_back_until_nothing_is_owed(
    shares: list[int], capacity: int, amounts: list[tuple[int, int]]
) -> None:
    """Whatever is free goes to who is served least; then nobody takes what the next one would take from him again."""
    queues = tree(*(100 * share / sum(shares) for share in shares))
    leaves = queues.leaves()
    holds = running(**{leaf: most for leaf, (most, _) in zip(leaves, amounts, strict=False)})[:capacity]
    waits = {leaf: float(count) for leaf, (_, count) in zip(leaves, amounts, strict=False)}
    turns: TreeTurns = {}
    for number in range(40):
        while len(holds) < capacity and any(waits.values()):
            used = {leaf: float(sum(one.queue == leaf for one in holds)) for leaf in leaves}
            leaf = queues.first(capacity, used, [leaf for leaf in leaves if waits[leaf]], turns)
            assert leaf is not None
            queues.turn(leaf, turns)
            waits[leaf] -= 1
            holds.append(Running(f"{leaf}-{number}-{len(holds)}", leaf, started=100 + number))
        gone = {one.id for one in queues.reclaim(capacity, holds, waits, sizes=dict.fromkeys(leaves, 1.0))}
        if not gone:
            break
        for one in [one for one in holds if one.id in gone]:
            waits[one.queue] += 1
        holds = [one for one in holds if one.id not in gone]
    else:
        raise AssertionError("they take from each other for ever")


def test_nothing_is_taken_that_helps_nobody() -> None:
    """D waits for 2 and is entitled to them; the single place that B has too many would only go back to B."""
    queues = CapacityTree(Queue(name, guaranteed=share) for name, share in zip("abcd", (10, 20, 30, 40), strict=True))
    sizes = {"a": 3.0, "b": 1.0, "c": 3.0, "d": 2.0}
    amounts = [("a", 3.0), ("b", 1.0), ("b", 1.0), ("b", 1.0), ("c", 3.0), ("d", 2.0)]
    holds = [Running(f"{name}{n}", name, amount, started=n) for n, (name, amount) in enumerate(amounts)]
    assert queues.reclaim(11, holds, {"a": 21, "b": 8, "c": 18, "d": 2}, sizes=sizes) == []
