"""What stands for a value while a job is being defined: a task's result that is not there yet, a parameter."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from formicary.dsl.builder import Node


class UndefinedValueError(TypeError):
    """A value was needed that exists only when the job runs."""


class Handle:
    """The result of a task that has not run yet. Give it to other tasks; ``handle["key"]`` is one of its outputs.

    Attributes:
        node: The task it comes from.
        output: Name of one output, None for the whole result.
    """

    __slots__ = ("node", "output")
    __hash__ = object.__hash__

    def __init__(self, node: Node, output: str | None = None) -> None:
        self.node = node
        self.output = output

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.node.name

    def __getitem__(self, key: str) -> Handle:
        if self.output is not None or not isinstance(key, str):
            raise UndefinedValueError(
                f"{self!r}[{key!r}] cannot be taken: while a job is defined only the outputs of a task can be named, "
                "like handle['rows']. Take it apart inside of a task."
            )
        return Handle(self.node, key)

    def after(self, *others: object) -> Handle:
        """Lets this task wait for others without taking their results."""
        self.node.wait_for(others)
        return self

    def on_failed(self, target: object) -> Handle:
        """Says what comes when the task has failed and its retries are used up: a task's handle, or an action."""
        self.node.route("FAILED", target)
        return self

    def on_completed(self, target: object) -> Handle:
        """Says what comes when the task has completed: a task's handle, or an action."""
        self.node.route("COMPLETED", target)
        return self

    def on_exit_code(self, routes: Mapping[int | str, object]) -> Handle:
        """Says what comes by exit code or error code: tasks' handles or actions, like ``{75: "EXECUTING"}``."""
        for code, target in routes.items():
            self.node.route(str(code), target)
        return self

    def __repr__(self) -> str:
        part = "" if self.output is None else f"[{self.output!r}]"
        return f"<result of {self.name}{part}>"

    def _undefined(self, *_: object) -> NoReturn:
        raise UndefinedValueError(
            f"{self!r} has no value while the job is defined; give it to a task and use the value there."
        )

    __bool__ = __iter__ = __len__ = __int__ = __float__ = __index__ = __contains__ = _undefined
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _undefined
    __lt__ = __le__ = __gt__ = __ge__ = __call__ = __fspath__ = __format__ = __str__ = _undefined


class ParameterHandle:
    """A parameter of the job while it is defined.

    Handed on to a task it stays a parameter: each submission may give another value. Where the job's function needs
    the value itself (``range(first, last)``, ``if fast:``) the shape of the job depends on it: it is then *fixed* to
    the value given to ``definition()``, ``run()`` or ``-p``, else to its default.

    Attributes:
        name: Name of the parameter.
        fixed: Whether the value was needed.
    """

    __slots__ = ("_job", "_value", "fixed", "name")

    def __init__(self, name: str, job: str, value: Callable[[], object]) -> None:
        self.name = name
        self.fixed = False
        self._job = job
        self._value = value

    def take(self) -> object:
        """Fixes the parameter and returns its value."""
        value = self._value()
        self.fixed = True
        return value

    def __repr__(self) -> str:
        return f"<parameter {self.name} of {self._job}>"

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.take(), name)

    def __hash__(self) -> int:
        return hash(self.take())

    def __bool__(self) -> bool:
        return bool(self.take())

    def __str__(self) -> str:
        return str(self.take())

    def __format__(self, spec: str) -> str:
        return format(self.take(), spec)

    def __iter__(self) -> Iterator[object]:
        return iter(self.take())  # type: ignore[call-overload,no-any-return]  # the value decides whether it has items

    def __eq__(self, other: object) -> bool:
        return bool(self.take() == (other.take() if isinstance(other, ParameterHandle) else other))


def _forward(name: str, function: Callable[..., object]) -> None:
    """Gives parameters an operation of their value."""

    def apply(self: ParameterHandle, *others: object) -> object:
        values = (other.take() if isinstance(other, ParameterHandle) else other for other in others)
        return function(self.take(), *values)

    setattr(ParameterHandle, name, apply)


_UNARY: Mapping[str, Callable[..., object]] = {
    "__int__": int,
    "__float__": float,
    "__index__": operator.index,
    "__len__": len,
    "__neg__": operator.neg,
    "__abs__": abs,
    "__round__": round,
    "__fspath__": lambda value: value.__fspath__() if hasattr(value, "__fspath__") else str(value),
    "__contains__": operator.contains,
    "__getitem__": operator.getitem,
    "__lt__": operator.lt,
    "__le__": operator.le,
    "__gt__": operator.gt,
    "__ge__": operator.ge,
}
for _name, _function in _UNARY.items():
    _forward(_name, _function)
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    _operation: Callable[[object, object], object] = getattr(operator, f"__{_name}__")
    _forward(f"__{_name}__", _operation)
    _forward(f"__r{_name}__", lambda value, other, operation=_operation: operation(other, value))
