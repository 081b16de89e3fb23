"""Which jobs become dead letters, and why; what is written of them.

A dead letter is written in the commit that ends its job, and changes state in the commit that redrives or purges it.
So there is never one without the other, wherever a process is killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core.records import Definition, Job, TaskRun
from formicary.engine.storage.port import DEAD_LETTER_COLUMNS, Row
from formicary.engine.storage.schema import LETTER_STATES

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

DEAD, REDRIVEN, PURGED = LETTER_STATES
POISON, RETRIES_EXHAUSTED, FATAL, TIMED_OUT = REASONS = ("POISON", "RETRIES_EXHAUSTED", "FATAL", "TIMED_OUT")
DEFAULT_QUEUE = "default"
_FILTERED = "ERR_FILTERED_JOB"
_AT = {name: position for position, name in enumerate(DEAD_LETTER_COLUMNS)}


def note_death(core: Core, job: Job) -> None:
    """The job has just ended: marks it and writes its letter, where it is one."""
    if job.state != life.FAILED or job.error_code == _FILTERED:
        return
    run = _culprit(job)
    reason = _reason(job)
    queue, alert = _asked(job, run)
    if reason != POISON and not queue:
        return
    job.dead_letter = 1
    attempts = sum(one.attempts for one in job.run.runs.values()) if job.run is not None else 0
    core.batch.changes.dead_letters[job.number, job.execution] = (
        job.number,
        job.execution,
        job.org,
        job.id,
        job.definition.job_type,
        queue or DEFAULT_QUEUE,
        reason,
        run.task.task_type if run is not None else "",
        job.error_code,
        job.error_message,
        attempts,
        int(alert),
        core.wall,
        DEAD,
        None,
        "",
        "",
    )
    core.stats.dead_letters += 1
    core.notifying.died(job, queue or DEFAULT_QUEUE, reason, alert=alert)


def changed(letter: Row, state: str, at: float, *, key: str = "", fingerprint: str = "") -> Row:
    """The image of a letter that is redriven or purged."""
    values = list(letter)
    for name, value in (("state", state), ("changed_at", at), ("redrive_key", key), ("fingerprint", fingerprint)):
        values[_AT[name]] = value
    return tuple(values)


def unmark(core: Core, definition: Definition, row: Row) -> None:
    """The ended job of this row (of JOB_COLUMNS) is no dead letter any more; it stays FAILED."""
    job = Job.from_row(row, definition)
    job.dead_letter = 0
    core.dirty_jobs[job] = None


def _reason(job: Job) -> str:
    if job.error_code == "ERR_POISON":
        return POISON
    return {FATAL: FATAL, TIMED_OUT: TIMED_OUT}.get(job.verdict or "", RETRIES_EXHAUSTED)


def _culprit(job: Job) -> TaskRun | None:
    """The task that the job failed for; None where it was not one."""
    runs = [] if job.run is None or job.verdict == TIMED_OUT else list(job.run.runs.values())
    failed = [run for run in runs if run.failed_hard()]
    return next((run for run in failed if run.error_code == job.error_code), None) if failed else None


def _asked(job: Job, run: TaskRun | None) -> tuple[str, bool]:
    """Queue and alert as the task asks for them, else as the job does; no queue = the letter is not wanted."""
    for handling in (run.task.error_handling if run is not None else None, job.definition.model.error_handling):
        if handling is not None and "dead_letter_queue" in handling:
            return str(handling["dead_letter_queue"]), handling.get("alert_on_dlq") is True
    return "", False
