"""Fair shares and turns: textbook examples, bounds of the papers, slow twins."""

import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.scheduling.policies import fair
from formicary.engine.scheduling.policies.fair import (
    DeficitRoundRobin,
    Share,
    StartTags,
    Stride,
    WeightedFairQueue,
    lottery,
    max_min,
    max_min_tree,
)


def test_max_min_of_the_textbook() -> None:
    """Keshav, "An Engineering Approach to Computer Networking", 9.2: demands 2, 2.6, 4, 5 on 10."""
    shares = max_min(10, {"a": 2, "b": 2.6, "c": 4, "d": 5})
    assert shares == pytest.approx({"a": 2, "b": 2.6, "c": 2.7, "d": 2.7})


def test_weighted_max_min_of_the_textbook() -> None:
    """The same book, weighted: demands 4, 2, 10, 4 with weights 2.5, 4, 0.5, 1 on 16 give 4, 2, 6, 4."""
    shares = max_min(16, {"a": 4, "b": 2, "c": 10, "d": 4}, {"a": 2.5, "b": 4, "c": 0.5, "d": 1})
    assert shares == pytest.approx({"a": 4, "b": 2, "c": 6, "d": 4})


CLAIMS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), min_size=1, max_size=6)


@given(st.integers(0, 80), CLAIMS)
def test_max_min_against_the_slow_twin(capacity: int, claims: list[tuple[int, int]]) -> None:
    """One pass gives what filling level by level in exact numbers gives."""
    shares = dict.fromkeys(range(len(claims)), Fraction(0))
    left = Fraction(capacity)
    while left > 0:
        hungry = [i for i, (demand, _) in enumerate(claims) if shares[i] < demand]
        if not hungry:
            break
        total = sum(claims[i][1] for i in hungry)
        step = min([left / total, *((claims[i][0] - shares[i]) / claims[i][1] for i in hungry)])
        for i in hungry:
            shares[i] += step * claims[i][1]
        left -= step * total
    found = max_min(
        capacity, {str(i): d for i, (d, _) in enumerate(claims)}, {str(i): w for i, (_, w) in enumerate(claims)}
    )
    assert found == pytest.approx({str(i): float(share) for i, share in shares.items()})


def test_a_tree_shares_level_by_level() -> None:
    """Two departments get a half each, however many people one has."""
    people = tuple(Share(f"a{i}", demand=100) for i in range(4))
    shares = max_min_tree(100, Share("all", children=(Share("a", children=people), Share("b", demand=100))))
    assert shares == pytest.approx({"a0": 12.5, "a1": 12.5, "a2": 12.5, "a3": 12.5, "b": 50})


JOBS = st.lists(st.integers(1, 9), min_size=30, max_size=60)


@given(JOBS, JOBS, st.integers(1, 5))
def test_weighted_fair_queueing_keeps_its_bound(a: list[int], b: list[int], weight: int) -> None:
    """While both wait, service per weight differs by at most one largest job of each (Golestani 1994)."""
    queue: WeightedFairQueue[int] = WeightedFairQueue()
    for size in a:
        queue.push("a", size, size, weight)
    for size in b:
        queue.push("b", size, size)
    left, served = {"a": len(a), "b": len(b)}, {"a": 0.0, "b": 0.0}
    while left["a"] and left["b"]:
        flow, size = queue.pop()
        left[flow] -= 1
        served[flow] += size
        assert abs(served["a"] / weight - served["b"]) <= max(a) / weight + max(b) + 1e-9


@given(JOBS, JOBS, st.integers(1, 5))
def test_deficit_round_robin_keeps_its_bound(a: list[int], b: list[int], weight: int) -> None:
    """Theorem 2 of the paper: service per weight differs by at most quantum plus a largest job, for each flow."""
    robin: DeficitRoundRobin[int] = DeficitRoundRobin(quantum=9)
    for size in a:
        robin.push("a", size, size, weight)
    for size in b:
        robin.push("b", size, size)
    left, served = {"a": len(a), "b": len(b)}, {"a": 0.0, "b": 0.0}
    while left["a"] and left["b"]:
        flow, size = robin.pop()
        left[flow] -= 1
        served[flow] += size
        assert abs(served["a"] / weight - served["b"]) <= 9 + 2 * 9


