"""Where a workflow stands: its steps in order, from its journal and the records that name it as their parent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from formicary.idempotency.deciding import is_absent, is_live
from formicary.idempotency.model import Record, State, record_id
from formicary.idempotency.store import Store
from formicary.idempotency.workflows import (
    STEP,
    STEPS_KEPT,
    UNDO,
    UNDOING,
    WORKFLOW,
    Entry,
    Journal,
    read_journal,
    step_key,
    steps_route,
)
from formicary.problems import Problem

StepState = Literal["PENDING", "RUNNING", "FAILED", "COMPLETED", "UNDONE"]
WorkflowState = Literal["RUNNING", "STOPPED", "COMPLETED", "UNDOING", "UNDONE"]
_PAGE = 500


@dataclass(frozen=True, slots=True)
class StepStatus:
    """One step.

    Attributes:
        name: Its name.
        occurrence: 0 for its first use in the workflow.
        state: PENDING = noted and not begun; RUNNING, also where its process died and its lease is not over; FAILED =
            it may be tried again; COMPLETED; UNDONE = its compensation has completed.
        attempts: How often it began.
        began_ms: Milliseconds since 1970; None = not yet.
        ended_ms: When it completed; None = not yet.
    """

    name: str
    occurrence: int
    state: StepState
    attempts: int = 0
    began_ms: int | None = None
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True)
class WorkflowStatus:
    """Where a workflow stands.

    Attributes:
        id: Its id.
        name: Its kind.
        state: RUNNING; STOPPED = to be resumed; COMPLETED; UNDOING = to be resumed too if nobody runs it; UNDONE.
        attempts: How often it was begun or resumed.
        began_ms: Milliseconds since 1970.
        steps: Those that began, in order.
        failure: Why it is undone; None = it is not.
    """

    id: str
    name: str
    state: WorkflowState
    attempts: int
    began_ms: int
    steps: tuple[StepStatus, ...]
    failure: Problem | None = None


async def status(store: Store, workflow_id: str, *, name: str = "workflow", tenant: str = "") -> WorkflowStatus | None:
    """Where a workflow stands; None where there is none, or its time is over.

    Args:
        store: Where records are.
        workflow_id: Its id.
        name: Its kind.
        tenant: Whose it is.
    """
    root, now = await store.get(record_id(tenant, WORKFLOW, name, workflow_id)), await store.now_ms()
    if root is None or is_absent(root, now):
        return None
    journal = read_journal(root.data) or Journal([], 0)
    found = await _steps(store, root, steps_route(name, journal.began_ms))
    steps = [_step(entry, root, found, journal.ttl_ms, now) for entry in journal.steps]
    failure = None if journal.failure is None else Problem.from_document(journal.failure)
    state = _state(root, now, undone=failure is not None)
    return WorkflowStatus(workflow_id, name, state, root.attempts, root.created_ms, tuple(steps), failure)


async def _steps(store: Store, root: Record, route: str) -> dict[str, Record]:
    """The records of its steps and compensations by key."""
    found: dict[str, Record] = {}
    after = b""
    while True:
        page = await store.records(tenant=root.tenant, parent=root.key, after=after, limit=_PAGE)
        found |= {record.key: record for record in page if record.route == route}
        if len(page) < _PAGE:
            return found
        after = page[-1].id


def _state(root: Record, now_ms: int, *, undone: bool) -> WorkflowState:
    if root.state is State.COMPLETED:
        return "UNDONE" if undone else "COMPLETED"
    if root.point == UNDOING:
        return "UNDOING"
    return "RUNNING" if is_live(root, now_ms) else "STOPPED"


def _step(entry: Entry, root: Record, found: dict[str, Record], ttl_ms: int, now_ms: int) -> StepStatus:
    record = found.get(step_key(root.tenant, root.route, root.key, entry, STEP))
    undo = found.get(step_key(root.tenant, root.route, root.key, entry, UNDO))
    if record is None:
        return StepStatus(entry.name, entry.occurrence, "PENDING")
    began = (record.attempts, record.created_ms)
    if record.state is State.COMPLETED:
        undone = undo is not None and undo.state is State.COMPLETED
        ended_ms = record.expires_ms - STEPS_KEPT * ttl_ms
        return StepStatus(entry.name, entry.occurrence, "UNDONE" if undone else "COMPLETED", *began, ended_ms)
    return StepStatus(entry.name, entry.occurrence, "RUNNING" if is_live(record, now_ms) else "FAILED", *began)
