"""What a PYTHON task may know about itself while it runs, and how it says how far it is.

from formicary.engine.ants.context import current_task

task = current_task()
task.progress(0.5, "half of the rows are in")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_describe: Callable[[], TaskContext | None] | None = None


def _ignore(fraction: float, message: str) -> None:
    """Takes progress where nobody listens."""


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The running attempt.

    Attributes:
        key: The same for every attempt of this task: give it to outside systems as idempotency key.
        job_id: Id of the job request.
        task_type: Name of the task.
        attempt: From 1, all attempts counted.
        execution: Number of the job's execution, from 1.
        folder: Working directory with the artifacts of other tasks; empty where the task has none.
    """

    key: str
    job_id: str
    task_type: str
    attempt: int
    execution: int = 1
    report: Callable[[float, str], None] = _ignore
    folder: str = ""

    def progress(self, fraction: float, message: str = "") -> None:
        """Says how far the task is; at most ten times a second are passed on, and always 1.0.

        Args:
            fraction: From 0 to 1; values outside are cut.
            message: A few words for people.
        """
        self.report(min(max(float(fraction), 0.0), 1.0), message)


def current_task() -> TaskContext:
    """Returns the task that runs in this process.

    Raises:
        RuntimeError: No task is running here.
    """
    context = _describe() if _describe is not None else None
    if context is None:
        raise RuntimeError("No task is running in this process; current_task() works inside a task only.")
    return context


def install(describe: Callable[[], TaskContext | None] | None) -> None:
    """Says who describes the running task; for the worker process and for runs in the same process."""
    global _describe
    _describe = describe
