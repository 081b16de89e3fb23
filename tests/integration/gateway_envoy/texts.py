"""Texts and JSON values of every kind of field: what is good for it, and what is a little off."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_INTEGERS = {
    "s32": ("0", "1", "-1", "42", "2147483647", "-2147483648"),
    "s64": ("0", "1", "-1", "9223372036854775807", "-9223372036854775808", "9007199254740993"),
    "u32": ("0", "1", "7", "4294967295"),
    "u64": ("0", "1", "18446744073709551615", "9007199254740993"),
}
_ODD_INTEGERS = (
    "2147483648",
    "4294967296",
    "18446744073709551616",
    "-9223372036854775809",
    "1.0",
    "1.5",
    "1e3",
    "1e400",
    "",
    " 1",
    "1 ",
    "+1",
    "0x10",
    "007",
    "-0",
    "-",
    "abc",
    "true",
    "NaN",
    "1_000",
    "١",
)
_FLOATS = ("0", "1.5", "-2.25", "1e3", "1E-3", "NaN", "Infinity", "-Infinity", "3")
_ODD_FLOATS = (
    "inf",
    "nan",
    "1e400",
    "-1e400",
    "1e39",
    "1e-400",
    "-0",
    ".5",
    "5.",
    "+1",
    "",
    " 1",
    "abc",
    "0x1p3",
    "1,5",
)
_STRINGS = (
    "a",
    "hello",
    "two words",
    "ünïcödé",
    "日本",
    "🐜",
    "a/b",
    "a+b",
    "100%",
    'quo"te',
    "a&b=c",
    "0",
    "true",
    "x:y",
)
_ODD_STRINGS = ("", " ", "\t", "a\nb", "\\", "null", '"quoted"', "a;b", "\x7f")
_TIMESTAMPS = (
    "2024-01-02T03:04:05Z",
    "1970-01-01T00:00:00Z",
    "2024-01-02T03:04:05.123456789Z",
    "2024-01-02T03:04:05+02:00",
)
_ODD_TIMESTAMPS = (
    "2024-01-02",
    "2024-13-02T03:04:05Z",
    "2024-01-02 03:04:05Z",
    "0000-01-01T00:00:00Z",
    "",
    "now",
    "1704164645",
)
_DURATIONS = ("0s", "1s", "1.5s", "-1.5s", "0.000000001s", "315576000000s", "-0.5s")
_ODD_DURATIONS = ("1", "1m", "s", "", "1.0000000001s", "315576000001s", "+1s", "1 s", "1.s", ".5s", "--1s")
_MASKS = ("a", "a,b", "fooBar", "inner.name,id", "a.bC")
_ODD_MASKS = ("", "foo_bar", ",", "a,", "a, b", "a..b", "*", "FooBar")
_BYTES = ("", "aGVsbG8=", "aGk=", "_-8=", "+/8=", "AA==", "AAAA", "aGk")
_ODD_BYTES = ("a", "a===", "!!!!", "aGk==", "a Gk=", "+_8=", "aGk=aGk=", "\u00e9")
_BOOLS = ("true", "false")
_ODD_BOOLS = ("True", "TRUE", "1", "0", "t", "yes", "on", "", " true", "null")
_ENUMS = ("SMALL", "LARGE", "NEGATIVE", "KIND_UNSPECIFIED", "0", "1", "2", "-1")
_ODD_ENUMS = ("small", "Large", "99", "-5", "HUGE", "", "1.0", "2147483648", " SMALL")

_F = FieldDescriptor
_WIDTHS = {
    **dict.fromkeys((_F.TYPE_INT32, _F.TYPE_SINT32, _F.TYPE_SFIXED32), "s32"),
    **dict.fromkeys((_F.TYPE_INT64, _F.TYPE_SINT64, _F.TYPE_SFIXED64), "s64"),
    **dict.fromkeys((_F.TYPE_UINT32, _F.TYPE_FIXED32), "u32"),
    **dict.fromkeys((_F.TYPE_UINT64, _F.TYPE_FIXED64), "u64"),
}
_OTHERS = {
    _F.TYPE_FLOAT: (_FLOATS, _ODD_FLOATS),
    _F.TYPE_DOUBLE: (_FLOATS, _ODD_FLOATS),
    _F.TYPE_BOOL: (_BOOLS, _ODD_BOOLS),
    _F.TYPE_STRING: (_STRINGS, _ODD_STRINGS),
    _F.TYPE_BYTES: (_BYTES, _ODD_BYTES),
    _F.TYPE_ENUM: (_ENUMS, _ODD_ENUMS),
}
_KNOWN = {
    "google.protobuf.Timestamp": (_TIMESTAMPS, _ODD_TIMESTAMPS),
    "google.protobuf.Duration": (_DURATIONS, _ODD_DURATIONS),
    "google.protobuf.FieldMask": (_MASKS, _ODD_MASKS),
}


def is_wrapper(message: Descriptor | None) -> bool:
    """Whether a message is one of google/protobuf/wrappers.proto."""
    return message is not None and message.file.name == "google/protobuf/wrappers.proto"


def is_leaf(field: FieldDescriptor) -> bool:
    """Whether one text can stand for a value of the field."""
    message = field.message_type
    return message is None or message.full_name in _KNOWN or is_wrapper(message)


def _choices(field: FieldDescriptor) -> tuple[tuple[str, ...], tuple[str, ...]]:
    message = field.message_type
    if message is not None:
        return _choices(message.fields_by_name["value"]) if is_wrapper(message) else _KNOWN[message.full_name]
    if field.type in _WIDTHS:
        return _INTEGERS[_WIDTHS[field.type]], _ODD_INTEGERS
    return _OTHERS[field.type]


def text(rng: random.Random, field: FieldDescriptor, odd: float) -> str:
    """A value of a leaf as it stands in a query or path.

    Args:
        odd: how likely it is one of the texts that are off.
    """
    good, off = _choices(field)
    return rng.choice(off if rng.random() < odd else good)


def _number(rng: random.Random, said: str) -> Any:
    """A numeric text as JSON: a number or a string; what is no JSON number stays a string."""
    try:
        value: Any = int(said)
    except ValueError:
        try:
            value = float(said)
        except ValueError:
            return said
        if value != value or abs(value) == float("inf"):
            return said
    return value if rng.random() < 0.7 else said


_WRONG: tuple[Any, ...] = (None, True, 1, -1, 1.5, "x", "", [], {}, [1], {"a": 1}, [None], [[]])


def json_value(rng: random.Random, field: FieldDescriptor, odd: float, depth: int = 0) -> Any:
    """A value of the field as a JSON body has it."""
    if rng.random() < odd / 4:
        return rng.choice(_WRONG)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        count = rng.randrange(3)
        return {text(rng, entry["key"], odd): json_single(rng, entry["value"], odd, depth) for _ in range(count)}
    if field.is_repeated:
        return [json_single(rng, field, odd, depth) for _ in range(rng.randrange(4))]
    return json_single(rng, field, odd, depth)


def json_single(rng: random.Random, field: FieldDescriptor, odd: float, depth: int) -> Any:
    """One element of the field."""
    message = field.message_type
    if message is not None and not is_leaf(field):
        return json_message(rng, message, odd, depth + 1)
    said = text(rng, field, odd)
    kind = message.fields_by_name["value"].type if message is not None and is_wrapper(message) else field.type
    if kind == _F.TYPE_BOOL and said in _BOOLS and rng.random() < 0.95:
        return said == "true"
    if kind in _WIDTHS or kind in (_F.TYPE_FLOAT, _F.TYPE_DOUBLE, _F.TYPE_ENUM):
        return _number(rng, said)
    return said


def name_of(rng: random.Random, field: FieldDescriptor, odd: float) -> str:
    """A name of the field: of the proto, in camel case, or rarely in another case."""
    if rng.random() < odd / 8:
        return rng.choice((field.name.upper(), field.name.title(), field.name.replace("_", "-"), field.name + "_"))
    return rng.choice((field.name, field.json_name))


def json_message(rng: random.Random, message: Descriptor, odd: float, depth: int = 0) -> Any:
    """A message as a JSON object with some of its fields."""
    if message.full_name == "google.api.HttpBody":
        return {"content_type": rng.choice(("text/plain", "image/png")), "data": rng.choice(_BYTES)}
    share = (0.25, 0.4, 0.25, 0.1, 0.0)[min(depth, 4)]
    body: dict[str, Any] = {}
    for field in message.fields:
        one_of = field.containing_oneof
        if rng.random() < (share if one_of is None or rng.random() < odd else share / 3):
            body[name_of(rng, field, odd)] = json_value(rng, field, odd, depth)
    if rng.random() < odd / 6:
        body[rng.choice(("unknown", "", "Id", "id ", "@type", "[x]"))] = rng.choice(_WRONG)
    return body
