"""JSON text to Python values, strictly: no key twice, no NaN, no bottomless nesting, UTF-8 alone."""

from __future__ import annotations

import json
import re
from json.scanner import make_scanner
from typing import Any, NoReturn

MAX_DEPTH = 100
"""Levels of objects and arrays, as protobuf itself has it."""

_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)


class JsonError(ValueError):
    """The text is not the JSON we take; the message is a sentence for the caller."""


class DuplicateKey(JsonError):
    """A key stands twice in one object.

    Attributes:
        key: Which.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"The key {key[:80]!r} stands twice in one object.")
        self.key = key


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKey(key)
            seen.add(key)
    return found


def _constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not JSON; write it in quotes.")


_decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)
_scan = make_scanner(_decoder)  # type: ignore[arg-type]  # typeshed names the wrong class


def parse(text: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Parses one JSON document.

    Raises:
        JsonError: It is not JSON, not UTF-8, nested too deep, or has a key twice.
    """
    try:
        string = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"The body is not UTF-8 at byte {error.start}.") from None
    if string.count("{") + string.count("[") > max_depth:
        _check_depth(string, max_depth)
    try:
        return _whole(string)
    except json.JSONDecodeError as error:
        raise JsonError(
            f"The body is not JSON: {error.msg.lower()}, line {error.lineno}, column {error.colno}."
        ) from None
    except JsonError:
        raise
    except ValueError:
        raise JsonError("A number has too many digits.") from None
    except RecursionError:
        raise JsonError(f"The body is nested deeper than {max_depth} levels.") from None


def _whole(string: str) -> Any:
    """As the decoder itself, without its two searches for white space where there can be none."""
    if string[:1] == "{" and string[-1] == "}":
        try:
            value, end = _scan(string, 0)
        except StopIteration:
            pass  # the decoder says it with the place
        else:
            if end == len(string):
                return value
    return _decoder.decode(string)


def _check_depth(string: str, max_depth: int) -> None:
    depth = 0
    for found in _BRACKETS.finditer(string):
        mark = found.group()
        if mark in ("{", "["):
            depth += 1
            if depth > max_depth:
                raise JsonError(f"The body is nested deeper than {max_depth} levels.")
        elif mark in ("}", "]"):
            depth -= 1
