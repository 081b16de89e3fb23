"""Work that is done to its end: it is a task of its own from its first step on, whether it ever gives way or not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from formicary.idempotency import Claim, Counts, Execution, MemoryStore, Rule, begin
from formicary.idempotency.heartbeat import Heartbeat
from formicary.idempotency.uncancelled import to_its_end

NAME: ContextVar[str] = ContextVar("NAME", default="outside")


async def carried(work: Coroutine[Any, Any, Any]) -> Any:
    """The work under a lease."""
    execution = await begin(MemoryStore(), Claim("k", b"f" * 32), Rule(), Counts())
    assert isinstance(execution, Execution)
    return await to_its_end(work, execution, Heartbeat(30.0))


def test_it_is_one_task_in_one_context_before_and_after_it_gives_way() -> None:
    """Neither task nor context changes when it first waits; the caller's own stay as they were."""

    async def work() -> tuple[object, object, str]:
        before = asyncio.current_task()
        NAME.set("inside")
        await asyncio.sleep(0)
        return before, asyncio.current_task(), NAME.get()

    async def check() -> None:
        mine = asyncio.current_task()
        before, after, name = await carried(work())
        assert before is after is not mine
        assert (name, NAME.get()) == ("inside", "outside")
        assert asyncio.current_task() is mine

    asyncio.run(check())


def test_a_value_and_an_error_come_at_once_where_it_never_gives_way() -> None:
    """Nobody waits for a turn of the loop, and nothing is left behind."""

    async def check() -> None:
        turns: list[int] = []
        asyncio.get_running_loop().call_soon(turns.append, 1)

        async def value() -> int:
            return 7

        async def error() -> int:
            raise ZeroDivisionError

        assert await carried(value()) == 7
        with pytest.raises(ZeroDivisionError):
            await carried(error())
        assert turns == []
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(check())


@pytest.mark.parametrize("seconds", [0, 0.001])
def test_a_time_out_of_its_own_ends_it(seconds: float) -> None:
    """One that begins in the first step belongs to the work, also where it is over before the loop's next turn."""

    async def work() -> str:
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(20)
        except TimeoutError:
            await asyncio.sleep(0)
            return "too late"
        return "in time"

    assert asyncio.run(carried(work())) == "too late"


def test_it_goes_on_without_its_caller_and_says_how_it_failed(caplog: pytest.LogCaptureFixture) -> None:
    """A caller that is cancelled is gone at once; the work ends, and its error is logged."""
    ended: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0.01)
        ended.append("here")
        raise ZeroDivisionError("nobody hears it")

    async def check() -> None:
        caller = asyncio.create_task(carried(work()))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait({caller})
        assert (caller.cancelled(), ended) == (True, [])
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)

    asyncio.run(check())
    assert ended == ["here"]
    assert "an operation whose caller has gone failed" in caplog.text


def test_a_task_is_used_again_only_where_nothing_is_left_of_it() -> None:
    """By work that never gave way; not after a cancellation that nobody has taken, nor by work that waits."""

    async def check() -> None:
        seen: list[object] = []

        async def quick() -> None:
            seen.append(asyncio.current_task())

        async def cancels() -> None:
            await quick()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

        async def waits() -> None:
            await quick()
            await asyncio.sleep(0)

        for work in (quick, quick, cancels, waits, waits, quick, quick):
            await carried(work())
            await asyncio.sleep(0)
        one, two, three, four, five, six, seven = map(id, seen)
        assert one == two == three
        assert len({three, four, five, six}) == 4
        assert six == seven

    asyncio.run(check())


def test_work_inside_of_work_has_a_task_of_its_own() -> None:
    """As where an operation calls another one in its first step."""

    async def inner() -> object:
        return asyncio.current_task()

    async def outer() -> tuple[object, object, object]:
        before = asyncio.current_task()
        return before, await carried(inner()), asyncio.current_task()

    before, inside, after = asyncio.run(carried(outer()))
    assert before is after is not inside


def test_the_end_of_the_loop_cancels_what_waits() -> None:
    """Nothing hangs: the work is told, and what does nothing is not waited for."""
    told: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(20)
        finally:
            told.append("the end")

    async def check() -> None:
        caller = asyncio.create_task(carried(work()))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait({caller})
        await carried(asyncio.sleep(0))

    asyncio.run(check())
    assert told == ["the end"]
