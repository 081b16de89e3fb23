"""Limits of tenants: what a file may say, when a period begins anew, what a burst is, and who is told what."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf

import pytest

from formicary.engine.jobs.tenants import Limit, Tenant, limits_of
from formicary.engine.scheduling.queues.limits import Account, period_of, refusal
from formicary.engine.scheduling.queues.reading import read_queues

WEDNESDAY = datetime(2026, 2, 25, 13, 30, tzinfo=UTC).timestamp()
BAD = """policy: priority
tenant_limits:
  acme:
    max_concurent_jobs: 5
    max_cpu_hours_per_day: many
    max_concurrent_tasks: {hard: 5, soft: 9, burst: 4, burst_for: 0}
    max_cpu_hours_per_week: {hard: 3, burst: 5, burst_for: 1m}
    max_storage_gb: {}
    users:
      ann: {max_storage_gb: 1}
      bob: {max_concurrent_jobs: -1}
  other: 5
"""


def test_every_mistake_is_told_with_its_place() -> None:
    found = read_queues(BAD)
    told = {(one.line, one.path.removeprefix("tenant_limits."), one.code) for one in found.violations}
    assert told == {
        (4, "acme.max_concurent_jobs", "UNKNOWN_FIELD"),
        (5, "acme.max_cpu_hours_per_day", "WRONG_TYPE"),
        (6, "acme.max_concurrent_tasks.soft", "OUT_OF_RANGE"),
        (6, "acme.max_concurrent_tasks.burst_for", "OUT_OF_RANGE"),
        (6, "acme.max_concurrent_tasks", "MISSING_FIELD"),
        (7, "acme.max_cpu_hours_per_week.burst", "UNKNOWN_FIELD"),
        (7, "acme.max_cpu_hours_per_week.burst_for", "UNKNOWN_FIELD"),
        (8, "acme.max_storage_gb", "MISSING_FIELD"),
        (10, "acme.users.ann.max_storage_gb", "UNKNOWN_FIELD"),
        (11, "acme.users.bob.max_concurrent_jobs", "WRONG_TYPE"),
        (12, "other", "WRONG_TYPE"),
    }
    assert "Did you mean" in next(one.message for one in found.violations if one.line == 4)


def test_a_user_limit_above_that_of_the_organisation_is_a_mistake() -> None:
    source = "tenant_limits: {acme: {max_concurrent_jobs: 5, users: {ann: {max_concurrent_jobs: 6}}}}\n"
    assert [one.code for one in read_queues(source).violations] == ["OUT_OF_RANGE"]


def test_who_has_which_limits() -> None:
    two, five, nine = ({"max_concurrent_jobs": Limit(number)} for number in (2.0, 5.0, 9.0))
    tenants = {"acme": Tenant(five, {"ann": two}), "*": Tenant(nine, {"*": two})}
    assert limits_of(tenants, "acme", "") == five
    assert limits_of(tenants, "acme", "ann") == two
    assert limits_of(tenants, "acme", "bob") == {}
    assert limits_of(tenants, "any", "") == nine
    assert limits_of(tenants, "any", "bob") == two
    assert limits_of({}, "any", "bob") == {}


@pytest.mark.parametrize(
    ("name", "begin", "end"),
    [
        ("day", "2026-02-25", "2026-02-26"),
        ("week", "2026-02-23", "2026-03-02"),
        ("month", "2026-02-01", "2026-03-01"),
    ],
)
def test_periods(name: str, begin: str, end: str) -> None:
    days = [datetime.fromtimestamp(at, UTC).date().isoformat() for at in period_of(name, WEDNESDAY)]
    assert days == [begin, end]
    assert period_of(name, period_of(name, WEDNESDAY)[1])[0] == period_of(name, WEDNESDAY)[1]


def test_cpu_hours_count_within_their_period_once_and_begin_anew() -> None:
    account = Account("acme", "", {"max_cpu_hours_per_day": Limit(10.0)})
    midnight = period_of("day", WEDNESDAY)[0]
    account.charge(2.0, midnight - 3600.0, midnight + 1800.0)  # an hour of it was yesterday
    assert account.cpu_hours("day", WEDNESDAY) == pytest.approx(1.0)
    assert account.cpu_hours("week", WEDNESDAY) == pytest.approx(3.0)
    account.cores, account.started = 4.0, 4.0 * (WEDNESDAY - 3600.0)  # four processors run for an hour
    assert account.cpu_hours("day", WEDNESDAY) == pytest.approx(5.0)
    assert refusal(account, WEDNESDAY, begins=True, tasks=1, soft=True) is None
    account.charge(5.0, WEDNESDAY - 3600.0, WEDNESDAY)
    found = refusal(account, WEDNESDAY, begins=True, tasks=1, soft=True)
    assert found is not None and found.until == period_of("day", WEDNESDAY)[1]
    assert "has 10 of at most 10 (max_cpu_hours_per_day)" in found.message
    assert refusal(account, WEDNESDAY, begins=False, tasks=1, soft=True) is None, "what has begun goes on"
    account.cores = account.started = 0.0
    assert account.cpu_hours("day", found.until) == 0.0
    assert refusal(account, found.until, begins=True, tasks=1, soft=True) is None


def test_a_burst_has_so_much_time_and_gets_it_back_below_the_limit() -> None:
    account = Account("acme", "", {"max_concurrent_jobs": Limit(2.0, inf, 4.0, 100.0)}, jobs=2)

    def may(at: float) -> bool:
        account.look(at)
        return refusal(account, at, begins=True, tasks=1, soft=True) is None

    assert may(0.0)
    account.jobs = 3
    assert may(10.0) and may(109.0)
    assert not may(110.0), "its 100 seconds are used up"
    account.jobs = 2
    assert not may(120.0)
    assert account.opens_at("max_concurrent_jobs", 120.0) == 220.0
    assert not may(219.0)
    assert may(220.0), "all of it has come back"
    account.jobs = 4
    assert not may(221.0), "the burst has an end, too"


def test_a_soft_limit_is_told_as_one() -> None:
    account = Account("acme", "ann", {"max_concurrent_tasks": Limit(8.0, 2.0)}, tasks=2)
    found = refusal(account, 0.0, begins=False, tasks=1, soft=True)
    assert found is not None and found.is_soft and "the user ann has 2 of at most 2" in found.message
    assert refusal(account, 0.0, begins=False, tasks=6, soft=False) is None
    found = refusal(account, 0.0, begins=False, tasks=7, soft=False)
    assert found is not None and not found.is_soft, "a gang counts with all that would start"
