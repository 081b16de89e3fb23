"""Another execution of an ended job with another version of its definition.

Tasks are known by name: what a task of the same name has done is carried over to where the new version has it, and it
goes on by the new version's routes. Attempts of a place never count twice: artifacts and questions are named by them. A
task that has moved and left artifacts runs again, since they belong to its old place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.fan_out import definition_position, is_element
from formicary.engine.jobs.model import JobDefinition
from formicary.engine.queen.core.records import Job, TaskRun
from formicary.engine.storage.port import Row

_POSITION, _ATTEMPTS = 1, 3


def repinned(job: Job, before: JobDefinition, rows: Sequence[Row]) -> tuple[list[TaskRun], list[TaskRun]]:
    """Carries the tasks of an ended execution over to the job's new definition.

    Args:
        job: With its new definition.
        before: The definition of the execution.
        rows: Its tasks.

    Returns:
        Every task of the new definition, and the rest: places that it has no more.
    """
    model, plan = job.definition.model, job.definition.plan
    at = {int(row[_POSITION] or 0): row for row in rows}
    named = {before.tasks[position].task_type: row for position, row in at.items() if position < len(before.tasks)}
    runs = []
    for position, task in enumerate(model.tasks):
        old = named.get(task.task_type)
        if old is None:
            run = TaskRun(job, position, task)
        else:
            run = TaskRun.from_row((old[0], position, *old[2:]), job)
            if old[_POSITION] != position and (task.artifacts or before.tasks[int(old[_POSITION] or 0)].artifacts):
                run.reset(hard=True)
            run.routed_to = plan.routes[position].target(run.state, run.exit_code, run.error_code)
        if position in at:
            run.attempts = max(run.attempts, int(at[position][_ATTEMPTS] or 0))
        if run.composes and (old is None or old[_POSITION] != position):
            run.token = run.attempts  # jobs that were forked from this place are not this task's
        runs.append(run)
    runs += _elements(job, before, at)
    rest = []
    for position in sorted(at):
        if len(model.tasks) <= position < len(before.tasks):
            gone = TaskRun(job, position, before.tasks[position])
            gone.attempts = int(at[position][_ATTEMPTS] or 0)
            gone.state = life.SKIPPED
            rest.append(gone)
    return runs, rest


def _elements(job: Job, before: JobDefinition, at: Mapping[int, Row]) -> list[TaskRun]:
    """Elements stay with a task that has kept its name and its place; where another stands now they have been."""
    model, found = job.definition.model, []
    for position, row in at.items():
        home = definition_position(position)
        if not is_element(position) or home >= len(model.tasks):
            continue
        element = TaskRun.from_row(row, job)
        if home >= len(before.tasks) or before.tasks[home].task_type != model.tasks[home].task_type:
            element.reset(hard=True)
            element.state = life.SKIPPED
        found.append(element)
    return found
