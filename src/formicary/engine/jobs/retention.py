"""How long a job is kept once it has ended."""

from __future__ import annotations

import math
from typing import Final

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.model import JobDefinition

DAY_S: Final = 86_400.0
DEFAULT_DAYS: Final = {life.FAILED: 30, life.COMPLETED: 7, life.CANCELLED: 30}
"""Days by end, where the definition names none."""


def kept_until(definition: JobDefinition | None, state: str, ended_at: float) -> float:
    """When a job may be removed.

    Args:
        definition: Of the job; None where it cannot be read any more.
        state: How the job has ended; one that has not is kept for ever.
        ended_at: When, in seconds since the epoch.

    Returns:
        Seconds since the epoch; infinity = never.
    """
    default = DEFAULT_DAYS.get(state)
    if default is None:
        return math.inf
    named = getattr(definition, f"retention_days_for_{state.lower()}", None)
    days = default if named is None else named
    return ended_at + days * DAY_S if days else math.inf
