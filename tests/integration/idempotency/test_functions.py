"""Functions that are safe to call again."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest

from formicary.idempotency import MemoryStore, Rule
from formicary.idempotency.functions import once
from formicary.problems import Problem, problem


class Order(msgspec.Struct):
    """What is asked for."""

    id: str
    amount: int


class Receipt(msgspec.Struct):
    """What comes back."""

    number: int
    amount: int


def test_the_kept_value_comes_back_as_its_type() -> None:
    """Two calls with one key execute once; other arguments with it are refused; another key executes."""
    done: list[Order] = []

    @once(MemoryStore(), key=lambda order, **_: order.id)
    async def charge(order: Order, *, currency: str = "EUR") -> Receipt:
        """Takes the money."""
        done.append(order)
        return Receipt(len(done), order.amount)

    async def check() -> None:
        first = await charge(Order("a", 5))
        assert await charge(Order("a", 5), currency="EUR") == first == Receipt(1, 5)
        with pytest.raises(Problem) as reused:
            await charge(Order("a", 6))
        assert reused.value.code == "IDEMPOTENCY_KEY_REUSED"
        assert (await charge(Order("b", 6))).number == 2
        assert charge.__doc__ == "Takes the money."

    asyncio.run(check())


def test_refusals_are_kept_and_failures_are_not() -> None:
    """A 404 is raised again without executing; after a crash and after a 503 the next call executes."""
    errors: list[Exception | None] = [ZeroDivisionError(), problem("UNAVAILABLE"), problem("NOT_FOUND", "no a"), None]
    executed: list[str] = []

    @once(MemoryStore(), key=lambda name: name)
    def look(name: str) -> str:
        executed.append(threading.current_thread().name)
        error = errors.pop(0)
        if error is not None:
            raise error
        return name

    async def check() -> list[object]:
        return [await _outcome(look("a")) for _ in range(4)]

    assert asyncio.run(check()) == ["ZeroDivisionError", "UNAVAILABLE", "NOT_FOUND", "NOT_FOUND"]
    assert len(executed) == 3
    assert threading.main_thread().name not in executed, "a plain function blocks no loop"


async def _outcome(call: object) -> object:
    try:
        return await call  # type: ignore[misc]  # what the decorated function gives
    except Problem as error:
        return error.code
    except ZeroDivisionError:
        return "ZeroDivisionError"


def test_a_thread_whose_caller_is_cancelled_is_not_run_again() -> None:
    """A plain function goes on to its end; its value is kept for the next call."""
    began, go_on = threading.Event(), threading.Event()
    executed: list[str] = []

    @once(MemoryStore(), key=lambda name: name)
    def work(name: str) -> int:
        executed.append(name)
        began.set()
        assert go_on.wait(20)
        return len(executed)

    async def check() -> None:
        caller = asyncio.create_task(work("a"))
        await asyncio.to_thread(began.wait, 20)
        caller.cancel()
        await asyncio.wait({caller})
        assert caller.cancelled()
        with pytest.raises(Problem) as busy:
            await work("a")
        assert busy.value.code == "IDEMPOTENT_REQUEST_IN_PROGRESS"
        go_on.set()
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await work("a") == 1
                    break
                except Problem:
                    await asyncio.sleep(0.01)
        assert executed == ["a"]

    asyncio.run(check())


def test_calls_at_the_same_time_are_one() -> None:
    """Of 50 at once one executes; with `on_busy="wait"` all get its value."""
    executed: list[int] = []

    @once(MemoryStore(), key=lambda: "k", rule=Rule(on_busy="wait"))
    async def slow() -> int:
        executed.append(1)
        await asyncio.sleep(0.05)
        return len(executed)

    async def check() -> list[int]:
        return list(await asyncio.gather(*(slow() for _ in range(50))))

    assert asyncio.run(check()) == [1] * 50
    assert executed == [1]


def test_a_value_that_cannot_be_kept_is_not_made_again() -> None:
    """The first caller gets the error of what JSON cannot say; a repeat is told that it was done."""
    executed: list[int] = []

    @once(MemoryStore(), key=lambda: "k")
    async def work() -> object:
        executed.append(1)
        return object()

    async def check() -> None:
        with pytest.raises(TypeError):
            await work()
        with pytest.raises(Problem) as again:
            await work()
        assert (again.value.code, len(executed)) == ("RESPONSE_NOT_KEPT", 1)

    asyncio.run(check())
