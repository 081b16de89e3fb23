"""Collects the tasks of one job while its function runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast

from formicary.dsl.constants import ArgumentWriter, to_json_value
from formicary.dsl.handles import Handle, ParameterHandle
from formicary.engine.jobs.fan_out import VALUES
from formicary.engine.jobs.model import MAX_TASKS, Json, is_action

if TYPE_CHECKING:
    from formicary.dsl.jobs import Job

T = TypeVar("T")


class DefinitionError(TypeError):
    """A job's function composes tasks in a way that makes no job."""


class Node:
    """One task of a job that is being defined.

    Attributes:
        name: Its ``task_type``.
        function: The function it calls, ``package.module:name``; empty where it calls none.
        target: The function itself.
        fields: Further fields of the task as they stand in a job file.
        arguments: What the function gets; None when it has no parameters.
        output: ``*`` when the function surely returns a mapping, so that it is delivered whole; else None.
        dependencies: Tasks it waits for.
        sources: Tasks whose results it uses.
        routes: Where it leads, by state or exit code.
    """

    __slots__ = (
        "arguments",
        "builder",
        "dependencies",
        "fields",
        "function",
        "name",
        "output",
        "routes",
        "sources",
        "target",
    )

    def __init__(
        self, builder: Builder, name: str, function: str, target: Callable[..., object], fields: Mapping[str, Json]
    ) -> None:
        self.builder = builder
        self.name = name
        self.function = function
        self.target = target
        self.fields = dict(fields)
        self.arguments: dict[str, Json] | None = None
        self.output: str | None = None
        self.dependencies: dict[Node, None] = {}
        self.sources: dict[Node, None] = {}
        self.routes: dict[str, Node | str] = {}

    @property
    def always_run(self) -> bool:
        """Whether it belongs to the final phase."""
        return self.fields.get("always_run") is True

    def wait_for(self, others: Iterable[object]) -> None:
        """Adds dependencies; lists of handles are taken apart."""
        for other in others:
            if isinstance(other, list | tuple):
                self.wait_for(other)
            else:
                self.dependencies[self.builder.node_of(other, "after()")] = None

    def route(self, code: str, target: object) -> None:
        """Sets where the task leads."""
        if isinstance(target, str):
            if not is_action(target):
                raise DefinitionError(
                    f"{self.name}: {target!r} is no action; give a task's handle or one of COMPLETED, FAILED, FATAL, "
                    "EXECUTING, RESTART_TASK, RESTART_JOB, PAUSE_JOB or ERR_…"
                )
            self.routes[code] = target
            return
        node = self.builder.node_of(target, "a route")
        if code == "FAILED" and self in node.sources:
            raise DefinitionError(
                f"{node.name} comes when {self.name} has failed, so it cannot take its result; call it without."
            )
        self.routes[code] = node


def _nothing() -> None:
    """What a task without a function calls."""


