"""Gate: `max_concurrency` running executions per organisation and job type, exactly."""

from __future__ import annotations

from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import AntView, View

UNLIMITED = 1 << 60
"""Limit of a job type that has none."""


def below_limit(view: View[AntView], demand: Demand) -> bool:
    """True where the demand names no limit, or fewer executions than the limit are running."""
    return demand.gate is None or view.running_of(demand.gate) < view.limit_of(demand.gate)
