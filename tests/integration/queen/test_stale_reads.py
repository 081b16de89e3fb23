"""What was read from the store may be out of date when it is used: two callers, one job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import pytest

from formicary.engine.storage.memory import MemoryStore
from formicary.engine.storage.port import Row
from formicary.problems import Problem
from formicary.v1 import jobs_pb2 as jobs
from tests.integration.queen.test_queen import NOOP, queen_on, run, submission

Asked = TypeVar("Asked")
Found = TypeVar("Found")


class Slow(Generic[Asked, Found]):
    """A read of the store whose first answer is held back until `let_go`."""

    def __init__(self, read: Callable[..., Found]) -> None:
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._gate = threading.Event()
        self._is_first = True
        self.has_read = asyncio.Event()

    def __call__(self, asked: Asked, **options: bool) -> Found:
        found = self._read(asked, **options)
        if self._is_first:
            self._is_first = False
            self._loop.call_soon_threadsafe(self.has_read.set)
            assert self._gate.wait(20)
        return found

    def let_go(self) -> None:
        """Lets the answer through."""
        self._gate.set()


def test_a_job_that_came_and_ended_while_a_resend_read_the_store_is_not_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        store = MemoryStore()
        async with queen_on(store) as queen:
            key = await queen.register(NOOP)
            one = submission()
            slow: Slow[Sequence[str], dict[str, int]] = Slow(store.find_ids)
            monkeypatch.setattr(store, "find_ids", slow)
            request = jobs.SubmitJobsRequest(definition_id=key, jobs=[jobs.JobSubmission(id=one.id)], resend=True)
            again = asyncio.create_task(queen.submit_request(request, "", None))
            await slow.has_read.wait()
            await queen.submit(key, [one])
            await queen.cancel(one.id)
            slow.let_go()
            assert await again == [one.id]
            assert sum(store.counts().values()) == 1

    run(test)


def test_of_two_retries_at_once_only_one_revives_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one would work on what it read before the first: the job might have run and ended between the two."""

    async def test() -> None:
        store = MemoryStore()
        async with queen_on(store) as queen:
            key = await queen.register(NOOP)
            one = submission()
            await queen.submit(key, [one])
            await queen.cancel(one.id)
            slow: Slow[int, list[Row]] = Slow(store.tasks)
            monkeypatch.setattr(store, "tasks", slow)

            async def second() -> None:
                await queen.retry(one.id)
                await queen.cancel(one.id)

            first = asyncio.create_task(queen.retry(one.id))
            await slow.has_read.wait()
            other = asyncio.create_task(second())
            await queen.pump.settle()
            await queen.row(one.id)
            slow.let_go()
            answers = await asyncio.gather(first, other, return_exceptions=True)
            assert answers[0] is True
            assert isinstance(answers[1], Problem)
            assert answers[1].code == "FAILED_PRECONDITION"

    run(test)
