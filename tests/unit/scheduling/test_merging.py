"""Lines of those who share, merged into the order in which they are expected to start."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.scheduling.queues.merging import by_shares, by_weights

LINES = {"a": [(1.0, f"a{at}") for at in range(4)], "b": [(1.0, f"b{at}") for at in range(2)]}


def test_whoever_holds_much_waits_until_some_of_his_have_ended() -> None:
    assert list(by_shares(LINES, {}, [("a", 1.0)] * 2, 2)) == ["b0", "a0", "b1", "a1", "a2", "a3"]


def test_free_places_are_taken_before_anything_ends() -> None:
    assert list(by_shares(LINES, {"a": 3.0}, [("b", 1.0)], 4))[:3] == ["a0", "a1", "a2"]


def test_a_sharer_without_weight_comes_once_the_others_hold_their_own() -> None:
    """As a queue of `capacity` without a guarantee."""
    weights = {"a": 0.0, "b": 2.0}
    assert list(by_shares(LINES, weights, [("a", 1.0)] * 2, 3)) == ["b0", "b1", "a0", "a1", "a2", "a3"]


def test_nobody_holds_more_than_his_most_and_what_never_fits_holds_nothing_up() -> None:
    assert list(by_shares(LINES, {"a": 9.0}, [], 4, most={"a": 1.0}))[:3] == ["a0", "b0", "b1"]
    large = {"a": [(5.0, "a0"), (5.0, "a1")], "b": [(1.0, "b0")]}
    assert sorted(by_shares(large, {}, [("b", 1.0)], 2, most={"a": 1.0})) == ["a0", "a1", "b0"]


def test_turns_are_in_proportion_to_weights() -> None:
    lines = {name: [(1.0, name)] * 300 for name in ("a", "b")}
    first = list(by_weights(lines, {"a": 3.0, "b": 1.0}))[:400]
    assert first.count("a") == 300 and list(by_weights(lines, {"a": 3.0}))[:40].count("b") == 10


@given(
    lines=st.dictionaries(st.sampled_from("abcd"), st.lists(st.sampled_from([0.5, 1.0, 3.0]), max_size=6), max_size=4),
    weights=st.dictionaries(st.sampled_from("abcd"), st.sampled_from([0.0, 1.0, 2.5])),
    running=st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from([0.5, 1.0, 3.0])), max_size=6),
    slots=st.integers(0, 6),
    most=st.none() | st.dictionaries(st.sampled_from("abcd"), st.sampled_from([0.0, 1.0, 2.0, 9.0])),
)
def test_everybody_has_a_turn_once_and_in_his_own_order(
    lines: dict[str, list[float]],
    weights: dict[str, float],
    running: list[tuple[str, float]],
    slots: int,
    most: dict[str, float] | None,
) -> None:
    named = {name: [(cost, (name, at)) for at, cost in enumerate(line)] for name, line in lines.items()}
    found = list(by_shares(named, weights, running, slots, most))
    assert sorted(found) == sorted(one for line in named.values() for _, one in line)
    for name in lines:
        assert [at for whose, at in found if whose == name] == list(range(len(lines[name])))
