"""What has changed, as those who watch are told: images of jobs, tasks and ants, taken when a batch is cut.

They are made only while somebody watches, and let out only after the commit that made them true.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core.records import Ant, Job, TaskRun


class Occurrence(msgspec.Struct, frozen=True, gc=False):
    """One row of a commit, or an ant that came or went.

    `number` and `position` name the row: a job has the position -1, an ant the number 0.
    """

    time: float
    number: int
    position: int
    org: str
    job_id: str
    job_type: str
    task_type: str
    execution: int
    attempt: int
    state: str
    ant: str
    error_code: str
    failures: int
    """Of a task: attempts that failed. Of a job: executions that failed before this one."""


def of_job(job: Job, wall: float) -> Occurrence:
    """A job as it is committed."""
    return Occurrence(
        wall,
        job.number,
        -1,
        job.org,
        job.id,
        job.definition.job_type,
        "",
        job.execution,
        0,
        job.state,
        "",
        job.error_code or "",
        job.retries,
    )


def of_run(run: TaskRun, wall: float) -> Occurrence:
    """A task as it is committed."""
    job = run.job
    return Occurrence(
        wall,
        job.number,
        run.position,
        job.org,
        job.id,
        job.definition.job_type,
        run.name,
        job.execution,
        run.attempts,
        run.state,
        (run.ant or "").partition("/")[0],
        run.error_code or "",
        run.failures,
    )


ESCALATED = "ESCALATED"
"""In place of a task's state: nobody has decided about it in time."""


def of_escalated(run: TaskRun, wall: float) -> Occurrence:
    """A question to people whose deadline has passed."""
    return msgspec.structs.replace(of_run(run, wall), state=ESCALATED)


def of_ant(ant: Ant, state: str, wall: float) -> Occurrence:
    """An ant that is now connected, disconnected or lost; of no organisation."""
    return Occurrence(wall, 0, -1, "", "", "", "", 0, 0, state, ant.id, "", 0)


def in_order(jobs: Iterable[Job], runs: Iterable[TaskRun], wall: float) -> list[Occurrence]:
    """All that a batch changes: jobs that go on, their tasks, jobs that have ended."""
    found = [of_job(job, wall) for job in jobs if job.state not in life.JOB_ENDED]
    found += [of_run(run, wall) for run in runs]
    found += [of_job(job, wall) for job in jobs if job.state in life.JOB_ENDED]
    return found
