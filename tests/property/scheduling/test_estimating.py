"""Estimates of waits: exact where nothing is left to chance, equal to the simulator's, scored on recorded workloads."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.durations import WINDOW, Durations
from formicary.engine.scheduling.estimate_book import MOST_OPEN, EstimateBook
from formicary.engine.scheduling.estimating import (
    Ahead,
    Busy,
    Calibration,
    Forecast,
    Limited,
    Load,
    Question,
    article,
    forecast,
    in_time,
)
from formicary.engine.scheduling.simulation.engine import Simulation
from formicary.engine.scheduling.simulation.forecasting import Recorded, read_record, replay
from formicary.engine.scheduling.simulation.registry import POLICIES, read_settings
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job

WORKLOADS = Path(__file__).parents[3] / "bench" / "workloads"


def fixed(**seconds: float) -> Durations:
    """Run times that never vary."""
    found = Durations()
    for kind, length in seconds.items():
        for _ in range(3):
            found.add(kind, length)
    return found


def test_a_forecast_is_exact_where_run_times_never_vary() -> None:
    question = Question("a", 1, (Busy("a", 4.0),), (Ahead("b"), Ahead("a")))
    found = forecast(question, fixed(a=10.0, b=5.0), Random(1))
    assert found is not None
    assert (found.wait_s, found.low_s, found.high_s) == (21.0, 21.0, 21.0)  # 6 left, then 5 and 10


def by_events(question: Question, seconds: dict[str, float]) -> float:
    """The slow way: from event to event the first in order starts that may, as long as a place is free."""
    running = [(seconds[busy.kind] - busy.age_s, busy.limits) for busy in question.running]
    elsewhere = [
        (seconds[busy.kind] - busy.age_s, (name,))
        for name, limited in question.limits.items()
        for busy in limited.elsewhere
    ]
    waiting = [(one.ready_in_s, seconds[one.kind], (one.limit,) if one.limit else ()) for one in question.ahead]
    waiting.append((question.ready_in_s, 0.0, ("asked",)))
    now = 0.0
    while True:
        running = [one for one in running if one[0] > now]
        elsewhere = [one for one in elsewhere if one[0] > now]
        for one in waiting:
            ready, length, names = one
            held = [name for name in names if name in question.limits]
            counts = [sum(name in other[1] for other in (*running, *elsewhere)) for name in held]
            full = any(count >= question.limits[name].places for name, count in zip(held, counts, strict=True))
            if len(running) < question.slots and ready <= now and not full:
                if names == ("asked",):
                    return now
                running.append((now + length, names))
                waiting.remove(one)
                break
        else:
            now = min(
                at for at in (*(end for end, _ in (*running, *elsewhere)), *(one[0] for one in waiting)) if at > now
            )


LIMITS = ((), ("queue", "a"), ("gate", "x"))
KINDS, NAMES, LATE = st.sampled_from("abc"), st.sampled_from(LIMITS), st.sampled_from([0, 0, 0, 7, 23])


@settings(deadline=None)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(KINDS, st.integers(0, 4), NAMES), max_size=4),
    st.lists(st.tuples(KINDS, LATE, NAMES), max_size=12),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.lists(st.tuples(KINDS, st.booleans()), max_size=2),
    st.sampled_from([0, 0, 11]),
)
def test_who_waits_at_a_limit_is_passed_by_as_from_event_to_event(
    slots: int,
    busy: list[tuple[str, int, tuple[str, ...]]],
    ahead: list[tuple[str, int, tuple[str, ...]]],
    places: tuple[int, int],
    others: list[tuple[str, bool]],
    ready: int,
) -> None:
    seconds = {"a": 5.0, "b": 8.03, "c": 21.007}
    limits = {
        name: Limited(most, tuple(Busy(kind, 1.5) for kind, second in others if second == bool(at)))
        for at, (name, most) in enumerate(zip(LIMITS[1:], places, strict=True))
    }
    question = Question(
        "a",
        slots,
        tuple(
            Busy(kind, age + at / 100, limits=(name,) if name else ())
            for at, (kind, age, name) in enumerate(busy[:slots])
        ),
        tuple(Ahead(kind, float(late), limit=name) for kind, late, name in ahead),
        ready_in_s=float(ready),
        limits=limits,
    )
    found = forecast(question, fixed(**seconds), Random(1), plays=1)
    assert found is not None and found.wait_s == pytest.approx(by_events(question, seconds))


def test_no_more_count_as_ahead_than_their_limits_let_run() -> None:
    held, free, late = Ahead("b", limit=("queue", "a")), Ahead("b"), Ahead("b", 50.0)
    busy = Busy("b", 1.0, limits=(("queue", "a"),))
    question = Question("a", 4, (busy,), (held, held, free, held, late), limits={("queue", "a"): Limited(2)})
    assert (question.before(0.0), question.before(60.0)) == (2, 3)


def test_the_article_formula_is_the_article_s() -> None:
    """(2 of its type ahead + itself + 0.7 of each that runs) / 4 ants x 10 s mean run time."""
    question = Question("a", 4, (Busy("a", 4.0), Busy("b", 1.0)), (Ahead("a"), Ahead("b"), Ahead("a")))
    assert article(question, fixed(a=10.0, b=500.0)) == pytest.approx((3 + 0.7) / 4 * 10)


def test_a_job_with_room_starts_at_once() -> None:
    found = forecast(Question("a", 2, (Busy("a", 1.0),)), fixed(a=10.0), Random(1))
    assert found is not None
    assert found.high_s == 0


def test_a_job_that_needs_more_places_than_there_are_has_no_estimate() -> None:
    assert forecast(Question("a", 2, places=3), fixed(a=1.0), Random(1)) is None


def test_places_beyond_what_is_asked_for_cost_nothing() -> None:
    """A limit may be a number of any size."""
    found = forecast(Question("a", 1 << 60, (Busy("a", 1.0),), (Ahead("a"), Ahead("a"))), fixed(a=10.0), Random(1))
    assert found is not None
    assert found.high_s == 0


@pytest.mark.parametrize(
    ("ready_s", "wait_s"), [(3.0, 16.25), (9.0, 6.25)], ids=["before the room is free", "after the job began"]
)
def test_a_scheduled_start_delays_only_what_begins_after_it(ready_s: float, wait_s: float) -> None:
    question = Question("a", 1, (Busy("a", 3.75),), (Ahead("a", ready_in_s=ready_s),))
    found = forecast(question, fixed(a=10.0), Random(1))
    assert found is not None
    assert found.wait_s == wait_s


def test_work_that_overtakes_stretches_the_wait() -> None:
    """Cobham: with half of the places taken by more urgent work the wait doubles."""
    plain, overtaken = (
        forecast(Question("a", 1, (Busy("a", 0.0),), overtaking=share), fixed(a=10.0), Random(1)) for share in (0, 0.5)
    )
    assert plain is not None
    assert overtaken is not None
    assert overtaken.wait_s == 2 * plain.wait_s


kinds = st.sampled_from("abc")


@given(
    st.lists(st.tuples(kinds, st.integers(1, 3)), min_size=1, max_size=12),
    st.integers(1, 4),
    st.tuples(*[st.integers(1, 20)] * 3),
)
def test_the_forecast_is_what_the_simulator_does(
    jobs: list[tuple[str, int]], slots: int, lengths: tuple[int, ...]
) -> None:
    """First come, first served with run times that are known: the last job starts when the simulator starts it."""
    runtimes = dict(zip("abc", map(float, lengths), strict=True))
    asked = [(kind, min(places, slots)) for kind, places in jobs]
    cluster = Cluster((Ant("m", {"cpu": float(slots)}),))
    made = [Job(str(at), 0.0, runtimes[kind], {"cpu": places}) for at, (kind, places) in enumerate(asked)]
    policy = POLICIES["fcfs"].make(read_settings("fcfs", {})[0], cluster, made)
    truth = Simulation(cluster, made, policy).run().jobs[-1].start
    question = Question(
        asked[-1][0], slots, (), tuple(Ahead(kind, places=places) for kind, places in asked[:-1]), places=asked[-1][1]
    )
    found = forecast(question, fixed(**runtimes), Random(0))
    assert found is not None
    assert found.wait_s == pytest.approx(truth)


@given(st.lists(kinds, max_size=8), st.integers(1, 3), st.randoms(use_true_random=False))
def test_one_more_ahead_never_means_sooner(ahead: list[str], slots: int, rng: Random) -> None:
    durations = Durations()
    for _ in range(20):
        durations.add(rng.choice("abc"), rng.uniform(1, 100))
    busy = tuple(Busy("a", 1.0) for _ in range(slots))
    waits = []
    for count in range(len(ahead) + 1):
        found = forecast(Question("a", slots, busy, tuple(map(Ahead, ahead[:count]))), durations, Random(5), plays=1)
        assert found is not None
        waits.append(found.wait_s)
    assert all(first <= second for first, second in pairwise(waits))


def test_a_long_line_is_estimated_by_the_means_of_its_head() -> None:
    question = Question("a", 2, (Busy("a", 0.0), Busy("a", 0.0)), (Ahead("a"),) * 10_000)
    found = forecast(question, fixed(a=1.0), Random(1))
    assert found is not None
    assert found.wait_s == pytest.approx(5001, abs=1)


@given(st.lists(st.tuples(kinds, st.floats(0, 1e6)), max_size=3 * WINDOW), st.floats(0, 1e6))
def test_run_times_keep_the_newest_of_each_kind(runs: list[tuple[str, float]], age: float) -> None:
    """The slow twin: a plain list per kind."""
    durations, twin = Durations(), dict[str, list[float]]()
    for kind, seconds in runs:
        durations.add(kind, seconds)
        twin.setdefault(kind, []).append(seconds)
    for kind, all_seconds in twin.items():
        kept = all_seconds[-WINDOW:]
        assert durations.mean_s(kind) == pytest.approx(sum(kept) / len(kept), abs=1e-3)
        assert durations.article_s(kind) == pytest.approx(sum(kept[-20:]) / len(kept[-20:]))
        assert durations.draw_s(kind, Random(1)) in kept
        left = durations.left_s(kind, age, Random(1))
        longer = {seconds - age for seconds in kept if seconds > age}
        assert left in longer or (not longer and left >= 0)


def test_an_interval_learns_to_hold_nine_of_ten() -> None:
    """Plays that are far too sure are widened until the interval holds what it promises."""
    rng, calibration, inside = Random(3), Calibration(), 0
    for at in range(3000):
        raw = Forecast(100.0, 99.0, 101.0, (99.0, 100.0, 101.0))
        wait = rng.lognormvariate(4.6, 0.5)
        told = calibration.apply(raw)
        inside += at >= 500 and told.holds(wait)
        calibration.learn(raw, told, wait)
    assert 0.87 <= inside / 2500 <= 0.93


def test_the_chance_to_be_in_time_counts_wait_and_run() -> None:
    found = forecast(Question("a", 1, (Busy("a", 4.0),)), fixed(a=10.0), Random(1))
    assert found is not None
    chances = [in_time(found, "a", left, fixed(a=10.0), Random(1)) for left in (15.9, 16.0)]
    assert chances == [0.0, 1.0]


def test_load_counts_only_what_goes_before() -> None:
    load = Load(memory_s=1e9)
    for second in range(100):
        load.submitted(-9, 0.5, float(second))
        load.submitted(0, 100.0, float(second))
    assert load.before(0, 1, 100.0) == pytest.approx(0.5, abs=0.01)
    assert load.before(-9, 1, 100.0) == 0


def test_a_book_scores_the_first_forecast_of_a_job_when_it_begins() -> None:
    book = EstimateBook()
    for _ in range(3):
        book.ended.append(("org", "a", 10.0))
    book.settle()
    question = Question("org/a", 1, (Busy("org/a", 4.0),))
    raw = forecast(question, book.durations, Random(1))
    assert raw is not None
    book.keep("one", book.answer(question, raw, 1000.0))
    book.keep("one", book.answer(question, raw, 1003.0))
    book.began("one", 1008.0)
    book.began("one", 2000.0)
    assert (book.score.count, book.score.error_s, book.score.inside) == (1, 2.0, 0)
    for number in range(MOST_OPEN + 5):
        book.keep(str(number), book.answer(question, raw, 0.0))
    book.over(str(MOST_OPEN), "org", "a", 1.0)
    assert len(book.open) == MOST_OPEN - 1
    assert not book.ended


@pytest.mark.parametrize("name", ["mobile-analysis", "parallel-machine", "live-ants"])
def test_recorded_waits_are_estimated_twice_as_well_as_by_the_article(name: str) -> None:
    jobs, slots = read_record((WORKLOADS / f"{name}.swf").read_text(encoding="ascii"))
    score = replay(jobs, slots, Random(1))
    assert score.count > 300
    assert score.mean_error_s <= 0.5 * score.article_mean_error_s
    assert 0.80 <= score.coverage <= 0.95


def test_a_record_that_is_cut_off_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match="line 2 has 3 numbers"):
        read_record("; MaxProcs: 4\n1 2 3\n")
    with pytest.raises(ValueError, match="MaxProcs"):
        read_record("1 0 5 10 2 -1 -1 2 -1 -1 1 -1 -1 -1 1 -1 -1 -1\n")


def test_a_record_is_read_as_it_was_written() -> None:
    jobs, slots = read_record("; MaxProcs: 4\n1 0 5 10 2 -1 -1 2 -1 -1 1 -1 -1 -1 3 7 -1 -1\n")
    assert (jobs, slots) == ([Recorded("3", 0.0, 5.0, 15.0, 2, -7.0)], 4)
