"""What the client hands out: references to definitions and jobs, and the end of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from formicary.problems import Problem, problem
from formicary.v1 import events_pb2
from formicary.v1 import jobs_pb2 as pb

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class DefinitionRef:
    """A definition that the server knows.

    Attributes:
        id: digest of its content; the same content has the same id.
        job_type: name of the job.
        version: counts up per job type, 0 = not known.
        warnings: what none of the ants that are connected could do.
    """

    id: str
    job_type: str = ""
    version: int = 0
    warnings: tuple[str, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened.

    Attributes:
        sequence: Grows with every event; `after` of an iteration that goes on from here.
        time: Seconds since the epoch, UTC; 0 for a gap.
        kind: Like job.completed, task.dispatched, ant.lost; `gap` where events are missing.
        job_id: Of the job; empty for ants.
        job_type: Of the job.
        task_type: Of the task; empty for jobs.
        execution: Number of the job's execution.
        attempt: Number of the task's attempt.
        state: Of the job, task or ant.
        ant: Of the attempt, or the one that came or went.
        error_code: Where a job or an attempt failed.
        missed: Of a gap: how many events are missing; 0 = not known.
    """

    sequence: int
    time: float
    kind: str
    job_id: str
    job_type: str
    task_type: str
    execution: int
    attempt: int
    state: str
    ant: str
    error_code: str
    missed: int


def event_of(message: events_pb2.Event) -> Event:
    """The event as it came over the wire."""
    return Event(
        message.sequence,
        message.time.ToMilliseconds() / 1000,
        message.kind,
        message.job_id,
        message.job_type,
        message.task_type,
        message.execution,
        message.attempt,
        message.state,
        message.ant,
        message.error_code,
        message.missed,
    )


def end_of(message: pb.JobEnd) -> JobEnd:
    """The end as it came over the wire."""
    error = None
    if message.state != "COMPLETED":
        code = message.error_code or ("ERR_CANCELLED" if message.state == "CANCELLED" else "ERR_TASK_FAILED")
        error = problem(code, message.error_message or f"Job {message.id} ended {message.state}.")
    return JobEnd(message.id, message.state, _decode(message.outputs) if message.outputs else {}, error)
