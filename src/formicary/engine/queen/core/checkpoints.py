"""What attempts leave for the next one of their task: the last checkpoint of each, of live jobs.

Theory of operation. A checkpoint comes from whoever holds the attempt's lease token, is part of the next commit, and
goes out with the next attempt, why ever that begins: preemption, a retry, a lost lease, another execution of the job
after a failure. A task that COMPLETES and an execution that begins from nothing drop it. Nothing is kept of tasks that
leave none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from formicary.engine.queen.core.backups import Backup
from formicary.engine.queen.core.records import Job, TaskRun
from formicary.engine.storage.port import Row

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

NONE = b""


class Checkpoints:
    """The checkpoints of one core's live jobs."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.kept: dict[int, dict[int, Row]] = {}
        """By number of the job and position of the task or element (rows of CHECKPOINT_COLUMNS)."""
        self.size_bytes = 0
        """Of all of them."""

    def write(self, run: TaskRun, value: bytes) -> str:
        """Keeps what the present attempt leaves, instead of what was left before.

        Args:
            run: The task; a copy of one that lags behind leaves nothing.
            value: UTF-8 text.

        Returns:
            Why it is not kept, empty = it is.
        """
        core, number = self._core, run.job.number
        if isinstance(run, Backup):
            return ""
        most = core.config.checkpoint_bytes
        if len(value) > most:
            core.stats.checkpoints_refused += 1
            return f"its checkpoint of {len(value):,} bytes is not kept: at most {most:,} are"
        of_job = self.kept.get(number, {})
        before = _size(of_job.get(run.position))
        if self.size_bytes - before + len(value) > core.config.all_checkpoints_bytes:
            core.stats.checkpoints_refused += 1
            return f"its checkpoint is not kept: those of all tasks fill {core.config.all_checkpoints_bytes:,} bytes"
        self.size_bytes += len(value) - before
        core.stats.checkpoints += 1
        row = (number, run.position, run.attempts, value, core.wall)
        of_job[run.position] = core.batch.changes.checkpoints[number, run.position] = row
        self.kept[number] = of_job
        return ""

    def of(self, run: TaskRun) -> bytes:
        """What the next attempt of a task is given; empty = nothing was left."""
        row = self.kept.get(run.job.number, {}).get(run.position)
        return NONE if row is None or not isinstance(row[3], bytes) else row[3]

    def drop(self, run: TaskRun) -> None:
        """Nothing is given to another attempt of this task."""
        self._drop(run.job.number, run.position)

    def drop_all(self, job: Job) -> None:
        """As for every task of a job."""
        for position in list(self.kept.get(job.number, ())):
            self._drop(job.number, position)

    def _drop(self, number: int, position: int) -> None:
        of_job = self.kept.get(number)
        row = of_job.pop(position, None) if of_job else None
        if row is None or of_job is None:
            return
        if not of_job:
            del self.kept[number]
        self.size_bytes -= _size(row)
        self._core.batch.changes.checkpoints[number, position] = (number, position, row[2], None, self._core.wall)

    def forget(self, job: Job) -> None:
        """The job has ended; the store keeps what its tasks have left, for another execution."""
        for row in self.kept.pop(job.number, {}).values():
            self.size_bytes -= _size(row)

    def recover(self, rows: Iterable[Row]) -> None:
        """Takes over what the store holds of live jobs, or of one that lives again."""
        for row in rows:
            self.kept.setdefault(int(row[0] or 0), {})[int(row[1] or 0)] = row
            self.size_bytes += _size(row)


def _size(row: Row | None) -> int:
    return len(row[3]) if row is not None and isinstance(row[3], bytes) else 0
