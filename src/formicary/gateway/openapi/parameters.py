"""Parameters of an operation: what the path holds, and every other field that the body does not hold as a query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from formicary.gateway.openapi.rules import said
from formicary.gateway.openapi.schemas import Schemas, is_map
from formicary.gateway.openapi.templates import OpenApiPath, PathParameter
from formicary.gateway.openapi.wellknown import Json, scalar_like, well_known


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that one query parameter can hold.

    Attributes:
        path: Field path by proto names, dotted.
        name: Field path by JSON names, dotted.
        field: The last field of the path.
        required: Whether every field of the path is required.
    """

    path: str
    name: str
    field: FieldDescriptor
    required: bool


def path_parameters(path: OpenApiPath, request: Descriptor, schemas: Schemas) -> list[Json]:
    """The parameters of the path, in its order."""
    return [_path_parameter(one, request, schemas) for one in path.parameters]


def _path_parameter(one: PathParameter, request: Descriptor, schemas: Schemas) -> Json:
    field = field_at(request, one.field) if one.field else None
    schema: Json = {"type": "string"}
    if field is not None and one.whole:
        schema = schemas.field(field, "request")
        schema = {k: v for k, v in schema.items() if k not in ("readOnly", "writeOnly")}
    elif field is not None:
        schema = said(schema, f"Part of `{one.field}`, which has the form `{one.pattern}`.")
    sentence = "May hold slashes." if one.slashes else ""
    schema = said(schema, sentence)
    if schema.get("type") == "string" and "enum" not in schema and "pattern" not in schema:
        schema.setdefault("minLength", 1)
    return _parameter(one.name, "path", schema, required=True)


def query_parameters(request: Descriptor, taken: frozenset[str], schemas: Schemas) -> list[Json]:
    """A parameter for each field that the path and the body leave, nested ones dotted.

    Args:
        request: The request message.
        taken: Field paths that the path or the body holds.
        schemas: Makes the schemas.
    """
    found = []
    for leaf in leaves(request, taken, schemas):
        schema = schemas.field(leaf.field, "request")
        if not schema.get("readOnly"):
            found.append(_parameter(leaf.name, "query", schema, required=leaf.required))
    return found


def leaves(
    message: Descriptor,
    taken: frozenset[str],
    schemas: Schemas,
    above: tuple[Descriptor, ...] = (),
    path: str = "",
    name: str = "",
    required: bool = True,
) -> Iterator[Leaf]:  # fmt: skip  (one argument per line would hide the recursion)
    """Every field that a query parameter can hold; maps, lists of messages and recursion cannot be written so."""
    for field in message.fields:
        here, named = f"{path}{field.name}", f"{name}{schemas.json_name(field)}"
        if here in taken or is_map(field):
            continue
        needed = required and schemas.required(field)
        kind = field.message_type
        if kind is None or scalar_like(kind.full_name):
            yield Leaf(here, named, field, needed)
        elif (
            not field.is_repeated and kind not in (*above, message) and well_known(kind.full_name, strict=True) is None
        ):
            yield from leaves(kind, taken, schemas, (*above, message), f"{here}.", f"{named}.", needed)


def _parameter(name: str, place: str, schema: Json, *, required: bool) -> Json:
    """Description and deprecation belong to the parameter; a schema that only refers stays a reference."""
    schema = dict(schema)
    found: Json = {"name": name, "in": place}
    if "description" in schema:
        found["description"] = schema.pop("description")
    if required:
        found["required"] = True
    if schema.pop("deprecated", False):
        found["deprecated"] = True
    found["schema"] = {k: v for k, v in schema.items() if k not in ("readOnly", "writeOnly")}
    return found


def field_at(message: Descriptor, path: str) -> FieldDescriptor:
    """The field at a dotted path.

    Raises:
        ValueError: There is no such field.
    """
    kind: Descriptor | None = message
    field: FieldDescriptor | None = None
    for name in path.split("."):
        field = kind.fields_by_name.get(name) if kind is not None else None
        if field is None:
            raise ValueError(f"{message.full_name} has no field {path}; a google.api.http binding names it.")
        kind = field.message_type
    if field is None:
        raise ValueError(f"{message.full_name}: an empty field path in a google.api.http binding.")
    return field
