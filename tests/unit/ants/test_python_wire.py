"""The ring of answers never overwrites what has not been read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.ants.python_wire import RING_BYTES, ring_slot


@given(st.lists(st.tuples(st.integers(5, RING_BYTES // 8), st.booleans()), max_size=200))
def test_records_lie_in_one_piece_and_never_over_unread_ones(records: list[tuple[int, bool]]) -> None:
    written = read = 0
    unread: list[tuple[int, int]] = []
    for size, reader_catches_up in records:
        start = ring_slot(written, read, size)
        if start is None:
            assert unread
        else:
            assert start >= written
            assert start % RING_BYTES + size <= RING_BYTES
            assert start + size - read <= RING_BYTES
            places = {position for begin, end in unread for position in (begin % RING_BYTES, (end - 1) % RING_BYTES)}
            assert not any(start % RING_BYTES <= place < start % RING_BYTES + size for place in places)
            written = start + size
            unread.append((start, written))
        if reader_catches_up:
            read, unread = written, []
