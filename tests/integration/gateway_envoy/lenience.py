"""Values that Envoy's parser takes and the JSON mapping of protobuf does not; each answer is the name of a rule."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from tests.integration.gateway_envoy.places import Place

NUMBER, BOOL, ENUM, BYTES = "loose number", "loose bool", "enum number as text", "spaces in base64"
DURATION, MASK, ARRAY, NULL = "loose duration", "loose field mask", "one value for an array", "null in an array or map"
NESTED = "array in an array"
OBJECT = "object for a wrapper"
TEXT = "object for a well-known text"

_F = FieldDescriptor
_INTEGERS = {_F.TYPE_INT32, _F.TYPE_INT64, _F.TYPE_UINT32, _F.TYPE_UINT64, _F.TYPE_SINT32, _F.TYPE_SINT64}
_INTEGERS |= {_F.TYPE_FIXED32, _F.TYPE_FIXED64, _F.TYPE_SFIXED32, _F.TYPE_SFIXED64}
_FLOATS = {_F.TYPE_FLOAT, _F.TYPE_DOUBLE}
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_DURATION = re.compile(r"-?[0-9]+(\.[0-9]{1,9})?s", re.ASCII)
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*[A-Za-z0-9_]|[A-Za-z_]|\*", re.ASCII)


def rule_for(place: Place) -> str | None:
    """The rule that explains why a value is refused here and taken by Envoy; None: none does."""
    field = place.field
    if field is None or not place.values:
        return None
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if field.is_repeated and not place.element and not place.in_query and not is_map:
        return ARRAY if not isinstance(place.values[0], list) else None
    if is_map:
        if place.element and place.values[0] is None:
            return NULL
        key = field.message_type.fields_by_name["key"]
        if key.type in _INTEGERS and place.element and not _JSON_NUMBER.fullmatch(str(place.key)):
            return NUMBER
        field = field.message_type.fields_by_name["value"]
    if place.element and place.values[0] is None:
        return NULL
    if place.element and isinstance(place.values[0], list):
        return NESTED
    found = [_of_value(field, value) for value in place.values]
    return next((name for name in found if name is not None), None)


def _of_value(field: FieldDescriptor, value: Any) -> str | None:
    message = field.message_type
    if message is not None:
        if message.file.name == "google/protobuf/wrappers.proto":
            return OBJECT if isinstance(value, dict) else _of_value(message.fields_by_name["value"], value)
        if message.name in ("Duration", "FieldMask", "Timestamp") and isinstance(value, dict):
            return TEXT
        if message.name == "Duration" and isinstance(value, str) and not _DURATION.fullmatch(value):
            return DURATION
        if message.name == "FieldMask" and isinstance(value, str):
            parts = value.split(",")
            return MASK if not all(_PATH.fullmatch(part) and ".." not in part for part in parts) else None
        return None
    if field.type in _INTEGERS and not isinstance(value, str):
        return NUMBER if isinstance(value, int | float) and abs(value) >= 1 << 63 else None
    if not isinstance(value, str):
        return None
    if field.type in _INTEGERS | _FLOATS:
        return NUMBER if not _JSON_NUMBER.fullmatch(value) else None
    if field.type == _F.TYPE_BOOL:
        return BOOL
    if field.type == _F.TYPE_ENUM:
        return ENUM if value.lstrip("-").isdigit() else None
    if field.type == _F.TYPE_BYTES:
        return BYTES if re.search(r"\s", value) else None
    return None
