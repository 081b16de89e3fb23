"""The memory of ids that ended lately: what it says is new never ended before, however small it is."""

from __future__ import annotations

from formicary.engine.queen.core.batch import JobEnded
from formicary.engine.queen.edge import first_id, new_id
from formicary.engine.queen.recent_ids import AHEAD_S, WITHIN_S, RecentIds

T = 1_700_000_000.0


def end(job_id: str) -> JobEnded:
    return JobEnded(job_id, "COMPLETED", b"{}", "", "")


def begun(most: int = 10) -> RecentIds:
    """A memory that began a minute ago."""
    found = RecentIds(most)
    found.begin(T - 60.0)
    return found


def test_before_it_begins_nothing_is_known() -> None:
    """No id is taken as new before the queen has read its store, nor one made before that moment."""
    recent = RecentIds()
    assert not recent.are_new([new_id(T)], T)
    recent.begin(T)
    assert not recent.are_new([new_id(T)], T)
    later = T + AHEAD_S + 0.1
    assert recent.are_new([new_id(later)], later)


def test_only_ids_of_now_that_have_not_ended_are_new() -> None:
    """Old ones, those of clocks far ahead, and those that ended are not."""
    recent, now = begun(), new_id(T)
    assert recent.are_new([now, new_id(T - 1.0)], T)
    assert not recent.are_new([now, new_id(T - WITHIN_S - 1.0)], T)
    assert not recent.are_new([new_id(T + AHEAD_S + 1.0)], T)
    recent.ended([end(now)], T)
    assert not recent.are_new([now], T)


def test_it_is_bounded_and_what_it_forgets_is_not_new() -> None:
    """The oldest go when it is full, and ids up to them are looked up; all go when their time is over."""
    recent, ids = begun(most=10), [new_id(T + number / 1000) for number in range(100)]
    recent.ended(map(end, ids), T)
    assert len(recent) == 10
    assert not any(recent.are_new([job_id], T) for job_id in ids)
    assert recent.are_new([first_id(T + 1.0)], T)
    recent.ended([], T + WITHIN_S + 1.0)
    assert len(recent) == 0


def test_a_clock_that_goes_back_brings_no_ended_id_back() -> None:
    """What was forgotten because its time was over stays out when the clock says an earlier time."""
    recent, now = begun(), new_id(T)
    recent.ended([end(now)], T)
    recent.ended([], T + 60.0)
    assert len(recent) == 0
    assert not recent.are_new([now], T)
