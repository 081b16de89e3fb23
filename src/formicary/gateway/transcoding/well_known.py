"""The well-known types whose JSON is not that of their fields: times, masks, wrappers, open values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from formicary.gateway.transcoding import scalars
from formicary.gateway.transcoding.scalars import Unfit

TIMESTAMP = "google.protobuf.Timestamp"
DURATION = "google.protobuf.Duration"
FIELD_MASK = "google.protobuf.FieldMask"
STRUCT = "google.protobuf.Struct"
VALUE = "google.protobuf.Value"
LIST_VALUE = "google.protobuf.ListValue"
ANY = "google.protobuf.Any"
WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)
AS_TEXT = frozenset({TIMESTAMP, DURATION, FIELD_MASK}) | WRAPPERS
"""Types that are one text or scalar in JSON: a query parameter may be one."""
OPEN = frozenset({STRUCT, VALUE, LIST_VALUE, ANY})
SPECIAL = AS_TEXT | OPEN
"""Types whose JSON is not an object of their fields."""

_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.(\d{1,9}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))\Z",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1)
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # the years 1 to 9999
_MOST_SECONDS = 315_576_000_000  # of a duration: 10,000 years
_DURATION = re.compile(r"-?\d{1,12}(?:\.\d{1,9})?s\Z", re.ASCII)
_MASK_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*\Z", re.ASCII)
_TIME_EXPECTED = "A time as in RFC 3339 is expected, like 2026-01-31T12:00:00Z."
_HUMP = re.compile(r"[A-Z]")


def is_message(field: FieldDescriptor) -> bool:
    """Whether the field holds messages (groups are messages)."""
    return field.type in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP)


def message_of(field: FieldDescriptor) -> Descriptor:
    """The message type of a field that holds messages."""
    found = field.message_type
    assert found is not None
    return found


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map."""
    return is_message(field) and bool(message_of(field).GetOptions().map_entry)


def text_reader(descriptor: Descriptor) -> Callable[[Any, Any], None]:
    """``read(message, value)`` of a type that is one text or scalar in JSON. It raises Unfit."""
    name = descriptor.full_name
    if name == TIMESTAMP:
        return _timestamp
    if name == DURATION:
        return _duration
    if name == FIELD_MASK:
        return _field_mask
    return _wrapper(scalars.from_json(descriptor.fields_by_name["value"]))


def plain_text_reader(descriptor: Descriptor) -> Callable[[Any, str], None]:
    """The same for the text of a path variable or a query parameter."""
    if descriptor.full_name in WRAPPERS:
        return _wrapper(scalars.from_text(descriptor.fields_by_name["value"]))
    return text_reader(descriptor)


def _wrapper(convert: scalars.Convert) -> Callable[[Any, Any], None]:
    def read(message: Any, value: Any) -> None:
        message.value = convert(value)
        message.SetInParent()

    return read


def _timestamp(message: Any, value: Any) -> None:
    """Not by `FromJsonString`, which goes through `strptime`: that costs a fifth of a whole call."""
    found = _TIMESTAMP.match(value) if type(value) is str else None
    if found is not None:
        try:
            since = datetime.fromisoformat(value[:19]) - _EPOCH
        except ValueError:  # no such day
            raise Unfit(_TIME_EXPECTED) from None
        seconds = since.days * 86400 + since.seconds
        part, sign, ahead_h, ahead_min = found.groups()
        if sign:
            ahead_s = int(ahead_h) * 3600 + int(ahead_min) * 60
            seconds += ahead_s if sign == "-" else -ahead_s
        if _FIRST_SECOND <= seconds <= _LAST_SECOND:
            message.seconds = seconds
            if part:
                message.nanos = int(part.ljust(9, "0"))
            message.SetInParent()
            return
    raise Unfit(_TIME_EXPECTED)


def _duration(message: Any, value: Any) -> None:
    if type(value) is str and _DURATION.match(value):
        try:
            message.FromJsonString(value)
            message.SetInParent()
            return
        except (ValueError, OverflowError):
            pass
    raise Unfit("A duration in seconds is expected, like 1.5s.")


