"""Jobs that start by themselves: registered, fired, paused, overlapping, missed while no queen was there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from formicary.engine.queen.runtime import Queen, QueenConfig
from formicary.engine.queen.schedules import Schedule, from_row
from formicary.engine.storage.logs import MemoryLogs
from formicary.engine.storage.memory import MemoryStore
from formicary.engine.storage.port import Changes
from formicary.problems import Problem
from tests.acceptance.test_kills import slowness

EVERY_SECOND = "'* * * * * * *'"
YEARLY = "'0 0 1 1 *'"


def source(cron: str, more: str = "") -> str:
    """A job with a trigger."""
    return f"job_type: tick\n{cron}\n{more}tasks:\n- task_type: t\n  script: ['true']\n"


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs one asynchronous test, bounded."""
    asyncio.run(asyncio.wait_for(test(), 120))


@asynccontextmanager
async def queen_on(store: MemoryStore) -> AsyncIterator[Queen]:
    """A queen with schedules and without ants: what starts stays PENDING."""
    queen = Queen(store, MemoryLogs(), QueenConfig(schedules=True))
    await queen.start()
    try:
        yield queen
    finally:
        await queen.stop()


async def until(condition: Callable[[], bool], limit_s: float = 40.0) -> None:
    """Waits for a condition."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.005)


def planned(store: MemoryStore) -> list[float]:
    """Planned times of all jobs, in order of submission."""
    return sorted(float(str(row[1]).rpartition(":")[2]) for row in store._tables.keys.values())


def stored(store: MemoryStore) -> Schedule:
    """The one schedule as it is stored."""
    (row,) = store.schedules()
    return from_row(row)


def put(store: MemoryStore, schedule: Schedule) -> None:
    """Stores a schedule while no queen is there."""
    changes = Changes()
    changes.schedules[schedule.key] = schedule.row()
    store.commit(store.acquire("test"), changes)


def test_it_starts_jobs_at_their_times_and_each_once() -> None:
    """Every second has its job, none twice, and the jobs start within 0.1 s of their time."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        async with queen_on(store) as queen:
            await queen.register(source(f"cron_trigger: {EVERY_SECOND}"))
            await until(lambda: len(planned(store)) >= 3)
        times = planned(store)
        assert times == [times[0] + at for at in range(len(times))]
        late = [float(row[7] or 0) - due for row, due in zip(store._tables.jobs.values(), times, strict=True)]
        assert all(0 <= one < 0.5 + slowness() for one in late), late
        assert stored(store).next_at == times[-1] + 1 and stored(store).last_at == times[-1]

    run(test)


def test_after_a_restart_its_definition_is_in_memory_before_it_is_due() -> None:
    """Many may be due at one moment: none of them then waits for the store and the parser."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        async with queen_on(store) as queen:
            definition = await queen.register(source(f"cron_trigger: {YEARLY}"))
        due = float(int(time.time()) + 8)
        put(store, replace(stored(store), next_at=due))
        async with queen_on(store) as queen:
            assert definition not in queen.pump.core.definitions
            await until(lambda: definition in queen.pump.core.definitions)
            assert time.time() < due and planned(store) == []
            await until(lambda: planned(store) == [due])

    run(test)


def test_a_new_version_replaces_the_schedule_and_one_without_ends_it() -> None:
    """The row always says what the newest version says."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        async with queen_on(store) as queen:
            first = await queen.register(source("cron_trigger: '@daily'"))
            assert stored(store).definition_id == first
            second = await queen.register(source(f"cron_trigger: {YEARLY}"))
            assert (stored(store).definition_id, stored(store).version) == (second, 2)
            await queen.register(source("cron_trigger: '@daily'"))
            assert stored(store).definition_id == second, "an older version came again, and is not the newest"
            await queen.register(source("priority: 1"))
            assert stored(store).cron is None and stored(store).next_at is None and queen.schedules.of("local") == []

    run(test)


