"""``@task``: a plain function that can be a task of a job."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from functools import update_wrapper
from pathlib import Path
from typing import Generic, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

import msgspec

from formicary.dsl.builder import CURRENT, Builder, DefinitionError
from formicary.dsl.constants import to_json_value
from formicary.dsl.handles import Handle, ParameterHandle
from formicary.engine.jobs.model import Json

P = ParamSpec("P")
R = TypeVar("R")

Duration = str | float | timedelta
"""``"5m"``, seconds, or a timedelta."""


class TaskOptions(TypedDict, total=False):
    """Options of a task; each is the field of a job file with that name."""

    name: str
    description: str
    retry: int
    delay_between_retries: Duration
    retry_backoff: Mapping[str, object]
    timeout: Duration
    total_timeout: Duration
    delay: Duration
    max_lost_attempts: int
    estimated_runtime: Duration
    tags: Iterable[str]
    resources: Mapping[str, object]
    allow_failure: bool
    always_run: bool
    on_exit_code: Mapping[int | str, str]
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    notify: Mapping[str, object]
    webhook: Mapping[str, object]
    report_stdout: bool


_FIELD_NAMES = {"retry_backoff": "retry_backoff_policy"}
_OPTIONS = tuple(TaskOptions.__annotations__)


class Task(Generic[P, R]):
    """A function that can be a task. Outside of a job's function it is called like the function itself.

    Attributes:
        function: The function.
        options: The options, as they were given.
    """

    __wrapped__: Callable[P, R]

    def __init__(self, function: Callable[P, R], options: TaskOptions) -> None:
        if not inspect.isfunction(function):
            raise DefinitionError(f"@task takes a function, not {function!r}.")
        if function.__name__ == "<lambda>":
            raise DefinitionError("@task takes a function with a name; an ant could not find a lambda.")
        update_wrapper(self, function)
        self.function = cast("Callable[P, R]", function)
        self.options = options
        self._fields = _fields(options, function)
        self._signature = inspect.signature(function)
        for parameter in self._signature.parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise DefinitionError(
                    f"{function.__qualname__} has *{parameter.name}; arguments of tasks have names: take a list."
                )

    @property
    def name(self) -> str:
        """Name of the task in a job, unless it is there already."""
        return self.options.get("name") or self.function.__name__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Inside of a job's function adds a task and returns its handle; outside calls the function."""
        builder = CURRENT.get()
        if builder is None:
            return self.function(*args, **kwargs)
        return self._add(builder, self.name, args, kwargs)

    def with_options(self, **options: Unpack[TaskOptions]) -> Task[P, R]:
        """Returns the same task with other options, for one call: ``fetch.with_options(retry=5)(url)``."""
        merged = cast("TaskOptions", {**self.options, **options})
        return Task(self.function, merged)

    def map(self, items: Iterable[object], **constants: object) -> list[R]:
        """Adds one task per item and returns their handles, to be given to one task that takes them all.

        The item becomes the first argument that is not among `constants`. The tasks are named after their items, like
        ``summarise-1962``.

        Args:
            items: Constants, parameters or handles; their number has to be known here.
            **constants: Further arguments, the same for each.
        """
        free = [name for name in self._signature.parameters if name not in constants]
        if not free:
            raise DefinitionError(f"{self.name}.map() leaves no argument for the item.")
        builder = CURRENT.get()
        found = []
        for number, item in enumerate(items, 1):
            arguments = {free[0]: item, **constants}
            if builder is None:
                found.append(cast("Callable[..., R]", self.function)(**arguments))
            else:
                found.append(self._add(builder, f"{self.name}-{_suffix(item, number)}", (), arguments))
        return found

    def fan_out(
        self, items: Iterable[object], /, *, max_parallel: int = 0, fail_fast: bool = False, **constants: object
    ) -> list[R]:
        """Adds one task that runs once per element of a list, which may be known only when the job runs.

        The element becomes the first argument that is not among `constants`. Each element is retried and timed out by
        itself, and called ``name[3]`` in logs; what completed is kept over crashes and retries of the job.

        Args:
            items: Constants, a parameter of the job, or what another task returns; 1 to 10,000 elements.
            max_parallel: Elements that may run at a time, 0 = as many as there are slots.
            fail_fast: The first element that fails for good ends the others.
            **constants: Further arguments, the same for each.

        Returns:
            Inside of a job's function a handle of the list of results, in the order of the elements; outside the list
            itself.
        """
        free = [name for name in self._signature.parameters if name not in constants]
        if not free:
            raise DefinitionError(f"{self.name}.fan_out() leaves no argument for the element.")
        builder = CURRENT.get()
        if builder is None:
            return [cast("Callable[..., R]", self.function)(**{free[0]: item, **constants}) for item in items]
        taken = {value.name for value in constants.values() if isinstance(value, ParameterHandle)}
        item = f"{free[0]}_item" if free[0] in taken else free[0]
        element = ParameterHandle(item, self.name, lambda: None)
        handle = cast("Handle", self._add(builder, self.name, (), {free[0]: element, **constants}))
        return cast(
            "list[R]", builder.fan_out(handle.node, items, item, max_parallel=max_parallel, fail_fast=fail_fast)
        )

    def _add(self, builder: Builder, name: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> R:
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise DefinitionError(f"{name}: {error}.") from None
        for parameter in self._signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                bound.update(bound.pop(parameter.name, {}))
        arguments = dict(bound) if self._signature.parameters else None
        output = "*" if _returns_mapping(self.function) else None
        function = function_name(self.function)
        return cast("R", builder.add(name, function, self.function, self._fields, arguments, output))

    def __repr__(self) -> str:
        return f"<task {function_name(self.function)}>"


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(
    function: Callable[P, R] | None = None, /, **options: Unpack[TaskOptions]
) -> Task[P, R] | Callable[[Callable[P, R]], Task[P, R]]:
    """Makes a function a task.

    Args:
        function: The function; its parameters get JSON values, checked against their type hints.
        **options: Fields of the task: ``retry``, ``timeout``, ``tags``, ``always_run`` and so on.
    """
    for option in options:
        if option not in _OPTIONS:
            near = get_close_matches(option, _OPTIONS, 1)
            raise DefinitionError(f"@task has no option {option}.{f' Did you mean {near[0]}?' if near else ''}")
    if function is not None:
        return Task(function, options)
    return lambda found: Task(found, options)


def function_name(function: Callable[..., object]) -> str:
    """Returns ``package.module:name`` of a function; the main script goes by the name it could be imported with."""
    module = function.__module__
    if module == "__main__":
        variables = getattr(function, "__globals__", {})
        spec = variables.get("__spec__")
        module = spec.name if spec is not None else Path(str(variables.get("__file__", "__main__"))).stem
    return f"{module}:{function.__qualname__.replace('<locals>.', '')}"


def duration_text(value: object) -> Json:
    """Returns a duration as a job file holds it."""
    return f"{value.total_seconds():g}s" if isinstance(value, timedelta) else value


def _fields(options: TaskOptions, function: Callable[..., object]) -> dict[str, Json]:
    """Returns the options as fields of a job file."""
    description = options.get("description") or (inspect.getdoc(function) or "").partition("\n")[0][:1000]
    fields: dict[str, Json] = {"description": description} if description else {}
    for name, value in options.items():
        if name in ("name", "description"):
            continue
        if name == "tags":
            value = [value] if isinstance(value, str) else sorted(cast("Iterable[str]", value))
        elif name == "on_exit_code":
            value = {str(code): target for code, target in cast("Mapping[object, object]", value).items()}
        elif name == "retry_backoff":
            value = {key: duration_text(item) for key, item in cast("Mapping[str, object]", value).items()}
        try:
            fields[_FIELD_NAMES.get(name, name)] = to_json_value(duration_text(value), f"the option {name}")
        except TypeError as error:
            raise DefinitionError(f"{function.__qualname__}: {error}.") from None
    return fields


def _suffix(item: object, number: int) -> str:
    """Returns what a mapped task is named after: its item where that is short and simple, else its number."""
    if isinstance(item, bool) or not isinstance(item, str | int):
        return str(number)
    text = re.sub(r"[^\w.]+", "-", str(item)).strip("-")
    return text if 0 < len(text) <= 40 else str(number)


def _returns_mapping(function: Callable[..., object]) -> bool:
    """Whether the hint says that the function returns a mapping and nothing else."""
    try:
        hint = typing.get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return False
    found = typing.get_origin(hint) or hint
    if not isinstance(found, type):
        return False
    return issubclass(found, Mapping | msgspec.Struct) or typing.is_typeddict(found) or dataclasses.is_dataclass(found)
