"""The short form of the idempotency storm: a server that is killed again and again does each operation once."""

from __future__ import annotations

from tests.acceptance.idempotency_storm import Seen, storm
from tests.acceptance.server import busyness


def test_each_key_has_one_effect_and_one_answer_under_kill_9() -> None:
    """120 operations with 10 answers each from a server that is killed after every third of a second.

    A busy machine gives it as much of a processor between two kills, and so more time; where all were done before the
    first of them, twice as many are begun.
    """
    for keys in (120, 240, 480, 960):
        seen = storm(keys=keys, retries=10, kill_every_s=0.3 * busyness(), seed=7)
        assert seen.holds, seen.summary()
        if seen.kills:
            break
    assert seen.kills >= 1
    assert seen.summary() == f"keys {keys}, effects {keys}, kills {seen.kills}, replies {keys * 10:,}, different 0"


def test_the_storm_sees_a_second_effect_another_answer_and_a_lost_one() -> None:
    """Each of them makes it fail."""
    one, two = (201, (), b"1"), (201, (), b"2")

    def seen(replies: list[tuple[int, tuple[tuple[bytes, bytes], ...], bytes]], effects: int) -> bool:
        return Seen(1, 2, {"a": replies}, {"a": effects}, kills=1).holds

    assert seen([one, one], 1)
    assert not seen([one, one], 2)
    assert not seen([one, two], 1)
    assert not seen([one], 1)
    assert not Seen(1, 2, {"a": [one, one]}).holds, "an effect that is not there"
