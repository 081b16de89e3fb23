"""The pool of worker processes where the moment matters."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from formicary.engine.ants.attempt import Attempt, Outcome, Result
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.pool import PythonPool
from formicary.engine.ants.warden import Warden
from tests.integration.ants.fake_queen import python
from tests.integration.ants.loop import in_loop


class Events:
    def __init__(self) -> None:
        self.results: list[tuple[int, Result]] = []

    def finished(self, attempt: Attempt, result: Result) -> None:
        self.results.append((attempt.token, result))

    def handed_back(self, attempts: list[Attempt]) -> None:
        raise AssertionError("nothing was recalled")

    def progressed(self, attempt: Attempt, fraction: float, message: str) -> None:
        pass

    def recalling(self) -> None:
        raise AssertionError("nothing is to be recalled")


@in_loop
async def test_a_call_whose_answer_is_still_unread_does_not_count_as_long(tmp_path: Path) -> None:
    """The loop was held up for longer than the limit: the worker is free all the same, and stays in use."""
    events, warden = Events(), Warden()
    pool = PythonPool(AntConfig("a", slots=1, paths=(str(Path(__file__).parent),)), events, warden)
    task, mark = python("functions:counts"), tmp_path / "mark"
    variables = f'{{"file": "{mark}"}}'.encode()
    assert pool.give(Attempt(1, task, job_id="job1", variables=variables), may_take_slot=True)
    pool.flush()
    while not mark.exists() or not mark.read_text():
        time.sleep(0.005)  # holds the loop up on purpose
    time.sleep(1.0)  # longer than the worker needs for its answer
    pool.relieve(time.monotonic(), 0.05)
    assert [token for token, _ in events.results] == [1]
    assert pool.long == 0
    assert pool.give(Attempt(2, task, job_id="job2", variables=variables), may_take_slot=True)
    pool.flush()
    while len(events.results) < 2:
        await asyncio.sleep(0.005)
    assert [result.outcome for _, result in events.results] == [Outcome.COMPLETED] * 2
    gone = asyncio.Event()
    pool.close(gone.set)
    await gone.wait()
    warden.close()
