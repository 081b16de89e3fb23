"""The functions of the Go template dialect: Go's built-ins and those of job files.

Every function takes the environment first. A wrong argument raises :class:`FunctionError`, whose text names what was
expected; the evaluator adds the function's name and the place.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote_plus

from formicary.engine.jobs import checksums
from formicary.engine.jobs.templates.budget import (
    MAX_ITERATIONS,
    MAX_OUTPUT_CHARS,
    limit_error,
)
from formicary.engine.jobs.templates.go_format import sprint, sprintf, to_text, type_name
from formicary.engine.jobs.templates.go_time import RFC3339, format_time, parse_moment
from formicary.engine.jobs.templates.lookup import Environment
from formicary.engine.jobs.templates.lookup_calls import CallError, count_jobs, submit_job, submit_jobs

_INT64 = 1 << 63
_YAML_BREAKS = {0x7F: "\\x7f", 0x85: "\\N", 0x2028: "\\L", 0x2029: "\\P"}
_MARKDOWN_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
_WEB_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_ID = re.compile(r"([0-9a-hjkmnp-tv-z]{26})(?:\.[0-9.-]+)?\Z")
"""The id of a job, perhaps of one that another has forked."""
_DIGITS = str.maketrans("jkmnpqrstvwxyz", "ijklmnopqrstuv")
"""From Crockford's digits to those of :func:`int`."""

FunctionError = CallError


@dataclass(frozen=True, slots=True)
class Function:
    """A function with the number of arguments it takes; ``most`` None means any."""

    call: Callable[..., object]
    least: int
    most: int | None


def truth(value: object) -> bool:
    """Says whether a value counts as true: not empty, not zero, not missing."""
    return bool(value)


# --------------------------------------------------------------------------------------------------------- arguments
def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return to_text(value)
    raise FunctionError(f"expected text, got {type_name(value)}")


def _int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise FunctionError(f"expected a whole number, got {type_name(value)}")
    try:
        number = int(value)
    except (ValueError, OverflowError):
        raise FunctionError(f"expected a whole number, got {str(value)[:40]!r}") from None
    if isinstance(value, float) and number != value:
        raise FunctionError(f"expected a whole number, got {value}")
    if not -_INT64 <= number < _INT64:
        raise FunctionError("the number is too large")
    return number


def _number(value: object) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    raise FunctionError(f"expected a number, got {type_name(value)}")


def _bounded(size: int) -> None:
    if size > MAX_OUTPUT_CHARS:
        raise limit_error("makes a value of more than 1 MB")


# -------------------------------------------------------------------------------------------------------- comparison
def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    raise FunctionError(f"a {type_name(value)} cannot be compared")


def _comparable(first: object, second: object) -> tuple[object, object]:
    """Returns two values as they compare.

    The command line, forms and outputs make text of what a job file writes as a number or a bool, and the other way
    round: a text that holds a number compares with numbers, and a text with bools as they are printed.
    """
    kinds = {_kind(first), _kind(second)}
    if kinds == {"string", "number"}:
        try:
            return _ranked(first), _ranked(second)
        except FunctionError:
            pass
    if kinds == {"string", "bool"}:
        return to_text(first), to_text(second)
    if len(kinds) == 2 and "nothing" not in kinds:
        raise FunctionError(f"cannot compare {type_name(first)} with {type_name(second)}")
    return first, second


def _ranked(value: object) -> int | float:
    """Returns a number, that of a text, or what an id stands for: ids were numbers once, and are compared with some."""
    if isinstance(value, str) and (found := _ID.match(value)) is not None:
        return int(found[1].translate(_DIGITS), 32)
    return _number(value)


def _equal(first: object, second: object) -> bool:
    if {_kind(first), _kind(second)} == {"string", "number"}:
        try:
            return _number(first) == _number(second)
        except FunctionError:
            return False  # a number is no word: `eq .Day "Monday"` where Day is 1
    first, second = _comparable(first, second)
    return _kind(first) == _kind(second) and first == second


