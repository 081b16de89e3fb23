"""Rules that give failures a code and say what follows from them: data of an organisation, not of one job file.

A rule matches a failed attempt by its exit code, by a pattern in what the attempt said last (its error and the end of
its output), or by both. Which rule counts where several match is a total order: what is said of a task before what is
said of a job type, that before what is said of a platform, the organisation's own before the system's, both criteria
before one, then by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

RETRY_TASK: Final = "RETRY_TASK"
RETRY_JOB: Final = "RETRY_JOB"
HARD_FAILURE: Final = "HARD_FAILURE"
ERROR_ACTIONS: Final = ("", RETRY_TASK, RETRY_JOB, HARD_FAILURE)
"""What a rule may ask for; empty = it names the failure and nothing else."""


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One rule, in the order of the store's columns.

    Attributes:
        org: Organisation, empty for the system.
        name: Of the rule, one per organisation.
        job_type: Only of this job type; empty = of all.
        task_type: Only of tasks of this name; empty = of all.
        platform: Only of jobs of this platform; empty = of all.
        exit_code: Only with this exit code; None = with any.
        pattern: Only where this regular expression is found; empty = always.
        code: What the failure is called from then on, ``ERR_…``.
        message: What people read first; empty = what the attempt said.
        action: One of ERROR_ACTIONS.
        retry: With RETRY_TASK how often the task is repeated, with RETRY_JOB how often the job, in all.
        created_at: Seconds since the epoch.
        updated_at: The same.
        updated_by: Who gave it this content.
    """

    org: str
    name: str
    job_type: str
    task_type: str
    platform: str
    exit_code: int | None
    pattern: str
    code: str
    message: str
    action: str
    retry: int
    created_at: float = 0.0
    updated_at: float = 0.0
    updated_by: str = ""

    @property
    def rank(self) -> tuple[bool, bool, bool, bool, int, str]:
        """Its place among others; the lowest counts."""
        criteria = (self.exit_code is not None) + bool(self.pattern)
        return not self.task_type, not self.job_type, not self.platform, not self.org, -criteria, self.name


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt as rules see it.

    Attributes:
        org: Organisation of the job.
        job_type: Of the job.
        task_type: Of the task.
        platform: Of the job, empty = it names none.
        exit_code: None where there is none.
        text: The error's message and the end of the output.
    """

    org: str
    job_type: str
    task_type: str
    platform: str
    exit_code: int | None
    text: str


class ErrorRules(Protocol):
    """Where the core finds the rule of a failure."""

    def find(self, failure: Failure) -> ErrorRule | None:
        """The rule that counts, None where none matches."""
        ...


class NoErrorRules:
    """There are none."""

    def find(self, failure: Failure) -> ErrorRule | None:
        """None."""
        return None
