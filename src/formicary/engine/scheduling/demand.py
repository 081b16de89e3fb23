"""What a task needs of an ant, as a value: candidates of equal demand wait in one queue."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

EVERY_TAG = "*"
"""What an ant that takes tasks of any tags offers."""

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
    _hash: int = field(init=False, repr=False, compare=False)
    """Demands are looked up for every decision."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.method, self.tags, self.gate)))

    def __hash__(self) -> int:
        """As the fields say."""
        return self._hash

    def gated(self, gate: Gate | None) -> Demand:
        """The same demand behind a concurrency limit."""
        return self if gate == self.gate else replace(self, gate=gate)

    def fits(self, methods: frozenset[str], tags: frozenset[str]) -> bool:
        """True where an ant with these methods and tags can serve the demand."""
        return (not self.method or self.method in methods) and (self.tags <= tags or EVERY_TAG in tags)
