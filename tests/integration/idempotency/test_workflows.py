"""Workflows: each step once, resumed after any end, undone in reverse, and never something else under an old id."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from formicary.idempotency import MemoryStore, SqliteStore, Store
from formicary.idempotency.workflow_status import status
from formicary.idempotency.workflows import MAX_STEPS, Step, Workflow, workflow
from formicary.problems import Problem, problem

ROOT = Path(__file__).resolve().parents[3]
DAY_S = 86_400


@dataclass
class Clock:
    """The store's time, moved by tests."""

    now_s: float = 1_800_000_000.0

    def __call__(self) -> int:
        return round(self.now_s * 1000)


@dataclass
class Outside:
    """What happened outside.

    Attributes:
        done: Names of the effects in order.
        keys: The key of each.
        fails: What the function of a name raises instead.
    """

    done: list[str] = field(default_factory=list)
    keys: dict[str, list[str]] = field(default_factory=dict)
    fails: dict[str, BaseException] = field(default_factory=dict)

    def does(self, name: str) -> Callable[[Step], Awaitable[str]]:
        async def do(step: Step) -> str:
            self.keys.setdefault(name, []).append(step.key)
            if name in self.fails:
                raise self.fails[name]
            self.done.append(name)
            return f"{name}-{len(self.done)}"

        return do

    def undoes(self, name: str) -> Callable[[Step, str], Awaitable[str]]:
        async def undo(step: Step, value: str) -> str:
            assert value.startswith(f"{name}-")
            return await self.does(f"un{name}")(step)

        return undo


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def run(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Runs a test's coroutine with an open store."""

    def with_store(test: Callable[[Store], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            store: Any
            if request.param == "memory":
                store = MemoryStore(clock)
            else:
                store = SqliteStore(tmp_path / "records.db", synchronous="NORMAL", now_ms=clock)
            await store.open()
            try:
                return await test(store)
            finally:
                await store.close()

        return asyncio.run(main())

    yield with_store


async def buy(store: Store, outside: Outside, names: str = "abc", **options: Any) -> list[str]:
    """A workflow with a step for each letter."""
    async with workflow(store, "order-1", **options) as flow:
        return [await flow.step(name, outside.does(name), compensate=outside.undoes(name)) for name in names]


@pytest.mark.parametrize("failing", ["a", "b", "c"])
def test_it_is_resumed_from_the_step_that_failed(run: Any, failing: str) -> None:
    """Steps before it are not repeated, its function gets the same key, and the values are the same as in one run."""

    async def test(store: Store) -> None:
        outside = Outside(fails={failing: OSError("away")})
        with pytest.raises(OSError, match="away"):
            await buy(store, outside)
        stands = await status(store, "order-1")
        assert stands is not None and stands.state == "STOPPED"
        assert [step.name for step in stands.steps if step.state == "FAILED"] == [failing]
        del outside.fails[failing]
        assert await buy(store, outside) == ["a-1", "b-2", "c-3"]
        assert outside.done == ["a", "b", "c"]
        assert len(outside.keys[failing]) == 2 and len(set(outside.keys[failing])) == 1
        assert await buy(store, outside) == ["a-1", "b-2", "c-3"]
        assert outside.done == ["a", "b", "c"]

    run(test)


def test_it_tells_where_it_stands(run: Any, clock: Clock) -> None:
    """Steps in order with states and times; the records carry the workflow as their parent."""

    async def test(store: Store) -> None:
        outside = Outside()
        seen: list[Any] = []

        async def look(_: Step) -> None:
            clock.now_s += 5
            seen.append(await status(store, "order-1"))

        assert await status(store, "order-1") is None
        async with workflow(store, "order-1") as flow:
            await flow.step("z", outside.does("z"))
            await flow.step("a", look)
            await flow.step("a", outside.does("a"))
        (during,), after = seen, await status(store, "order-1")
        assert (during.state, [(s.name, s.state) for s in during.steps]) == (
            "RUNNING",
            [("z", "COMPLETED"), ("a", "RUNNING")],
        )
        assert after is not None and after.state == "COMPLETED"
        assert [(s.name, s.occurrence, s.state) for s in after.steps] == [
            ("z", 0, "COMPLETED"),
            ("a", 0, "COMPLETED"),
            ("a", 1, "COMPLETED"),
        ]
        assert [(s.began_ms, s.ended_ms, s.attempts) for s in after.steps[:2]] == [
            (after.began_ms, after.began_ms, 1),
            (after.began_ms, after.began_ms + 5000, 1),
        ]
        assert len(await store.records(parent="order-1")) == 3

    run(test)


def test_after_an_exception_that_says_so_everything_is_undone_in_reverse(run: Any) -> None:
    """Only what completed is undone; whoever enters again is told why, and nothing happens any more."""

    async def test(store: Store) -> None:
        declined = problem("FAILED_PRECONDITION", "The card was declined.")
        outside = Outside(fails={"c": declined})
        for _ in range(2):
            with pytest.raises(Problem, match="declined"):
                await buy(store, outside, undo_on=Problem)
        assert outside.done == ["a", "b", "unb", "una"]
        stands = await status(store, "order-1")
        assert stands is not None and stands.state == "UNDONE"
        assert [step.state for step in stands.steps] == ["UNDONE", "UNDONE", "FAILED"]
        assert stands.failure is not None and stands.failure.detail == "The card was declined."

    run(test)


def test_undoing_goes_on_where_it_failed(run: Any) -> None:
    """Once it is decided nothing else runs: resuming finishes the compensations, each once and with its key."""

    async def test(store: Store) -> None:
        outside = Outside(fails={"c": problem("NOT_FOUND", "No stock."), "una": OSError("away")})
        with pytest.raises(OSError, match="away"):
            await buy(store, outside, undo_on=Problem)
        assert outside.done == ["a", "b", "unb"]
        stands = await status(store, "order-1")
        assert stands is not None and stands.state == "UNDOING"
        outside.fails.clear()
        with pytest.raises(Problem, match="No stock"):
            await buy(store, outside, undo_on=Problem)
        assert outside.done == ["a", "b", "unb", "una"]
        assert len(set(outside.keys["una"])) == 1
        assert len({key for keys in outside.keys.values() for key in keys}) == 5

    run(test)


@pytest.mark.parametrize(
    ("names", "told"),
    [("acb", "was b when it began, now it is c"), ("xab", "was a when it began, now it is x"), ("a", "without it now")],
)
def test_another_order_is_told_before_anything_runs(run: Any, names: str, told: str) -> None:
    async def test(store: Store) -> None:
        outside = Outside(fails={"c": OSError("away")})
        with pytest.raises(OSError, match="away"):
            await buy(store, outside)
        outside.fails.clear()
        with pytest.raises(Problem, match=told) as caught:
            await buy(store, outside, names)
        assert (caught.value.code, outside.done) == ("IDEMPOTENCY_KEY_REUSED", ["a", "b"])

    run(test)


@pytest.mark.parametrize("completed", [True, False])
def test_another_input_is_told_before_anything_runs(run: Any, completed: bool) -> None:
    """Of the workflow, and of a step; also of one that has completed."""

    async def buy_for(store: Store, cents: int, total: int, outside: Outside) -> None:
        async with workflow(store, "order-1", input={"cents": cents}) as flow:
            await flow.step("charge", outside.does("charge"), input=[total])
            await flow.step("ship", outside.does("ship"))

    async def test(store: Store) -> None:
        outside = Outside()
        if completed:
            await buy_for(store, 5, 5, outside)
        else:
            outside.fails["ship"] = OSError("away")
            with pytest.raises(OSError, match="away"):
                await buy_for(store, 5, 5, outside)
        with pytest.raises(Problem, match="workflow order-1 began with another input"):
            await buy_for(store, 6, 5, outside)
        with pytest.raises(Problem, match="step charge of the workflow order-1 began with another input"):
            await buy_for(store, 5, 6, outside)
        assert outside.done.count("charge") == 1

    run(test)


def test_a_completed_workflow_takes_no_new_step(run: Any) -> None:
    async def test(store: Store) -> None:
        outside = Outside()
        await buy(store, outside)
        with pytest.raises(Problem, match="completed without the step d"):
            await buy(store, outside, "abcd")
        assert outside.done == ["a", "b", "c"]

    run(test)


def test_one_runs_it_at_a_time(run: Any) -> None:
    """Another one is refused, or waits and finds everything done."""

    async def test(store: Store) -> None:
        outside, held = Outside(), asyncio.Event()

        async def first() -> None:
            async with workflow(store, "order-1") as flow:
                await flow.step("a", outside.does("a"))
                await held.wait()

        running = asyncio.create_task(first())
        while not outside.done:
            await asyncio.sleep(0)
        with pytest.raises(Problem) as caught:
            await buy(store, outside, "a")
        assert caught.value.code == "IDEMPOTENT_REQUEST_IN_PROGRESS"
        waiting = asyncio.create_task(buy(store, outside, "a", wait_s=20))
        held.set()
        await running
        assert await waiting == ["a-1"]
        assert outside.done == ["a"]

    run(test)


def test_who_was_away_too_long_may_do_nothing_more(run: Any, clock: Clock) -> None:
    """After its lease another one resumes it, with a higher token; the late one's steps are refused."""

    async def test(store: Store) -> None:
        outside, tokens = Outside(), list[int]()

        async def noting(step: Step) -> None:
            tokens.append(step.token)

        async def late() -> None:
            async with workflow(store, "order-1", lease_s=10) as flow:
                await flow.step("a", outside.does("a"))
                clock.now_s += 11
                async with workflow(store, "order-1", lease_s=10) as other:
                    await other.step("a", outside.does("a"))
                    await other.step("b", noting)
                await flow.step("b", noting)

        with pytest.raises(Problem) as caught:
            await late()
        assert (caught.value.code, len(tokens), outside.done) == ("LEASE_LOST", 1, ["a"])

    run(test)


def test_a_lost_lease_stops_the_body(run: Any, clock: Clock) -> None:
    """The heartbeat notices it and cancels the body, which ends with LEASE_LOST."""

    async def test(store: Store) -> None:
        async with asyncio.timeout(60):
            with pytest.raises(Problem) as caught:
                async with workflow(store, "order-1", lease_s=0.2):
                    clock.now_s += 1
                    async with workflow(store, "order-1", lease_s=1000):
                        await asyncio.Event().wait()
        assert caught.value.code == "LEASE_LOST"

    run(test)


def test_steps_live_as_long_as_their_workflow(run: Any, clock: Clock) -> None:
    """Resumed late again and again, no step is forgotten; after its time it is refused; then the id is a new one."""

    async def test(store: Store) -> None:
        outside = Outside(fails={"c": OSError("away")})
        for _ in range(3):
            with pytest.raises(OSError, match="away"):
                await buy(store, outside, ttl_s=DAY_S)
            clock.now_s += 0.3 * DAY_S
            await store.purge()
        assert outside.done == ["a", "b"]
        clock.now_s += 0.2 * DAY_S
        with pytest.raises(Problem, match="is over"):
            await buy(store, outside, ttl_s=DAY_S)
        clock.now_s += 1.1 * DAY_S
        outside.fails.clear()
        assert await buy(store, outside, ttl_s=DAY_S) == ["a-3", "b-4", "c-5"]
        clock.now_s += 0.9 * DAY_S
        await store.purge()
        assert await buy(store, outside, ttl_s=DAY_S) == ["a-3", "b-4", "c-5"]

    run(test)


def test_values_have_their_type_and_tenants_their_own(run: Any) -> None:
    """The first run and a later one get the same type; another tenant's or kind's workflow of the id is another."""

    class Charge(msgspec.Struct):
        id: str
        cents: int

    async def test(store: Store) -> None:
        keys = list[str]()

        async def charge(step: Step) -> Charge:
            keys.append(step.key)
            return Charge("ch_1", 500)

        for options in ({}, {}, {"tenant": "t"}, {"name": "refund"}):
            async with workflow(store, "order-1", **options) as flow:
                assert await flow.step("charge", charge, returns=Charge) == Charge("ch_1", 500)
        assert len(keys) == len(set(keys)) == 3

    run(test)


def test_steps_may_run_beside_each_other(run: Any) -> None:
    """Those that are begun together keep the order in which they were begun."""

    async def test(store: Store) -> None:
        outside = Outside(fails={"b": OSError("away")})

        async def fan(flow: Workflow) -> list[str]:
            return await asyncio.gather(*(flow.step(name, outside.does(name)) for name in "abc"))

        with pytest.raises(OSError, match="away"):
            async with workflow(store, "order-1") as flow:
                await fan(flow)
        outside.fails.clear()
        async with workflow(store, "order-1") as flow:
            await fan(flow)
        stands = await status(store, "order-1")
        assert stands is not None
        assert [step.name for step in stands.steps] == ["a", "b", "c"]
        assert sorted(outside.done) == ["a", "b", "c"]

    run(test)


def test_a_cancelled_workflow_can_be_resumed_at_once(run: Any) -> None:
    async def test(store: Store) -> None:
        began = asyncio.Event()

        async def hang(_: Step) -> None:
            began.set()
            await asyncio.Event().wait()

        async def body() -> None:
            async with workflow(store, "order-1") as flow:
                await flow.step("a", hang)

        task = asyncio.create_task(body())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await buy(store, Outside(), "a") == ["a-1"]

    run(test)


def test_there_are_bounds(run: Any) -> None:
    """To the number of steps and to the size of a value; an id is checked like a key."""

    async def nothing(_: Step) -> None:
        pass

    async def large(_: Step) -> str:
        return "x" * 2_000_000

    async def test(store: Store) -> None:
        with pytest.raises(Problem, match="visible ASCII"):
            workflow(store, "two words")
        with pytest.raises(Problem, match="bytes, at most"):
            async with workflow(store, "order-1") as flow:
                await flow.step("a", large)
        async with workflow(store, "order-2") as flow:
            flow._next = MAX_STEPS
            with pytest.raises(Problem, match="more than 1000 steps"):
                await flow.step("a", nothing)
            flow._next = 0

    run(test)


KILLED = """
import asyncio, os, signal, sys
from formicary.idempotency import SqliteStore
from formicary.idempotency.workflows import workflow

async def main(path, die_at):
    def does(name):
        async def do(step):
            with open(path + ".log", "a") as log:
                log.write(f"{name} {step.key}\\n")
            if die_at == "in-" + name:
                os.kill(os.getpid(), signal.SIGKILL)
            return name
        return do

    store = SqliteStore(path)
    await store.open()
    async with workflow(store, "order-1", lease_s=0.5, wait_s=20) as flow:
        for name in ("create", "charge", "allocate"):
            await flow.step(name, does(name))
            if die_at == "after-" + name:
                os.kill(os.getpid(), signal.SIGKILL)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("die_at", ["in-charge", "after-create", "after-charge", "after-allocate"])
def test_killed_at_any_place_each_completed_step_is_done_once(tmp_path: Path, die_at: str) -> None:
    """kill -9 after a step repeats nothing; inside a step that one alone runs again, with the same key."""
    path = str(tmp_path / "records.db")
    for moment, status_wanted in ((die_at, -signal.SIGKILL), ("", 0)):
        done = subprocess.run([sys.executable, "-c", KILLED, path, moment], cwd=ROOT, timeout=60, check=False)
        assert done.returncode == status_wanted
    lines = (tmp_path / "records.db.log").read_text().split("\n")[:-1]
    names = [line.split()[0] for line in lines]
    wanted = ["create", "charge", "allocate"]
    assert names == (["create", "charge", "charge", "allocate"] if die_at == "in-charge" else wanted)
    assert len(set(lines)) == 3
