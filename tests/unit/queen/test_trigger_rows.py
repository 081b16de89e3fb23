"""What a trigger's row counts and what its templates see."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from formicary.engine.jobs.triggers import RateLimit, Trigger
from formicary.engine.queen.trigger_rows import MOST_EXACT, Event, TriggerRow, from_row, read

WINDOW_S = 60.0


def limited(most: int, starts: tuple[tuple[float, float, int], ...] = ()) -> TriggerRow:
    """A trigger with a rate limit."""
    spec = Trigger("webhook", "w", rate_limit=RateLimit(most, WINDOW_S))
    return TriggerRow("org", "j", "w", "d", 1, spec, mark={"at": 3}, starts=starts)


@example(1, [(1.8193836505758079, 1), (20.0, 1), (20.0, 1), (20.0, 1)])  # 1001.8… + 60 - 1001.8… is below 60
@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0, 20, allow_nan=False), st.integers(1, 9)), max_size=120),
)
def test_no_window_holds_more_than_the_limit_wherever_it_begins(most: int, steps: list[tuple[float, int]]) -> None:
    """Events come at any time, several at once; what the row lets through is at most `most` in every window, and it
    stays small. A list of all starts is the obvious way.
    """
    row, now, started = limited(most), 1000.0, list[float]()
    for pause, wanted in steps:
        now += pause
        count = min(wanted, row.room(now) or 0)
        if count:
            row = from_row(row.started(count, "id", now).row())
            started += [now] * count
        assert len(row.starts) <= 2 * MOST_EXACT + 1 and row.mark == {"at": 3}
        if row.room(now) == 0:
            at = row.room_at(now)
            assert now < at <= math.nextafter(now + WINDOW_S, math.inf) and row.room(at)
    for begin in started:
        assert sum(begin <= at and at - begin < WINDOW_S for at in started) <= most


def test_few_jobs_are_counted_to_the_moment() -> None:
    """At the border of a window as many may start as have left it, not one more."""
    row = limited(3)
    for at in (0.0, 59.0, 59.5):
        assert row.room(at)
        row = row.started(1, "id", at)
    assert (row.room(59.9), row.room_at(59.9), row.room(60.0)) == (0, 60.0, 1)
    row = row.started(1, "id", 60.0)
    assert (row.room(60.1), row.room_at(60.1), row.room(119.0)) == (0, 119.0, 1)


def test_a_row_of_an_older_version_goes_on_with_its_window() -> None:
    """It knew the begin of a window and a number."""
    older = (*limited(3).row()[:-2], 100.0, 2)
    row = from_row(older)
    assert (row.room(110.0), row.room(160.0)) == (1, 3)


def test_a_clock_that_was_set_back_lets_nothing_through() -> None:
    """What was started later than now counts."""
    row = limited(1).started(1, "id", 500.0)
    assert row.room(100.0) == 0


@pytest.mark.parametrize("name", ["Body", "Message", "Object"])
def test_templates_reach_the_content_by_older_names_too(name: str) -> None:
    """Payload and Event are the content of any event, and its fields have names of their own; what the event is
    called here comes first.
    """
    params = {"a": "{{.ref}}", "b": "{{.Payload.ref}}", "c": f"{{{{.{name}.ref}}}}", "d": "{{.Event.ref}}", "e": 5}
    spec = Trigger("webhook", "w", params={**params, "f": "{{.Headers.X}}"})
    row = TriggerRow("org", "j", "w", "d", 1, spec)
    seen = {name: {"ref": "main", "Headers": {"X": "no"}}, "Headers": {"X": "yes"}}
    (reading,) = read(row, [Event(seen)], 0.0, 1, time.monotonic)
    assert reading.params == b'{"a":"main","b":"main","c":"main","d":"main","e":5,"f":"yes"}'
    assert row.constants == {"e": 5}


def test_a_trigger_that_its_file_switches_off_rests() -> None:
    """As one that is paused."""
    row = limited(1)
    assert row.spec is not None and not row.rests
    assert replace(row, spec=replace(row.spec, enabled=False)).rests and replace(row, paused=True).rests
