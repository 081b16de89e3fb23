"""Gangs: never a part of one, large ones get their turn, two that compete always make progress."""

import random
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.policies.gang import Barrier, Gang, Held, backoff_s, place, plan


def slots(count: int, each: float = 1, **more: object) -> Gang:
    return Gang(str(more.pop("id", "g")), tuple({"cpu": each} for _ in range(count)), **more)  # type: ignore[arg-type]  # keywords of Gang


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), max_size=5), st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_placement_against_brute_force(members: list[int], free: list[int]) -> None:
    """A place for all is found exactly where there is one, and it never takes more than is free."""
    gang = Gang("g", tuple({"cpu": need} for need in members))
    ants = {f"a{i}": {"cpu": float(room)} for i, room in enumerate(free)}
    found = place(gang, ants)

    def fits(left: list[int], at: int) -> bool:
        if at == len(members):
            return True
        return any(
            room >= members[at] and fits([*left[:i], room - members[at], *left[i + 1 :]], at + 1)
            for i, room in enumerate(left)
        )

    assert (found is not None) == fits(free, 0)
    if found is not None:
        assert len(found) == len(members)
        for name, have in ants.items():
            assert sum(need for need, at in zip(members, found, strict=True) if at == name) <= have["cpu"]


def test_a_minimum_of_members() -> None:
    """With `min` as many as fit start, at least that many."""
    ants = {"a": {"cpu": 2.0}, "b": {"cpu": 1.0}}
    assert place(slots(5, least=2), ants) == ("b", "a", "a")
    assert place(slots(5, least=4), ants) is None


def test_backfill_of_the_literature() -> None:
    """Mu'alem and Feitelson: a short job goes ahead of the first that waits, one that would delay it not."""
    capacity = {f"n{i}": {"cpu": 1.0} for i in range(4)}
    held = [Held("n0", {"cpu": 1}, 10), Held("n1", {"cpu": 1}, 10)]
    wide = slots(4, id="wide", runtime_s=5)
    found = plan([wide, slots(1, id="long", runtime_s=20), slots(1, id="short", runtime_s=10)], capacity, held, 0)
    assert set(found.starts) == {"short"}
    assert found.reservation is not None
    assert (found.reservation.gang, found.reservation.starts_at) == ("wide", 10)
    assert sorted(found.reservation.places) == ["n0", "n1", "n2", "n3"]
    narrow = plan([slots(3, id="three", runtime_s=5), slots(1, id="long", runtime_s=99)], capacity, held, 0)
    assert set(narrow.starts) == {"long"}, "three of the four are enough at 10"
    plain = plan([wide, slots(1, id="short", runtime_s=10)], capacity, held, 0, backfill=False)
    assert not plain.starts


def test_what_can_never_run_is_named_and_keeps_nobody_waiting() -> None:
    """A gang larger than the cluster gets a reason, and no reservation."""
    found = plan([slots(5, id="huge"), slots(2, id="pair", runtime_s=1)], {"a": {"cpu": 2.0}}, [], 0)
    assert found.impossible == {"huge": "5 members do not fit even when nothing else runs"}
    assert set(found.starts) == {"pair"} and found.reservation is None


GANGS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9)), min_size=2, max_size=8)


def run(gangs: list[tuple[int, int]], ants: list[int]) -> dict[str, float]:
    """A whole run: starts by gang. Nothing may ever be placed in part or twice."""
    capacity = {f"a{i}": {"cpu": float(room)} for i, room in enumerate(ants)}
    queue = [slots(size, id=str(i), runtime_s=length) for i, (size, length) in enumerate(gangs)]
    held: list[Held] = []
    now, starts = 0.0, {}
    while True:
        found = plan(queue, capacity, held, now)
        assert not found.impossible
        for gang in [one for one in queue if one.id in found.starts]:
            places = found.starts[gang.id]
            assert len(places) == len(gang.members), "never a part of a gang"
            held += [
                Held(name, member, now + gang.runtime_s) for name, member in zip(places, gang.members, strict=True)
            ]
            starts[gang.id] = now
            queue.remove(gang)
        for name, have in capacity.items():
            assert sum(one.demand["cpu"] for one in held if one.ant == name) <= have["cpu"]
        if not queue:
            return starts
        assert held, "an empty cluster and a gang that fits: something must have started"
        now = min(one.ends_at for one in held)
        held = [one for one in held if one.ends_at > now]


