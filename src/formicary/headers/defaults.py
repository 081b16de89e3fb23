"""Defaults that are made for each call: ids, times, trace ids."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from formicary.headers.transforms import traceparent

Index = Mapping[str, list[str | bytes]]
"""Values by lower-case header name or metadata key."""
Maker = Callable[[Index], str]


def _hex_uuid(value: int, version: int) -> str:
    value = value & ~(0xF << 76) & ~(0x3 << 62) | version << 76 | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def uuid(index: Index) -> str:
    """A random UUID (version 4)."""
    return _hex_uuid(int.from_bytes(os.urandom(16), "big"), 4)


def uuid7(index: Index) -> str:
    """A UUID that sorts by time (version 7)."""
    milliseconds = time.time_ns() // 1_000_000
    return _hex_uuid(milliseconds << 80 | int.from_bytes(os.urandom(10), "big"), 7)


def timestamp(index: Index) -> str:
    """Now as RFC 3339 in UTC, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def trace_id(index: Index) -> str:
    """The trace id of the traceparent that came with the call, else a new one."""
    found = index.get("traceparent")
    if found and isinstance(found[0], str) and traceparent(found[0]):
        return found[0][3:35]
    return os.urandom(16).hex()


def new_traceparent(index: Index) -> str:
    """A sampled traceparent of a new trace."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"


MAKERS: Mapping[str, Maker] = {
    "uuid": uuid,
    "uuid7": uuid7,
    "timestamp": timestamp,
    "trace_id": trace_id,
    "traceparent": new_traceparent,
}
"""Maker of each kind of generated default."""
