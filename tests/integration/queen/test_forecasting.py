"""Estimates of a running queen with real ants: what it says beforehand is what happens."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from formicary.embedded import Colony, ColonyConfig
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.edge import new_id
from formicary.engine.queen.forecasting import Estimate
from formicary.engine.queen.queues import QueueBook
from formicary.engine.scheduling.queues.limits import period_of
from formicary.engine.storage.memory import MemoryStore
from formicary.problems import Problem
from tests.acceptance.test_kills import slowness
from tests.integration.queen.test_queen import NOOP, queen_on, run

NAP = "job_type: nap\ntasks:\n- task_type: t\n  script: ['sleep 0.6']\n"
LIMITED = "job_type: limited\nmax_concurrency: 1\ntasks:\n- task_type: t\n  script: ['sleep 0.6']\n"
PAIR = (
    "job_type: pair\ntasks:\n- {task_type: a, script: ['true'], on_completed: b}\n- {task_type: b, script: ['true']}\n"
)
GPU = "job_type: gpu\ntasks:\n- task_type: t\n  tags: [gpu]\n  script: ['true']\n"


def about(found: Estimate, rounds: int) -> bool:
    """Whether the wait is that of so many naps as long as they were here, less what has passed of the first one."""
    run_s = found.run_s or 0.0
    return 0.6 <= run_s < 1.0 + slowness() and (rounds - 1) * run_s - 0.5 < found.wait_s < rounds * run_s + 1.0


def test_a_queued_job_starts_when_it_was_said_and_is_scored(tmp_path: Path) -> None:
    """Two slots, naps of 0.6 s, seven jobs: the last one waits for three rounds, and the score says how near it was."""

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=2)) as colony:
            queen = colony.queen
            key = await colony.register(NAP)
            await queen.ended([await colony.submit(key) for _ in range(2)])  # what a nap takes is known from here on
            ids = [await colony.submit(key) for _ in range(7)]
            found = await queen.estimate(ids[-1], deadline_at=queen.pump.now().wall + 3600)
            assert found is not None
            assert found.reason == ""
            assert about(found, rounds=3)
            assert found.in_time == 1.0
            await queen.ended(ids)
            document = await queen.document(ids[-1])
            assert await queen.estimate(ids[-1]) is None, document["state"]
            score = queen.pump.core.book.score
            assert score.count >= 1
            assert score.mean_error_s < 0.6 + slowness()

    asyncio.run(test())


def test_before_submitting_a_limit_of_the_type_counts(tmp_path: Path) -> None:
    """With max_concurrency 1 the ants are free and the job still has to wait; nothing is stored by asking."""

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=4)) as colony:
            queen = colony.queen
            key = await colony.register(LIMITED)
            await queen.ended([await colony.submit(key)])
            for _ in range(3):
                await colony.submit(key)
            definition = await queen.submitting.looked_at("", key, "", "local")
            found = await queen.forecasting.of_definition(definition, "local", None, 0.0, 0.0, dry_run=False)
            assert found.limited_by == "1 executions at a time (max_concurrency)"
            assert about(found, rounds=3)
            other = await queen.submitting.looked_at(NAP, "", "", "local")
            assert (await queen.forecasting.of_definition(other, "local", None, 0.0, 0.0, dry_run=False)).wait_s == 0
            assert [row[2] for row in await queen.definitions()] == ["limited"]

    asyncio.run(test())


def test_limits_of_the_tenant_count(tmp_path: Path) -> None:
    """One job at a time of an organisation: the ants are free and the job has to wait; CPU hours: until tomorrow."""

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=4)) as colony:
            queen = colony.queen
            key = await colony.register(NAP)
            await queen.ended([await colony.submit(key)])
            book = QueueBook(queen)
            await book.put("tenant_limits: {local: {max_concurrent_jobs: 1}}\n", by="test")
            ids = [await colony.submit(key) for _ in range(3)]
            definition = await queen.submitting.looked_at("", key, "", "local")
            found = await queen.forecasting.of_definition(definition, "local", None, 0.0, 0.0, dry_run=False)
            assert found.limited_by == "1 concurrent jobs of the organisation local (max_concurrent_jobs)"
            assert about(found, rounds=3)
            await queen.ended(ids)
            await book.put("tenant_limits: {local: {max_cpu_hours_per_day: 0}}\n", by="test")
            found = await queen.forecasting.of_definition(definition, "local", None, 0.0, 0.0, dry_run=False)
            tomorrow = period_of("day", queen.pump.now().wall)[1]
            assert found.starts_at == pytest.approx(tomorrow, abs=2)
            assert "of at most 0 (max_cpu_hours_per_day)" in found.limited_by

    asyncio.run(test())


def test_the_limit_of_its_queue_counts(tmp_path: Path) -> None:
    """One task of the queue at a time: ants are free, and the last of twenty waits for many naps all the same."""

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=8)) as colony:
            queen = colony.queen
            await QueueBook(queen).put("policy: fcfs\ndefault: q\nqueues:\n- {name: q, limit: 1}\n", by="test")
            key = await colony.register(NAP)
            await queen.ended([await colony.submit(key)])
            ids = [await colony.submit(key) for _ in range(20)]
            found = await queen.estimate(ids[-1])
            assert found is not None and found.wait_s > 1.0
            assert found.limited_by == "1 tasks at a time of the queue q (limit)"

    asyncio.run(test())


def test_the_hours_of_its_queue_count(tmp_path: Path) -> None:
    """An ant is free, and the queue opens in some hours: not before."""

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=4)) as colony:
            queen = colony.queen
            now = datetime.fromtimestamp(queen.pump.now().wall, UTC)
            begin, end = now + timedelta(hours=6), now + timedelta(hours=7)
            source = f"policy: fcfs\ndefault: q\nqueues:\n- {{name: q, hours: '{begin:%H:%M}-{end:%H:%M}'}}\n"
            await QueueBook(queen).put(source, by="test")
            job_id = await colony.submit(await colony.register(NAP))
            found = await queen.estimate(job_id)
            assert found is not None and (found.reason, found.limited_by) == ("", "the hours of the queue q")
            assert begin.replace(second=0, microsecond=0).timestamp() - 1 <= found.starts_at
            assert found.starts_at <= begin.timestamp() + 60

    asyncio.run(test())


def test_a_dry_run_needs_room_for_all_tasks_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        for slots, fits in ((2, True), (1, False)):
            async with Colony(ColonyConfig(tmp_path / str(slots), slots=slots)) as colony:
                queen = colony.queen
                pair = await queen.submitting.looked_at(PAIR, "", "", "local")
                found = (await queen.forecasting.of_definition(pair, "local", None, 0.0, 0.0, dry_run=True)).dry_run
                assert found is not None
                assert found.fits is fits
                assert set(found.places) == ({"a", "b"} if fits else set())
                assert bool(found.lacks) is not fits
                gpu = await queen.submitting.looked_at(GPU, "", "", "local")
                found = (await queen.forecasting.of_definition(gpu, "local", None, 0.0, 0.0, dry_run=True)).dry_run
                assert found is not None
                assert found.lacks == ("task t: none of the 1 connected ants fits: embedded lacks tag gpu",)

    asyncio.run(test())


def test_without_an_ant_there_is_a_reason_and_a_job_of_nobody_is_not_found() -> None:
    async def test() -> None:
        async with queen_on(MemoryStore()) as queen:
            [job_id] = await queen.submit(await queen.register(NOOP), [Submission(new_id(), b"{}")])
            found = await queen.estimate(job_id)
            assert found is not None
            assert "no ant" in found.reason
            with pytest.raises(Problem, match="there is no job"):
                await queen.estimate(new_id())

    run(test)


def test_run_times_of_before_the_queen_are_read_from_the_store(tmp_path: Path) -> None:
    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=1)) as colony:
            await colony.queen.ended([await colony.submit(await colony.register(NAP))])
        async with Colony(ColonyConfig(tmp_path, slots=1)) as colony:
            ids = [await colony.submit(await colony.register(NAP)) for _ in range(3)]
            found = await colony.queen.estimate(ids[-1])
            assert found is not None
            assert about(found, rounds=2)

    asyncio.run(test())
