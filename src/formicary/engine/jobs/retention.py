"""How long a job is kept once it has ended."""

from __future__ import annotations

import math
from typing import Final

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.model import JobDefinition

DAY_S: Final = 86_400.0
DEFAULT_DAYS: Final = {life.FAILED: 30, life.COMPLETED: 7, life.CANCELLED: 30}
"""Days by end, where the definition names none."""


LETTER_DAYS: Final = 90
"""Days that a dead letter which nobody has redriven or purged is kept at least, whatever its job's retention."""


def kept_until(definition: JobDefinition | None, state: str, ended_at: float, *, is_dead: bool = False) -> float:
    """When a job may be removed.

    Args:
        definition: Of the job; None where it cannot be read any more.
        state: How the job has ended; one that has not is kept for ever.
        ended_at: When, in seconds since the epoch.
        is_dead: It is a dead letter that nobody has redriven or purged.

    Returns:
        Seconds since the epoch; infinity = never.
    """
    default = DEFAULT_DAYS.get(state)
    if default is None:
        return math.inf
    named = getattr(definition, f"retention_days_for_{state.lower()}", None)
    days = default if named is None else named
    if is_dead and days:
        days = max(days, LETTER_DAYS)
    return ended_at + days * DAY_S if days else math.inf
