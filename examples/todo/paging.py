"""Page tokens: where a page ended, bound to the query that it belongs to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json


class InvalidToken(ValueError):
    """The token is none of ours, or of another query."""


def encode(last: list[str | int], *query: str) -> str:
    """The token of the page after the row with these values.

    Args:
        last: Values of the order's fields and the id.
        *query: What must be the same for the next page.
    """
    text = json.dumps([_digest(query), last], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(token: str, *query: str) -> list[str | int]:
    """What `encode` was given. Raises InvalidToken."""
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        digest, last = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        good = digest == _digest(query) and isinstance(last, list) and all(type(item) in (str, int) for item in last)
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise InvalidToken("it is no page token") from error
    if not good:
        raise InvalidToken("it belongs to another filter, order or user")
    return list(last)


def _digest(query: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(query).encode()).hexdigest()[:24]
