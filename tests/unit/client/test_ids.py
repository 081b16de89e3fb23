"""Job ids: sortable, unique, cheap, and never going back."""

import time

from formicary.client.ids import IdMaker, encode, is_id


def test_ids_of_one_maker_sort_in_the_order_they_were_made() -> None:
    """Ten thousand ids in a row are different and in order."""
    new_id = IdMaker()
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert all(is_id(one) for one in ids)


def test_an_id_begins_with_its_time() -> None:
    """The first ten characters are the milliseconds since the epoch."""
    assert IdMaker(lambda: 1_700_000_000.123)()[:10] == encode(1_700_000_000_123, 10)


def test_a_clock_that_is_set_back_does_not_set_ids_back() -> None:
    """Ids grow also where the clock does not."""
    times = iter([100.0, 99.0, 99.5, 101.0])
    new_id = IdMaker(lambda: next(times))
    ids = [new_id() for _ in range(4)]
    assert ids == sorted(set(ids))


def test_makers_of_the_same_millisecond_do_not_meet() -> None:
    """Two makers in the same millisecond draw different ids."""
    now = time.time()
    first, second = IdMaker(lambda: now), IdMaker(lambda: now)
    assert not {first() for _ in range(1000)} & {second() for _ in range(1000)}


def test_a_full_millisecond_takes_the_next_one() -> None:
    """When the counter of a millisecond is used up, the id still grows."""
    new_id = IdMaker(lambda: 5.0, lambda count: b"\xff" * count)
    new_id()
    new_id._low = (1 << 30) - 1
    assert new_id() > encode(5000, 10) + "z" * 16


def test_what_is_not_an_id_is_seen() -> None:
    """Length and alphabet are checked."""
    assert not is_id("")
    assert not is_id("u" * 26)
    assert not is_id("0" * 25)
    assert not is_id("0" * 27)
