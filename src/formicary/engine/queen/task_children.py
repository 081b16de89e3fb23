"""What a task has below it, for people: how many elements or jobs stand where, and a few of them by name.

A list of 10,000 is shown as counts, what has failed first, and what runs now: never more than `MOST_SHOWN`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.fan_out import element_name, fans_out, index_of
from formicary.engine.jobs.model import COMPOSING_METHODS, JobDefinition, task_from_json
from formicary.engine.queen.core.core import Core
from formicary.engine.queen.core.family import AWAIT
from formicary.engine.queen.core.outcome import decode_outputs
from formicary.engine.storage.port import JOB_COLUMNS, TASK_COLUMNS, Row, Store
from formicary.problems import FieldError, Problem, problem

MOST_SHOWN = 20
_HALF = MOST_SHOWN // 2
_RUNNING = (life.DISPATCHED, life.EXECUTING)
_BAD = (life.FAILED, life.CANCELLED)
_POSITION, _STATE, _OUTPUTS, _RENDERED = (
    TASK_COLUMNS.index(name) for name in ("position", "state", "outputs", "rendered")
)
_JOB_STATE, _CODE, _MESSAGE = (JOB_COLUMNS.index(name) for name in ("state", "error_code", "error_message"))

Document = dict[str, Any]


def known_states(states: Iterable[str]) -> list[str]:
    """States of tasks; none that is given: all but those that have not begun. Raises Problem VALIDATION_FAILED."""
    wanted = [state.upper() for state in states]
    known = ", ".join(life.TASK_STATES)
    unknown = [
        FieldError(f"states[{at}]", "UNKNOWN_VALUE", f"{state[:40]} is no state of a task; one of {known}.")
        for at, state in enumerate(wanted)
        if state not in life.TASK_STATES
    ]
    if unknown:
        raise problem("VALIDATION_FAILED", f"Some states are unknown; possible are {known}.", errors=unknown)
    return wanted or [state for state in life.TASK_STATES if state != life.PENDING]


def no_such_task(job_id: str, task_type: str, definition: JobDefinition) -> Problem:
    """The problem of a name that is no task's."""
    names = ", ".join(list(definition.index)[:20])
    return problem("NOT_FOUND", f"The job {job_id} has no task {task_type[:60]!r}; it has {names}.")


def has_children(definition: JobDefinition) -> bool:
    """Whether a task of the job can have something below it."""
    return any(fans_out(task) or task.method in COMPOSING_METHODS for task in definition.tasks)


def live_jobs(core: Core, job_id: str) -> Mapping[int, Document]:
    """How far the tasks of a job are that wait for jobs now, by position."""
    job = core.jobs.get(job_id)
    found: dict[int, Document] = {}
    for run in job.run.runs.values() if job is not None and job.run is not None else ():
        family = core.composing.families.get(run)
        if family is None or family.kind == AWAIT:
            continue
        states = Counter(end.state for end in family.ends.values())
        bad = [index for index in sorted(family.ends) if family.ends[index].state in _BAD]
        shown = [*bad[:_HALF], *sorted(family.open)[:_HALF]]
        children = [{"index": index, "job_id": family.ids[index]} for index in shown]
        found[run.position] = _document("job", len(family.ids), states, len(family.open), children)
    return found


def read_children(
    store: Store, org: str, number: int, tasks: Sequence[Row], definition: JobDefinition, live: Mapping[int, Document]
) -> dict[int, Document]:
    """The children of each task that has some, by position; blocking. Raises StoreError."""
    found = dict(live)
    states: dict[int, Counter[str]] = {}
    for position, state, count in store.element_states(number):
        states.setdefault(position, Counter())[state] = count
    for row in tasks:
        position = int(row[_POSITION] or 0)
        if position >= len(definition.tasks):
            continue
        task = definition.tasks[position]
        if fans_out(task):
            if (total := _total(row)) or position in states:
                found[position] = _elements(store, number, position, task.task_type, total, states.get(position))
        elif task.method in COMPOSING_METHODS and position not in found and row[_OUTPUTS]:
            children = _ended_jobs(decode_outputs(row[_OUTPUTS]))  # type: ignore[arg-type]  # the column holds bytes
            if children is not None:
                found[position] = children
    for document in found.values():
        if document["kind"] == "job":
            _add_states(store, org, document)
    return found