@settings(deadline=None, max_examples=60)
@given(GANGS)
def test_all_make_progress_and_the_first_is_not_starved(gangs: list[tuple[int, int]]) -> None:
    """Every gang runs; each starts at most one longest runtime after the one before it, whatever was let ahead."""
    starts = run(gangs, [3, 2, 2])
    assert len(starts) == len(gangs)
    for i in range(len(gangs)):
        assert starts[str(i)] <= i * max(length for _, length in gangs)


def test_a_large_gang_against_a_stream_of_small_jobs() -> None:
    """Without the reservation one of two slots would always be taken: it starts when the first jobs end."""
    small = [(1, 4)] * 10
    starts = run([(1, 4), (1, 2), (2, 1), *small], [1, 1])
    assert starts["2"] == 4


def test_two_competing_gangs_take_turns() -> None:
    """Each needs three of four slots: the first runs, then the second; neither holds a part."""
    assert run([(3, 5), (3, 5)], [2, 2]) == {"0": 0, "1": 5}


def test_the_barrier() -> None:
    """Nobody begins before all are there; too late is rolled back; strangers are refused."""
    barrier = Barrier(frozenset({"x", "y"}), opened_at=0, timeout_s=10)
    half = barrier.arrive("x")
    assert half.state(9) == "wait" and half.state(10) == "roll back"
    assert half.arrive("y").state(99) == "go"
    with pytest.raises(ValueError, match="'z' is not of this gang"):
        barrier.arrive("z")


def test_backoff_grows_within_bounds() -> None:
    """Doubled, jittered in its upper half, capped."""
    rng = random.Random(1)
    for attempt in range(12):
        top = min(60, 2.0**attempt)
        assert top / 2 <= backoff_s(attempt, rng) <= top
    assert backoff_s(0, random.Random(1)) != backoff_s(0, random.Random(2))


def test_without_estimates_nothing_is_put_in_front() -> None:
    """Nobody knows when what runs will end: whatever needs the same ants waits behind the gang."""
    capacity = {"a": {"cpu": 2.0}}
    found = plan([slots(2, id="pair"), slots(1, id="one", runtime_s=5)], capacity, [Held("a", {"cpu": 1})], 0)
    assert found.reservation is not None and found.reservation.starts_at == inf


def slow_plan(queue: list[Gang], capacity: dict[str, dict[str, float]], held: list[Held]) -> dict[str, tuple[str, ...]]:
    """Every gang is looked at anew, whatever became of its like; at the time 0."""

    def room(at: float, all_held: list[Held]) -> dict[str, dict[str, float]]:
        taken = {
            name: sum(one.demand["cpu"] for one in all_held if one.ant == name and one.ends_at > at)
            for name in capacity
        }
        return {name: {"cpu": have["cpu"] - taken[name]} for name, have in capacity.items()}

    def earliest(gang: Gang, all_held: list[Held]) -> float:
        moments = sorted({0.0, *(one.ends_at for one in all_held)})
        return next((at for at in moments if place(gang, room(at, all_held)) is not None), inf)

    running, starts = list(held), dict[str, tuple[str, ...]]()
    first: tuple[Gang, float] | None = None
    for gang in queue:
        found = place(gang, room(0.0, running))
        if found is None:
            if first is None and place(gang, capacity) is not None:
                first = (gang, earliest(gang, running))
            continue
        joined = [*running, *(Held(ant, one, gang.runtime_s) for ant, one in zip(found, gang.members, strict=True))]
        if first is None or earliest(first[0], joined) <= first[1]:
            running, starts[gang.id] = joined, found
    return starts


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.sampled_from([1.0, 2.0, 5.0, inf])), max_size=9),
    st.lists(st.tuples(st.sampled_from("xy"), st.integers(1, 2), st.integers(1, 6)), max_size=3),
)
def test_a_plan_is_its_slow_twin_s(gangs: list[tuple[int, int, float]], running: list[tuple[str, int, int]]) -> None:
    """What is known of gangs of the same kind changes no decision."""
    capacity = {"x": {"cpu": 4.0}, "y": {"cpu": 3.0}}
    held = [Held(ant, {"cpu": float(cpu)}, float(end)) for ant, cpu, end in running]
    held = [one for at, one in enumerate(held) if one.ant not in {other.ant for other in held[:at]}]
    queue = [slots(n, float(each), id=str(at), runtime_s=length) for at, (n, each, length) in enumerate(gangs)]
    assert dict(plan(queue, capacity, held, 0.0).starts) == slow_plan(queue, capacity, held)
