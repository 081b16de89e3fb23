"""The circuit breaker: when it opens, what it lets through, how it closes, and that it can be written down."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formicary.lifecycle import CLOSED, HALF_OPEN, OPEN, Breaker, BreakerPolicy
from formicary.lifecycle.breaker import as_mapping, from_mapping


def run(breaker: Breaker, now: float, *, succeeded: bool, key: Hashable = "k") -> None:
    """One call from begin to end."""
    assert breaker.permits(now)
    breaker.begin(key, now)
    breaker.end(key, now, succeeded=succeeded)


def test_failures_in_a_row_open_it_and_a_success_ends_the_row() -> None:
    """Unlike in the article, failures of a week do not add up."""
    breaker = Breaker(BreakerPolicy(consecutive_failures=3, open_s=10))
    for succeeded in (False, False, True, False, False):
        run(breaker, 1.0, succeeded=succeeded)
    assert breaker.state == CLOSED
    run(breaker, 2.0, succeeded=False)
    assert breaker.state == OPEN and breaker.opened == 1 and breaker.half_open_at == 12.0
    assert not breaker.permits(11.9) and breaker.permits(12.0)


def test_a_share_of_failures_opens_it_once_there_are_enough_ends() -> None:
    """Ends outside of the window count for nothing."""
    breaker = Breaker(BreakerPolicy(consecutive_failures=0, failure_rate=0.5, window_s=10, minimum_calls=4))
    for at in range(3):
        run(breaker, float(at), succeeded=False)
    assert breaker.state == CLOSED
    run(breaker, 50.0, succeeded=False)
    assert breaker.state == CLOSED and breaker.rate(50.0) == (1.0, 1)
    for succeeded in (True, True, False):
        run(breaker, 51.0, succeeded=succeeded)
    assert breaker.state == OPEN


def test_half_open_lets_as_many_through_as_it_says() -> None:
    """All of them have to succeed; one that fails opens it anew; one that was given up makes room."""
    breaker = Breaker(BreakerPolicy(consecutive_failures=1, open_s=10, trials=2))
    run(breaker, 0.0, succeeded=False)
    for key in ("a", "b"):
        assert breaker.permits(10.0) and breaker.begin(key, 10.0)
    assert not breaker.permits(10.0) and breaker.state == HALF_OPEN and breaker.trials == ("a", "b")
    assert breaker.forget("a") and breaker.permits(11.0)
    breaker.begin("c", 11.0)
    breaker.end("b", 12.0, succeeded=True)
    assert breaker.state == HALF_OPEN and not breaker.permits(12.0)
    breaker.end("c", 13.0, succeeded=False)
    assert breaker.state == OPEN and breaker.half_open_at == 23.0
    for key in ("d", "e"):
        assert breaker.permits(23.0)
        breaker.begin(key, 23.0)
    breaker.end("d", 24.0, succeeded=True)
    breaker.end("e", 24.0, succeeded=True)
    assert breaker.state == CLOSED and breaker.row == 0


def test_what_began_before_it_opened_says_nothing() -> None:
    """A late success does not close it, a late failure does not open it anew."""
    breaker = Breaker(BreakerPolicy(consecutive_failures=1, open_s=10))
    breaker.begin("late", 0.0)
    run(breaker, 0.0, succeeded=False)
    assert not breaker.end("late", 1.0, succeeded=True) and breaker.state == OPEN
    breaker.look(10.0)
    assert not breaker.end("other", 11.0, succeeded=False) and breaker.state == HALF_OPEN


def test_reset_closes_it() -> None:
    """Whatever it was."""
    breaker = Breaker(BreakerPolicy(consecutive_failures=1))
    run(breaker, 0.0, succeeded=False)
    breaker.reset(1.0)
    assert breaker.state == CLOSED and breaker.permits(1.0) and breaker.since == 1.0


def test_a_policy_that_could_not_work_is_refused_with_all_that_is_wrong() -> None:
    """One error names every field."""
    with pytest.raises(ValueError, match=r"window_s is 0.*open_s is -1.*neither"):
        BreakerPolicy(consecutive_failures=0, failure_rate=0.0, window_s=0, open_s=-1)


@given(
    st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["begin", "good", "bad", "forget", "copy"])), max_size=60),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_it_never_lets_through_what_it_must_not(
    steps: list[tuple[float, str]], row: int, trials: int, rate: float
) -> None:
    """Over any run: nothing while open, at most `trials` half open, and a copy of its snapshot goes on the same."""
    breaker = Breaker(BreakerPolicy(row, rate, 10.0, 2, 5.0, trials))
    now, out, opened_at, count = 0.0, list[int](), float("-inf"), 0
    for step, what in steps:
        now += step
        before = breaker.state
        if what == "begin":
            if breaker.permits(now):
                assert breaker.state != OPEN and (before != OPEN or now >= opened_at + 5.0)
                count += 1
                breaker.begin(count, now)
                out.append(count)
            else:
                assert breaker.state == OPEN or len(breaker.trials) >= 1 or trials == 0
        elif what == "copy":
            breaker = Breaker.restore(breaker.policy, from_mapping(as_mapping(breaker.snapshot())))
        elif out and what == "forget":
            breaker.forget(out.pop(0))
        elif out:
            breaker.end(out.pop(0), now, succeeded=what == "good")
            if breaker.state == OPEN and before != OPEN:
                opened_at = now
        assert breaker.state in (CLOSED, OPEN, HALF_OPEN)
        assert len(breaker.trials) <= (trials if breaker.state == HALF_OPEN else 0)
