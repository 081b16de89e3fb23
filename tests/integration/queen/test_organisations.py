"""What one organisation has, another one can neither see nor change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.memory import MemoryStore
from formicary.problems import Problem
from formicary.v1 import jobs_pb2 as pb
from tests.integration.queen.test_queen import NOOP, queen_on, run, submission


class Watcher:
    """Nobody who listens."""

    def job_ended(self, end: object) -> None:
        raise AssertionError(end)


async def document(queen: Queen, job_id: str) -> None:
    await queen.document(job_id, org="b")


async def row(queen: Queen, job_id: str) -> None:
    await queen.row(job_id, org="b")


async def cancel(queen: Queen, job_id: str) -> None:
    await queen.cancel(job_id, org="b")


async def resume(queen: Queen, job_id: str) -> None:
    await queen.resume(job_id, org="b")


async def retry(queen: Queen, job_id: str) -> None:
    await queen.retry(job_id, org="b")


async def watch(queen: Queen, job_id: str) -> None:
    await queen.watch([job_id], Watcher(), org="b")


async def follow(queen: Queen, job_id: str) -> None:
    await anext(queen.follow(job_id, org="b"))


@pytest.mark.parametrize("ask", [document, row, cancel, resume, retry, watch, follow])
def test_a_job_of_another_organisation_is_not_found(ask: Callable[[Queen, str], Awaitable[None]]) -> None:
    """Every way to a job says NOT_FOUND to another organisation and changes nothing; lists do not hold it."""

    async def test() -> None:
        async with queen_on(MemoryStore()) as queen:
            key = await queen.register(NOOP, org="a")
            (job_id,) = await queen.submit(key, [submission()], org="a")
            with pytest.raises(Problem, match="no job") as refused:
                await asyncio.wait_for(ask(queen, job_id), 5)
            assert refused.value.code == "NOT_FOUND"
            assert (await queen.document(job_id, org="a"))["state"] == "PENDING"
            assert await queen.page(org="b") == []
            assert len(await queen.page(org="a")) == 1

    run(test)


def test_a_definition_of_another_organisation_is_not_found() -> None:
    """Its id, its type and submissions to it are unknown to others; the same text is a definition of their own."""

    async def test() -> None:
        async with queen_on(MemoryStore()) as queen:
            key = await queen.register(NOOP, org="a")
            request = pb.SubmitJobsRequest(definition_id=key, jobs=[pb.JobSubmission()])
            with pytest.raises(Problem) as refused:
                await queen.submit_request(request, "b", None)
            assert refused.value.code == "NOT_FOUND"
            with pytest.raises(Problem):
                await queen.submitting.definition(key, "b")
            assert await queen.register(NOOP, org="b") != key
            assert len(await queen.submit_request(request, "a", None)) == 1

    run(test)
