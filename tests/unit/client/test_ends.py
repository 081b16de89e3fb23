"""Watched jobs: whoever waits is told, early or late, once per wait."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from formicary.client import ends as ends_module
from formicary.client.ends import Ends
from formicary.problems import problem
from formicary.v1 import jobs_pb2 as pb


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs one asynchronous test, bounded."""
    asyncio.run(asyncio.wait_for(test(), 10))


def end(job_id: str) -> pb.JobEnd:
    """A completed job."""
    return pb.JobEnd(id=job_id, state="COMPLETED")


def test_an_end_before_the_wait_is_kept() -> None:
    """A job that ended before anybody asked is known at once."""

    async def test() -> None:
        ends = Ends()
        ends.watch(["a"])
        ends.take([end("a")])
        assert ends.unknown(["a", "b"]) == ["b"]
        gathering = ends.gather(["a"])
        await gathering.done
        assert gathering.found["a"].state == "COMPLETED"
        assert ends.unknown(["a"]) == ["a"]  # handed out once; a second wait asks the server again

    run(test)


def test_an_end_before_the_answer_is_not_watched_for() -> None:
    """The push may overtake the answer of the submission; nothing is left to be watched then."""

    async def test() -> None:
        ends = Ends()
        ends.take([end("a")])
        ends.watch(["a", "b"])
        assert ends.watched == {"b"}

    run(test)


def test_several_wait_for_the_same_job() -> None:
    """Each of three waits gets the end."""

    async def test() -> None:
        ends = Ends()
        ends.watch(["a", "b"])
        waits = [ends.gather(["a"]), ends.gather(["a", "b"]), ends.gather(["a", "a"])]
        ends.take([end("a")])
        await waits[0].done
        await waits[2].done
        assert not waits[1].done.done()
        ends.take([end("b")])
        await waits[1].done

    run(test)


def test_a_lost_server_fails_whoever_waits() -> None:
    """Every wait ends with the problem, nothing stays watched."""

    async def test() -> None:
        ends = Ends()
        ends.watch(["a"])
        first, second = ends.gather(["a"]), ends.gather(["a"])
        ends.fail(problem("UNAVAILABLE", "gone"))
        for gathering in (first, second):
            with pytest.raises(Exception, match="gone"):
                await gathering.done
        assert not ends.watched
        assert not ends.awaited

    run(test)


def test_ends_that_nobody_collects_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten beyond the bound."""
    monkeypatch.setattr(ends_module, "MAX_KEPT", 3)
    ends = Ends()
    ends.take([end(str(number)) for number in range(5)])
    assert ends.unknown(["0", "1", "2", "3", "4"]) == ["0", "1"]
