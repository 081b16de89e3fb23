"""The rules of the fuzz target hold for a fixed set of inputs; `python -m tests.fuzz.transcoder` goes on from there."""

from tests.fuzz.transcoder import SEEDS, Target, mutations

INPUTS = 4000


def test_whatever_is_sent_is_answered_and_never_as_our_failure() -> None:
    """No exception, no 5xx, and refusals are problem documents without internals."""
    target = Target()
    try:
        for data in (*SEEDS, *mutations(7, INPUTS)):
            target(data)
    finally:
        target.close()
