"""How long a task and its attempts may take; all on the wall clock, in seconds."""

from __future__ import annotations

from formicary.engine.jobs.fan_out import definition_position
from formicary.engine.jobs.model import DEFAULT_TASK_TIMEOUT_S
from formicary.engine.queen.core.records import TaskRun


def until(run: TaskRun) -> float:
    """When the task's whole time is over; an element's with that of the fan-out it belongs to."""
    job, found, total_s = run.job, float("inf"), run.task.total_timeout_s
    assert job.run is not None, "a job whose task has begun has an execution"
    if job.run.final:  # the job's time-out means nothing any more, but its length still bounds each task
        total_s = total_s or job.definition.model.timeout_s
    elif job.deadline_at is not None:
        found = job.deadline_at
    whole = job.run.runs.get(definition_position(run.position)) if run.is_element else None
    if whole is not None and whole.timer_at is not None:
        found = min(found, whole.timer_at)
    if total_s and run.started_at is not None:
        found = min(found, run.started_at + total_s)
    return found


def is_late(run: TaskRun, wall: float) -> bool:
    """Whether the task's own `total_timeout` is over."""
    total_s = run.task.total_timeout_s
    return bool(total_s) and run.started_at is not None and run.started_at + (total_s or 0.0) <= wall


def attempt_timeout(run: TaskRun, wall: float) -> float:
    """Seconds that this attempt may run: its own time-out within the task's whole time."""
    timeout_s = run.task.timeout_s or DEFAULT_TASK_TIMEOUT_S
    return max(0.001, min(timeout_s, until(run) - wall))
