"""Jobs as messages of the contract, made from rows and documents of the queen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.documents import LARGE_BYTES
from formicary.engine.queen.forecasting import Estimate
from formicary.engine.storage.port import JOB_COLUMNS, Row
from formicary.gateway import Call
from formicary.gateway.call import LARGE
from formicary.problems import problem
from formicary.v1 import approvals_pb2
from formicary.v1 import jobs_pb2 as pb

_encode = msgspec.json.Encoder().encode
_AT = {name: position for position, name in enumerate(JOB_COLUMNS)}
_ID, _TYPE, _STATE, _PRIORITY = _AT["id"], _AT["job_type"], _AT["state"], _AT["priority"]
_DEFINITION, _SUBMITTED = _AT["definition_id"], _AT["submitted_at"]
_EXECUTION, _RETRIES, _DEAD = _AT["execution"], _AT["retries"], _AT["dead_letter"]
_CODE, _MESSAGE = _AT["error_code"], _AT["error_message"]
_TIMES = tuple((name, _AT[name]) for name in ("submitted_at", "scheduled_at", "started_at", "ended_at"))

_EPOCH, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=1)
_MOST_ROWS = 100
"""Of a page, that are made into messages on the loop: 10 to 20 µs each."""
T = TypeVar("T")
_MOST_AT_ONCE = 500
"""Values of an output that are made into a message on the loop."""
_PLAIN = ("task_type", "state", "attempts", "exit_code", "ant", "signal", "skipped", "failures", "lost", "polls")

_ASKED_TIMES = ("asked_at", "deadline_at", "escalated_at", "decided_at")


def basic(row: Row) -> pb.Job:
    """A job as lists show it: without tasks and outputs."""
    job: Any = pb.Job(
        id=str(row[_ID]),
        job_type=str(row[_TYPE]),
        state=str(row[_STATE]),
        priority=_int(row[_PRIORITY]),
        execution=_int(row[_EXECUTION]),
        retries=_int(row[_RETRIES]),
        dead_letter=bool(row[_DEAD]),
        definition_id=str(row[_DEFINITION]),
    )
    for name, position in _TIMES:
        value = row[position]
        if isinstance(value, int | float):
            getattr(job, name).FromMilliseconds(int(value * 1000))
    code = row[_CODE]
    if code:
        job.error.update(problem(str(code), str(row[_MESSAGE] or code)).to_document())
    return job  # type: ignore[no-any-return]  # Any for the sake of getattr above


def definition_of(row: Row) -> str:
    """The definition of a job."""
    return str(row[_DEFINITION])


def accepted(row: Row, start: float | None) -> pb.Job:
    """A job as it was when it was accepted, made from what never changes: a repeated request gets the same bytes.

    Args:
        row: The job as it is now.
        start: The earliest start that request or definition asked for, in seconds since the epoch.
    """
    job = pb.Job(id=str(row[_ID]), job_type=str(row[_TYPE]), state=life.PENDING, priority=_int(row[_PRIORITY]))
    submitted = row[_SUBMITTED]
    if isinstance(submitted, int | float):
        job.submitted_at.FromMilliseconds(int(submitted * 1000))
        if start is not None and start > submitted:
            job.scheduled_at.FromMilliseconds(int(start * 1000))
    return job


def full(document: Mapping[str, Any], *, exact: bool) -> pb.Job:
    """A job with its tasks and outputs.

    Args:
        document: As :meth:`formicary.engine.queen.runtime.Queen.document` gives it.
        exact: Outputs as JSON text instead of a Struct, whose numbers are doubles and whose order is lost.
    """
    job = pb.Job(
        id=document["id"],
        job_type=document["job_type"],
        state=document["state"],
        priority=document["priority"],
        execution=document["execution"],
        retries=document["retries"],
        dead_letter=document["dead_letter"],
        definition_id=document["definition_id"],
        definition_version=document["definition_version"],
        submitted_at=_time(document["submitted_at"]),
        scheduled_at=_time(document["scheduled_at"]),
        started_at=_time(document["started_at"]),
        ended_at=_time(document["ended_at"]),
    )
    if document["error"] is not None:
        job.error.update(document["error"])
    _set_outputs(job, document["outputs"], exact=exact)
    for task in document["tasks"]:
        _add_task(job.tasks.add(), task, exact=exact)
    return job


async def page(rows: int, make: Callable[[], T], call: Call) -> T:
    """A page of so many rows; a long one is made beside the loop."""
    if rows <= _MOST_ROWS:
        return make()
    call.state[LARGE] = True
    return await asyncio.to_thread(make)


async def shown(document: Mapping[str, Any], call: Call, *, exact: bool) -> pb.Job:
    """The same; what a fan-out over thousands leaves takes tenths of a second, and is made beside the loop."""
    if not any(map(_is_large, (document, *document["tasks"]))):
        return full(document, exact=exact)
    call.state[LARGE] = True
    return await asyncio.to_thread(full, document, exact=exact)


def _is_large(one: Mapping[str, Any]) -> bool:
    outputs = one["outputs"]
    if any(isinstance(value, list | dict) and len(value) > _MOST_AT_ONCE for value in outputs.values()):
        return True
    return len(_encode(outputs)) > LARGE_BYTES


def element(document: Mapping[str, Any], *, exact: bool) -> pb.Task:
    """An element of a task that fans out."""
    message = pb.Task()
    _add_task(message, document, exact=exact)
    return message


def _add_task(message: pb.Task, task: Mapping[str, Any], *, exact: bool) -> None:
    for name in (
        "task_type",
        "state",
        "attempts",
        "exit_code",
        "ant",
        "signal",
        "skipped",
        "failures",
        "lost",
        "polls",
    ):
        value = task.get(name)
        if value is not None:
            setattr(message, name, value)
    for name in ("started_at", "ended_at"):
        if task[name] is not None:
            put_time(getattr(message, name), task[name])
    _set_outputs(message, task["outputs"], exact=exact)
    if "error" in task:
        message.error.CopyFrom(_task_error(task["error"]))
    if "approval" in task:
        message.approval.CopyFrom(approval(task["approval"]))
    if "children" in task:
        _set_children(message.children, task["children"])
    if "progress" in task:
        message.progress.CopyFrom(pb.Progress(**task["progress"]))
    if "checkpoint" in task:
        left = task["checkpoint"]
        for name in ("attempt", "size_bytes", "value"):
            setattr(message.checkpoint, name, left[name])
        put_time(message.checkpoint.written_at, left["written_at"])


def _task_error(found: Mapping[str, Any]) -> pb.TaskError:
    return pb.TaskError(
        code=found["code"] or "", message=found["message"] or "", traceback=found.get("traceback") or ""
    )


def _set_children(message: pb.Children, children: Mapping[str, Any]) -> None:
    for name, value in children.items():
        if name != "shown":
            setattr(message, name, value)
    for child in children["shown"]:
        shown = message.shown.add()
        for name, value in child.items():
            if name == "error":
                shown.error.CopyFrom(_task_error(value))
            elif value is not None:
                setattr(shown, name, value)


def approval(document: Mapping[str, Any]) -> approvals_pb2.Approval:
    """A question to people, as :mod:`formicary.engine.queen.approvals` shows it."""
    policy = {name: value for name, value in document["policy"].items() if value is not None}
    message = approvals_pb2.Approval(
        id=document["id"],
        job_type=document["job_type"],
        task_type=document["task_type"],
        attempt=document["attempt"],
        state=document["state"],
        decided_by=document["decided_by"] or "",
        missing=document["missing"],
        policy=approvals_pb2.ApprovalPolicy(**policy),
    )
    for name in _ASKED_TIMES:
        if document[name] is not None:
            put_time(getattr(message, name), document[name])
    for vote in document["votes"]:
        voted_at = Timestamp()
        put_time(voted_at, vote["voted_at"])
        message.votes.add(voter=vote["voter"], decision=vote["decision"], comment=vote["comment"], voted_at=voted_at)
    return message


def estimate(found: Estimate) -> pb.Estimate:
    """When a job would start."""
    message = pb.Estimate(job_type=found.job_type, reason=found.reason, ahead=found.ahead, slots=found.slots)
    if found.dry_run is not None:
        dry = found.dry_run
        message.dry_run.CopyFrom(pb.DryRun(fits=dry.fits, places=dry.places, lacks=dry.lacks, never=dry.never))
    for pool in found.pools:
        numbers = {"ants": pool.ants, "slots": pool.slots, "busy": pool.busy, "ahead": pool.ahead}
        one = message.pools.add(tags=pool.tags, serves=pool.serves, wait_s=round(pool.wait_s, 3), **numbers)
        one.starts_at.FromMilliseconds(int(pool.starts_at * 1000))
    if found.reason:
        return message
    message.starts_at.FromMilliseconds(int(found.starts_at * 1000))
    message.earliest_at.FromMilliseconds(int(found.earliest_at * 1000))
    message.latest_at.FromMilliseconds(int(found.latest_at * 1000))
    message.wait_s, message.article_wait_s = round(found.wait_s, 3), round(found.article_wait_s, 3)
    message.limited, message.limited_by = bool(found.limited_by), found.limited_by
    if found.run_s is not None:
        message.run_s = round(found.run_s, 3)
    if found.in_time is not None:
        message.in_time = round(found.in_time, 3)
    return message


def _set_outputs(message: pb.Job | pb.Task, outputs: Mapping[str, Any], *, exact: bool) -> None:
    if exact:
        message.exact_outputs = _encode(outputs).decode()
    else:
        message.outputs.update(outputs)


def _time(text: str | None) -> Timestamp | None:
    if text is None:
        return None
    found = Timestamp()
    put_time(found, text)
    return found


def put_time(field: Timestamp, text: str) -> None:
    """A time as documents write it, RFC 3339; the library's own reader takes ten times as long."""
    found = datetime.fromisoformat(text)
    field.seconds, field.nanos = (found - _EPOCH) // _SECOND, found.microsecond * 1000


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
