"""The rules of the fuzz target hold for a fixed set of inputs; `python -m tests.fuzz.transcoder` goes on from there."""

import pytest

from tests.fuzz.transcoder import SEEDS, Broken, Target, mutations

INPUTS = 4000


def test_whatever_is_sent_is_answered_and_never_as_our_failure() -> None:
    """No exception, no 5xx, and refusals are problem documents without internals."""
    target = Target()
    try:
        for data in (*SEEDS, *mutations(7, INPUTS)):
            target(data)
    finally:
        target.close()


def test_the_target_notices_a_failure_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that fails is a 5xx, and that is told with the request."""

    async def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("tests.library.Library.Echo", fail)
    target = Target()
    try:
        with pytest.raises(Broken, match="500"):
            target(SEEDS[0])
    finally:
        target.close()
