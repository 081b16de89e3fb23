"""Defaults that are made for each call: ids, times, trace ids."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from formicary.headers.transforms import traceparent
from formicary.problems.fresh_digits import fresh_digits

Index = Mapping[str, list[str | bytes]]
"""Values by lower-case header name or metadata key."""
Maker = Callable[[Index], str]


_AT_ONCE = 64
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""The digit that a random one becomes where a UUID names its variant."""


def _uuid(text: str, version: str) -> str:
    """32 hexadecimal digits as a UUID of this version."""
    return f"{text[:8]}-{text[8:12]}-{version}{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


_ready: list[str] = []
os.register_at_fork(after_in_child=_ready.clear)


def uuid(index: Index) -> str:
    """A random UUID (version 4); made many at once, as :func:`fresh_digits` is."""
    while True:
        try:
            return _ready.pop()
        except IndexError:
            text = os.urandom(_AT_ONCE * 16).hex()
            _ready.extend([_uuid(text[at : at + 32], "4") for at in range(0, len(text), 32)])


def uuid7(index: Index) -> str:
    """A UUID that sorts by time (version 7)."""
    milliseconds = time.time_ns() // 1_000_000
    return _uuid(f"{milliseconds:012x}{fresh_digits()[:20]}", "7")


def timestamp(index: Index) -> str:
    """Now as RFC 3339 in UTC, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def trace_id(index: Index) -> str:
    """The trace id of the traceparent that came with the call, else a new one."""
    found = index.get("traceparent")
    if found and isinstance(found[0], str) and traceparent(found[0]):
        return found[0][3:35]
    return fresh_digits()


def new_traceparent(index: Index) -> str:
    """A sampled traceparent of a new trace."""
    return f"00-{fresh_digits()}-{fresh_digits()[:16]}-01"


MAKERS: Mapping[str, Maker] = {
    "uuid": uuid,
    "uuid7": uuid7,
    "timestamp": timestamp,
    "trace_id": trace_id,
    "traceparent": new_traceparent,
}
"""Maker of each kind of generated default."""