def _eq(env: Environment, first: object, *others: object) -> bool:
    return any(_equal(first, other) for other in others)


def _ne(env: Environment, first: object, second: object) -> bool:
    return not _eq(env, first, second)


def _less(first: object, second: object) -> bool:
    if isinstance(first, bool) or isinstance(second, bool):
        raise FunctionError("a bool has no order")
    first, second = _comparable(first, second)
    if isinstance(first, str) and isinstance(second, str):
        return first < second
    if isinstance(first, int | float) and isinstance(second, int | float):
        return first < second
    raise FunctionError("a missing value has no order")


def _lt(env: Environment, first: object, second: object) -> bool:
    return _less(first, second)


def _le(env: Environment, first: object, second: object) -> bool:
    return _less(first, second) or _eq(env, first, second)


def _gt(env: Environment, first: object, second: object) -> bool:
    return _less(second, first)


def _ge(env: Environment, first: object, second: object) -> bool:
    return _le(env, second, first)


def _not(env: Environment, value: object) -> bool:
    return not truth(value)


# ------------------------------------------------------------------------------------------------------- collections
def _index(env: Environment, value: object, *keys: object) -> object:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key if isinstance(key, str) else to_text(key))
        elif isinstance(value, Sequence):
            if isinstance(key, bool) or not isinstance(key, int):
                raise FunctionError(f"expected a number as index, got {type_name(key)}")
            if not 0 <= key < len(value):
                raise FunctionError(f"index {key} is out of range (length {len(value)})")
            item = value[key]
            value = ord(item) if isinstance(value, str) else item
        else:
            raise FunctionError(f"cannot index {type_name(value)}")
    return value


def _slice(env: Environment, value: object, *bounds: object) -> object:
    if not isinstance(value, Sequence):
        raise FunctionError(f"cannot slice {type_name(value)}")
    limits = [_int(b) for b in bounds]
    start = limits[0] if limits else 0
    end = limits[1] if len(limits) > 1 else len(value)
    if not 0 <= start <= end <= len(value):
        raise FunctionError(f"{start}:{end} is out of range (length {len(value)})")
    return value[start:end]


def _len(env: Environment, value: object) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, Mapping | Sequence):
        return len(value)
    raise FunctionError(f"{type_name(value)} has no length")


def _dict(env: Environment, *items: object) -> dict[str, object]:
    if len(items) % 2:
        raise FunctionError("expected pairs of name and value")
    for name in items[::2]:
        if not isinstance(name, str):
            raise FunctionError("expected text as name")
    return {str(items[i]): items[i + 1] for i in range(0, len(items), 2)}


