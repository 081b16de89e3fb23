"""Values of scalar fields from text and from JSON, and back; strict, by the JSON mapping of protobuf.

Readers raise :class:`Unfit` with a sentence that says what is expected.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

Convert = Callable[[Any], Any]

_INTEGER = re.compile(r"-?[0-9]{1,40}\Z", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,400})(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?\Z", re.ASCII)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]*|[A-Za-z0-9_-]*)(={0,2})\Z", re.ASCII)
_FLOAT_MAX = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
_FLOAT_LIMIT = 3.4028235677973366e38  # halfway to what the next float would be: rounds to infinity

_EXACT = 1e15  # whole numbers below are written without an exponent

F = FieldDescriptor
INT64 = frozenset({F.TYPE_INT64, F.TYPE_UINT64, F.TYPE_SINT64, F.TYPE_FIXED64, F.TYPE_SFIXED64})
FLOATS = frozenset({F.TYPE_FLOAT, F.TYPE_DOUBLE})
_RANGES = {
    F.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    F.TYPE_SINT32: (-(1 << 31), (1 << 31) - 1),
    F.TYPE_SFIXED32: (-(1 << 31), (1 << 31) - 1),
    F.TYPE_UINT32: (0, (1 << 32) - 1),
    F.TYPE_FIXED32: (0, (1 << 32) - 1),
    F.TYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    F.TYPE_SINT64: (-(1 << 63), (1 << 63) - 1),
    F.TYPE_SFIXED64: (-(1 << 63), (1 << 63) - 1),
    F.TYPE_UINT64: (0, (1 << 64) - 1),
    F.TYPE_FIXED64: (0, (1 << 64) - 1),
}
INTEGERS = frozenset(_RANGES)


def enum_of(field: FieldDescriptor) -> EnumDescriptor:
    """The enum of a field that has one."""
    found = field.enum_type
    assert found is not None
    return found


class Unfit(ValueError):
    """The value does not fit the field; the message is one sentence for the caller.

    Attributes:
        unknown: Whether it is a name that the enum lacks: lenient readers pass over it.
    """

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


def from_json(field: FieldDescriptor) -> Convert:
    """The reader of one JSON value of a scalar field (of one element, where it is repeated)."""
    kind = field.type
    if kind == F.TYPE_STRING:
        return _string
    if kind == F.TYPE_BOOL:
        return _bool
    if kind == F.TYPE_BYTES:
        return _bytes
    if kind == F.TYPE_ENUM:
        return _enum(enum_of(field), text=False)
    if kind in FLOATS:
        return _float(single=kind == F.TYPE_FLOAT)
    return _integer(*_RANGES[kind])


def from_text(field: FieldDescriptor) -> Callable[[str], Any]:
    """The reader of the text of a path variable, a query parameter or a map key."""
    if field.type == F.TYPE_BOOL:
        return _bool_text
    if field.type == F.TYPE_ENUM:
        return _enum(enum_of(field), text=True)
    return from_json(field)


def _string(value: Any) -> str:
    if type(value) is not str:
        raise Unfit("A string is expected.")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise Unfit("The string holds half of a surrogate pair, which is no character.") from None
    return value


def _bool(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise Unfit("true or false is expected.")


def _bool_text(value: str) -> bool:
    if value in ("true", "false"):
        return value == "true"
    raise Unfit("true or false is expected.")


def _bytes(value: Any) -> bytes:
    found = _BASE64.match(value) if type(value) is str else None
    if found is not None and not (found.group(1) and len(value) % 4):
        plain = value.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except binascii.Error:
            pass
    raise Unfit("Base64 text is expected.")


def _integer(low: int, high: int) -> Convert:
    def convert(value: Any) -> int:
        if type(value) is int:
            number = value
        else:
            number = _whole(value)
        if low <= number <= high:
            return number
        raise Unfit(f"A whole number from {low} to {high} is expected.")

    return convert


def _whole(value: Any) -> int:
    if type(value) is float:
        if value.is_integer():
            return int(value)
    elif type(value) is str:
        if _INTEGER.match(value):
            return int(value)
        if _NUMBER.match(value):
            exact = Decimal(value)
            if exact.adjusted() < 25 and exact == exact.to_integral_value():
                return int(exact)
    raise Unfit("A whole number is expected.")


_NAMED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _float(*, single: bool) -> Convert:
    def convert(value: Any) -> float:
        if type(value) is str:
            if value in _NAMED:
                return _NAMED[value]
            if not _NUMBER.match(value):
                raise Unfit("A number is expected.")
        elif type(value) is not int and type(value) is not float:
            raise Unfit("A number is expected.")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isinf(number) or (single and abs(number) >= _FLOAT_LIMIT):
            raise Unfit("The number is too large for the field.")
        return min(max(number, -_FLOAT_MAX), _FLOAT_MAX) if single else number

    return convert


def _enum(enum: EnumDescriptor, *, text: bool) -> Convert:
    numbers = {value.name: value.number for value in enum.values}
    known = ", ".join(numbers) if len(numbers) <= 20 else f"a name of {enum.full_name}"
    closed = enum.is_closed

    def convert(value: Any) -> int:
        if type(value) is str:
            number = numbers.get(value)
            if number is not None:
                return number
            if not (text and _INTEGER.match(value)):
                raise Unfit(f"One of these is expected: {known}.", unknown=True)
            value = int(value)
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is int and -(1 << 31) <= value < 1 << 31:
            if not closed or value in enum.values_by_number:
                return value
            raise Unfit(f"One of these is expected: {known}.", unknown=True)
        raise Unfit(f"One of these is expected: {known}.")

    return convert


def to_json(field: FieldDescriptor) -> Convert | None:
    """The writer of one value of a scalar field; None where JSON has it as it is."""
    kind = field.type
    if kind in INT64:
        return str
    if kind == F.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode("ascii")
    if kind == F.TYPE_DOUBLE:
        return double_to_json
    if kind == F.TYPE_FLOAT:
        return _single_to_json
    if kind == F.TYPE_ENUM:
        return _enum_to_json(enum_of(field))
    return None


def double_to_json(value: float) -> float | str:
    """A double, or the name of what JSON has no number for; a whole number without a fraction, as protobuf has it."""
    if value.is_integer() and -_EXACT < value < _EXACT and (value or math.copysign(1.0, value) > 0):
        return int(value)
    if math.isfinite(value):
        return value
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _single_to_json(value: float) -> float | str:
    """The shortest decimal that reads back as the same float of 32 bits."""
    if not math.isfinite(value):
        return double_to_json(value)
    for digits in range(6, 10):
        short = float(f"{value:.{digits}g}")
        if _rounded(short) == value:
            return double_to_json(short)
    return value


def _rounded(value: float) -> float:
    """The nearest float of 32 bits."""
    try:
        found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.inf
    return found


def _enum_to_json(enum: EnumDescriptor) -> Convert:
    if enum.full_name == "google.protobuf.NullValue":
        return lambda value: None
    names: dict[int, str] = {}
    for value in enum.values:
        names.setdefault(value.number, value.name)
    return lambda value: names.get(value, value)
