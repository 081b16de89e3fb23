"""When a client tries again and how long it waits."""

from __future__ import annotations

import pytest

from formicary.idempotency.retrying import Attempts, Retry, RetryBudget, is_transient, parse_retry_after
from formicary.problems import Problem

NOW = 1_764_099_000.0  # Tue, 25 Nov 2025 19:30:00 GMT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("120", 120.0),
        ("Tue, 25 Nov 2025 19:30:30 GMT", 30.0),
        ("Tuesday, 25-Nov-25 19:30:30 GMT", 30.0),
        ("Tue Nov 25 19:30:30 2025", 30.0),
        ("Tue, 25 Nov 2025 19:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("9" * 400, float("inf")),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    """Both forms of the header are read, a past date is now, and anything else is as if it had not come."""
    assert parse_retry_after(text, NOW) == seconds


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_failures_of_the_moment_are_tried_again(status: int) -> None:
    assert is_transient(status, None, False)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 412, 413, 422, 501, 505])
def test_other_answers_are_answers(status: int) -> None:
    assert not is_transient(status, None, True)


@pytest.mark.parametrize(
    ("code", "retry_after", "again"),
    [
        ("IDEMPOTENT_REQUEST_IN_PROGRESS", True, True),
        ("LEASE_LOST", False, True),
        ("ALREADY_EXISTS", True, False),
        ("RESPONSE_NOT_KEPT", True, False),
        (None, True, True),
        (None, False, False),
    ],
)
def test_a_409_is_tried_again_only_where_it_is_about_the_attempt(
    code: str | None, retry_after: bool, again: bool
) -> None:
    """Its code decides; without one, Retry-After does."""
    assert is_transient(409, code, retry_after) is again


def test_the_number_of_attempts_is_bounded() -> None:
    attempts = Attempts(Retry(tries=3), RetryBudget(), 0.0, lambda: 0.5)
    waits = [attempts.next_wait_s(0.0) for _ in range(3)]
    assert waits == [0.05, 0.1, None]
    assert attempts.number == 3


def test_an_attempt_that_would_begin_too_late_is_not_made() -> None:
    """Not after the call's time, nor because the server asks for more patience than is left; and that costs nothing."""
    budget = RetryBudget()
    attempts = Attempts(Retry(total_s=10), budget, 100.0, lambda: 0.0)
    assert attempts.left_s(104.0) == 6.0
    assert attempts.next_wait_s(104.0, 6.0) is None
    assert attempts.next_wait_s(104.0, float("inf")) is None
    assert budget.left == 20.0
    assert attempts.next_wait_s(104.0, 5.0) == 5.0
    assert attempts.next_wait_s(111.0) is None


def test_retries_of_all_calls_stay_below_the_budget() -> None:
    """100 calls to a dead service make the reserve and a fifth of their number in retries, not 500."""
    budget, retries = RetryBudget(ratio=0.2, reserve=10), 0
    for _ in range(100):
        attempts = Attempts(Retry(), budget, 0.0)
        while attempts.next_wait_s(0.0) is not None:
            retries += 1
    assert 20 <= retries <= 30


@pytest.mark.parametrize("wrong", [{"tries": 0}, {"total_s": 0}, {"first_s": -1}, {"most_s": float("nan")}])
def test_rules_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Problem, match=next(iter(wrong))):
        Retry(**wrong)  # type: ignore[arg-type]  # the point is a wrong value


def test_a_budget_below_nothing_is_refused() -> None:
    with pytest.raises(Problem):
        RetryBudget(ratio=-1)
