"""Tasks whose work the queen does itself, off the loop: EXPIRE_ARTIFACTS.

A chore can be done twice without harm, so it needs no lease: its task waits while the work is done, and a queen that
was killed meanwhile begins the same attempt again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.batch import ChoreRequest
from formicary.engine.queen.core.outcome import Outcome
from formicary.engine.queen.core.records import TaskRun

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

_encode = msgspec.json.Encoder().encode


class Chores:
    """The chores of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def begin(self, run: TaskRun) -> None:
        """An attempt begins, or goes on after a restart of the queen."""
        core, job = self.core, run.job
        if run.ended_at is not None or not run.attempts or run.state != life.WAITING or run.timer_at is not None:
            run.attempts += 1
            run.error_code = run.error_message = run.outputs = run.exit_code = run.ended_at = None
        run.started_at = core.wall if run.started_at is None else run.started_at
        if run.state != life.WAITING:
            run.state = life.task_state(run.state, "wait")
        run.timer_at = None
        core.dirty_tasks[run] = None
        core.batch.chores.append(ChoreRequest(job.id, job.execution, run.position, run.attempts, run.task.method))

    def answered(self, request: ChoreRequest, removed: int, problem: str) -> None:
        """The work is done, or why it could not be."""
        job = self.core.jobs.get(request.job_id)
        if job is not None and job.run is not None and job.execution == request.execution:
            run = job.run.runs.get(request.position)
            if run is not None and run.attempts == request.attempt:
                self._done(run, removed, problem)

    def _done(self, run: TaskRun, removed: int, problem: str) -> None:
        if run.state != life.WAITING or run.rendering or run.timer_at is not None:
            return
        run.ended_at = self.core.wall
        run.state = life.EXECUTING  # for the length of this event: its attempt ends as any other
        outputs = _encode({"ExpiredArtifacts": removed})
        self.core.progress.result(
            run,
            Outcome(0, ends.FAILED, 1, error_code="ERR_ARTIFACT", error_message=problem)
            if problem
            else Outcome(0, ends.COMPLETED, 0, outputs=outputs),
        )
