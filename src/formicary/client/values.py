"""What the client hands out: references to definitions and jobs, and the end of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from formicary.problems import Problem, problem
from formicary.v1 import jobs_pb2 as pb

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class DefinitionRef:
    """A definition that the server knows.

    Attributes:
        id: digest of its content; the same content has the same id.
        job_type: name of the job.
        version: counts up per job type, 0 = not known.
    """

    id: str
    job_type: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class JobHandle:
    """A job that is committed.

    Attributes:
        id: of the job; that of the earlier job where the idempotency key had been used for the same request.
    """

    id: str


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended.

    Attributes:
        id: of the job.
        state: COMPLETED, FAILED or CANCELLED.
        outputs: outputs of its tasks, later ones over earlier ones.
        error: None where it completed.
    """

    id: str
    state: str
    outputs: dict[str, Any]
    error: Problem | None = None

    @property
    def completed(self) -> bool:
        """Whether the job reached COMPLETED."""
        return self.state == "COMPLETED"

    def raise_for_state(self) -> JobEnd:
        """Returns itself where the job completed. Raises its Problem otherwise."""
        if self.error is not None:
            raise self.error
        return self


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a task's output.

    Attributes:
        task_type: the task.
        attempt: number of the attempt, from 1.
        time: seconds since the epoch, UTC.
        stream: 1 = standard output, 2 = standard error, 3 = the engine's own words.
        text: the line without its newline.
    """

    task_type: str
    attempt: int
    time: float
    stream: int
    text: str


def end_of(message: pb.JobEnd) -> JobEnd:
    """The end as it came over the wire."""
    error = None
    if message.state != "COMPLETED":
        code = message.error_code or ("ERR_CANCELLED" if message.state == "CANCELLED" else "ERR_TASK_FAILED")
        error = problem(code, message.error_message or f"Job {message.id} ended {message.state}.")
    return JobEnd(message.id, message.state, _decode(message.outputs) if message.outputs else {}, error)
