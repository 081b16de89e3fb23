"""One attempt of one task as the ant holds it, and how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum

import msgspec

from formicary.engine.ants.masking import Mask
from formicary.engine.ants.output import TaskOutput
from formicary.engine.jobs.model import TaskDefinition
from formicary.engine.jobs.variables import BUILT_IN_NAMES

TASK_KEY = "FORMICARY_TASK_KEY"
JOB_ID = "FORMICARY_JOB_ID"
TASK_TYPE = "FORMICARY_TASK_TYPE"
ATTEMPT = "FORMICARY_ATTEMPT"
CHECKPOINT = "FORMICARY_CHECKPOINT"
TRACEPARENT = "TRACEPARENT"

BUILT_INS = BUILT_IN_NAMES
"""Variables that the engine sets by itself; HTTP tasks do not send them."""


class Outcome(IntEnum):
    """How an attempt ended; the numbers are those of the contract's ``TaskResult.Outcome``."""

    COMPLETED = 1
    FAILED = 2
    TIMED_OUT = 3
    CANCELLED = 4
    LOST = 5


class Result(msgspec.Struct, kw_only=True):
    """What an executor hands back.

    Attributes:
        outcome: How it ended. An executor that was stopped may say anything: the reason of the stop wins.
        exit_code: Exit code or HTTP status, None if there is none; 128 + n after signal n.
        signal: Number of the signal that ended the process, 0 = none.
        outputs: JSON object of outputs, empty = none.
        error_code: Code of the catalogue, empty where it completed.
        error_message: One sentence.
        traceback: Of a Python exception.
        started_at: Seconds since the epoch, 0 = take the foreman's time.
        ended_at: Seconds since the epoch, 0 = now.
        recent: End of what a failed attempt wrote.
    """

    outcome: int
    exit_code: int | None = None
    signal: int = 0
    outputs: bytes = b""
    error_code: str = ""
    error_message: str = ""
    traceback: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    recent: str = ""


def failure(code: str, message: str, *, exit_code: int | None = None) -> Result:
    """Makes the result of an attempt that failed for a reason of its own."""
    return Result(outcome=Outcome.FAILED, error_code=code, error_message=message, exit_code=exit_code)


class Stop(IntEnum):
    """Why a running attempt is ended from outside; a later, higher reason replaces a lower one."""

    NONE = 0
    TIMED_OUT = 1
    CANCELLED = 2
    ANT_STOPS = 3
    FORGET = 4
    """The lease is lost: end at once and say nothing."""


class Attempt:
    """A granted attempt: what to run and how far it is.

    Attributes:
        token: The lease token.
        task: The rendered task.
        variables: JSON object of all variables.
        timeout_s: Seconds it may run.
        traceparent: W3C trace context of the attempt's span, empty where nobody traces.
        path: Folder of the job, empty = the ant's own.
        inputs: Tasks whose artifacts have to be in the working directory.
        folder: The working directory where the engine chose it, empty = as the task says.
        prepared: Awaited between before_script and script, by executors that have these; returns why the attempt cannot
            go on, empty = it can.
        started: Monotonic second at which it was started, 0.0 while it is queued.
        announced: Whether the queen was told that it started.
        checkpoint: What an earlier attempt has left, empty = nothing.
        devices: Of the ant, that it uses alone.
        stop: Why it is being ended.
        groups: Process groups of what it runs, where these are its own.
        grace_s: Seconds that it is left then, None = as the ant is configured.
        ender: Called with ``at_once`` when a running attempt has to end; set by the executor that can do better than
            being cancelled.
        mask: Takes the task's secrets out of what it writes, None = it has none.
        output: Its log and set outputs, None until it writes something.
        outlet: Makes the output when it is first needed.
    """

    __slots__ = (
        "announced",
        "checkpoint",
        "devices",
        "ender",
        "execution",
        "folder",
        "grace_s",
        "groups",
        "inputs",
        "job_id",
        "job_type",
        "mask",
        "number",
        "outlet",
        "output",
        "path",
        "prepared",
        "started",
        "stop",
        "task",
        "timeout_s",
        "token",
        "traceparent",
        "variables",
    )  # fmt: skip

    def __init__(
        self,
        token: int,
        task: TaskDefinition,
        *,
        job_id: str,
        job_type: str = "",
        number: int = 1,
        execution: int = 1,
        variables: bytes = b"",
        timeout_s: float = 3600.0,
        path: str = "",
        traceparent: str = "",
        inputs: tuple[str, ...] = (),
        checkpoint: str = "",
        devices: tuple[str, ...] = (),
    ) -> None:
        self.token = token
        self.task = task
        self.job_id = job_id
        self.job_type = job_type
        self.number = number
        self.execution = execution
        self.variables = variables
        self.timeout_s = timeout_s
        self.path = path
        self.traceparent = traceparent
        self.inputs = inputs
        self.checkpoint = checkpoint
        self.devices = devices
        self.grace_s: float | None = None
        self.groups: set[int] = set()
        self.folder = ""
        self.prepared: Callable[[], Awaitable[str]] | None = None
        self.mask: Mask | None = None
        self.output: TaskOutput | None = None
        self.outlet: Callable[[Attempt], TaskOutput] = _no_outlet
        self.started = 0.0
        self.announced = False
        self.stop = Stop.NONE
        self.ender: Callable[[bool], None] | None = None

    @property
    def key(self) -> str:
        """The key that is the same for every attempt of this task in this execution."""
        return f"{self.job_id}/{self.execution}/{self.task.task_type}"

    def feed(self, stream: int, data: bytes) -> None:
        """Takes bytes that the task wrote."""
        if self.output is None:
            self.output = self.outlet(self)
        self.output.feed(stream, data)

    def say(self, text: str) -> None:
        """Adds a line in the engine's own words to the task's log."""
        if self.output is None:
            self.output = self.outlet(self)
        self.output.say(text)

    def identity(self) -> dict[str, str]:
        """Returns the environment variables that tell a task who it is."""
        found = {
            TASK_KEY: self.key,
            JOB_ID: self.job_id,
            TASK_TYPE: self.task.task_type,
            ATTEMPT: str(self.number),
        }
        if self.traceparent:
            found[TRACEPARENT] = self.traceparent
        if self.checkpoint:
            found[CHECKPOINT] = self.checkpoint
        return found

    def variables_map(self) -> dict[str, object]:
        """Decodes the variables.

        Raises:
            msgspec.DecodeError: They are not a JSON object.
        """
        return _VARIABLES.decode(self.variables) if self.variables else {}


def _no_outlet(attempt: Attempt) -> TaskOutput:
    """Keeps the set outputs and drops the log, for attempts that no foreman has."""
    limit = 1024 * 1024
    return TaskOutput(
        lambda lines: None, head_bytes=limit, tail_bytes=limit, max_line_bytes=limit, max_outputs_bytes=limit
    )


_VARIABLES = msgspec.json.Decoder(dict[str, object])
