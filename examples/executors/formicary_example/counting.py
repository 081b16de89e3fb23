"""The method ``EXAMPLE.COUNT``: counts up to the variable ``count`` and says how far it is."""

from __future__ import annotations

import asyncio

from formicary.engine.ants.plugins import Done, RunningTask

PAUSE_S = 0.02


class CountExecutor:
    """Counts; a count of 13 fails with exit code 13."""

    async def __aenter__(self) -> CountExecutor:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def run(self, task: RunningTask) -> Done:
        """Counts for one task; a time-out or a cancel ends it at the next pause."""
        count = int(str(task.variables.get("count", 3)))
        try:
            for number in range(1, count + 1):
                task.write(f"{number}\n")
                task.progress(number / count, f"{number} of {count}")
                await asyncio.sleep(PAUSE_S)
        except asyncio.CancelledError:
            task.write("stopped\n")
            raise
        if count == 13:
            return Done(exit_code=13, error="I do not count to 13.")
        return Done(outputs={"counted": count})
