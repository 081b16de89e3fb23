"""Queen and ant in one process, composed: what `formicary run` and tests use."""

from formicary.embedded.colony import Colony, local_colony

__all__ = ["Colony", "local_colony"]
