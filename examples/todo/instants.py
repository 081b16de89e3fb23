"""Times as text of one width with nanoseconds, so that their order as text is their order in time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

EPOCH = datetime(1970, 1, 1)
_FORM = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)")


class InvalidInstant(ValueError):
    """The text is no time of RFC 3339 between the years 1 and 9999."""


def stored(instant: Timestamp) -> str:
    """The text of a time, like ``2030-01-31T12:00:00.000000000Z``."""
    return f"{(EPOCH + timedelta(seconds=instant.seconds)).isoformat()}.{instant.nanos:09d}Z"


def loaded(text: str) -> Timestamp:
    """The time of a text that `stored` made."""
    seconds = (datetime.fromisoformat(text[:19]) - EPOCH) // timedelta(seconds=1)
    return Timestamp(seconds=seconds, nanos=int(text[20:29]))


def parse_instant(text: str) -> str:
    """The stored form of a time in RFC 3339.

    Raises:
        InvalidInstant: It is none.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise InvalidInstant(text)
    day, time, fraction, zone = found.groups()
    try:
        local = datetime.fromisoformat(f"{day}T{time}{'+00:00' if zone in 'Zz' else zone}")
        return f"{local.astimezone(UTC).replace(tzinfo=None).isoformat()}.{(fraction or '').ljust(9, '0')}Z"
    except (ValueError, OverflowError) as error:
        raise InvalidInstant(text) from error
