"""Parts of a service that starts, serves and stops without losing anything."""

from formicary.lifecycle.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, BreakerPolicy, BreakerSnapshot

__all__ = ["CLOSED", "HALF_OPEN", "OPEN", "Breaker", "BreakerPolicy", "BreakerSnapshot"]
