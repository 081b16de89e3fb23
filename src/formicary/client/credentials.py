"""The token that clients send."""

from __future__ import annotations

import os

VARIABLE = "FORMICARY_TOKEN"


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    """Metadata that says who is calling.

    Args:
        token: None = what FORMICARY_TOKEN holds; empty = send nothing.
    """
    found = os.environ.get(VARIABLE, "") if token is None else token
    return (("authorization", f"Bearer {found}"),) if found else ()
