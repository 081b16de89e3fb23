"""Type hints of a job's function become its parameters."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from formicary.dsl.builder import DefinitionError
from formicary.dsl.constants import to_json_value
from formicary.engine.jobs.model import Json

_KINDS: Mapping[object, str] = {str: "str", int: "int", float: "float", bool: "bool", list: "list", dict: "dict"}


@dataclass(frozen=True, slots=True)
class JobParameter:
    """One parameter of a job's function.

    Attributes:
        name: Its name.
        hint: Its type hint, ``object`` where there is none.
        required: Whether it has no default.
        default: The default as a JSON value.
    """

    name: str
    hint: object
    required: bool
    default: Json

    @property
    def type(self) -> str:
        """Its type as a job file names it."""
        hint = self.hint
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            some = [arm for arm in typing.get_args(hint) if arm is not type(None)]
            hint = some[0] if len(some) == 1 else object
        return _KINDS.get(typing.get_origin(hint) or hint, "any")

    def convert(self, value: object, job: str) -> Json:
        """Returns a given value as its type hint wants it (``"5"`` becomes 5 for an int), as a JSON value.

        Raises:
            DefinitionError: It cannot be converted.
        """
        try:
            plain = to_json_value(value, f"the parameter {self.name}")
            if self.type == "str" and isinstance(plain, int | float):
                return str(plain)
            if self.type == "any":
                return plain
            try:
                return to_json_value(msgspec.convert(plain, self.hint), self.name)
            except msgspec.ValidationError:
                return to_json_value(msgspec.convert(plain, self.hint, strict=False), self.name)
        except (TypeError, msgspec.ValidationError) as error:
            raise DefinitionError(f"{job}: the parameter {self.name} cannot be {value!r}: {error}.") from None


def read_parameters(function: Callable[..., object], job: str) -> dict[str, JobParameter]:
    """Returns the parameters of a job's function by name.

    Raises:
        DefinitionError: One has no name or a default that JSON cannot hold.
    """
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        hints = {}
    found: dict[str, JobParameter] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise DefinitionError(f"{job}: the parameter {parameter} has to have a fixed name that can be given.")
        required = parameter.default is parameter.empty
        try:
            default = None if required else to_json_value(parameter.default, f"the default of {name}")
        except TypeError as error:
            raise DefinitionError(f"{job}: {error}.") from None
        found[name] = JobParameter(name, hints.get(name, object), required, default)
    return found
