"""Ids are made by clients: one that is taken already is refused to its caller and spoils nobody's commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.edge import new_id
from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.backends import open_logs, open_store
from formicary.problems import Problem
from formicary.v1 import jobs_pb2 as jobs
from tests.integration.queen.test_queen import NOOP, run, submission


@asynccontextmanager
async def queen_in(folder: Path) -> AsyncIterator[Queen]:
    """A queen without ants on a SQLite store."""
    queen = Queen(open_store(folder), open_logs(folder))
    await queen.start()
    try:
        yield queen
    finally:
        await queen.stop()


def aged(seconds: float) -> Submission:
    """A submission whose id says that it was made so long ago."""
    return Submission(new_id(time.time() - seconds), b"{}", None, None, "", "")


async def refused(queen: Queen, key: str, *items: Submission) -> str:
    """The code with which a submission is refused, while another one beside it is taken."""
    good = asyncio.create_task(queen.submit(key, [submission()]))
    with pytest.raises(Problem) as error:
        await queen.submit(key, list(items))
    await good
    return error.value.code


@pytest.mark.parametrize("age_s", [0.0, -1.0, 60.0, -60.0])
def test_the_id_of_a_job_that_has_ended_is_refused(tmp_path: Path, age_s: float) -> None:
    """Whatever time the id says; before the end is committed, after it, and in the next life of the queen."""

    async def test() -> None:
        one = aged(age_s)
        async with queen_in(tmp_path) as queen:
            key = await queen.register(NOOP)
            await queen.submit(key, [one])
            assert await refused(queen, key, one) == "ALREADY_EXISTS"
            ending = asyncio.create_task(queen.cancel(one.id))
            await asyncio.sleep(0)
            assert await refused(queen, key, one) == "ALREADY_EXISTS"
            await ending
            assert await refused(queen, key, submission(), one) == "ALREADY_EXISTS"
            assert queen.pump.failures == 0
            again = jobs.SubmitJobsRequest(definition_id=key, jobs=[jobs.JobSubmission(id=one.id)], resend=True)
            assert await queen.submit_request(again, "", None) == [one.id]
        async with queen_in(tmp_path) as queen:
            assert await refused(queen, key, one) == "ALREADY_EXISTS"
            assert queen.pump.failures == 0

    run(test)


def test_a_new_key_does_not_make_a_taken_id_ones_own(tmp_path: Path) -> None:
    """The answer never names a job that another request made."""

    async def test() -> None:
        async with queen_in(tmp_path) as queen:
            key = await queen.register(NOOP)
            one = submission()
            await queen.submit(key, [one])
            keyed = submission(key="k", definition=key)
            taken = Submission(one.id, keyed.params, None, None, keyed.key, keyed.fingerprint)
            assert await refused(queen, key, taken) == "ALREADY_EXISTS"
            assert await queen.submit(key, [keyed]) == [keyed.id]

    run(test)


def test_an_id_that_comes_twice_in_one_request_is_refused(tmp_path: Path) -> None:
    """Neither of the two is taken, and nobody else's job is lost."""

    async def test() -> None:
        async with queen_in(tmp_path) as queen:
            key = await queen.register(NOOP)
            one = submission()
            assert await refused(queen, key, one, one) == "VALIDATION_FAILED"
            assert queen.pump.failures == 0

    run(test)


def test_fresh_ids_cost_no_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids made just now are taken without asking the store, once the queen has run for a moment."""

    async def test() -> None:
        async with queen_in(tmp_path) as queen:
            key = await queen.register(NOOP)
            queen.submitting.recent.begin(time.time() - 60.0)
            asked: list[Sequence[str]] = []
            find_ids = queen.store.find_ids

            def counted(ids: Sequence[str]) -> dict[str, int]:
                asked.append(ids)
                return find_ids(ids)

            monkeypatch.setattr(queen.store, "find_ids", counted)
            await queen.submit(key, [submission() for _ in range(100)])
            assert asked == []
            await queen.submit(key, [aged(60.0)])
            assert len(asked) == 1

    run(test)