def _iterate(env: Environment, count: object) -> list[int]:
    number = _int(count)
    if number > MAX_ITERATIONS:
        raise limit_error(f"loops more than {MAX_ITERATIONS:,} times")
    env.budget.step(count=max(number, 0) // 16)
    return list(range(number))


def _default(env: Environment, fallback: object, value: object = None) -> object:
    """Zero and false are values: only what is missing or an empty text has the fallback."""
    return fallback if value is None or value == "" else value


def _split(env: Environment, text: object, separator: object) -> list[str]:
    sep = _text(separator)
    return _text(text).split(sep) if sep else list(_text(text))


def _join(env: Environment, items: object, separator: object = "") -> str:
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise FunctionError(f"expected a list, got {type_name(items)}")
    sep, parts, size = _text(separator), [], 0
    for item in items:
        parts.append(to_text(item))
        size += len(parts[-1]) + len(sep)
        _bounded(size)
    return sep.join(parts)


# --------------------------------------------------------------------------------------------------------------- text
def _replace(env: Environment, text: object, old: object, new: object, count: object = -1) -> str:
    where, what, to, most = _text(text), _text(old), _text(new), _int(count)
    found = where.count(what) if most < 0 else min(where.count(what), most)
    _bounded(len(where) + found * max(0, len(to) - len(what)))
    return where.replace(what, to, most)


def _js(env: Environment, *values: object) -> str:
    text = sprint(values)
    escapes = {'"': '\\"', "'": "\\'", "\\": "\\\\", "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
    return "".join(
        escapes.get(c) or (c if c >= " " and c != "\x7f" else f"\\u{ord(c):04X}") for c in text[:MAX_OUTPUT_CHARS]
    )


def _html(env: Environment, *values: object) -> str:
    return html.escape(sprint(values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


def _urlquery(env: Environment, *values: object) -> str:
    return quote_plus(sprint(values))


def _printf(env: Environment, template: object, *values: object) -> str:
    if not isinstance(template, str):
        raise FunctionError(f"expected text, got {type_name(template)}")
    return sprintf(template, values)


def _println(env: Environment, *values: object) -> str:
    return " ".join("<nil>" if v is None else to_text(v) for v in values) + "\n"


def _yaml_quoted(env: Environment, *values: object) -> str:
    """What stands between the double quotes of a YAML scalar that holds the text; nothing for a missing value."""
    text = "" if values in ((), (None,)) else sprint(values)
    return json.dumps(text[:MAX_OUTPUT_CHARS], ensure_ascii=False)[1:-1].translate(_YAML_BREAKS)


def _markdown_link(env: Environment, text: object, url: object = None) -> str:
    """A link in Markdown; of one text that is one, or is an address, a link in HTML."""
    if url is not None:
        return f"[{to_text(text)}]({to_text(url)})"
    shown = "" if text is None else to_text(text)
    link = _MARKDOWN_LINK.search(shown)
    words, address = link.groups() if link else (shown, shown)
    if not _WEB_ADDRESS.match(address):
        return html.escape(shown)
    return f'<a href="{html.escape(address)}" target="_blank" rel="noopener noreferrer">{html.escape(words)}</a>'


def _format_time(env: Environment, moment: object = None, layout: object = None) -> str:
    """A text alone is a time if it is one, else the layout for now."""
    if layout is None and isinstance(moment, str):
        try:
            moment = parse_moment(moment)
        except ValueError:
            moment, layout = None, moment
    layout = RFC3339 if layout is None else layout
    try:
        return format_time(env.now if moment is None else parse_moment(moment), _text(layout))
    except ValueError as error:
        raise FunctionError(f"expected a time: {error}") from None


# ------------------------------------------------------------------------------------------------------------ numbers
def _add(env: Environment, *numbers: object) -> int | float:
    total: int | float = 0
    for number in numbers:
        total += number if isinstance(number, float) else _int(number)
    return total if isinstance(total, float) else _int(total)


def _random(env: Environment, low: object, high: object = None) -> int:
    least, most = (0, _int(low)) if high is None else (_int(low), _int(high))
    if most <= least:
        raise FunctionError(f"expected a range, got {least} to {most}")
    return env.rng.randrange(least, most)


def _atof(env: Environment, text: object) -> float:
    return float(_number(text))


def _percent(env: Environment, part: object, whole: object = 1) -> int:
    """Whole percents, at most 100, as a bar shows them; of nothing, all is there."""
    divisor = _number(whole)
    return min(100, int(100 * _number(part) / divisor)) if divisor > 0 else 100


# ------------------------------------------------------------------------------------------------------------- lookup
def _submit_job(env: Environment, job_type: object, *params: object) -> str:
    texts = [param for param in params if isinstance(param, str)]
    if len(texts) == len(params) > 0 and "=" not in texts[0] and all("=" in text for text in texts[1:]):
        params = params[1:]  # files of the older engine describe the job before its parameters
    return submit_job(env, _text(job_type), _pairs(params))


def _submit_jobs(env: Environment, job_type: object, jobs: object = None, *params: object) -> str:
    if jobs is None:  # the objects alone, each with its own `job_type`
        return submit_jobs(env, "", job_type, {})
    if isinstance(job_type, Sequence) and not isinstance(job_type, str):  # the list may come first
        job_type, jobs = jobs, job_type
    return submit_jobs(env, _text(job_type), jobs, _pairs(params))


def _pairs(params: Sequence[object]) -> dict[str, object]:
    """Parameters as a mapping, as texts ``name=value``, or as a name and a value by turns."""
    if len(params) == 1 and isinstance(params[0], Mapping):
        return dict(params[0])
    texts = [param for param in params if isinstance(param, str)]
    if len(texts) == len(params) and all("=" in text for text in texts):
        return {name: value for name, _, value in (text.partition("=") for text in texts)}
    if len(params) % 2 or not all(isinstance(name, str) for name in params[::2]):
        raise FunctionError("expected name=value, a name and a value by turns, or a mapping")
    return {str(name): value for name, value in zip(params[::2], params[1::2], strict=True)}


def _count(env: Environment, job_type: object, *states: object) -> int:
    return count_jobs(env, _text(job_type), [_text(state) for state in states])


def _checksum(env: Environment, name: object) -> str:
    try:
        return checksums.mark(_text(name))
    except ValueError as error:
        raise FunctionError(str(error)) from error


def unescape_html(env: Environment, text: object) -> str:
    """Returns text with HTML entities resolved."""
    return html.unescape(_text(text))


FUNCTIONS: Mapping[str, Function] = {
    # Go's own; `and` and `or` are evaluated lazily, `call` gets its function from a value
    "and": Function(lambda env, *args: args[-1], 1, None),
    "or": Function(lambda env, *args: args[-1], 1, None),
    "call": Function(lambda env, function, *args: None, 1, None),
    "not": Function(_not, 1, 1),
    "eq": Function(_eq, 2, None),
    "ne": Function(_ne, 2, 2),
    "lt": Function(_lt, 2, 2),
    "le": Function(_le, 2, 2),
    "gt": Function(_gt, 2, 2),
    "ge": Function(_ge, 2, 2),
    "index": Function(_index, 1, None),
    "slice": Function(_slice, 1, 3),
    "len": Function(_len, 1, 1),
    "print": Function(lambda env, *args: sprint(args), 0, None),
    "printf": Function(_printf, 1, None),
    "println": Function(_println, 0, None),
    "html": Function(_html, 1, None),
    "js": Function(_js, 1, None),
    "urlquery": Function(_urlquery, 1, None),
    # those of job files
    "Dict": Function(_dict, 0, None),
    "dict": Function(_dict, 0, None),
    "Iterate": Function(_iterate, 1, 1),
    "Add": Function(_add, 2, None),
    "default": Function(_default, 1, 2),
    "trimPrefix": Function(lambda env, s, p: _text(s).removeprefix(_text(p)), 2, 2),
    "trimSuffix": Function(lambda env, s, p: _text(s).removesuffix(_text(p)), 2, 2),
    "hasPrefix": Function(lambda env, s, p: _text(s).startswith(_text(p)), 2, 2),
    "hasSuffix": Function(lambda env, s, p: _text(s).endswith(_text(p)), 2, 2),
    "lower": Function(lambda env, s: _text(s).lower(), 1, 1),
    "upper": Function(lambda env, s: _text(s).upper(), 1, 1),
    "contains": Function(lambda env, s, part: _text(part) in _text(s), 2, 2),
    "replace": Function(_replace, 3, 4),
    "split": Function(_split, 2, 2),
    "join": Function(_join, 1, 2),
    "Unescape": Function(unescape_html, 1, 1),
    "Random": Function(_random, 1, 2),
    "yamlq": Function(_yaml_quoted, 0, None),
    "MarkdownLink": Function(_markdown_link, 1, 2),
    "formatTime": Function(_format_time, 0, 2),
    "FormatTime": Function(_format_time, 0, 2),
    "Percent100": Function(_percent, 1, 2),
    "atoi": Function(lambda env, s: _int(s), 1, 1),
    "atof": Function(_atof, 1, 1),
    "checksum": Function(_checksum, 1, 1),
    "SubmitJob": Function(_submit_job, 1, None),
    "SubmitJobsFromJSON": Function(_submit_jobs, 1, None),
    "CountByJobTypeAndState": Function(_count, 1, None),
}
"""Every function by name."""