def test_a_paused_schedule_starts_nothing_and_goes_on_with_the_next_time() -> None:
    """A pause survives a restart; what fell into it is not made up for."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        async with queen_on(store) as queen:
            await queen.register(source(f"cron_trigger: {EVERY_SECOND}"))
            await queen.schedules.pause("local", "tick")
            before = len(planned(store))
        async with queen_on(store) as queen:
            assert queen.schedules.get("local", "tick").paused
            await asyncio.sleep(1.2)  # time itself is what is tested
            assert len(planned(store)) == before
            resumed = await queen.schedules.resume("local", "tick")
            await until(lambda: len(planned(store)) > before)
            assert planned(store)[before] == resumed.next_at

    run(test)


def test_it_is_started_by_hand_and_a_repeated_request_starts_one_job() -> None:
    """Firing answers with the job's id; the same key gives the same job."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        async with queen_on(store) as queen:
            await queen.register(source(f"cron_trigger: {YEARLY}"))
            first = await queen.schedules.fire("local", "tick", "", b'{"a": 1}', "k")
            assert await queen.schedules.fire("local", "tick", "", b'{"a": 1}', "k") == first
            assert await queen.schedules.fire("local", "tick", "", b"{}") != first
            assert sum(store.counts().values()) == 2
            with pytest.raises(Problem, match="no trigger"):
                await queen.schedules.fire("acme", "tick", "", b"{}")

    run(test)


@pytest.mark.parametrize(("policy", "runs"), [("skip", 0), ("last", 1), ("all", 3)])
def test_runs_that_were_due_while_no_queen_was_there_follow_the_policy(policy: str, runs: int) -> None:
    """None, the last one, or each of them; then the schedule goes on with the next time."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        cron = f"cron_trigger: {{schedule: {YEARLY}, missed: {policy}}}"
        async with queen_on(store) as queen:
            await queen.register(source(cron))
        now = stored(store)
        assert now.cron is not None and now.next_at is not None
        years = now.cron.between(now.next_at - 3 * 366 * 86400.0, now.next_at)[-4:-1]
        put(store, replace(now, next_at=years[0]))
        async with queen_on(store) as queen:
            await until(lambda: stored(store).next_at == now.next_at)
            assert planned(store) == years[len(years) - runs :]
            assert queen.schedules.get("local", "tick").last_at == (years[-1] if runs else years[0])

    run(test)


def test_a_run_that_falls_due_while_earlier_ones_are_looked_up_is_started_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that needs seconds for its answer costs time, and no run of these seconds."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        async with queen_on(store) as queen:
            await queen.register(source(f"cron_trigger: {{schedule: {EVERY_SECOND}, missed: all}}"))
        find_keys = store.find_keys

        def slowly(org: str, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
            if len(keys) > 1:
                time.sleep(2.2)  # the very thing that is tested; reads have a thread of their own
            return find_keys(org, keys)

        monkeypatch.setattr(store, "find_keys", slowly)
        begin = float(int(time.time()) - 10)
        put(store, replace(stored(store), next_at=begin))
        async with queen_on(store) as queen:
            await until(lambda: len(planned(store)) >= 16)
        times = planned(store)
        assert times == [begin + at for at in range(len(times))]

    run(test)


def test_a_run_is_left_out_while_the_one_before_goes_on() -> None:
    """`overlap: skip`: the planned times pass, and nothing starts until that job has ended."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        async with queen_on(store) as queen:
            await queen.register(source(f"cron_trigger: {{schedule: {EVERY_SECOND}, overlap: skip}}"))
            await until(lambda: len(planned(store)) == 1)
            first = stored(store)
            await until(lambda: (stored(store).last_at or 0) >= (first.last_at or 0) + 2)
            assert len(planned(store)) == 1
            await queen.cancel(first.last_job)
            await until(lambda: len(planned(store)) == 2)

    run(test)


