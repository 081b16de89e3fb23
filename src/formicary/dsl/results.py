"""What became of a job that was run in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from formicary.engine.jobs.model import Json


class JobFailedError(RuntimeError):
    """A job did not complete; the text holds what went wrong, with tracebacks."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task.

    Attributes:
        name: Its ``task_type``.
        state: COMPLETED, FAILED, SKIPPED or CANCELLED.
        attempts: How often it was tried.
        outputs: Its outputs.
        exit_code: Exit code, None where there is none.
        error: What went wrong, empty where nothing did.
        traceback: Traceback of the exception, empty where there is none.
    """

    name: str
    state: str
    attempts: int = 0
    outputs: Mapping[str, Json] = field(default_factory=dict)
    exit_code: int | None = None
    error: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class JobResult:
    """A job that has ended.

    Attributes:
        id: Its id.
        state: COMPLETED, FAILED or CANCELLED.
        outputs: Outputs of all tasks; where names are equal, those of the task that ended later.
        tasks: Its tasks by name, in the order of the job.
        value: What the task returned whose handle the job's function returned; None where there is none.
        error: Why it did not complete, empty where it did.
        document: The document that ``formicary get`` prints.
    """

    id: str
    state: str
    outputs: Mapping[str, Json]
    tasks: Mapping[str, TaskResult]
    value: Json = None
    error: str = ""
    document: Mapping[str, Json] = field(default_factory=dict, repr=False)

    @property
    def is_completed(self) -> bool:
        """Whether it completed."""
        return self.state == "COMPLETED"

    def check(self) -> JobResult:
        """Returns the result of a job that completed.

        Raises:
            JobFailedError: It did not; the text is that of :meth:`explain`.
        """
        if not self.is_completed:
            raise JobFailedError(self.explain())
        return self

    def explain(self) -> str:
        """Returns the states of all tasks, and errors with their tracebacks, as text."""
        lines = [f"job {self.id}: {self.state}{f': {self.error}' if self.error else ''}"]
        for task in self.tasks.values():
            tried = f" after {task.attempts} attempts" if task.attempts > 1 else ""
            lines.append(f"  {task.name}: {task.state}{tried}{f': {task.error}' if task.error else ''}")
            lines += [f"    {line}" for line in task.traceback.splitlines()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<JobResult {self.explain()}>"
