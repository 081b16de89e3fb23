"""The IETF fields ``RateLimit`` and ``RateLimit-Policy`` from plain numbers (draft-ietf-httpapi-ratelimit-headers)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LIMIT, REMAINING, RESET, WINDOW = "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "ratelimit-window"
KEYS = (LIMIT, REMAINING, RESET, WINDOW)


def _number(sent: Mapping[str, Sequence[str | bytes]], key: str) -> int | None:
    values = sent.get(key)
    text = values[0] if values else None
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 15 else None


def fields(sent: Mapping[str, Sequence[str | bytes]]) -> list[tuple[str, str]]:
    """Returns the fields for the metadata ``ratelimit-limit``, ``-remaining``, ``-reset`` and ``-window``.

    Args:
        sent: Metadata by key; reset and window are seconds from now. What is missing or is no number is left out.
    """
    found = []
    limit, remaining = _number(sent, LIMIT), _number(sent, REMAINING)
    reset_s, window_s = _number(sent, RESET), _number(sent, WINDOW)
    if limit is not None:
        found.append(("RateLimit-Policy", f'"default";q={limit}' + ("" if window_s is None else f";w={window_s}")))
    if remaining is not None:
        found.append(("RateLimit", f'"default";r={remaining}' + ("" if reset_s is None else f";t={reset_s}")))
    return found