def test_shares_match_weights_over_10000_decisions() -> None:
    """Within one per cent, for deficit round robin, stride and weighted fair queueing."""
    weights = {"gold": 5, "silver": 3, "bronze": 2}
    robin: DeficitRoundRobin[int] = DeficitRoundRobin()
    queue: WeightedFairQueue[int] = WeightedFairQueue()
    for name, weight in weights.items():
        for job in range(10_000):
            robin.push(name, job, 1, weight)
            queue.push(name, job, 1, weight)
    stride = Stride(weights)
    for turns in (
        Counter(robin.pop()[0] for _ in range(10_000)),
        Counter(queue.pop()[0] for _ in range(10_000)),
        Counter(stride.next() for _ in range(10_000)),
    ):
        for name, weight in weights.items():
            assert turns[name] == pytest.approx(weight * 1000, rel=0.01)


def test_stride_of_the_paper() -> None:
    """Figure 2 of the memo: 3, 2 and 1 tickets are served A B A A B C in six turns, and again."""
    stride = Stride({"A": 3, "B": 2, "C": 1})
    order = "".join(stride.next() for _ in range(12))
    assert order[:6] == "ABAABC" and order[6:] == order[:6]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(1, 300))
def test_stride_is_never_a_turn_off(tickets: list[int], turns: int) -> None:
    """Between any two clients the turns are less than one apart from what their tickets say, per pair."""
    stride = Stride({str(i): count for i, count in enumerate(tickets)})
    got = Counter(stride.next() for _ in range(turns))
    for i, mine in enumerate(tickets):
        for j, other in enumerate(tickets):
            assert abs(Fraction(got[str(i)], mine) - Fraction(got[str(j)], other)) <= max(
                Fraction(1, mine), Fraction(1, other)
            )


def test_a_newcomer_owes_nothing() -> None:
    """Who joins late neither catches up nor waits for the others' past."""
    stride = Stride({"old": 1})
    for _ in range(100):
        stride.next()
    stride.join("new", 1)
    assert Counter(stride.next() for _ in range(10)) == {"old": 5, "new": 5}
    stride.leave("old")
    assert stride.next() == "new" and stride.next(["new"]) == "new"


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(1, 300))
def test_start_tags_share_turns_within_one_of_each(weights: list[int], turns: int) -> None:
    """Goyal, Vin, Cheng, SIGCOMM 1996, theorem 1: what two got per weight differs by at most one turn of each."""
    tags, got = StartTags(), Counter[int]()
    for _ in range(turns):
        name = min(range(len(weights)), key=lambda one: (tags.tag(str(one)), one))
        tags.served(str(name), weights[name])
        got[name] += 1
    for i, mine in enumerate(weights):
        for j, other in enumerate(weights):
            assert abs(got[i] / mine - got[j] / other) <= 1 / mine + 1 / other + 1e-9


def test_start_tags_forget_those_who_have_been_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is bounded, and who was away for long is owed one turn at most."""
    monkeypatch.setattr(fair, "MOST_ENDS", 10)
    tags = StartTags()
    for number in range(1000):
        tags.served(f"once {number}")
        tags.served("always")
    assert len(tags._ends) <= 11
    assert tags.tag("always") - tags.tag("once 0") <= 1


def test_lottery_is_fair_and_seeded() -> None:
    """A quarter of the tickets wins a quarter of 20,000 draws within three standard deviations; a seed fixes all."""
    rng = random.Random(7)
    wins = Counter(lottery({"a": 3, "b": 1, "none": 0}, rng) for _ in range(20_000))
    assert wins["none"] == 0 and abs(wins["b"] - 5000) < 3 * (20_000 * 0.25 * 0.75) ** 0.5
    assert [lottery({"a": 1, "b": 1}, random.Random(s)) for s in range(20)] == [
        lottery({"b": 1, "a": 1}, random.Random(s)) for s in range(20)
    ]


@pytest.mark.parametrize("tickets", [{}, {"a": 0}, {"a": -1, "b": 2}])
def test_a_lottery_without_tickets_is_refused(tickets: dict[str, float]) -> None:
    """No winner can be drawn."""
    with pytest.raises(ValueError, match="ticket"):
        lottery(tickets, random.Random(1))