def _field_mask(message: Any, value: Any) -> None:
    """Takes lower camel case, as the JSON mapping has it, and the fields' own names, as people write them."""
    if type(value) is not str:
        raise Unfit("Field paths with commas between them are expected.")
    message.SetInParent()
    for path in value.split(",") if value else ():
        if path == "*":
            message.paths.append(path)
        elif _MASK_PATH.match(path):
            message.paths.append(_HUMP.sub(lambda hump: "_" + hump.group().lower(), path))
        else:
            raise Unfit(f"{path[:80]!r} is not a field path.")


def text_writer(descriptor: Descriptor) -> Callable[[Any], Any]:
    """The JSON value of a type that is one text or scalar."""
    name = descriptor.full_name
    if name == TIMESTAMP:
        return _timestamp_to_json
    if name == DURATION:
        return _duration_to_json
    if name == FIELD_MASK:
        return lambda message: ",".join(_camel(path) for path in message.paths)
    convert = scalars.to_json(descriptor.fields_by_name["value"])
    return (lambda message: convert(message.value)) if convert else (lambda message: message.value)


def _timestamp_to_json(message: Any) -> str:
    seconds, nanos = message.seconds, message.nanos
    if not (_FIRST_SECOND <= seconds <= _LAST_SECOND and 0 <= nanos < 1_000_000_000):
        raise Unfit("The time is not in the years 1 to 9999, or its nanos are not from 0 to 999,999,999.")
    return (_EPOCH + timedelta(0, seconds)).isoformat() + _fraction(nanos) + "Z"


def _duration_to_json(message: Any) -> str:
    seconds, nanos = message.seconds, message.nanos
    whole, part = abs(seconds), abs(nanos)
    if whole > _MOST_SECONDS or part >= 1_000_000_000 or (seconds < 0 < nanos) or (nanos < 0 < seconds):
        raise Unfit("The duration is longer than 10,000 years, or its seconds and nanos do not go together.")
    return f"{'-' if seconds < 0 or nanos < 0 else ''}{whole}{_fraction(part)}s"


def _fraction(nanos: int) -> str:
    """With 3, 6 or 9 digits, as the JSON mapping says."""
    if not nanos:
        return ""
    text = f"{nanos:09d}"
    return "." + (text[:3] if text.endswith("000000") else text[:6] if text.endswith("000") else text)


def _camel(path: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda found: found.group(1).upper(), path)


def struct_to_json(message: Any) -> dict[str, Any]:
    """The JSON object of a Struct."""
    return {key: value_to_json(value) for key, value in message.fields.items()}


def list_to_json(message: Any) -> list[Any]:
    """The JSON array of a ListValue."""
    return [value_to_json(value) for value in message.values]


def value_to_json(message: Any) -> Any:
    """The JSON value of a Value."""
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    if kind == "struct_value":
        return struct_to_json(message.struct_value)
    if kind == "list_value":
        return list_to_json(message.list_value)
    value = getattr(message, kind)
    return scalars.double_to_json(value) if kind == "number_value" else value


def read_value(message: Any, value: Any) -> None:
    """Fills a Value from JSON. It raises Unfit."""
    if value is None:
        message.null_value = 0
    elif type(value) is bool:
        message.bool_value = value
    elif type(value) is str:
        try:
            message.string_value = value
        except UnicodeEncodeError:
            raise Unfit("The string holds half of a surrogate pair, which is no character.") from None
    elif type(value) is dict:
        message.struct_value.SetInParent()
        read_struct(message.struct_value, value)
    elif type(value) is list:
        message.list_value.SetInParent()
        read_list(message.list_value, value)
    else:
        try:
            message.number_value = float(value)
        except OverflowError:
            message.number_value = math.inf
        if math.isinf(message.number_value):
            raise Unfit("The number is too large.")


def read_struct(message: Any, value: Any) -> None:
    """Fills a Struct from JSON. It raises Unfit."""
    if type(value) is not dict:
        raise Unfit("An object is expected.")
    message.SetInParent()
    for key, item in value.items():
        try:
            read_value(message.fields[key], item)
        except UnicodeEncodeError:
            raise Unfit("A key holds half of a surrogate pair, which is no character.") from None


def read_list(message: Any, value: Any) -> None:
    """Fills a ListValue from JSON. It raises Unfit."""
    if type(value) is not list:
        raise Unfit("An array is expected.")
    message.SetInParent()
    for item in value:
        read_value(message.values.add(), item)
