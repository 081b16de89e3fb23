"""JSON forms of protobuf's scalars and well-known types as schemas."""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor

Json = dict[str, object]

DURATION_PATTERN = r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"
INT32, UINT32, INT64, UINT64 = "int32", "uint32", "int64", "uint64"

_KINDS: dict[int, str] = {
    FieldDescriptor.TYPE_INT32: INT32,
    FieldDescriptor.TYPE_SINT32: INT32,
    FieldDescriptor.TYPE_SFIXED32: INT32,
    FieldDescriptor.TYPE_UINT32: UINT32,
    FieldDescriptor.TYPE_FIXED32: UINT32,
    FieldDescriptor.TYPE_INT64: INT64,
    FieldDescriptor.TYPE_SINT64: INT64,
    FieldDescriptor.TYPE_SFIXED64: INT64,
    FieldDescriptor.TYPE_UINT64: UINT64,
    FieldDescriptor.TYPE_FIXED64: UINT64,
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_ENUM: "enum",
    FieldDescriptor.TYPE_MESSAGE: "message",
    FieldDescriptor.TYPE_GROUP: "message",
}

_WRAPPED = {
    "DoubleValue": "double",
    "FloatValue": "float",
    "Int64Value": INT64,
    "UInt64Value": UINT64,
    "Int32Value": INT32,
    "UInt32Value": UINT32,
    "BoolValue": "bool",
    "StringValue": "string",
    "BytesValue": "bytes",
}

# Well-known types whose JSON form is a scalar, so that a query parameter can hold them.
_SCALAR_LIKE = frozenset({"Timestamp", "Duration", "FieldMask", *_WRAPPED})


def kind_of(field: FieldDescriptor) -> str:
    """The kind of a field's value, like ``int32``, ``double``, ``bytes``, ``enum`` or ``message``; the many wire forms
    of an integer are one kind.
    """
    return _KINDS[field.type]


def _at_most(limit: int) -> str:
    """A pattern of the whole numbers up to a limit: shorter ones, then those that differ in one digit and are less."""
    digits = str(limit)
    found = [f"[0-9]{{1,{len(digits) - 1}}}"]
    for at, digit in enumerate(digits):
        least, rest = "1" if at == 0 else "0", len(digits) - at - 1
        if digit > least:
            found.append(f"{digits[:at]}[{least}-{int(digit) - 1}]" + (f"[0-9]{{{rest}}}" if rest else ""))
    return "|".join([*found, digits])


def scalar(kind: str) -> Json:
    """The schema of a scalar kind, as protobuf's JSON mapping writes it."""
    match kind:
        case "int32":
            return {"type": "integer", "format": INT32, "minimum": -(2**31), "maximum": 2**31 - 1}
        case "uint32":
            return {"type": "integer", "format": UINT32, "minimum": 0, "maximum": 2**32 - 1}
        case "int64":
            return {"type": "string", "format": INT64, "pattern": "^-?[0-9]{1,19}$"}
        case "uint64":
            return {"type": "string", "format": UINT64, "pattern": f"^(?:{_at_most(2**64 - 1)})$"}
        case "float" | "double":
            number: Json = {"type": "number", "format": kind}
            return {"anyOf": [number, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}
        case "bool":
            return {"type": "boolean"}
        case "bytes":
            return {"type": "string", "format": "byte", "contentEncoding": "base64"}
    return {"type": "string"}


def wrapped_kind(full_name: str) -> str | None:
    """The kind that a wrapper type wraps; None for every other message."""
    return _WRAPPED.get(full_name.removeprefix("google.protobuf.")) if _is_well_known(full_name) else None


def scalar_like(full_name: str) -> bool:
    """Whether the JSON form of this message is a scalar."""
    return _is_well_known(full_name) and full_name.removeprefix("google.protobuf.") in _SCALAR_LIKE


def well_known(full_name: str, *, strict: bool) -> Json | None:
    """The schema of a message with a JSON form of its own; None for every other message.

    Args:
        full_name: Of the message.
        strict: Whether unknown members are refused.
    """
    if full_name == "google.api.HttpBody":
        return {"type": "string", "contentMediaType": "application/octet-stream"}
    wrapped = wrapped_kind(full_name)
    if wrapped is not None:
        return scalar(wrapped)
    match full_name if _is_well_known(full_name) else "":
        case "google.protobuf.Timestamp":
            return {"type": "string", "format": "date-time"}
        case "google.protobuf.Duration":
            return {"type": "string", "pattern": DURATION_PATTERN, "examples": ["1.5s"]}
        case "google.protobuf.FieldMask":
            return {"type": "string", "description": "Field paths, separated by commas."}
        case "google.protobuf.Struct":
            return {"type": "object", "additionalProperties": True}
        case "google.protobuf.Value":
            return {"description": "Any JSON value."}
        case "google.protobuf.ListValue":
            return {"type": "array", "items": {}}
        case "google.protobuf.Empty":
            return {"type": "object", "additionalProperties": False} if strict else {"type": "object"}
        case "google.protobuf.Any":
            kind: Json = {"type": "string", "description": "URL of the message's type."}
            return {"type": "object", "properties": {"@type": kind}, "additionalProperties": True}
    return None


def _is_well_known(full_name: str) -> bool:
    return full_name.startswith("google.protobuf.")
