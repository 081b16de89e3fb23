"""What a queen tells whoever follows attempts as spans; nothing where nobody does."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Protocol

from formicary.engine.queen.core.batch import Assignment
from formicary.v1 import ants_pb2 as ants


class AttemptTracer(Protocol):
    """Follows attempts from grant to end. Its methods must be quick and never raise: they run on the queen's loop."""

    def submitted(self, job_ids: Iterable[str]) -> None:
        """The present call submits these jobs; they are not committed yet."""
        ...

    def granted(self, grant: Assignment, job_type: str, task_type: str, ant_id: str) -> str:
        """An attempt goes to its ant; returns the trace context that it takes along, empty = none."""
        ...

    def ended(self, result: ants.TaskResult) -> None:
        """An ant says how an attempt has ended."""
        ...

    def returned(self, token: int) -> None:
        """An ant gives an attempt back that never began."""
        ...

    def sweep(self, held: Container[int]) -> None:
        """Attempts that are not held any more, and whose end nobody has told, are lost. Called every second or so."""
        ...
