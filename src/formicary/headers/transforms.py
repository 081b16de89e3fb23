"""Transforms of values: a closed list that files can name, and anybody's functions beside it.

A transform gets all values of one header in order and returns all values. It may refuse them by raising
:class:`Rejected`, whose text goes to the caller: it must not hold the value.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

Values = list[str]
Argument = str | int | bool | list[str] | dict[str, str | int]


class Rejected(Exception):
    """A transform refuses a value; the text says why and does not hold the value.

    Args:
        reason: The end of a sentence that begins with the header's name.
        credentials: Whether the value should say who is calling: the caller is then answered with 401, not 400.
    """

    def __init__(self, reason: str, *, credentials: bool = False) -> None:
        super().__init__(reason)
        self.credentials = credentials


@dataclass(frozen=True, slots=True)
class Transform:
    """One step between a header and metadata.

    Attributes:
        name: As files name it.
        apply: All values in, all values out. Raises Rejected.
        each: The same for one value, where values do not matter to each other; it is the quicker way.
        argument: As given, for showing.
        growth: Most characters by which ``each`` lengthens a printable ASCII text without blanks around it, and the
            result is printable ASCII too; None when nobody knows.
        plain: Whether the result has no blanks around it either.
        undone_by: Name and argument of the step that gives back exactly what was there, None when the step is lossy.
    """

    name: str
    apply: Callable[[Values], Values]
    each: Callable[[str], str] | None = None
    argument: Argument | None = None
    undone_by: tuple[str, Argument | None] | None = field(default=None)
    growth: int | None = None
    plain: bool = False

    @classmethod
    def of(cls, function: Callable[[str], str], name: str = "") -> Transform:
        """Makes a transform from a function of one value; it counts as lossy."""
        return _each(name or getattr(function, "__name__", "function"), function)


def _each(
    name: str,
    function: Callable[[str], str],
    argument: Argument | None = None,
    undone_by: tuple[str, Argument | None] | None = None,
    *,
    growth: int | None = None,
    plain: bool = False,
) -> Transform:
    return Transform(
        name, lambda values: [function(value) for value in values], function, argument, undone_by, growth, plain
    )


def reject(reason: str) -> Transform:
    """Refuses whatever arrives, with this reason; useful on a route."""

    def refuse(values: Values) -> Values:
        raise Rejected(reason)

    return Transform("reject", refuse, None, reason)


def _text(argument: Argument | None) -> str:
    if not isinstance(argument, str) or not argument:
        raise ValueError("wants a text that is not empty")
    return argument


def _count(argument: Argument | None) -> int:
    if isinstance(argument, bool) or not isinstance(argument, int) or not 0 < argument <= 65_536:
        raise ValueError("wants a whole number from 1 to 65536")
    return argument


def _nothing(argument: Argument | None) -> None:
    if argument is not None and argument is not True:
        raise ValueError("takes no argument")


def _simple(name: str, function: Callable[[str], str], *, plain: bool = True) -> Callable[[Argument | None], Transform]:
    def make(argument: Argument | None) -> Transform:
        _nothing(argument)
        return _each(name, function, growth=0, plain=plain)

    return make


def _add_prefix(argument: Argument | None) -> Transform:
    text = _text(argument)
    growth = len(text) if text.isascii() and text.isprintable() else None
    plain = text == text.lstrip()
    return _each("add_prefix", lambda v: text + v, argument, ("remove_prefix", text), growth=growth, plain=plain)


def _remove_prefix(argument: Argument | None) -> Transform:
    text = _text(argument)
    return _each("remove_prefix", lambda value: value.removeprefix(text), argument, growth=0)


def _add_suffix(argument: Argument | None) -> Transform:
    text = _text(argument)
    growth = len(text) if text.isascii() and text.isprintable() else None
    plain = text == text.rstrip()
    return _each("add_suffix", lambda v: v + text, argument, ("remove_suffix", text), growth=growth, plain=plain)


def _remove_suffix(argument: Argument | None) -> Transform:
    text = _text(argument)
    return _each("remove_suffix", lambda value: value.removesuffix(text), argument, growth=0)


def _truncate(argument: Argument | None) -> Transform:
    most = _count(argument)
    return _each("truncate", lambda value: value[:most], argument, growth=0)


def _default_if_empty(argument: Argument | None) -> Transform:
    text = _text(argument)
    return Transform("default_if_empty", lambda values: [v or text for v in values] or [text], None, argument)


def _bounded_regex(pattern: object) -> re.Pattern[str]:
    if not isinstance(pattern, str) or not 0 < len(pattern) <= 500:
        raise ValueError("wants a pattern of 1 to 500 characters")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern is not a regular expression: {error}") from None


def _regex_replace(argument: Argument | None) -> Transform:
    if not isinstance(argument, dict) or set(argument) != {"pattern", "replacement"}:
        raise ValueError("wants {pattern: ..., replacement: ...}")
    pattern, replacement = _bounded_regex(argument["pattern"]), str(argument["replacement"])
    try:
        re.compile(pattern.pattern + "|").sub(replacement, "")
    except (re.error, IndexError) as error:
        raise ValueError(f"the replacement does not fit the pattern: {error}") from None
    return _each("regex_replace", lambda value: pattern.sub(replacement, value), argument)


def _regex_extract(argument: Argument | None) -> Transform:
    pattern = _bounded_regex(argument)

    def extract(value: str) -> str:
        found = pattern.search(value)
        if found is None:
            raise Rejected("does not have the form that is expected")
        return (found.group(1) if pattern.groups else found.group(0)) or ""

    return _each("regex_extract", extract, argument, growth=0)


def _require_match(argument: Argument | None) -> Transform:
    pattern = _bounded_regex(argument)

    def check(value: str) -> str:
        if pattern.fullmatch(value) is None:
            raise Rejected("does not have the form that is expected")
        return value

    return _each("require_match", check, argument, ("same", None), growth=0, plain=True)


def _split(argument: Argument | None) -> Transform:
    text = _text(argument)
    return Transform(
        "split", lambda values: [part.strip() for value in values for part in value.split(text)], None, argument
    )


def _join(argument: Argument | None) -> Transform:
    text = _text(argument)
    return Transform("join", lambda values: [text.join(values)] if values else values, None, argument)


def _mask(argument: Argument | None) -> Transform:
    shown = _count(argument)
    return _each("mask", lambda v: "*" * len(v) if len(v) <= 2 * shown else v[:shown] + "***", argument, growth=3)


def _base64_encode(argument: Argument | None) -> Transform:
    _nothing(argument)
    return _each("base64_encode", lambda v: base64.b64encode(v.encode()).decode("ascii"), None, ("base64_decode", None))


def decode_base64(text: str) -> bytes:
    """Decodes base64 of either alphabet, with or without padding. Raises Rejected."""
    plain = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("is not base64") from None


def _base64_decode(argument: Argument | None) -> Transform:
    _nothing(argument)

    def decode(value: str) -> str:
        try:
            return decode_base64(value).decode()
        except UnicodeDecodeError:
            raise Rejected("is not base64 of a text") from None

    return _each("base64_decode", decode)


def _hash(argument: Argument | None) -> Transform:
    most = 64 if argument is None or argument is True else _count(argument)
    return _each("hash", lambda value: hashlib.sha256(value.encode()).hexdigest()[:most], argument, growth=64)


def _bearer(value: str) -> str:
    if value.startswith("Bearer ") and (token := value[7:].strip()):
        return token
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Rejected("must be `Bearer TOKEN`", credentials=True)
    return token.strip()


def _make_bearer(argument: Argument | None) -> Transform:
    _nothing(argument)
    return _each("bearer", _bearer, growth=0, plain=True)


def _jwt(value: str) -> str:
    parts = value.removeprefix("Bearer ").split(".")
    try:
        head = msgspec.json.decode(decode_base64(parts[0])) if len(parts) == 3 and all(parts) else None
        decode_base64(parts[1])
    except (Rejected, msgspec.DecodeError, UnicodeDecodeError, IndexError):
        head = None
    if not isinstance(head, dict) or "alg" not in head:
        raise Rejected("does not have the shape of a JSON Web Token")
    return value


def _make_jwt(argument: Argument | None) -> Transform:
    _nothing(argument)
    return _each("jwt", _jwt, None, ("same", None), growth=0, plain=True)


_AGENT = re.compile(r"[^\x20-\x7e]|[<>\"'\\;(){}]")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?").fullmatch


def traceparent(value: str) -> str:
    """Returns a W3C traceparent, or nothing when it is malformed: the trace then begins anew, as the standard says."""
    found = _TRACEPARENT(value)
    if found is None or value.startswith("ff") or value[3:35] == "0" * 32 or value[36:52] == "0" * 16:
        return ""
    return "" if value.startswith("00") and found.group(1) else value


@lru_cache(maxsize=256)
def _sanitized(value: str) -> str:
    """A user agent without what does not belong into one; few are met, so those are remembered."""
    return _AGENT.sub("", value)[:200]


TRANSFORMS: Mapping[str, Callable[[Argument | None], Transform]] = {
    "same": _simple("same", lambda value: value),
    "trim": _simple("trim", str.strip),
    "lower": _simple("lower", str.lower),
    "upper": _simple("upper", str.upper),
    "normalize": _simple("normalize", lambda value: " ".join(value.split()).lower()),
    "sanitize_user_agent": _simple("sanitize_user_agent", _sanitized, plain=False),
    "traceparent": _simple("traceparent", traceparent),
    "add_prefix": _add_prefix,
    "remove_prefix": _remove_prefix,
    "add_suffix": _add_suffix,
    "remove_suffix": _remove_suffix,
    "truncate": _truncate,
    "default_if_empty": _default_if_empty,
    "regex_replace": _regex_replace,
    "regex_extract": _regex_extract,
    "require_match": _require_match,
    "split": _split,
    "join": _join,
    "mask": _mask,
    "base64_encode": _base64_encode,
    "base64_decode": _base64_decode,
    "hash": _hash,
    "bearer": _make_bearer,
    "jwt": _make_jwt,
    "reject": lambda argument: reject(_text(argument)),
}
"""Every transform that a file can name."""

_INVERSES = {
    "add_prefix": "remove_prefix",
    "add_suffix": "remove_suffix",
    "base64_encode": "base64_decode",
    "remove_prefix": "add_prefix",
    "remove_suffix": "add_suffix",
    "base64_decode": "base64_encode",
    "same": "same",
    "jwt": "same",
    "require_match": "same",
}


def make(name: str, argument: Argument | None = None) -> Transform:
    """Makes a transform of the list.

    Args:
        name: A key of TRANSFORMS.
        argument: What it needs: a text, a number, or a table.

    Raises:
        ValueError: There is no such transform, or its argument does not fit; the text ends a sentence.
    """
    maker = TRANSFORMS.get(name)
    if maker is None:
        raise ValueError(f"there is no such transform; there are {', '.join(sorted(TRANSFORMS))}")
    return maker(argument)


def of_step(step: object) -> Transform:
    """Makes a transform of a step of a rule.

    Args:
        step: A transform, a function of one value, a name of the list, or a tuple of such a name and its argument;
            ``("regex_replace", pattern, replacement)`` has two.

    Raises:
        ValueError: It is none of these; the text ends a sentence.
    """
    if isinstance(step, Transform):
        return step
    if isinstance(step, str):
        return make(step)
    if isinstance(step, tuple) and step and isinstance(step[0], str):
        name, *arguments = step
        if name == "regex_replace" and len(arguments) == 2:
            arguments = [{"pattern": arguments[0], "replacement": arguments[1]}]
        if len(arguments) > 1:
            raise ValueError(f"takes one argument, not {len(arguments)}")
        return make(name, *arguments)
    if callable(step):
        return Transform.of(step)
    raise ValueError("is no transform, no function, and no name of a transform with its argument")


def inverse(transforms: Sequence[Transform]) -> tuple[Transform, ...]:
    """Returns the steps of the other way, for calls that begin at our end; a step without one is left out."""
    found = []
    for step in reversed(transforms):
        if step.name == "bearer":
            found.append(make("add_prefix", "Bearer "))
        elif step.name in _INVERSES and _INVERSES[step.name] != "same":
            found.append(make(_INVERSES[step.name], step.argument))
    return tuple(found)


def gives_back(out: Sequence[Transform], back: Sequence[Transform]) -> bool:
    """Whether a value that goes ``out`` and comes ``back`` is the same value, whatever it was."""
    wanted = [step.undone_by for step in reversed(out) if step.undone_by != ("same", None)]
    steps = [step for step in back if step.name != "same"]
    if len(wanted) != len(steps) or not all(wanted):
        return False
    return all(
        (want is not None and (step.name, step.argument) == want) or (step.name == "bearer" and _is_bearer(want))
        for want, step in zip(wanted, steps, strict=True)
    )


def _is_bearer(wanted: tuple[str, Argument | None] | None) -> bool:
    return wanted == ("remove_prefix", "Bearer ")


def each_of(transforms: Sequence[Transform]) -> Callable[[str], str] | None:
    """Joins steps that look at one value each; None for no steps, or when one looks at all values."""
    steps = tuple(step.each for step in transforms if step.each is not None)
    if not steps or len(steps) != len(transforms):
        return None
    if len(steps) == 1:
        return steps[0]

    def run(value: str) -> str:
        for step in steps:
            value = step(value)
        return value

    return run


def growth_of(transforms: Sequence[Transform]) -> int | None:
    """Most characters by which the steps lengthen a text; None when nobody knows."""
    known = [step.growth for step in transforms if step.growth is not None]
    return sum(known) if len(known) == len(transforms) else None


def pipeline(transforms: Sequence[Transform]) -> Callable[[Values], Values] | None:
    """Joins steps into one function; None for no steps."""
    if not transforms:
        return None
    if len(transforms) == 1:
        return transforms[0].apply
    steps = tuple(step.apply for step in transforms)

    def run(values: Values) -> Values:
        for step in steps:
            values = step(values)
        return values

    return run
