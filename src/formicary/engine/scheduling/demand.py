"""What a task needs of an ant, as a value: candidates of equal demand wait in one queue."""

from __future__ import annotations

from dataclasses import dataclass, replace

Gate = tuple[str, str]
"""(organisation, job type) of a definition with `max_concurrency`."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Method and tags an ant must have; `gate` names the concurrency limit that starting a job has to pass.

    An empty method fits every ant (a job whose first task is not rendered yet).
    """

    method: str
    tags: frozenset[str]
    gate: Gate | None = None

    def gated(self, gate: Gate | None) -> Demand:
        """The same demand behind a concurrency limit."""
        return self if gate == self.gate else replace(self, gate=gate)

    def fits(self, methods: frozenset[str], tags: frozenset[str]) -> bool:
        """True where an ant with these methods and tags can serve the demand."""
        return (not self.method or self.method in methods) and self.tags <= tags
