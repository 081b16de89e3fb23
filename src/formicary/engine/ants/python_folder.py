"""PYTHON attempts that have to do with files: the same worker processes, but each call in a folder of its own.

Theory of operation. Such an attempt is carried out like one of SHELL, between its files, and holds a slot of the ant
from the first of them to the last. Its call goes to a pool beside that of the other calls, one call per process, so
that no call of another folder waits behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from formicary.engine.ants.attempt import Attempt, Result
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.pool import PythonPool
from formicary.engine.ants.warden import Warden

_AGAIN_S = 0.01


class PythonInFolder:
    """Runs PYTHON attempts in the folder that their files are in.

    Args:
        config: The ant's configuration.
        warden: Told about every process.
        progressed: Takes progress.
        checkpointed: Takes what functions leave for the next attempt, JSON.
    """

    def __init__(
        self,
        config: AntConfig,
        warden: Warden,
        progressed: Callable[[Attempt, float, str], None],
        checkpointed: Callable[[Attempt, bytes], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = PythonPool(replace(config, max_window=config.slots, warm_workers=0), self, warden)
        self._progressed = progressed
        self._checkpointed = checkpointed
        self._ends: dict[Attempt, asyncio.Future[Result]] = {}

    async def run(self, attempt: Attempt) -> Result:
        """Has the function called, and waits for its end."""
        end: asyncio.Future[Result] = self._loop.create_future()
        self._ends[attempt] = end
        attempt.ender = lambda at_once: self._end(attempt, at_once)
        try:
            self._give(attempt)
            return await end
        finally:
            attempt.ender = None
            self._ends.pop(attempt, None)

    async def close(self) -> None:
        """Kills the processes."""
        empty = self._loop.create_future()
        self._pool.close(lambda: empty.set_result(None))
        await empty

    def _give(self, attempt: Attempt) -> None:
        """Hands it to a process; where one that was killed is still being replaced, a moment later."""
        if attempt not in self._ends:
            return
        if not self._pool.give(attempt, may_take_slot=True):
            self._loop.call_later(_AGAIN_S, self._give, attempt)
        self._pool.flush()

    def _end(self, attempt: Attempt, at_once: bool) -> None:
        if not self._pool.end(attempt, at_once=at_once) and not (end := self._ends[attempt]).done():
            end.cancel()  # it has not got to a process yet

    # what the pool tells

    def finished(self, attempt: Attempt, result: Result) -> None:
        """A call ended."""
        end = self._ends.get(attempt)
        if end is not None and not end.done():
            end.set_result(result)

    def handed_back(self, attempts: list[Attempt]) -> None:
        """Calls that never started are to be made by another process."""
        for attempt in attempts:
            self._loop.call_soon(self._give, attempt)

    def progressed(self, attempt: Attempt, fraction: float, message: str) -> None:
        """A running function says how far it is."""
        self._progressed(attempt, fraction, message)

    def checkpointed(self, attempt: Attempt, value: bytes) -> None:
        """A running function leaves something for the next attempt."""
        self._checkpointed(attempt, value)

    def recalling(self) -> None:
        """Calls were recalled, to be ended before they start."""
        self._loop.call_later(_AGAIN_S, self._pool.collect_recalled)