def _total(row: Row) -> int:
    """The length of the list, as the task keeps it while it runs, or as it has told at its end; 0 = unknown."""
    rendered = row[_RENDERED]
    if isinstance(rendered, bytes):
        source = (task_from_json(rendered).fan_out or {}).get("source")
        return len(source) if isinstance(source, list | tuple) else 0
    count = decode_outputs(row[_OUTPUTS]).get("FanOutItemCount")  # type: ignore[arg-type]  # the column holds bytes
    return count if isinstance(count, int) else 0


def _elements(
    store: Store, number: int, position: int, task_type: str, total: int, states: Counter[str] | None
) -> Document:
    states = states or Counter()
    bad = store.elements(number, position, limit=_HALF, states=[life.FAILED])
    running = store.elements(number, position, limit=_HALF, states=_RUNNING)
    children = []
    for row in (*bad, *running):
        task = dict(zip(TASK_COLUMNS, row, strict=True))
        index = index_of(int(row[_POSITION] or 0))
        child: Document = {name: task[name] for name in ("state", "attempts", "exit_code")}
        if task["error_code"] or task["error_message"]:
            child["error"] = {"code": task["error_code"], "message": task["error_message"]}
        children.append({"index": index, "name": element_name(task_type, index), **child})
    is_open = sum(count for state, count in states.items() if state not in life.TASK_ENDED and state != life.PENDING)
    total = max(total, sum(states.values()) - states[life.PENDING])
    return _document("task", total, states, is_open, children, running=sum(states[state] for state in _RUNNING))


def _ended_jobs(outputs: Mapping[str, Any]) -> Document | None:
    """What a task that has ended says of its jobs."""
    results = outputs.get("FanOutResults")
    if not isinstance(results, list):
        found = outputs.get("ForkedJobID")
        return _document("job", 1, Counter(), 0, [{"index": 0, "job_id": found}]) if isinstance(found, str) else None
    jobs = [one for one in results if isinstance(one, dict)]
    states = Counter(str(one.get("state")) for one in jobs)
    bad = [one for one in jobs if one.get("job") and one.get("state") in _BAD]
    shown = [{"index": one["index"], "job_id": one["job"]} for one in bad[:_HALF]]
    return _document("job", len(jobs), states, 0, shown)


def _document(
    kind: str, total: int, states: Counter[str], is_open: int, shown: list[Document], *, running: int | None = None
) -> Document:
    ended = {name.lower(): states[name] for name in (life.COMPLETED, life.FAILED, life.CANCELLED)}
    return {
        "kind": kind,
        "total": total,
        "waiting": max(0, total - is_open - sum(ended.values()) - states[life.SKIPPED]),
        "open": is_open,
        "running": is_open if running is None else running,
        **ended,
        "skipped": states[life.SKIPPED],
        "shown": shown,
    }


def _add_states(store: Store, org: str, document: Document) -> None:
    """Says how the jobs stand that are shown; one that was forked and not waited for counts only here."""
    for child in document["shown"]:
        row = store.job(org, child["job_id"])
        child["state"] = str(row[_JOB_STATE]) if row is not None else "GONE"
        if row is not None and row[_CODE]:
            child["error"] = {"code": row[_CODE], "message": row[_MESSAGE]}
    if document["total"] == 1 and document["shown"] and not document["open"]:
        state = document["shown"][0]["state"].lower()
        place = state if state in document else "open"
        document["waiting"], document[place] = 0, 1
