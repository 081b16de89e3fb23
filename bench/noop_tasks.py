"""The functions that our own no-op jobs call; ``formicary up --path`` names this repository's folder."""

from __future__ import annotations

from bench import stamps


def noop() -> None:
    """Count itself."""
    stamps.stamp()


def step() -> None:
    """Do nothing, as one task of several."""
