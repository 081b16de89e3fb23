"""Page tokens: where a list goes on, bound to its filters, opaque to whoever carries them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import msgspec

from formicary.problems import FieldError, problem

_encode = msgspec.json.Encoder().encode
_LARGEST = 2**63


def token(position: int, filters: Any) -> str:
    """The token of what comes after `position` under the same filters."""
    return base64.urlsafe_b64encode(b"%d.%s" % (position, _digest(filters))).rstrip(b"=").decode()


def named(name: str, position: int, filters: Any) -> str:
    """The token of what comes after `name` and then `position` under the same filters."""
    return token(position, [name, filters]) + "." + base64.urlsafe_b64encode(name.encode()).rstrip(b"=").decode()


def named_position(text: str, filters: Any) -> tuple[str, int]:
    """Name and position in a token of :func:`named`. Raises Problem VALIDATION_FAILED as :func:`position`."""
    number, _, name = text.partition(".")
    try:
        found = base64.b64decode(name + "=" * (-len(name) % 4), b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        found, number = "", ""  # told below, like every other token that is not ours
    return found, position(number, [found, filters])


def position(text: str, filters: Any) -> int:
    """The position in a token. Raises Problem VALIDATION_FAILED where it is damaged or of another list."""
    try:
        number, _, digest = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).partition(b".")
        if digest == _digest(filters) and 0 < int(number) < _LARGEST:
            return int(number)
    except (ValueError, binascii.Error):
        pass  # told below, like every other token that is not ours
    raise problem(
        "VALIDATION_FAILED",
        "The page token is not one of this list.",
        errors=[FieldError("page_token", "INVALID_FORMAT", "Repeat the filters of the first page, or start anew.")],
    )


def _digest(filters: Any) -> bytes:
    return hashlib.sha256(_encode(filters)).hexdigest()[:16].encode()
