"""Gate: job types whose circuit breaker lets nothing through wait."""

from __future__ import annotations

from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import AntView, View


def breaker_permits(view: View[AntView], demand: Demand) -> bool:
    """True where the job type has no breaker, or the breaker is closed or lets a trial through."""
    return demand.gate is None or view.permits(demand.gate)
