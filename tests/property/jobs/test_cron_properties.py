"""Cron over changes of daylight saving, beside a twin that looks at every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.jobs.cron import Cron

CHANGES = {
    "Europe/Berlin": [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)],
    "America/New_York": [datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)],
}
STEPS = st.sampled_from(["*", "*/7", "*/15", "0", "30", "5,35", "59"])
CLOCK_HOURS = st.sampled_from(["*", "*/2", "*/3"])
NAMED_HOURS = st.sampled_from(["1", "2", "3", "0-4", "1,2", "2-3", "0", "23"])
DAYS = st.sampled_from(["* * *", "* * SUN", "* 3,10 *", "25,29 * *", "8 * *"])


def _fields(expression: str) -> tuple[str, str, str]:
    second, minute, hour, day, month, weekday, year = expression.split()
    assert second == "0" and year == "*"
    return minute, hour, f"{day} {month} {weekday}"


def _numbers(field: str, top: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        base, _, step = part.partition("/")
        low, _, high = base.partition("-")
        first, last = (0, top) if base == "*" else (int(low), int(high or low))
        found.update(range(first, last + 1, int(step or 1)))
    return found


def _shows(expression: str, wall: datetime) -> bool:
    minute, hour, days = _fields(expression)
    day, month, weekday = days.split()
    return (
        wall.minute in _numbers(minute, 59)
        and wall.hour in _numbers(hour, 23)
        and (day == "*" or wall.day in _numbers(day, 31))
        and (month == "*" or wall.month in _numbers(month, 12))
        and (weekday == "*" or wall.weekday() == 6)
    )


def _every_minute(first: datetime, hours: int) -> list[datetime]:
    return [first + timedelta(minutes=at) for at in range(hours * 60)]


def _by_clock(expression: str, zone: ZoneInfo, first: datetime, hours: int) -> list[float]:
    """Slow: every instant whose wall clock matches."""
    minutes = _every_minute(first, hours)
    return [at.timestamp() for at in minutes if _shows(expression, at.astimezone(zone).replace(tzinfo=None))]


def _by_name(expression: str, zone: ZoneInfo, first: datetime, hours: int) -> list[float]:
    """Slow: every wall time of these days that matches, at the first instant that shows it or a later one."""
    minutes = _every_minute(first, hours)
    walls = [at.astimezone(zone).replace(tzinfo=None, fold=0) for at in minutes]
    found = set()
    wall = walls[0]
    while wall <= walls[-1]:
        if _shows(expression, wall):
            reached = next((at for at, shown in zip(minutes, walls, strict=True) if shown >= wall), None)
            if reached is not None:
                found.add(reached.timestamp())
        wall += timedelta(minutes=1)
    return sorted(found)


def _all(cron: Cron, first: datetime, hours: int) -> list[float]:
    found: list[float] = []
    at = cron.next(first.timestamp() - 1)
    while at is not None and at < (first + timedelta(hours=hours)).timestamp():
        found.append(at)
        at = cron.next(at)
    return found


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(CHANGES)), which=st.integers(0, 1), minute=STEPS, hour=CLOCK_HOURS, days=DAYS)
def test_a_schedule_of_every_hour_follows_real_time(name: str, which: int, minute: str, hour: str, days: str) -> None:
    """Each instant whose wall clock matches counts, and no other."""
    expression = f"0 {minute} {hour} {days} *"
    first = CHANGES[name][which] - timedelta(hours=9)
    assert _all(Cron(expression, name), first, 18) == _by_clock(expression, ZoneInfo(name), first, 18)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(CHANGES)), which=st.integers(0, 1), minute=STEPS, hour=NAMED_HOURS, days=DAYS)
def test_a_time_of_the_day_comes_once_a_day(name: str, which: int, minute: str, hour: str, days: str) -> None:
    """A time that is skipped comes at the end of the gap, one that is shown twice comes the first time."""
    expression = f"0 {minute} {hour} {days} *"
    first = CHANGES[name][which] - timedelta(hours=12)
    assert _all(Cron(expression, name), first, 24) == _by_name(expression, ZoneInfo(name), first, 24)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(CHANGES)),
    which=st.integers(0, 1),
    minute=STEPS,
    hour=st.one_of(CLOCK_HOURS, NAMED_HOURS),
    offset=st.integers(-7 * 3600, 7 * 3600),
)
def test_what_comes_next_does_not_depend_on_where_one_starts(
    name: str, which: int, minute: str, hour: str, offset: int
) -> None:
    """From any second on, the next time is the first of the whole list that is later."""
    cron = Cron(f"0 {minute} {hour} * * * *", name)
    first = CHANGES[name][which] - timedelta(hours=9)
    every = _all(cron, first, 48)
    start = CHANGES[name][which].timestamp() + offset
    assert cron.next(start) == next(at for at in every if at > start)


@settings(max_examples=60, deadline=None)
@given(minute=STEPS, hour=st.one_of(CLOCK_HOURS, NAMED_HOURS), span=st.integers(0, 3 * 86400), most=st.integers(1, 40))
def test_the_latest_missed_times_are_the_end_of_the_list(minute: str, hour: str, span: int, most: int) -> None:
    """`between` gives the last ones of all times in its interval."""
    cron = Cron(f"0 {minute} {hour} * * * *", "Europe/Berlin")
    until = CHANGES["Europe/Berlin"][0].timestamp() + 40_000.0
    start = until - span
    every = []
    at = cron.next(start - 1)
    while at is not None and at <= until:
        every.append(at)
        at = cron.next(at)
    assert cron.between(start, until, most) == every[-most:]
