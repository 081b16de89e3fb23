"""Prints values as Go does: ``%v`` and friends, ``map[a:1 b:2]``, ``[1 2]``, ``<nil>``, shortest floats."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from formicary.engine.jobs.templates.budget import MAX_OUTPUT_CHARS, limit_error

NO_VALUE = "<no value>"
_MAX_WIDTH = 10_000


class JsonMap(dict[str, object]):
    """A mapping that prints as JSON: an element of a fan-out, which scripts are given as it stood in the list."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False, separators=(",", ":"))


class JsonList(list[object]):
    """A list that prints as JSON."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False, separators=(",", ":"))


def as_json(value: object) -> object:
    """A mapping or list that prints as JSON; anything else as it is."""
    if isinstance(value, dict):
        return JsonMap(value)
    return JsonList(value) if isinstance(value, list) else value


def type_name(value: object) -> str:
    """Returns the name that an error message calls a value's type."""
    if value is None:
        return "nothing"
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "string")):
        if isinstance(value, kind):
            return name
    if isinstance(value, Mapping):
        return "map"
    return "function" if callable(value) else "list"


def to_text(value: object) -> str:
    """Returns what ``{{value}}`` prints."""
    return NO_VALUE if value is None else sprint_value(value)


def sprint_value(value: object) -> str:
    """Returns ``%v``; the length is bounded, also for values that contain themselves many times."""
    if isinstance(value, str):
        return value
    out: list[str] = []
    _write(value, out, [0], _plain)
    return "".join(out)


def _plain(text: str) -> str:
    return text


def _put(out: list[str], size: list[int], text: str) -> None:
    size[0] += len(text) + 1
    if size[0] > 2 * MAX_OUTPUT_CHARS:
        raise limit_error("makes a value of more than 1 MB")
    out.append(text)


def _write(value: object, out: list[str], size: list[int], quote: Callable[[str], str]) -> None:
    if isinstance(value, str):
        _put(out, size, quote(value))
    elif value is None:
        _put(out, size, "<nil>")
    elif isinstance(value, bool):
        _put(out, size, "true" if value else "false")
    elif isinstance(value, float):
        _put(out, size, float_text(value))
    elif isinstance(value, JsonMap | JsonList):
        _put(out, size, quote(str(value)))
    elif isinstance(value, Mapping):
        _put(out, size, "map[")
        for i, key in enumerate(sorted(value, key=str)):
            _put(out, size, (" " if i else "") + quote(str(key)) + ":")
            _write(value[key], out, size, quote)
        _put(out, size, "]")
    elif isinstance(value, Sequence):
        _put(out, size, "[")
        for i, item in enumerate(value):
            if i:
                _put(out, size, " ")
            _write(item, out, size, quote)
        _put(out, size, "]")
    else:
        _put(out, size, str(value) if isinstance(value, int) else "<function>")


