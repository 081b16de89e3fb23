"""Values of arguments: constants become JSON, handles become references."""

from __future__ import annotations

import enum
import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from formicary.dsl.handles import Handle, ParameterHandle
from formicary.engine.jobs.model import Json

if TYPE_CHECKING:
    from formicary.dsl.builder import Node

_LEAST, _MOST = -(2**63), 2**64 - 1


def to_json_value(value: object, where: str) -> Json:
    """Turns a constant into JSON values: paths become text, tuples and sets lists, dataclasses and structs dicts.

    Raises:
        TypeError: It has no form in JSON; the text names the place.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return to_json_value(value.value, where)
    if isinstance(value, str):
        _check_text(value, where)
        return str(value)
    if isinstance(value, int):
        if not _LEAST <= value <= _MOST:
            raise TypeError(f"{where} is {value}, which is larger than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{where} is {value}, which JSON cannot hold")
        return float(value)
    if isinstance(value, Mapping):
        return {_key(key, where): to_json_value(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [to_json_value(item, f"{where}[{i}]") for i, item in enumerate(items)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    try:
        return to_json_value(msgspec.to_builtins(value), where) if _has_form(value) else _refuse(value, where)
    except msgspec.ValidationError:
        return _refuse(value, where)


def _has_form(value: object) -> bool:
    """Whether msgspec knows how to write it: dataclasses, structs, dates, UUIDs, decimals."""
    try:
        return msgspec.to_builtins(value) is not value
    except TypeError:
        return False


def _refuse(value: object, where: str) -> Json:
    raise TypeError(
        f"{where} is a {type(value).__name__}; only JSON values (dict, list, str, int, float, bool, None) and results "
        "of tasks can be given"
    )


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{where} is a dict with the key {key!r}; keys must be str")
    _check_text(key, where)
    return str(key)


def _check_text(text: str, where: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise TypeError(f"{where} holds half a surrogate pair, which UTF-8 cannot hold")


class ArgumentWriter:
    """Writes one call's arguments and notes which tasks they come from.

    Attributes:
        sources: Tasks whose results are used, each once.
        parameters: Parameters that are used.
    """

    def __init__(self) -> None:
        self.sources: dict[Node, None] = {}
        self.parameters: list[ParameterHandle] = []

    def write(self, value: object, where: str) -> Json:
        """Returns the argument as the task definition holds it; parameters stay handles until the end.

        Raises:
            TypeError: A constant has no form in JSON.
        """
        if isinstance(value, Handle):
            self.sources[value.node] = None
            reference: dict[str, object] = {"task": value.node}
            output = value.output if value.output is not None else value.node.output
            if output is not None:
                reference["output"] = output
            return reference
        if isinstance(value, ParameterHandle):
            self.parameters.append(value)
            return {"param": value}
        if isinstance(value, list | tuple) and _holds_handle(value):
            return [self.write(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, Mapping) and _holds_handle(value.values()):
            return {"map": {_key(k, where): self.write(v, f"{where}[{k!r}]") for k, v in value.items()}}
        constant = to_json_value(value, where)
        return {"value": constant} if _holds_mapping(constant) else constant


def _holds_handle(values: Iterable[object]) -> bool:
    for value in values:
        if isinstance(value, Handle | ParameterHandle):
            return True
        if isinstance(value, list | tuple) and _holds_handle(value):
            return True
        if isinstance(value, Mapping) and _holds_handle(value.values()):
            return True
    return False


def _holds_mapping(value: Json) -> bool:
    if isinstance(value, dict):
        return True
    return isinstance(value, list) and any(_holds_mapping(item) for item in value)