def test_runs_wait_for_the_one_before_also_across_a_restart() -> None:
    """`overlap: queue`: one after the other, in the order of their times, and none is forgotten."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        async with queen_on(store) as queen:
            await queen.register(source(f"cron_trigger: {{schedule: {EVERY_SECOND}, overlap: queue}}"))
            await until(lambda: len(stored(store).waiting) >= 2)
            first = stored(store)
            assert len(planned(store)) == 1
            await queen.cancel(first.last_job)
            await until(lambda: len(planned(store)) == 2)
            assert planned(store)[1] == first.waiting[0]
        second = stored(store)
        async with queen_on(store) as queen:
            await until(lambda: queen.schedules.get("local", "tick").last_job == second.last_job)
            await queen.cancel(second.last_job)
            await until(lambda: len(planned(store)) == 3)
            assert planned(store)[2] == second.waiting[0]

    run(test)


@pytest.mark.parametrize("kind", ["before", "unknown"])
def test_a_failed_commit_loses_no_run_and_doubles_none(kind: Any) -> None:
    """The store fails just when a run is written: every second still has exactly one job."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        async with queen_on(store) as queen:
            await queen.register(source(f"cron_trigger: {{schedule: {EVERY_SECOND}, missed: all}}"))
            await until(lambda: len(planned(store)) == 1)
            store.fail_next(kind)
            await until(lambda: queen.counters()["recoveries"] == 1 and len(planned(store)) >= 4)
        times = planned(store)
        assert times == [times[0] + at for at in range(len(times))]
        assert sum(store.counts().values()) == len(times)

    run(test)


def test_tasks_that_a_template_makes_are_made_for_each_run() -> None:
    """`dynamic_template_tasks`: every run is expanded, and the schedule stays that of the template."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        text = "job_type: tick\ndynamic_template_tasks: true\n" + f"cron_trigger: {EVERY_SECOND}\n"
        text += "tasks:\n{{range $i := Iterate 1}}\n- task_type: t{{$i}}\n  script: ['true']\n{{end}}\n"
        async with queen_on(store) as queen:
            key = await queen.register(text)
            await until(lambda: len(planned(store)) >= 2)
            assert stored(store).definition_id == key
            document = await queen.document(stored(store).last_job)
            assert len(document["tasks"]) == 1

    run(test)


def test_a_run_that_lacks_a_parameter_starts_nothing_and_the_schedule_goes_on() -> None:
    """The planned time passes; the next one is set."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        async with queen_on(store) as queen:
            await queen.register(source(f"cron_trigger: {EVERY_SECOND}", "required_params: [who]\n"))
            await until(lambda: (stored(store).last_at or 0) > 0)
            assert planned(store) == [] and (stored(store).next_at or 0) > (stored(store).last_at or 0)

    run(test)


@pytest.mark.parametrize("overlap", ["allow", "queue"])
def test_a_run_that_is_refused_takes_no_other_with_it(overlap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that fell due while it was looked at, or wait behind it, are started; who lists triggers sees how many
    were not, and why.
    """

    async def test() -> None:
        store = MemoryStore(strict=True)
        cron = f"cron_trigger: {{schedule: {EVERY_SECOND}, missed: all, overlap: {overlap}}}"
        async with queen_on(store) as queen:
            await queen.register(source(cron, "required_params: [who]\n"))
        begin = float(int(time.time()) - 10)
        put(store, replace(stored(store), next_at=begin))
        find_keys = store.find_keys

        async with queen_on(store) as queen:
            key = ("local", "tick", "cron")

            def slowly(org: str, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
                time.sleep(1.1)  # reads have a thread of their own; a run falls due meanwhile
                return find_keys(org, keys)

            monkeypatch.setattr(store, "find_keys", slowly)
            await until(lambda: key in queen.schedules.refusals)
            refused = queen.schedules.refusals[key]
            assert "needs the parameters who" in refused.reason and refused.count >= 1
            await queen.configs.put("local", "org", "", "who", "Ada", secret=False)
            monkeypatch.setattr(store, "find_keys", find_keys)
            await until(lambda: len(planned(store)) >= 2 - (overlap == "queue"))
            times, refused = planned(store), queen.schedules.refusals[key]
            assert refused.reason == ""
            assert times[0] == begin + refused.count, "each run was either refused or started"

    run(test)


def test_without_schedules_the_field_has_no_effect() -> None:
    """`formicary run` starts such a job once and leaves no schedule behind."""

    async def test() -> None:
        store = MemoryStore(strict=True)
        queen = Queen(store, MemoryLogs())
        await queen.start()
        await queen.register(source(f"cron_trigger: {EVERY_SECOND}"))
        await queen.stop()
        assert store.schedules() == []

    run(test)
