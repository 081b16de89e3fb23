"""Life cycles of a job request and of a task execution, each as one table ``(state, event) -> state``.

An illegal pair raises :class:`IllegalTransition` and changes nothing. The diagrams in the docs, the ``CHECK``
constraints of the schema and the action list of the specification are asserted equal to these tables by tests. A job
execution has no states of its own: it uses the request's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PENDING: Final = "PENDING"
EXECUTING: Final = "EXECUTING"
PAUSED: Final = "PAUSED"
APPROVAL: Final = "MANUAL_APPROVAL_REQUIRED"
COMPLETED: Final = "COMPLETED"
FAILED: Final = "FAILED"
CANCELLED: Final = "CANCELLED"
READY: Final = "READY"
DISPATCHED: Final = "DISPATCHED"
WAITING: Final = "WAITING"
SKIPPED: Final = "SKIPPED"

JOB_STATES: Final = (PENDING, EXECUTING, PAUSED, APPROVAL, COMPLETED, FAILED, CANCELLED)
JOB_ENDED: Final = frozenset({COMPLETED, FAILED, CANCELLED})
JOB_AT_REST: Final = frozenset({PENDING, *JOB_ENDED})
"""None of its tasks runs."""
TASK_STATES: Final = (
    PENDING,
    READY,
    DISPATCHED,
    EXECUTING,
    WAITING,
    PAUSED,
    APPROVAL,
    COMPLETED,
    FAILED,
    CANCELLED,
    SKIPPED,
)
TASK_ENDED: Final = frozenset({COMPLETED, FAILED, CANCELLED, SKIPPED})

ALIASES: Final[Mapping[str, str]] = {"READY": PENDING, "STARTED": EXECUTING}
"""The original engine's names, accepted as filters of jobs."""

Table = Mapping[tuple[str, str], str]

JOB: Final[Table] = {
    (PENDING, "start"): EXECUTING,
    (PENDING, "fail"): FAILED,  # refused by skip_if, a template error, missing parameters
    (PENDING, "cancel"): CANCELLED,
    (EXECUTING, "complete"): COMPLETED,
    (EXECUTING, "fail"): FAILED,
    (EXECUTING, "cancel"): CANCELLED,
    (EXECUTING, "pause"): PAUSED,
    (EXECUTING, "restart"): PENDING,  # job-level retry, RESTART_JOB
    (EXECUTING, "await_approval"): APPROVAL,
    (PAUSED, "resume"): EXECUTING,
    (PAUSED, "cancel"): CANCELLED,
    (PAUSED, "fail"): FAILED,
    (PAUSED, "wind_up"): EXECUTING,  # cancelled while paused: the final phase still runs
    (APPROVAL, "resume"): EXECUTING,
    (APPROVAL, "pause"): PAUSED,
    (APPROVAL, "cancel"): CANCELLED,
    (APPROVAL, "wind_up"): EXECUTING,
    (FAILED, "retry"): PENDING,
    (CANCELLED, "retry"): PENDING,
}

TASK: Final[Table] = {
    (PENDING, "activate"): READY,
    (PENDING, "wait"): WAITING,  # the task's own delay, or its text is being rendered
    (PENDING, "skip"): SKIPPED,
    (PENDING, "await_approval"): APPROVAL,  # MANUAL: people decide
    (READY, "wait"): WAITING,
    (READY, "grant"): DISPATCHED,
    (READY, "cancel"): CANCELLED,
    (READY, "skip"): SKIPPED,  # it had not begun when the job's end was decided
    (READY, "fail"): FAILED,
    (DISPATCHED, "begin"): EXECUTING,
    (DISPATCHED, "return"): READY,
    (DISPATCHED, "complete"): COMPLETED,
    (DISPATCHED, "fail"): FAILED,
    (DISPATCHED, "wait"): WAITING,
    (DISPATCHED, "await_approval"): APPROVAL,
    (DISPATCHED, "lose"): READY,
    (DISPATCHED, "cancel"): CANCELLED,
    (EXECUTING, "complete"): COMPLETED,
    (EXECUTING, "fail"): FAILED,
    (EXECUTING, "wait"): WAITING,
    (EXECUTING, "await_approval"): APPROVAL,  # WAIT_FOR_APPROVAL
    (EXECUTING, "lose"): READY,
    (EXECUTING, "cancel"): CANCELLED,
    (WAITING, "activate"): READY,
    (WAITING, "await_approval"): APPROVAL,
    (WAITING, "complete"): COMPLETED,  # left out by `except`
    (WAITING, "fail"): FAILED,
    (WAITING, "cancel"): CANCELLED,
    (WAITING, "skip"): SKIPPED,
    (APPROVAL, "complete"): COMPLETED,
    (APPROVAL, "fail"): FAILED,
    (APPROVAL, "wait"): WAITING,  # the decision is mapped to RESTART_TASK, EXECUTING or PAUSE_JOB
    (APPROVAL, "cancel"): CANCELLED,
}


class IllegalTransition(Exception):
    """An event that the state does not know; nothing was changed."""

    def __init__(self, kind: str, state: str, event: str) -> None:
        super().__init__(f"a {kind} that is {state} cannot {event}")
        self.kind, self.state, self.event = kind, state, event


def job_state(state: str, event: str) -> str:
    """The job's next state. Raises IllegalTransition."""
    try:
        return JOB[state, event]
    except KeyError:
        raise IllegalTransition("job", state, event) from None


def task_state(state: str, event: str) -> str:
    """The task's next state. Raises IllegalTransition."""
    try:
        return TASK[state, event]
    except KeyError:
        raise IllegalTransition("task", state, event) from None
