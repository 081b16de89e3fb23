"""Checks the graph of a job's tasks: targets exist, no cycles, every task can be reached, one start."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from formicary.engine.jobs.model import ACTIONS, is_action
from formicary.engine.jobs.readers import Context
from formicary.engine.jobs.yaml_nodes import Node

_GOOD = ("on_completed", "COMPLETED", "APPROVED", "SKIPPED", "0")
_AGAIN = frozenset(("PAUSE_JOB", "EXECUTING", "RESTART_TASK", "RESTART_JOB"))


@dataclass(slots=True)
class Edge:
    """A reference of one task to another: a route or a dependency."""

    target: str
    node: Node
    path: str


@dataclass(slots=True)
class GraphTask:
    """What the graph needs to know of a task.

    Attributes:
        name: Name of the task.
        node: Where it stands.
        path: Like ``tasks[2]``.
        routes: Where it may lead.
        dependencies: What it waits for.
        arguments: Tasks whose outputs its arguments name.
        always_run: Whether it belongs to the final phase.
        open_targets: Whether a route's target is only known after rendering.
        names_dependencies: Whether it has the field ``dependencies``, be it empty.
        repeats: Whether it is retried.
    """

    name: str
    node: Node
    path: str
    routes: list[Edge] = field(default_factory=list)
    dependencies: list[Edge] = field(default_factory=list)
    arguments: list[Edge] = field(default_factory=list)
    always_run: bool = False
    open_targets: bool = False
    names_dependencies: bool = False
    repeats: bool = False


def check_graph(tasks: Sequence[GraphTask], ctx: Context) -> None:
    """Notes everything that is wrong with the graph.

    Args:
        tasks: All tasks, names unique.
        ctx: Receives the violations.
    """
    index = {task.name: i for i, task in enumerate(tasks)}
    _check_targets(tasks, index, ctx)
    cyclic = _check_cycles(tasks, index, ctx)
    if not any(task.open_targets for task in tasks):
        _check_starts(tasks, index, cyclic, ctx)
        _tell_alarms(tasks, ctx)


def _check_targets(tasks: Sequence[GraphTask], index: dict[str, int], ctx: Context) -> None:
    names = [*index, *sorted(ACTIONS)] if len(index) < 1000 else sorted(ACTIONS)
    few = list(index)[:1000]
    for task in tasks:
        for edge in task.routes:
            if edge.target not in index and not is_action(edge.target):
                hint = ctx.hint(edge.target, names) or " Add it or name another one."
                ctx.add(edge.node, edge.path, "UNKNOWN_TARGET", f"There is no task or action {edge.target!r}.{hint}")
        _leave_itself(task, ctx)
        for edge in (*task.dependencies, *task.arguments):
            if edge.target not in index:
                hint = ctx.hint(edge.target, few) or " Add it or name another one."
                ctx.add(edge.node, edge.path, "UNKNOWN_DEPENDENCY", f"There is no task {edge.target!r}.{hint}")


def _leave_itself(task: GraphTask, ctx: Context) -> None:
    """A task that may run again names itself in older files, to go on with its earlier artifacts; it may begin."""
    if not (task.repeats or any(edge.target in _AGAIN for edge in task.routes)):
        return
    for edge in [edge for edge in task.dependencies if edge.target == task.name]:
        task.dependencies.remove(edge)
        message = (
            "A task cannot wait for itself, so this has no effect; a checkpoint is what an attempt leaves to the next."
        )
        ctx.add(edge.node, edge.path, "OWN_DEPENDENCY", message, "warning")


def _check_cycles(tasks: Sequence[GraphTask], index: dict[str, int], ctx: Context) -> set[int]:
    """Reports each cycle once, at the edge that closes it; returns the tasks that lie on one."""
    following: list[list[tuple[int, Edge, bool]]] = [[] for _ in tasks]
    for i, task in enumerate(tasks):
        for edge in task.routes:
            if edge.target in index and not is_action(edge.target):
                following[i].append((index[edge.target], edge, False))
        for edge in task.dependencies:
            if edge.target in index:
                following[index[edge.target]].append((i, edge, True))
    state = bytearray(len(tasks))
    cyclic: set[int] = set()
    for root in range(len(tasks)):
        if state[root]:
            continue
        path = [root]
        pending = [iter(following[root])]
        state[root] = 1
        while pending:
            for target, edge, depends in pending[-1]:
                if state[target] == 1:
                    cycle = path[path.index(target) :]
                    cyclic.update(cycle)
                    _report_cycle(tasks, cycle, edge, depends, ctx)
                elif not state[target]:
                    state[target] = 1
                    path.append(target)
                    pending.append(iter(following[target]))
                    break
            else:
                state[path.pop()] = 2
                pending.pop()
    return cyclic


def _report_cycle(tasks: Sequence[GraphTask], cycle: list[int], edge: Edge, depends: bool, ctx: Context) -> None:
    names = [tasks[i].name for i in cycle]
    shown = " -> ".join([*(names if len(names) <= 8 else [*names[:7], "..."]), names[0]])
    remedy = (
        "remove one of the dependencies" if depends else "use RESTART_TASK or RESTART_JOB to repeat, EXECUTING to poll"
    )
    ctx.add(edge.node, edge.path, "CYCLE", f"These tasks wait for each other: {shown}; {remedy}.")


def _check_starts(tasks: Sequence[GraphTask], index: dict[str, int], cyclic: set[int], ctx: Context) -> None:
    routed = {index[e.target] for t in tasks for e in t.routes if e.target in index and not is_action(e.target)}
    free = [i for i, t in enumerate(tasks) if i not in routed and not t.always_run]
    starts = [i for i in free if not any(edge.target in index for edge in tasks[i].dependencies)]
    uses_dependencies = any(task.names_dependencies for task in tasks)
    if not starts and not cyclic:
        ctx.add(tasks[0].node, tasks[0].path, "NO_START_TASK", "No task starts; one must not be always_run.")
    if not uses_dependencies:
        for i in starts[1:]:
            _report_second_start(tasks, starts[0], i, ctx)
    reached = _reach([*free, *(i for i, t in enumerate(tasks) if t.always_run)], tasks, index)
    for i, task in enumerate(tasks):
        if i not in reached and i not in cyclic:
            ctx.add(
                task.node,
                task.path,
                "UNREACHABLE_TASK",
                f"The task {task.name!r} is never reached; route to it or remove it.",
            )


def _tell_alarms(tasks: Sequence[GraphTask], ctx: Context) -> None:
    """Says of which `always_run` tasks a good end knows nothing; see :mod:`.flow`."""
    sources: dict[str, list[Edge]] = {task.name: [] for task in tasks if task.always_run}
    for task in tasks:
        for edge in task.routes:
            if edge.target in sources:
                sources[edge.target].append(edge)
    for task in tasks:
        edges = sources.get(task.name)
        if edges and not any(_key(edge) in _GOOD for edge in edges):
            message = (
                f"Only failures route to {task.name!r}, so it does not run after a good end, though always_run; "
                "remove these routes and it runs whatever happened."
            )
            ctx.add(task.node, task.path, "ONLY_AFTER_FAILURES", message, "warning")


def _key(edge: Edge) -> str:
    """What leads along a route: the field, or a key of its mapping."""
    return re.split(r"[.\[]", edge.path)[-1].strip("]'\"")


def _report_second_start(tasks: Sequence[GraphTask], first: int, second: int, ctx: Context) -> None:
    task = tasks[second]
    how = "route to it with on_completed or on_exit_code, or use dependencies to run tasks in parallel"
    if any(not is_action(edge.target) for edge in task.routes):
        message = f"The task {task.name!r} would start the job, as {tasks[first].name!r} does; {how}."
        ctx.add(task.node, task.path, "MULTIPLE_START_TASKS", message)
    else:
        message = f"The task {task.name!r} is never reached; {how}."
        ctx.add(task.node, task.path, "UNREACHABLE_TASK", message)


def _reach(roots: Iterable[int], tasks: Sequence[GraphTask], index: dict[str, int]) -> set[int]:
    reached = set(roots)
    stack = list(reached)
    while stack:
        for edge in tasks[stack.pop()].routes:
            target = index.get(edge.target)
            if target is not None and not is_action(edge.target) and target not in reached:
                reached.add(target)
                stack.append(target)
    return reached
