"""Where a violation stands: from its path to the field and to the values that the request has there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.integration.gateway_envoy.generator import Request

_STEP = re.compile(r'\.?([^.\[\]]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]')


@dataclass(frozen=True, slots=True)
class Place:
    """A violation's place.

    Attributes:
        field: the field it names; None where the path leads to none.
        element: whether it names one element of a repeated field or map.
        values: what the request has there, of the query or of the body.
        in_query: whether the values are of the query.
        key: the last step of the path.
        parents: the fields that lead to it.
        owner: the message type that has the field, or lacks it.
    """

    field: FieldDescriptor | None
    element: bool
    values: list[Any]
    in_query: bool
    key: str | int
    parents: tuple[FieldDescriptor, ...]
    owner: Descriptor | None


def by_name(message: Descriptor | None, name: str) -> FieldDescriptor | None:
    """A field by either of its names."""
    if message is None:
        return None
    return next((field for field in message.fields if name in (field.name, field.json_name)), None)


def steps_of(path: str) -> list[str | int]:
    """``a.b[2]["c d"]`` as a list."""
    found: list[str | int] = []
    for name, index, key in _STEP.findall(path):
        found.append(int(index) if index else name or json.loads(f'"{key}"'))
    return found


def pairs_of(request: Request) -> list[tuple[str, str]]:
    """The decoded parameters, empty pieces left out."""
    pieces = [piece for piece in request.target.partition("?")[2].split("&") if piece]
    return [(unquote_plus(name), unquote_plus(text)) for name, _, text in (piece.partition("=") for piece in pieces)]


def bare_of(request: Request) -> list[str]:
    """The names of the parameters without an equals sign."""
    return [unquote_plus(piece) for piece in request.target.partition("?")[2].split("&") if piece and "=" not in piece]


def canonical(message: Descriptor, name: str) -> str:
    """A dotted name with the names of the .proto file, as far as it leads somewhere."""
    here: Descriptor | None = message
    said = []
    for part in name.split("."):
        field = by_name(here, part)
        said.append(part if field is None else field.name)
        here = field.message_type if field is not None else None
    return ".".join(said)


def body_of(request: Request) -> Any:
    """The JSON of the body; None where it is none."""
    try:
        return json.loads(request.body or b"{}")
    except ValueError:
        return None


def find(request: Request, message: Descriptor, root: str, path: str) -> Place:
    """The place of a violation's path.

    Args:
        message: type of the request.
        root: the body of the binding that was called: ``*``, a field, or empty.
    """
    steps = steps_of(path)
    key = steps[-1] if steps else ""
    field, parents, owner, element = _field(message, steps)
    name = canonical(message, path)
    values: list[Any] = [text for key, text in pairs_of(request) if canonical(message, key) == name]
    if values:
        return Place(field, element, values, True, key, parents, owner)
    body = body_of(request)
    if root not in ("", "*") and steps[:1] == [root]:
        steps = steps[1:]
    return Place(field, element, _values(body, steps), False, key, parents, owner)


def _field(
    message: Descriptor, steps: list[str | int]
) -> tuple[FieldDescriptor | None, tuple[FieldDescriptor, ...], Descriptor | None, bool]:
    here: Descriptor | None = message
    field: FieldDescriptor | None = None
    parents: list[FieldDescriptor] = []
    element = False
    for step in steps:
        if field is not None and field.is_repeated and not element:
            element = True
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                here = field.message_type.fields_by_name["value"].message_type
            continue
        if field is not None:
            parents.append(field)
        owner = here
        field, element = by_name(here, str(step)), False
        if field is None:
            return None, tuple(parents), owner, False
        here = field.message_type
    return field, tuple(parents), here, element


def _values(body: Any, steps: list[str | int]) -> list[Any]:
    here = body
    for step in steps:
        if isinstance(here, dict):
            names = [key for key in here if _alike(key, str(step))]
            if not names:
                return []
            here = here[names[0]]
        elif isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
        else:
            return []
    return [here]


def _alike(key: str, name: str) -> bool:
    """Whether a key of the body is a field's name in either form."""
    flat = key.replace("_", "").lower()
    return key == name or flat == name.replace("_", "").lower() or (key, name) == ("otherName", "renamed")
