"""Jobs whose retention is over leave, with their logs, tasks, parameters and keys; nothing else does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from formicary.embedded.colony import Colony, ColonyConfig
from formicary.engine.jobs.retention import DAY_S
from formicary.engine.queen.retention import Retention, _batches, _Ended
from formicary.engine.queen.runtime import Queen, QueenConfig
from formicary.engine.storage.logs import MemoryLogs
from formicary.engine.storage.memory import MemoryStore
from formicary.engine.storage.port import DeadLetterQuery, StoreUnavailable
from formicary.problems import Problem
from tests.contract.storage.rows import changes, job
from tests.integration.queen.test_queen import NOOP, queen_on, run, submission

SHORT = "job_type: short\nretention_days_for_completed: 2\ntasks:\n- task_type: t\n  script: [echo said]\n"
KEPT = SHORT.replace("short", "kept").replace(": 2", ": 0")
FAILING = "job_type: failing\ntasks:\n- task_type: t\n  script: [exit 1]\n"


def in_days(queen: Queen, days: float) -> Retention:
    """The purge as it will run so many days from now."""
    return Retention(queen, lambda: time.time() + days * DAY_S)


async def left(queen: Queen) -> list[str]:
    return sorted(str(row[4]) for row in await queen.page())


def test_each_job_stays_as_long_as_its_definition_says(tmp_path: Path) -> None:
    """Two days, thirty days and for ever: each goes when it is due, its log file too; a dry run removes nothing."""

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=2)) as colony:
            queen = colony.queen
            ids = [await colony.submit(await colony.register(source)) for source in (SHORT, KEPT, FAILING)]
            await queen.ended(ids)
            await asyncio.to_thread(queen.logs.flush)
            assert len(list(tmp_path.rglob(f"{ids[0]}.log"))) == 1
            assert await in_days(queen, 1.9).purge() == 0
            assert await in_days(queen, 2.1).purge(dry_run=True) == 1
            assert await left(queen) == ["failing", "kept", "short"]
            assert await in_days(queen, 2.1).purge() == 1
            assert await left(queen) == ["failing", "kept"]
            assert list(tmp_path.rglob(f"{ids[0]}.log")) == []
            assert await in_days(queen, 31).purge() == 1
            assert await in_days(queen, 9999).purge() == 0
            assert await left(queen) == ["kept"]
            assert (await queen.document(ids[1]))["state"] == "COMPLETED"

    asyncio.run(test())


def test_a_dead_letter_stays_until_somebody_has_handled_it_or_it_is_old() -> None:
    """A purge of the letter lets the retention of its job hold again."""
    dying = FAILING.replace("failing\n", "dying\nerror_handling: {dead_letter_queue: true}\n")

    async def test() -> None:
        async with Colony(ColonyConfig(None, slots=2)) as colony:
            queen = colony.queen
            definition = await colony.register(dying)
            ids = [await colony.submit(definition) for _ in range(2)]
            await queen.ended(ids)
            assert await in_days(queen, 31).purge() == 0
            await queen.dead_letters.purge(DeadLetterQuery(str((await queen.row(ids[0]))[2])), ids[0], 1)
            assert await in_days(queen, 31).purge() == 1
            assert await in_days(queen, 91).purge() == 1

    asyncio.run(test())


def test_live_jobs_and_the_tree_of_a_live_job_stay() -> None:
    """A job that has ended below one that still runs may be asked for its outputs; afterwards it goes."""

    async def test() -> None:
        store = MemoryStore()
        async with queen_on(store) as queen:
            [parent] = await queen.submit(await queen.register(NOOP), [submission()])
            number = store.find_ids([parent])[parent]
            done = list(store.job("local", parent) or ())
            done[0], done[1], done[5], done[10] = number + 100, f"{parent}.1.2", "COMPLETED", done[7]
            store._tables.jobs[number + 100] = tuple(done)
            store._new_jobs.append([number + 100])
            assert await in_days(queen, 99).purge() == 0
            await queen.cancel(parent)
            assert await in_days(queen, 99).purge() == 2
            assert store.counts() == {}

    run(test)


def test_a_key_makes_a_new_job_once_its_job_is_gone() -> None:
    """Keys go with their jobs, and a removed job is not found."""

    async def test() -> None:
        store = MemoryStore()
        async with queen_on(store) as queen:
            key = await queen.register(NOOP)
            [first] = await queen.submit(key, [submission(key="k", definition=key)])
            await queen.cancel(first)
            assert await queen.submit(key, [submission(key="k", definition=key)]) == [first]
            assert await in_days(queen, 31).purge() == 1
            try:
                await queen.document(first)
            except Problem as error:
                assert error.code == "NOT_FOUND"
            else:
                raise AssertionError("it was found")
            assert await queen.submit(key, [submission(key="k", definition=key)]) != [first]

    run(test)


def test_a_purge_that_was_cut_off_is_finished_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs are gone and the store fails before the rows: the job is still listed, and the next walk removes it."""

    async def test() -> None:
        store = MemoryStore()

        def fails(epoch: int, numbers: Sequence[int]) -> int:
            raise StoreUnavailable("the disk is full")

        async with queen_on(store) as queen:
            [job_id] = await queen.submit(await queen.register(NOOP), [submission()])
            await queen.cancel(job_id)
            with monkeypatch.context() as broken:
                broken.setattr(store, "remove_jobs", fails)
                with pytest.raises(Problem, match="disk is full"):
                    await in_days(queen, 31).purge()
            assert await left(queen) == ["noop"]
        async with queen_on(store) as queen:
            assert await in_days(queen, 31).purge() == 1 and store.counts() == {}

    run(test)


@pytest.mark.parametrize("purges", [True, False])
def test_a_server_purges_by_itself_unless_it_is_told_not_to(monkeypatch: pytest.MonkeyPatch, purges: bool) -> None:
    """The walk starts with the queen that has to purge, and with no other."""
    monkeypatch.setattr("formicary.engine.queen.retention.FIRST_AFTER_S", 0.0)
    store = MemoryStore()
    ended = job(1, "COMPLETED", submitted_at=1.0, ended_at=2.0)
    store.commit(store.acquire("earlier"), changes(ended))

    async def test() -> None:
        queen = Queen(store, MemoryLogs(), QueenConfig(purges=purges))
        await queen.start()
        try:
            while purges and store.counts():
                await asyncio.sleep(0.01)
            assert any(task.get_name() == "job purge" for task in asyncio.all_tasks()) is purges
        finally:
            await queen.stop()

    run(test)
    assert store.counts() == ({} if purges else {"COMPLETED": 1})


def test_batches_are_bounded_by_their_rows() -> None:
    """No transaction holds more rows than the bound, but for one job that has more by itself; nothing is left out."""
    jobs = [
        _Ended(n, str(n), tasks, ("o", "t", "FAILED"), 0.0) for n, tasks in enumerate([1] * 300 + [5000] + [90] * 7)
    ]
    found = list(_batches(jobs))
    assert [one for batch in found for one in batch] == jobs
    assert all(len(batch) == 1 or sum(one.tasks + 2 for one in batch) <= 200 for batch in found)
