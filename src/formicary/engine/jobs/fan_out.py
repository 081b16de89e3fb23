"""Fan-out over a task: where its elements stand beside the tasks of a definition, and what each of them runs.

An element is a task of the same job. It has no place in the definition, so its position lies beyond every position of
a definition: `(position of its task + 1) * STRIDE + index`. Whatever is known by job and position (rows, leases,
artifacts) is so known of each element too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from formicary.engine.jobs.arguments import result_of
from formicary.engine.jobs.flow import Routes
from formicary.engine.jobs.model import COMPOSING_METHODS, JobDefinition, TaskDefinition

STRIDE = 16_384
"""Distance between the first elements of two tasks; more than there are tasks in a job, or elements in a list."""
MAX_ELEMENTS = 10_000
"""Elements of one fan-out, and jobs and elements together that one execution of a job may have."""
MOST_OPEN = 1_000
"""Elements of one task that have begun and not ended, where it names no smaller number."""
CHILD_FAILED = "ERR_CHILD_FAILED"
"""Why a task fails whose elements, or whose jobs, have not all completed."""

_WHOLE = frozenset({"COMPLETED", "FAILED", CHILD_FAILED})
"""Routes that are asked once, when all elements have ended; all others are asked of each attempt of an element."""
_ELEMENT = re.compile(r"(.+)\[(?:0|[1-9][0-9]{0,4})\]", re.DOTALL)


def fans_out(task: TaskDefinition) -> bool:
    """Whether the task runs once per element of a list, in its own job."""
    return task.fan_out is not None and task.method not in COMPOSING_METHODS


def element_position(position: int, index: int) -> int:
    """Position of an element of the task at a position of the definition."""
    return (position + 1) * STRIDE + index


def is_element(position: int) -> bool:
    """Whether a position is that of an element."""
    return position >= STRIDE


def definition_position(position: int) -> int:
    """Position in the definition: of the task itself, or of the one whose element it is."""
    return position // STRIDE - 1 if position >= STRIDE else position


def index_of(position: int) -> int:
    """Index of an element in its list."""
    return position % STRIDE


def element_name(task_type: str, index: int) -> str:
    """What an element is called in logs, events, artifacts and keys."""
    return f"{task_type}[{index}]"


def task_name(name: str) -> str:
    """The task behind the name of an element; any other name is its own."""
    found = _ELEMENT.fullmatch(name)
    return found.group(1) if found is not None else name


def definition_task(definition: JobDefinition, position: int) -> TaskDefinition:
    """The task of the definition at a position, or the one whose element stands there."""
    return definition.tasks[definition_position(position)]


def item_name(task: TaskDefinition) -> str:
    """Name of the variable that holds the element."""
    return str((task.fan_out or {}).get("item_var") or "item")


def element_variables(task: TaskDefinition, index: int, value: object) -> dict[str, object]:
    """What an element sees beside the variables of its job."""
    name = item_name(task)
    return {name: value, f"{name}_index": index}


def as_element(task: TaskDefinition, index: int) -> TaskDefinition:
    """What one element runs: the task without what is said of the fan-out as a whole."""
    name = element_name(task.task_type, index)
    return replace(task, task_type=name, fan_out=None, delay_s=None, total_timeout_s=None, except_=None)


VALUES = "FanOutValues"
"""In references to outputs: what each element returned, in order; null for those that have not completed."""


def values_of(outputs: Mapping[str, object]) -> list[object]:
    """What the elements returned, from the outputs of their task."""
    results = outputs.get("FanOutResults")
    found: list[object] = []
    for one in results if isinstance(results, list) else ():
        given = one.get("outputs") if isinstance(one, dict) and one.get("state") == "COMPLETED" else None
        found.append(result_of(given) if isinstance(given, dict) else None)
    return found


def element_routes(routes: Routes) -> Routes:
    """The actions that an element's attempt may ask for."""
    return Routes({key: action for key, action in routes.actions.items() if key not in _WHOLE}, {})


def whole_routes(routes: Routes) -> Routes:
    """Where the task leads when its elements have ended."""
    return Routes({key: action for key, action in routes.actions.items() if key in _WHOLE}, routes.targets)


def has_template(task: TaskDefinition) -> bool:
    """Whether something that a task says of its fan-out is a template."""
    if task.is_static or task.fan_out is None:
        return False
    return any(_is_template(value) for value in task.fan_out.values())


def _is_template(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_template(item) for item in value)
    if isinstance(value, Mapping):
        return any(_is_template(item) for item in value.values())
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def number_of(value: object) -> int | None:
    """A whole number from 0 on, also as text; None where it is none."""
    try:
        found = int(str(value or 0))
    except ValueError:
        return None
    return found if found >= 0 else None


def is_set(spec: Mapping[str, object], name: str) -> bool:
    """Whether a switch of `fan_out` is on."""
    return str(spec.get(name) or "").lower() == "true"
