"""Writes a job as the text of a job file: the canonical form that the parser reads back as the same definition."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from formicary.engine.jobs.model import Json
from formicary.engine.jobs.yaml_nodes import plain_value

_PLAIN = re.compile(r"[A-Za-z0-9_][\w./-]*(?: [\w./-]+)*\Z", re.ASCII)
_FUNCTION = re.compile(r"[\w.]+:[\w.]+\Z")
_ESCAPED = re.compile(r'[^\x20-\x7e\xa1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]|\{(?=[{%#])|["\\]')
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def write_source(fields: Mapping[str, Json], tasks: Sequence[Mapping[str, Json]]) -> str:
    """Returns the text of a job file.

    Args:
        fields: Fields of the job without its tasks.
        tasks: Fields of each task.
    """
    lines = [f"{name}: {inline(value)}" for name, value in fields.items()]
    lines.append("tasks:")
    for task in tasks:
        mark = "  - "
        for name, value in task.items():
            shown = value if isinstance(value, str) and _FUNCTION.match(value) else inline(value)
            lines.append(f"{mark}{name}: {shown}")
            mark = "    "
    return "\n".join(lines) + "\n"


def inline(value: Json) -> str:
    """Returns a JSON value on one line of YAML; nothing in it can be taken for a template action."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{inline(str(key))}: {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    if isinstance(value, str):
        return value if _is_plain(value) else quoted(value)
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def _is_plain(text: str) -> bool:
    return len(text) <= 80 and _PLAIN.match(text) is not None and plain_value(text) == text


def quoted(text: str) -> str:
    """Returns a text in double quotes."""
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    short = _SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
