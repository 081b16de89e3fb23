"""Gangs and deadlines of a job: how they are read, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from formicary.engine.jobs.durations import parse_duration
from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.model import QUEEN_METHODS, TaskDefinition
from formicary.engine.jobs.readers import ABSENT, READERS, Context, entries, is_null, join
from formicary.engine.jobs.templates.go_time import parse_moment
from formicary.engine.jobs.yaml_nodes import Node

WHOLE_JOB = "job"
_FIELDS = ("tasks", "min", "barrier")
_ANY = Field("", "text_list", "")


@dataclass(frozen=True, slots=True)
class Gang:
    """Tasks of one job that start together or not at all.

    Attributes:
        members: Positions of the tasks.
        least: How many are enough to start; the others follow one by one.
    """

    members: frozenset[int]
    least: int


def read_gang(ctx: Context, node: Node, path: str, row: Field) -> object:
    """The word `job`, or a mapping of tasks, min and barrier."""
    if is_null(node):
        return ABSENT
    if node.kind == "scalar" and not ctx.is_masked(node) and node.text == WHOLE_JOB:
        return {"tasks": WHOLE_JOB}
    if node.kind != "map":
        return ctx.wrong_type(node, path, "the word job, or a mapping of tasks, min and barrier")
    found: dict[str, object] = {}
    for name, key, value in entries(ctx, node, path):
        here = join(path, name)
        if name == "tasks":
            read: object = READERS["text_list"](ctx, value, here, _ANY)
            read = list(read) if isinstance(read, tuple | list) else read
        elif name == "min":
            read = READERS["int"](ctx, value, here, Field("min", "int", "", least=1, most=10_000))
        elif name == "barrier":
            read = READERS["bool"](ctx, value, here, row)
            if read is False:
                ctx.add(value, here, "BAD_VALUE", "A gang starts together: leave barrier out, or write true.")
        else:
            read = ABSENT
            ctx.add(key, here, "UNKNOWN_FIELD", f"There is no field {name[:60]!r} here.{ctx.hint(name, _FIELDS)}")
        if read is not ABSENT:
            found[name] = read
    if "tasks" not in found:
        ctx.add(node, join(path, "tasks"), "MISSING_FIELD", "A gang needs its tasks: 'gang: {tasks: [a, b]}'.")
        return ABSENT
    return found


def check_gang(ctx: Context, node: Node, given: Mapping[str, object], tasks: Sequence[TaskDefinition]) -> None:
    """The members are tasks of the job that ants run, at least two, none after another, and no fewer than `min`."""
    by_name = {task.task_type: task for task in tasks}
    named = given["tasks"]
    members = [str(name) for name in named] if isinstance(named, list) else list(by_name)
    for name in members:
        task = by_name.get(name)
        if task is None:
            ctx.add(node, "gang.tasks", "UNKNOWN_TASK", f"There is no task {name[:60]!r}.{ctx.hint(name, by_name)}")
        elif task.method in QUEEN_METHODS:
            ctx.add(node, "gang.tasks", "BAD_VALUE", f"No ant runs {name}: {task.method} tasks are in no gang.")
        elif task.fan_out is not None:
            ctx.add(node, "gang.tasks", "BAD_VALUE", f"{name} fans out: it is in no gang.")
        elif follows := sorted({*task.targets, *task.dependencies} & set(members)):
            message = f"{name} and {', '.join(follows)} run one after the other: they cannot start together."
            ctx.add(node, "gang.tasks", "BAD_VALUE", message)
    if len(set(members)) < 2:
        ctx.add(node, "gang.tasks", "BAD_VALUE", "A gang has two tasks at least.")
    found = [by_name[name] for name in members if name in by_name]
    routed = {target for task in tasks for target in task.targets}
    for task in found:
        if task.task_type in routed:
            message = f"Another task routes to {task.task_type}: members of a gang begin by dependencies alone."
            ctx.add(node, "gang.tasks", "BAD_VALUE", message)
    if len({frozenset(task.dependencies) for task in found}) > 1:
        ctx.add(
            node, "gang.tasks", "BAD_VALUE", "The members of a gang need the same dependencies: they start together."
        )
    least = given.get("min")
    if isinstance(least, int) and least > len(set(members)):
        ctx.add(node, "gang.min", "BAD_VALUE", f"min is {least}, and the gang has {len(set(members))} tasks.")


def gang_of(given: Mapping[str, object] | None, index: Mapping[str, int]) -> Gang | None:
    """The gang of a definition."""
    if given is None:
        return None
    named = given["tasks"]
    members = frozenset(index[name] for name in named if name in index) if isinstance(named, list | tuple) else None
    least = given.get("min")
    found = frozenset(index.values()) if members is None else members
    return Gang(found, least if isinstance(least, int) else len(found))


# --- deadlines --------------------------------------------------------------------------------------------------------


def parse_deadline(text: str) -> tuple[float | None, float | None]:
    """A deadline as (seconds since the epoch, None), or as (None, seconds after the submission).

    Raises:
        ValueError: It is neither a time nor a duration.
    """
    try:
        return None, parse_duration(text)
    except ValueError:
        pass
    try:
        return parse_moment(text), None
    except ValueError:
        raise ValueError("write a time like 2030-01-31T18:00:00Z, or a duration after the submission like 2h") from None


def deadline_of(text: str | None, submitted_at: float) -> float | None:
    """When a job should have ended, in seconds since the epoch; None where it does not say, or holds a template."""
    if text is None:
        return None
    try:
        absolute, after_s = parse_deadline(text)
    except ValueError:
        return None
    return absolute if absolute is not None else submitted_at + (after_s or 0.0)


def read_deadline(ctx: Context, node: Node, path: str, row: Field) -> object:
    """A time or a duration, kept as text."""
    found = READERS["text"](ctx, node, path, row)
    if isinstance(found, str) and ctx.is_masked(node):
        message = (
            f"{path} is read before anything is filled in: with a template it is none. Write a time or a duration."
        )
        ctx.add(node, path, "BAD_DEADLINE", message, "warning")
    elif isinstance(found, str):
        try:
            parse_deadline(found)
        except ValueError as error:
            ctx.add(node, path, "BAD_DEADLINE", f"{found[:60]!r} is no deadline: {error}.")
            return ABSENT
    return found
