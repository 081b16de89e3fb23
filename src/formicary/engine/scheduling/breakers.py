"""Gate: job types and tasks whose circuit breaker lets nothing through wait."""

from __future__ import annotations

from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import AntView, View

TASK_MARK = "\x1f"
"""Before the name of a breaker in the gate of a task: no job type begins with it."""


def breaker_permits(view: View[AntView], demand: Demand) -> bool:
    """True where the job type or the task has no breaker, or the breaker is closed or lets a trial through."""
    return demand.gate is None or view.permits(demand.gate)