class Builder:
    """The tasks of one job so far.

    Args:
        job: Name of the job, for messages.
    """

    def __init__(self, job: str) -> None:
        self.job = job
        self.nodes: list[Node] = []
        self.forked: dict[str, Job[Any, Any]] = {}
        """Jobs in Python that its tasks start, by name."""
        self._names: set[str] = set()

    def add(
        self,
        name: str,
        function: str,
        target: Callable[..., object],
        fields: Mapping[str, Json],
        arguments: Mapping[str, object] | None,
        output: str | None,
    ) -> Handle:
        """Adds a task and returns its handle."""
        if len(self.nodes) >= MAX_TASKS:
            raise DefinitionError(f"{self.job} has more than {MAX_TASKS:,} tasks; split it.")
        node = Node(self, self._unique(name), function, target, fields)
        node.output = output
        if arguments is not None:
            writer = ArgumentWriter()
            try:
                node.arguments = {key: writer.write(value, f"the argument {key}") for key, value in arguments.items()}
            except TypeError as error:
                raise DefinitionError(f"{node.name}: {error}.") from None
            for source in writer.sources:
                if source.builder is not self:
                    raise DefinitionError(f"{node.name} takes the result of {source.name}, which is of another job.")
            node.sources = dict(writer.sources)
            node.dependencies = dict(writer.sources)
        self.nodes.append(node)
        return Handle(node)

    def add_without_function(
        self, name: str, fields: Mapping[str, Json], arguments: Mapping[str, object] | None = None
    ) -> Handle:
        """Adds a task of another method than PYTHON and returns its handle."""
        return self.add(name, "", _nothing, fields, arguments, None)

    def fan_out(self, node: Node, items: object, item: str, *, max_parallel: int, fail_fast: bool) -> Handle:
        """Lets a task run once per element of a list; returns the handle of the list of what each gave.

        Args:
            node: The task.
            items: Constants, a parameter, or what a task returns.
            item: Name of the variable that holds the element.
            max_parallel: How many may be open at a time, 0 = no limit of its own.
            fail_fast: The first that fails ends the others.
        """
        writer = ArgumentWriter()
        try:
            is_one = isinstance(items, Handle | ParameterHandle)
            given = items if is_one else list(cast("Iterable[object]", items))
            source = writer.write(given, "the list") if is_one else to_json_value(given, "the list")
        except TypeError as error:
            raise DefinitionError(f"{node.name}: {error}. Give one list: constants, a parameter or a handle.") from None
        for found in writer.sources:
            if found.builder is not self:
                raise DefinitionError(f"{node.name} takes the result of {found.name}, which is of another job.")
        node.sources |= writer.sources
        node.dependencies |= writer.sources
        spec: dict[str, Json] = {"source": source, "item_var": item}
        if max_parallel:
            spec["max_parallel"] = max_parallel
        if fail_fast:
            spec["fail_fast"] = True
        node.fields["fan_out"] = spec
        return Handle(node, VALUES)

    def _unique(self, name: str) -> str:
        unique, number = name, 1
        while unique in self._names:
            number += 1
            unique = f"{name}-{number}"
        self._names.add(unique)
        return unique

    def node_of(self, value: object, where: str) -> Node:
        """Returns the task behind a handle.

        Raises:
            DefinitionError: The value is no handle of this job.
        """
        if not isinstance(value, Handle):
            raise DefinitionError(f"{where} takes what a call of a task returned, not {value!r}.")
        if value.node.builder is not self:
            raise DefinitionError(f"{value!r} is of another job; call the task inside of {self.job}.")
        return value.node

    def task_fields(self) -> list[dict[str, Json]]:
        """Returns the tasks as they stand in a job file, in the order of their calls."""
        ordered = any(node.dependencies and not node.always_run for node in self.nodes)
        tasks = [_fields_of(node) for node in self.nodes]
        if len(tasks) > 1 and not ordered:
            tasks[0].setdefault("dependencies", [])
        return tasks


def _fields_of(node: Node) -> dict[str, Json]:
    fields: dict[str, Json] = {"task_type": node.name}
    if node.function:
        fields |= {"method": "PYTHON", "function": node.function}
    if node.arguments is not None:
        fields["arguments"] = {name: _finish(value) for name, value in node.arguments.items()}
    if node.dependencies and not node.always_run:
        fields["dependencies"] = [other.name for other in node.dependencies]
    fields.update(node.fields)
    if isinstance(spec := fields.get("fan_out"), dict) and isinstance(spec["source"], dict):
        fields["fan_out"] = {**spec, "source": _finish(spec["source"])}
    if node.routes:
        routes = {code: target if isinstance(target, str) else target.name for code, target in node.routes.items()}
        for code, name in (("COMPLETED", "on_completed"), ("FAILED", "on_failed")):
            if code in routes:
                fields[name] = routes.pop(code)
        if routes:
            fields["on_exit_code"] = routes
    return fields


def _finish(argument: Json) -> Json:
    """Puts names for nodes, and values for parameters that were fixed meanwhile."""
    if isinstance(argument, list):
        return [_finish(item) for item in argument]
    if not isinstance(argument, dict):
        return argument
    if isinstance(node := argument.get("task"), Node):
        return {**argument, "task": node.name}
    if isinstance(parameter := argument.get("param"), ParameterHandle):
        return {"value": parameter.take()} if parameter.fixed else {"param": parameter.name}
    if "map" in argument and isinstance(argument["map"], dict):
        return {"map": {name: _finish(item) for name, item in argument["map"].items()}}
    return argument


CURRENT: ContextVar[Builder | None] = ContextVar("formicary_dsl_builder", default=None)
"""The job whose function is running in this context, if any."""


def _node(value: object, where: str) -> Node:
    builder = CURRENT.get()
    if builder is None:
        raise DefinitionError(f"{where} works inside of a job's function only.")
    return builder.node_of(value, where)


def after(result: T, *others: object) -> T:
    """Lets the task behind `result` wait for others without taking their results; returns `result`.

    The same as ``result.after(*others)``, for type checkers, which take the result of a task for its value.
    """
    _node(result, "after()").wait_for(others)
    return result


def on_failed(result: T, target: object) -> T:
    """Says what comes when the task behind `result` has failed: another task's handle, or an action."""
    _node(result, "on_failed()").route("FAILED", target)
    return result


def on_completed(result: T, target: object) -> T:
    """Says what comes when the task behind `result` has completed: another task's handle, or an action."""
    _node(result, "on_completed()").route("COMPLETED", target)
    return result


def on_exit_code(result: T, routes: Mapping[int | str, object]) -> T:
    """Says what comes by exit code or error code of the task behind `result`."""
    for code, target in routes.items():
        _node(result, "on_exit_code()").route(str(code), target)
    return result
