"""What committed rows say of virtual resources: never more is held than there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.fan_out import definition_task
from formicary.engine.jobs.locks import beyond, locks_of
from formicary.engine.jobs.model import JobDefinition
from formicary.engine.storage.port import JOB_COLUMNS, TASK_COLUMNS, Row

_TYPE, _STATE = JOB_COLUMNS.index("job_type"), JOB_COLUMNS.index("state")
_TASK_STATE = TASK_COLUMNS.index("state")
_RUNNING = frozenset({life.EXECUTING, life.PAUSED, life.APPROVAL})
_LEASED = frozenset({life.DISPATCHED, life.EXECUTING})


def check_locks(
    model_of: Callable[[str], JobDefinition],
    jobs: Mapping[int, Row],
    tasks: Mapping[tuple[int, int], Row],
    fail: Callable[..., None],
) -> None:
    """No name is configured: it has one holder, or holders whose amounts come to no more than one."""
    held: dict[str, list[float]] = {}
    for number, row in jobs.items():
        model = model_of(str(row[_TYPE]))
        if row[_STATE] not in _RUNNING:
            continue
        whole = locks_of(model.resources)
        for name, amount in whole:
            held.setdefault(name, []).append(amount)
        for position in range(len(model.tasks)):
            task = tasks.get((number, position))
            if task is not None and task[_TASK_STATE] in _LEASED:
                for name, amount in beyond(locks_of(definition_task(model, position).resources), whole):
                    held.setdefault(name, []).append(amount)
    for name, amounts in held.items():
        if len(amounts) > 1 and sum(amounts) > 1.0:
            fail("the lock", name, "is held by", len(amounts), "at once:", amounts)
