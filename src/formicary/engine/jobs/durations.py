"""Durations: ``15s``, ``2m``, ``1h30m``, ``500ms``; a plain number counts seconds."""

from __future__ import annotations

import re

MAX_DURATION_S = 10 * 365 * 86400.0
"""Longest duration, ten years."""

_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> float:
    """Returns seconds.

    Raises:
        ValueError: It is no duration; the text says what is one.
    """
    seconds: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 1e15 else MAX_DURATION_S + 1
    elif isinstance(value, str) and len(value) <= 50:
        text, pos, total = value.strip(), 0, 0.0
        for match in _PART.finditer(text):
            if match.start() != pos:
                break
            total += float(match.group(1)) * _UNIT_S[match.group(2)]
            pos = match.end()
        if text and pos == len(text):
            seconds = total
    if seconds is None or seconds != seconds or seconds < 0:
        raise ValueError("write a duration like 15s, 2m, 1h30m or 500ms")
    if seconds > MAX_DURATION_S:
        raise ValueError("a duration is at most ten years")
    return seconds
