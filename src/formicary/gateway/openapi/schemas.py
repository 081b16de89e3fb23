"""Messages and enums as JSON Schemas under ``#/components/schemas``.

A message has two forms. What a client sends is strict: unknown members are refused, required fields are required and
the rules of protovalidate hold. What the server sends is open: it may gain members, and fields with their default
value may be left out. A message that is used both ways and is not the same in both has two schemas, ``Job`` and
``JobInput``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from formicary.gateway.openapi.options import OptionReader
from formicary.gateway.openapi.rules import (
    IGNORE_ALWAYS,
    IGNORE_IF_ZERO,
    all_of,
    constrain,
    listed,
    refuses,
    said,
    sized,
)
from formicary.gateway.openapi.wellknown import Json, kind_of, scalar, well_known, wrapped_kind

Role = Literal["request", "response"]
NO_PATHS: frozenset[str] = frozenset()


class Schemas:
    """Makes schemas and collects the named ones.

    Args:
        reader: Of the options.
        comments: By full name.
        names: Names of schemas by full name of message and enum.
        twofold: Full names of messages that are used in requests and in responses.
        json_name: The name of a field in JSON.
    """

    def __init__(
        self,
        reader: OptionReader,
        comments: Mapping[str, str],
        names: Mapping[str, str],
        twofold: frozenset[str],
        json_name: Callable[[FieldDescriptor], str],
    ) -> None:
        self._reader = reader
        self._comments = comments
        self._names = names
        self._twofold = twofold
        self.json_name = json_name
        self._made: dict[str, Json] = {}

    @property
    def components(self) -> dict[str, Json]:
        """The named schemas so far, by name."""
        return dict(sorted(self._made.items()))

    def reference(self, kind: Descriptor, role: Role) -> Json:
        """The schema of a message where it is used: in place for well-known types, by reference for others."""
        special = well_known(kind.full_name, strict=role == "request")
        if special is not None:
            return special
        name = self._names[kind.full_name]
        if role == "request" and kind.full_name in self._twofold:
            name += "Input"
        if name not in self._made:
            self._made[name] = {}  # a recursive message refers to itself
            self._made[name] = self.message(kind, role)
        return {"$ref": f"#/components/schemas/{name}"}

    def message(self, kind: Descriptor, role: Role, bound: frozenset[str] = NO_PATHS) -> Json:
        """The schema of a message in place.

        Args:
            kind: The message.
            role: Whether a client or the server sends it.
            bound: Field paths that come from elsewhere (the path): left out.
        """
        properties: Json = {}
        required = []
        for field in kind.fields:
            if field.name in bound or (role == "response" and "INPUT_ONLY" in self._reader.behaviors(field)):
                continue
            nested = frozenset(path.partition(".")[2] for path in bound if path.startswith(f"{field.name}."))
            schema = self.field(field, role, nested)
            if role == "request" and not nested and self.required(field):
                required.append(self.json_name(field))
            elif role == "request":
                schema = _nullable(schema)
            properties[self.json_name(field)] = schema
        schema = {"type": "object"}
        schema |= self._described(kind)
        schema["properties"] = properties
        if required:
            schema["required"] = required
        if role == "request":
            schema["additionalProperties"] = False
            schema = all_of(schema, [one for one in self._choices(kind, bound) if one])
        return schema

    def field(self, field: FieldDescriptor, role: Role, bound: frozenset[str] = NO_PATHS) -> Json:
        """The schema of a field: its value with rules, comment and marks."""
        schema = dict(self._value(field, role, bound))
        behaviors = self._reader.behaviors(field)
        text = self._comments.get(field.full_name, "")
        sentence = "It cannot be changed later." if "IMMUTABLE" in behaviors else ""
        given = str(schema.pop("description", ""))
        schema = said(schema, text, sentence, given)
        if "OUTPUT_ONLY" in behaviors:
            schema["readOnly"] = True
        if "INPUT_ONLY" in behaviors:
            schema["writeOnly"] = True
        if self._reader.deprecated(field):
            schema["deprecated"] = True
        return schema

    def required(self, field: FieldDescriptor) -> bool:
        """Whether a request must have the field: it says so, or the value that its absence means is refused."""
        behaviors = self._reader.behaviors(field)
        if "OUTPUT_ONLY" in behaviors:
            return False
        if "REQUIRED" in behaviors or field.is_required:
            return True
        rules = self._rules(field, "request")
        if rules is None:
            return False
        if rules.required:
            return True
        if field.has_presence or rules.ignore == IGNORE_IF_ZERO:
            return False
        return refuses(self._value(field, "request", NO_PATHS), zero_of(field))

    def _rules(self, field: FieldDescriptor, role: Role) -> Any:
        rules = self._reader.rules(field) if role == "request" else None
        return None if rules is None or rules.ignore == IGNORE_ALWAYS else rules

    def _value(self, field: FieldDescriptor, role: Role, bound: frozenset[str]) -> Json:
        rules = self._rules(field, role)
        if field.message_type is not None and is_map(field):
            schema = self._map(field.message_type, role, rules)
        elif field.is_repeated:
            schema = self._list(field, role, rules)
        elif bound and field.message_type is not None:
            schema = self.message(field.message_type, role, bound)
        else:
            schema = self._single(field, role, rules)
        if rules is not None and not field.has_presence:
            zero = zero_of(field)
            if rules.ignore == IGNORE_IF_ZERO and refuses(schema, zero):
                schema = {"anyOf": [schema, {"const": zero}]}
            elif rules.required:
                schema = _nonzero(schema, zero)
        return schema

    def _map(self, kind: Descriptor, role: Role, rules: Any) -> Json:
        entry = kind.fields_by_name
        of_key, of_value = (None, None)
        if rules is not None:
            of_key = rules.map.keys if rules.map.HasField("keys") else None
            of_value = rules.map.values if rules.map.HasField("values") else None
        schema: Json = {"type": "object", "additionalProperties": self._single(entry["value"], role, of_value)}
        keys = _key_schema(kind_of(entry["key"]))
        if of_key is not None and kind_of(entry["key"]) == "string":
            keys = {k: v for k, v in constrain({"type": "string"}, of_key).items() if k != "type"}
        if keys:
            schema["propertyNames"] = keys
        if rules is not None:
            schema = sized(schema, rules.map, (("min_pairs", "minProperties"), ("max_pairs", "maxProperties")))
        return schema

    def _list(self, field: FieldDescriptor, role: Role, rules: Any) -> Json:
        of_items = rules.repeated.items if rules is not None and rules.repeated.HasField("items") else None
        schema: Json = {"type": "array", "items": self._single(field, role, of_items)}
        if rules is not None:
            schema = sized(schema, rules.repeated, (("min_items", "minItems"), ("max_items", "maxItems")))
            if rules.repeated.unique:
                schema["uniqueItems"] = True
        return schema

    def _single(self, field: FieldDescriptor, role: Role, rules: Any) -> Json:
        if field.enum_type is not None:
            return self._enum(field.enum_type, rules)
        if field.message_type is not None:
            schema = self.reference(field.message_type, role)
            if wrapped_kind(field.message_type.full_name) is None and "$ref" in schema:
                return schema
        else:
            schema = scalar(kind_of(field))
        if rules is None or rules.ignore == IGNORE_ALWAYS:
            return schema
        return constrain(schema, rules)

    def _enum(self, kind: EnumDescriptor, rules: Any) -> Json:
        if kind.full_name == "google.protobuf.NullValue":
            return {"type": "null"}
        inner = rules.enum if rules is not None and rules.WhichOneof("type") == "enum" else None
        if inner is not None and (inner.HasField("const") or getattr(inner, "in") or inner.not_in):
            return _limited(kind, inner)
        name = self._names[kind.full_name]
        if name not in self._made:
            made: Json = {"type": "string", "enum": [value.name for value in kind.values]}
            lines = [self._comments.get(kind.full_name, "")]
            for value in kind.values:
                text = self._comments.get(f"{kind.full_name}.{value.name}")
                lines += [f"- `{value.name}`: {text}"] if text else []
            text = "\n".join(line for line in lines if line)
            made |= {"description": text} if text else {}
            made |= {"deprecated": True} if self._reader.deprecated(kind) else {}
            self._made[name] = made
        return {"$ref": f"#/components/schemas/{name}"}

    def _described(self, kind: Descriptor) -> Json:
        text = self._comments.get(kind.full_name)
        found: Json = {"description": text} if text else {}
        if self._reader.deprecated(kind):
            found["deprecated"] = True
        return found

    def _choices(self, kind: Descriptor, bound: frozenset[str]) -> Iterable[Json]:
        """One schema per oneof, and per rule of the message that acts like one: at most one member, or just one."""
        for oneof in kind.oneofs:
            members = [field for field in oneof.fields if field.name not in bound]
            if oneof.name.startswith("_") and len(oneof.fields) == 1:
                continue  # made for a single optional field
            if len(members) == len(oneof.fields):
                yield self._choice(members, required=self._reader.oneof_required(oneof))
        rules = self._reader.message_rules(kind)
        for rule in rules.oneof if rules is not None else ():
            if not bound & set(rule.fields):
                members = [kind.fields_by_name[name] for name in rule.fields]
                if all(field.has_presence for field in members):
                    yield self._choice(members, required=rule.required)

    def _choice(self, members: list[FieldDescriptor], *, required: bool) -> Json:
        wanted: list[Json] = [{"required": [self.json_name(field)]} for field in members]
        if len(wanted) == 1:
            return wanted[0] if required else {}
        return {"oneOf": wanted if required else [*wanted, {"not": {"anyOf": wanted}}]}


def _limited(kind: EnumDescriptor, rules: Any) -> Json:
    """The values that the rules leave, in place."""
    limits = listed({}, rules)
    every = [value.number for value in kind.values]
    allowed = [limits["const"]] if "const" in limits else limits.get("enum", every)
    denied = set(rules.not_in)
    names = [
        v.name for v in kind.values if isinstance(allowed, list) and v.number in allowed and v.number not in denied
    ]
    return {"type": "string", "enum": names}


def _nullable(schema: Json) -> Json:
    """The schema with null, which in JSON of protobuf means that the field is absent."""
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null" and not schema.keys() & {"enum", "const", "anyOf", "oneOf", "allOf"}:
        return {**schema, "type": [kind, "null"]}
    if kind is None and not schema.keys() & {"$ref", "anyOf", "oneOf", "allOf", "enum", "const"}:
        return schema  # any value
    notes: Json = {
        name: schema[name] for name in ("description", "deprecated", "readOnly", "writeOnly") if name in schema
    }
    inner = {name: value for name, value in schema.items() if name not in notes}
    return {**notes, "anyOf": [inner, {"type": "null"}]}


def _nonzero(schema: Json, zero: object) -> Json:
    """The schema without the zero value, which counts as absent."""
    if refuses(schema, zero):
        return schema
    if zero == "" and "minLength" not in schema:
        return {**schema, "minLength": 1}
    if isinstance(zero, list):
        return {**schema, "minItems": 1}
    if isinstance(zero, dict):
        return {**schema, "minProperties": 1}
    return all_of(schema, [{"not": {"enum": [zero]}}])


def _key_schema(kind: str) -> Json:
    match kind:
        case "bool":
            return {"enum": ["true", "false"]}
        case "int32" | "int64":
            return {"pattern": "^-?[0-9]+$"}
        case "uint32" | "uint64":
            return {"pattern": "^[0-9]+$"}
    return {}


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map."""
    return field.is_repeated and field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def zero_of(field: FieldDescriptor) -> object:
    """The JSON value that the absence of a field without presence means."""
    if is_map(field):
        return {}
    if field.is_repeated:
        return []
    if field.enum_type is not None:
        return field.enum_type.values_by_number[0].name if 0 in field.enum_type.values_by_number else None
    match kind_of(field):
        case "int64" | "uint64":
            return "0"
        case "string" | "bytes":
            return ""
        case "bool":
            return False
    return 0
