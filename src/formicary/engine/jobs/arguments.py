"""Arguments of PYTHON tasks: what each parameter of the function gets, exactly, whatever other names are about.

A task without ``arguments`` gets every variable of its function's parameters by name, with the precedence of all
variables. With ``arguments`` it gets these and nothing else, in the job file for example::

    year: 1962                            # a constant; a list is read element by element
    first: {param: first}                 # a parameter of the job, or a variable of the job
    table: {task: extract}                # what an earlier task returned
    path: {task: extract, output: path}   # one of its outputs
    limits: {value: {low: 1}}             # a constant that is itself a mapping
    years: {map: {"1962": {task: a}}}     # a mapping of arguments

What an earlier task returned is its outputs, or the value of ``result`` where that is the only one. A task that did not
complete gives nothing: the argument is left out (the function's own default holds), in a list or a mapping it is null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from formicary.engine.jobs.model import Json

MAX_DEPTH = 32
"""Nesting of lists and mappings in one argument."""

_KINDS: Mapping[str, frozenset[str]] = {
    "value": frozenset({"value"}),
    "param": frozenset({"param"}),
    "task": frozenset({"task", "output"}),
    "map": frozenset({"map"}),
}


class Missing:
    """The type of :data:`MISSING`."""


MISSING = Missing()
"""What a lookup answers where there is no such value."""


class Lookup(Protocol):
    """Where references lead to."""

    def param(self, name: str) -> Json:
        """Returns a parameter or variable of the job, or MISSING."""
        ...

    def outputs(self, task_type: str) -> Mapping[str, Json] | Missing:
        """Returns the outputs of a task that completed, or MISSING."""
        ...


def resolve_arguments(arguments: Mapping[str, Json], lookup: Lookup) -> dict[str, Json]:
    """Returns the values of the arguments; those that lead nowhere are left out.

    Args:
        arguments: As the task has them; they were found valid.
        lookup: Answers references.
    """
    found = {name: _resolve(argument, lookup) for name, argument in arguments.items()}
    return {name: value for name, value in found.items() if value is not MISSING}


def _resolve(argument: Json, lookup: Lookup) -> Json:
    if isinstance(argument, list | tuple):
        return [_or_null(_resolve(item, lookup)) for item in argument]
    if not isinstance(argument, Mapping):
        return argument
    if "value" in argument:
        return argument["value"]
    if "param" in argument:
        return lookup.param(str(argument["param"]))
    if "map" in argument:
        items = argument["map"]
        assert isinstance(items, Mapping)
        return {name: _or_null(_resolve(item, lookup)) for name, item in items.items()}
    outputs = lookup.outputs(str(argument["task"]))
    if isinstance(outputs, Missing):
        return MISSING
    name = argument.get("output")
    if name is None:
        return result_of(outputs)
    return dict(outputs) if name == "*" else outputs.get(name, MISSING)


def _or_null(value: Json) -> Json:
    return None if value is MISSING else value


def result_of(outputs: Mapping[str, Json]) -> Json:
    """Returns what a function returned, seen from its outputs: None, the value of ``result``, or all of them."""
    if not outputs:
        return None
    return outputs["result"] if len(outputs) == 1 and "result" in outputs else dict(outputs)


def referenced_tasks(arguments: Mapping[str, Json]) -> Iterator[str]:
    """Yields the names of the tasks whose outputs are used."""
    stack: list[Json] = list(arguments.values())
    while stack:
        argument = stack.pop()
        if isinstance(argument, list | tuple):
            stack.extend(argument)
        elif isinstance(argument, Mapping):
            if "task" in argument:
                yield str(argument["task"])
            elif isinstance(items := argument.get("map"), Mapping):
                stack.extend(items.values())


def wrong_arguments(arguments: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Yields (name of the argument, sentence) for each argument that is not of the form above."""
    for name, argument in arguments.items():
        sentence = _wrong(argument, 0)
        if sentence:
            yield name, sentence


def _wrong(argument: Json, depth: int) -> str:
    if depth > MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} deep"
    if isinstance(argument, list | tuple):
        return next(filter(None, (_wrong(item, depth + 1) for item in argument)), "")
    if not isinstance(argument, Mapping):
        return ""
    kind = next((kind for kind in _KINDS if kind in argument), None)
    if kind is None or not argument.keys() <= _KINDS[kind]:
        return "must be one of {value: …}, {param: NAME}, {task: NAME, output: NAME}, {map: …}"
    if kind == "map":
        items = argument["map"]
        if not isinstance(items, Mapping):
            return "has a map that is no mapping"
        return next(filter(None, (_wrong(item, depth + 1) for item in items.values())), "")
    if kind != "value" and not all(isinstance(part, str) and part for part in argument.values()):
        return "names something with a value that is no text"
    return ""
