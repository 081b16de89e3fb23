"""What holds for the waits of any client."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from formicary.idempotency.retrying import Attempts, Retry, RetryBudget, parse_retry_after

SECONDS = st.floats(0.001, 1000)
RULES = st.builds(Retry, tries=st.integers(1, 200), total_s=SECONDS, first_s=SECONDS, most_s=SECONDS)


@given(RULES, st.lists(st.floats(0, 1), min_size=1), st.lists(st.none() | st.floats(0, 100), min_size=1))
def test_waits_have_bounds(rules: Retry, draws: list[float], asked: list[float | None]) -> None:
    """No wait is below what the server asked, above that and the bound, or ends after the call's time."""
    now, number = 0.0, 0
    source = iter(draws * 201)
    attempts = Attempts(rules, RetryBudget(reserve=1000), now, lambda: next(source))
    while True:
        wanted = asked[number % len(asked)]
        wait_s = attempts.next_wait_s(now, wanted)
        if wait_s is None:
            break
        number += 1
        least = wanted or 0.0
        assert least <= wait_s <= least + min(rules.most_s, rules.first_s * 2 ** (number - 1)) * (1 + 1e-9)
        now += wait_s
        assert now <= rules.total_s * (1 + 1e-9)
    assert attempts.number == number + 1 <= rules.tries


@given(st.lists(st.booleans()), st.floats(0, 1), st.floats(0, 50))
def test_the_budget_is_never_overdrawn(moves: list[bool], ratio: float, reserve: float) -> None:
    """Retries are at most the reserve and the ratio of the calls, whatever the order."""
    budget, calls, retries = RetryBudget(ratio, reserve), 0, 0
    for is_call in moves:
        if is_call:
            calls += 1
            budget.earn()
        elif budget.spend():
            retries += 1
        assert retries <= reserve + ratio * calls + 1e-6
        assert 0 <= budget.left <= reserve + 1e-6


@given(st.text())
def test_no_header_breaks_the_reader(text: str) -> None:
    """Whatever a server sends: a number of seconds from 0 on, or nothing."""
    found = parse_retry_after(text, 1_764_099_000.0)
    assert found is None or found >= 0
