"""The ant's copy of the lease ends before the queen's, whatever is delayed or lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.ants.lease import Lease


def test_it_counts_from_when_the_acknowledged_beat_was_sent() -> None:
    lease = Lease(1.0)
    assert not lease.has_ended(0.0)
    lease.welcomed(100.0, 10.0)
    assert lease.end == 109.0
    first, second = lease.sent(101.0), lease.sent(102.0)
    lease.acknowledged(first)
    assert lease.end == 110.0
    lease.acknowledged(first)
    lease.acknowledged(99)
    assert lease.end == 110.0
    lease.acknowledged(second)
    assert lease.end == 111.0
    assert lease.has_ended(111.0)
    assert not lease.has_ended(110.9)


def test_nothing_begins_unless_the_queen_has_just_answered() -> None:
    lease = Lease(1.0)
    assert not lease.is_fresh(0.0)
    lease.welcomed(100.0, 10.0, 3.0)
    assert lease.is_fresh(101.9)
    assert not lease.is_fresh(102.0)  # the queen may have seen the stream end at 100 and give the tasks away at 103
    lease.acknowledged(lease.sent(105.0))
    assert lease.is_fresh(106.9)
    assert not lease.is_fresh(107.0)
    assert not lease.has_ended(107.0)
    lease.lose()
    assert not lease.is_fresh(105.0)


def test_beats_of_an_earlier_stream_renew_nothing() -> None:
    lease = Lease(1.0)
    lease.welcomed(0.0, 10.0)
    beat = lease.sent(5.0)
    lease.welcomed(3.0, 10.0)
    lease.acknowledged(beat)
    assert lease.end == 12.0


def test_a_lost_lease_is_not_renewed_by_a_late_beat() -> None:
    lease = Lease(1.0)
    lease.welcomed(0.0, 10.0)
    beat = lease.sent(8.0)
    lease.lose()
    lease.acknowledged(beat)
    assert lease.end is None


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 2), st.booleans()), min_size=1, max_size=30))
def test_it_always_ends_before_the_queens(beats: list[tuple[float, float, bool]]) -> None:
    """Each beat: pause before it, delay on its way to the queen, whether her answer arrives."""
    lease, now, queens_end = Lease(1.0), 0.0, 10.0
    lease.welcomed(0.0, 10.0)
    for pause, delay, is_answered in beats:
        now += pause
        beat = lease.sent(now)
        queens_end = max(queens_end, now + delay + 10.0)
        if is_answered:
            lease.acknowledged(beat)
        assert lease.end is not None
        assert lease.end <= queens_end - 1.0 + 1e-9