def float_text(value: float) -> str:
    """Returns the shortest text of a float: ``%g`` with an exponent below 1e-4 and from 1e+06 on, like ``%v``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    if digits == (0,):
        return "-0" if sign else "0"
    point = len(digits) + exponent
    text = "".join(map(str, digits))
    minus = "-" if sign else ""
    if point - 1 < -4 or point - 1 >= 6:
        rest = f".{text[1:]}" if len(text) > 1 else ""
        return f"{minus}{text[0]}{rest}e{point - 1:+03d}"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    if len(text) <= point:
        return minus + text + "0" * (point - len(text))
    return f"{minus}{text[:point]}.{text[point:]}"


def sprint(values: Sequence[object]) -> str:
    """Returns ``print``: a space between two operands when neither is text."""
    out: list[str] = []
    for i, value in enumerate(values):
        if i and not isinstance(value, str) and not isinstance(values[i - 1], str):
            out.append(" ")
        out.append("<nil>" if value is None else sprint_value(value))
    return "".join(out)


_VERB = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>\*|\d+)?(?:\.(?P<prec>\*|\d*))?(?P<verb>.)?", re.DOTALL)


def sprintf(template: str, values: Sequence[object]) -> str:
    """Returns ``printf``; wrong verbs and missing arguments are shown in the text, as in Go."""
    out: list[str] = []
    used = 0

    def take() -> tuple[bool, object]:
        nonlocal used
        used += 1
        return used <= len(values), values[used - 1] if used <= len(values) else None

    at = 0
    for match in _VERB.finditer(template):
        out.append(template[at : match.start()])
        at = match.end()
        out.append(_verb(match, take))
    out.append(template[at:])
    if used < len(values):
        rest = ", ".join(f"{_go_type(v)}={'<nil>' if v is None else sprint_value(v)}" for v in values[used:])
        out.append(f"%!(EXTRA {rest})")
    return "".join(out)


def _verb(match: re.Match[str], take: Callable[[], tuple[bool, object]]) -> str:
    verb, flags = match["verb"], match["flags"]
    if verb is None:
        return "%!(NOVERB)"
    width = _size(match["width"], take)
    prec = _size(match["prec"] or "0", take) if match["prec"] is not None else None
    if width is None and match["width"] is not None:
        return "%!(BADWIDTH)"
    if verb == "%":
        return "%"
    given, value = take()
    if not given:
        return f"%!{verb}(MISSING)"
    if width is not None and width < 0:
        flags, width = flags + "-", -width
    text = _one(verb, value, flags, prec)
    if text is None:
        shown = "<nil>" if value is None else f"{_go_type(value)}={sprint_value(value)}"
        return f"%!{verb}({shown})"
    if width is None or len(text) >= width:
        return text
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and verb not in "sqvT":
        sign = text[0] if text[:1] in ("+", "-") else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)


def _size(text: str | None, take: Callable[[], tuple[bool, object]]) -> int | None:
    if text is None:
        return None
    value: object = take()[1] if text == "*" else int(text or "0") if len(text) < 9 else 10**9
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    if abs(value) > _MAX_WIDTH:
        raise limit_error(f"pads to more than {_MAX_WIDTH:,} characters")
    return value


def _one(verb: str, value: object, flags: str, prec: int | None) -> str | None:
    """Formats one value; None means that the verb does not fit it."""
    if verb == "v":
        if "#" in flags:
            return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else sprint_value(value)
        return _sign("<nil>" if value is None else sprint_value(value), value, flags)
    if verb == "T":
        return _go_type(value)
    if verb == "t":
        return sprint_value(value) if isinstance(value, bool) else None
    if isinstance(value, bool) or value is None:
        return None
    if verb in "sq":
        return _string_verb(verb, value, prec)
    if verb in "xX" and isinstance(value, str):
        found = value.encode().hex()
        return found.upper() if verb == "X" else found
    if isinstance(value, int) and verb in _INTEGER:
        return _sign(_integer(verb, value, flags, prec), value, flags)
    if isinstance(value, float) and verb in "eEfFgG":
        return _sign(_float(verb, value, prec), value, flags)
    return None


_INTEGER = "dboxXcUq"


def _string_verb(verb: str, value: object, prec: int | None) -> str | None:
    if isinstance(value, int) and verb == "q":
        return "'" + chr(value) + "'" if 0 <= value < 0x110000 else None
    if isinstance(value, int | float):
        return None
    if isinstance(value, str):
        cut = value if prec is None else value[:prec]
        return cut if verb == "s" else json.dumps(cut, ensure_ascii=False)
    out: list[str] = []
    _write(value, out, [0], _plain if verb == "s" else lambda text: json.dumps(text, ensure_ascii=False))
    return "".join(out)


def _integer(verb: str, value: int, flags: str, prec: int | None) -> str:
    if verb == "c":
        return chr(value) if 0 <= value < 0x110000 else "\ufffd"
    if verb == "U":
        return f"U+{value:04X}"
    prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
    digits = format(abs(value), verb)
    return ("-" if value < 0 else "") + prefix + digits.rjust(prec or 0, "0")


def _float(verb: str, value: float, prec: int | None) -> str:
    if math.isnan(value) or math.isinf(value):
        return float_text(value)
    if verb in "gG" and prec is None:
        return float_text(value)
    return format(value, f".{6 if prec is None else prec}{verb}")


def _sign(text: str, value: object, flags: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and text[:1] not in ("-", "+"):
        if "+" in flags:
            return "+" + text
        if " " in flags:
            return " " + text
    return text


def _go_type(value: object) -> str:
    if value is None:
        return "<nil>"
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float64"), (str, "string")):
        if isinstance(value, kind):
            return name
    return "map[string]interface {}" if isinstance(value, Mapping) else "[]interface {}"
