"""The port of task logs: lines as they are kept, beside the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

ENGINE = 3
"""Stream of the engine's own words."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One line of a task's output."""

    task_type: str
    attempt: int
    time: float
    stream: int
    """1 = standard output, 2 = standard error, 3 = the engine's own words."""
    text: str


class LogStore(Protocol):
    """Append-only log segments. Log lines never go through the journal; a crash may lose the last second of them."""

    def append(self, job_id: str, records: Sequence[LogRecord]) -> None:
        """Buffers lines; cheap, called from the loop."""
        ...

    def flush(self, job_ids: Sequence[str] | None = None) -> None:
        """Writes buffered lines (of these jobs, None = all) so that a reader sees them; blocking."""
        ...

    def pending(self) -> bool:
        """True where lines are buffered."""
        ...

    def read(self, job_id: str, *, task_type: str = "", offset: int = 0) -> tuple[list[LogRecord], int]:
        """Written and buffered lines from `offset` on, and the next offset."""
        ...

    def remove(self, job_ids: Sequence[str]) -> None:
        """Forgets every line of these jobs; of one without lines nothing. Raises StoreUnavailable."""
        ...

    def close(self) -> None:
        """Flushes and releases; idempotent."""
        ...
