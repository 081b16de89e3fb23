"""Jobs that fork jobs: which ones, and whether they are there."""

from __future__ import annotations

from collections.abc import Collection

from formicary.engine.jobs.model import JobDefinition, TaskDefinition, Violation
from formicary.engine.jobs.readers import did_you_mean


def forked_job_type(task: TaskDefinition) -> str:
    """The job type that a task forks, empty where it forks none."""
    if task.method not in ("FORK_JOB", "FAN_OUT_JOB"):
        return ""
    return str((task.fan_out or {}).get("fork_job_type") or task.fork_job_type or "")


def unknown_forks(definition: JobDefinition, known: Collection[str]) -> tuple[Violation, ...]:
    """Warns of jobs to fork that are not among those that are known; a name that is a template is not looked at."""
    found = []
    for index, task in enumerate(definition.tasks):
        job_type = forked_job_type(task)
        if not job_type or job_type in known or "{{" in job_type or "{%" in job_type:
            continue
        field = "fan_out" if (task.fan_out or {}).get("fork_job_type") else "fork_job_type"
        path = f"tasks[{index}].{field}"
        place = definition.marks.get(path, task.position)
        message = (
            f"The job {job_type!r} is not in these files; validate them together, or register it before this one runs."
            f"{did_you_mean(job_type, known)}"
        )
        found.append(Violation(place.line, place.column, path, "UNKNOWN_FORK", message, "warning"))
    return tuple(found)
