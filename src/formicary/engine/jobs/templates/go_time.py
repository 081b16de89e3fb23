"""Formats times with Go's reference layout (``2006-01-02 15:04:05``), in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

RFC3339 = "2006-01-02T15:04:05Z07:00"

_PARTS = re.compile(
    r"2006|January|Monday|Jan|Mon|MST|Z07:00|-07:00|-0700|-07|\.0{1,9}|\.9{1,9}"
    r"|01|02|03|04|05|06|15|_2|PM|pm|[12345]"
)


def format_time(moment: float, layout: str = RFC3339) -> str:
    """Returns a time as text.

    Args:
        moment: Seconds since the epoch.
        layout: Go's reference time, written as the result shall look.

    Raises:
        ValueError: The time is out of range (years 1 to 9999).
    """
    try:
        at = datetime.fromtimestamp(moment, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise ValueError(f"{moment} is no time") from error
    return _PARTS.sub(lambda match: _part(match.group(), at), layout)


def _part(part: str, at: datetime) -> str:
    if part[0] == ".":
        digits = f"{at.microsecond:06d}000"[: len(part) - 1]
        if part[1] == "0":
            return "." + digits
        digits = digits.rstrip("0")
        return "." + digits if digits else ""
    hour12 = (at.hour + 11) % 12 + 1
    known = {
        "2006": f"{at.year:04d}",
        "06": f"{at.year % 100:02d}",
        "January": at.strftime("%B"),
        "Jan": at.strftime("%b"),
        "01": f"{at.month:02d}",
        "1": str(at.month),
        "Monday": at.strftime("%A"),
        "Mon": at.strftime("%a"),
        "02": f"{at.day:02d}",
        "_2": f"{at.day:2d}",
        "2": str(at.day),
        "15": f"{at.hour:02d}",
        "03": f"{hour12:02d}",
        "3": str(hour12),
        "04": f"{at.minute:02d}",
        "4": str(at.minute),
        "05": f"{at.second:02d}",
        "5": str(at.second),
        "PM": "PM" if at.hour >= 12 else "AM",
        "pm": "pm" if at.hour >= 12 else "am",
        "MST": "UTC",
        "Z07:00": "Z",
        "-07:00": "+00:00",
        "-0700": "+0000",
        "-07": "+00",
    }
    return known[part]


def parse_moment(value: object) -> float:
    """Returns seconds since the epoch of a number or an RFC 3339 text (a date alone is midnight UTC).

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        at = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    raise ValueError(f"{value!r} is no time")
