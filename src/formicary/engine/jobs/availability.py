"""What a definition asks for that this version does not do yet: an error, or a warning if the job runs without."""

from __future__ import annotations

from collections.abc import Mapping

from formicary.engine.jobs.amounts import limits_of
from formicary.engine.jobs.locks import locks_of
from formicary.engine.jobs.model import (
    AVAILABLE_METHODS,
    CONTAINER_METHODS,
    QUEEN_METHODS,
    JobDefinition,
    Position,
    TaskDefinition,
    Violation,
    is_third_party,
)
from formicary.engine.jobs.quality import BOUNDED_METHODS, LEAST_MEMORY_BYTES

CODE = "NOT_AVAILABLE"
_CONTAINER_LIMITS = ("cpu_limit_cores", "memory_limit_bytes")


def availability_violations(
    definition: JobDefinition, methods: Mapping[str, str] | None = None
) -> tuple[Violation, ...]:
    """Returns what a definition needs that is not available in this version.

    Args:
        definition: A valid definition.
        methods: Methods to replace, in addition to those it was parsed with.

    Returns:
        Errors (the job cannot run) and warnings (it runs without), in the order of the file.
    """
    found: list[Violation] = []
    for i, task in enumerate(definition.tasks):
        _check_task(definition, task, f"tasks[{i}]", methods or {}, found)
    return tuple(sorted(found, key=lambda v: (v.line, v.column)))


def _check_task(
    definition: JobDefinition, task: TaskDefinition, path: str, methods: Mapping[str, str], found: list[Violation]
) -> None:
    marks = definition.marks
    method = methods.get(task.method, task.method)
    if method not in AVAILABLE_METHODS | QUEEN_METHODS and not is_third_party(method):
        named = f"{path}.method" in marks
        where = f"{path}.method" if named or f"{path}.container" not in marks else f"{path}.container"
        place = marks.get(where, task.position)
        way = (
            f"; run it with --method {task.method}=DOCKER or --method {task.method}=SHELL"
            if method in CONTAINER_METHODS
            else "; remove the task"
        )
        why = "" if named else " (the default for container fields)"
        message = f"The method {method}{why} is not available in this version{way}."
        found.append(Violation(place.line, place.column, where, CODE, message))
    if method in ("MESSAGING", "WEBSOCKET"):
        for name in ("artifacts", "artifact_ids", "cache"):
            if getattr(task, name):
                here = f"{path}.{name}"
                message = f"{here}: what a {method} task is sent to has its own files; remove it."
                found.append(Violation(task.position.line, task.position.column, here, CODE, message))
    if method in QUEEN_METHODS and locks_of(task.resources):
        here = f"{path}.resources"
        message = f"{here} has no effect: a {method} task runs on no ant; let the job hold them."
        found.append(Violation(task.position.line, task.position.column, here, CODE, message, "warning"))
    if method in BOUNDED_METHODS:
        _check_limits(task, method, path, marks, found)


def _check_limits(
    task: TaskDefinition, method: str, path: str, marks: Mapping[str, Position], found: list[Violation]
) -> None:
    """Limits that bound nothing, because the task's processes are the ant's own."""
    if any((task.container or {}).get(name) for name in _CONTAINER_LIMITS):
        here = f"{path}.container"
        place = marks.get(here, task.position)
        message = f"The limits of {here} bound nothing where it runs as {method}, without a container."
        found.append(Violation(place.line, place.column, here, CODE, message, "warning"))
    limits = limits_of(task.resources)
    place = marks.get(f"{path}.resources", task.position)
    here = f"{path}.resources.limits"
    memory = limits.pop("memory", 0.0)
    if 0 < memory < LEAST_MEMORY_BYTES:
        message = f"{here}.memory is {memory:g} bytes and bounds nothing: write an amount with its unit, like 512Mi."
        found.append(Violation(place.line, place.column, f"{here}.memory", CODE, message, "warning"))
    if limits:
        names = ", ".join(sorted(limits))
        message = f"{here} holds {names} of its ant and bounds no {method} task: only memory does. Use DOCKER."
        found.append(Violation(place.line, place.column, here, CODE, message, "warning"))
