"""What a PYTHON task may know about itself while it runs, how it says how far it is and what the next attempt gets.

from formicary.engine.ants.context import current_task

task = current_task()
done = task.last_checkpoint or 0
task.progress(0.5, "half of the rows are in")
task.checkpoint(done + 500)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_CHECKPOINT_BYTES = 64 * 1024
"""Largest checkpoint, in bytes of UTF-8."""

_describe: Callable[[], TaskContext | None] | None = None


def _ignore(fraction: float, message: str) -> None:
    """Takes progress where nobody listens."""


def _drop(value: bytes) -> None:
    """Takes a checkpoint where nobody keeps it."""


def _never() -> bool:
    """Nobody asks."""
    return False


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
        left: What an earlier attempt has left, as it is stored; empty = nothing. See ``last_checkpoint``.
    """

    key: str
    job_id: str
    task_type: str
    attempt: int
    execution: int = 1
    report: Callable[[float, str], None] = _ignore
    folder: str = ""
    left: str = ""
    leave: Callable[[bytes], None] = _drop
    is_asked_to_stop: Callable[[], bool] = _never

    def progress(self, fraction: float, message: str = "") -> None:
        """Says how far the task is; at most ten times a second are passed on, and always 1.0.

        Args:
            fraction: From 0 to 1; values outside are cut.
            message: A few words for people.
        """
        self.report(min(max(float(fraction), 0.0), 1.0), message)

    def checkpoint(self, value: object) -> None:
        """Leaves a value for the next attempt of this task, instead of what was left before.

        It returns at once; the queen keeps the value a moment later. Of an attempt that leaves more than ten a second
        some are left out, never the last.

        Args:
            value: What JSON can hold (tuples and sets become lists), at most 64 KiB of it; None = the next attempt
                begins from nothing.

        Raises:
            ValueError: It is larger, or JSON cannot hold it.
        """
        import msgspec

        try:
            data = msgspec.json.encode(value) if value is not None else b""
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"A checkpoint has to be something that JSON can hold: {error}.") from None
        if len(data) > MAX_CHECKPOINT_BYTES:
            raise ValueError(
                f"A checkpoint of {len(data):,} bytes of JSON is too large: at most {MAX_CHECKPOINT_BYTES:,} are kept."
                " Keep the data elsewhere, and leave where it is."
            )
        self.leave(data)

    @property
    def last_checkpoint(self) -> object:
        """What the last attempt that left something has left, None where none has; a text where it is no JSON."""
        if not self.left:
            return None
        import msgspec

        try:
            return msgspec.json.decode(self.left)
        except msgspec.DecodeError:
            return self.left

    @property
    def is_stopping(self) -> bool:
        """The task has to make room and is killed soon (`preemption_grace` of its queue): leave a checkpoint, return.

        What it returns does not count: it begins again later.
        """
        return self.is_asked_to_stop()


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
