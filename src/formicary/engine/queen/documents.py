"""The JSON documents of jobs, as the command line and the API show them (docs/reference/surfaces)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.configs import without_secrets
from formicary.engine.jobs.fan_out import element_name, index_of, is_element
from formicary.engine.jobs.model import JobDefinition
from formicary.engine.storage.port import JOB_COLUMNS, TASK_COLUMNS, Row
from formicary.problems import problem

CHECKPOINT_SHOWN = 1000
"""Characters of a checkpoint."""
LARGE_BYTES = 64 * 1024
_OUTPUTS = TASK_COLUMNS.index("outputs")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def timestamp(seconds: Any) -> str | None:
    """RFC 3339 in UTC with milliseconds; None stays None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary(row: Row) -> dict[str, Any]:
    """The document of a list: without tasks and outputs."""
    job = dict(zip(JOB_COLUMNS, row, strict=True))
    return {
        "id": job["id"],
        "job_type": job["job_type"],
        "state": job["state"],
        "priority": job["priority"],
        "submitted_at": timestamp(job["submitted_at"]),
        "scheduled_at": timestamp(job["scheduled_at"]),
        "started_at": timestamp(job["started_at"]),
        "ended_at": timestamp(job["ended_at"]),
        "execution": job["execution"],
        "retries": job["retries"],
        "dead_letter": bool(job["dead_letter"]),
        "error": _error(job),
    }


def full(
    row: Row, tasks: Sequence[Row], definition: JobDefinition, params: bytes, variables: bytes | None
) -> dict[str, Any]:
    """The whole document: every task of the definition in file order, and the merged outputs."""
    document = summary(row)
    runs = {int(task[1] or 0): dict(zip(TASK_COLUMNS, task, strict=True)) for task in tasks}
    over = document["state"] in life.JOB_ENDED
    shown = [_task(task.task_type, runs.get(position), over=over) for position, task in enumerate(definition.tasks)]
    context: dict[str, Any] = dict(_decode(variables) if variables else definition.variables)
    context.update(_decode(params) if params else {})
    for run in sorted((run for run in runs.values() if run["outputs"]), key=lambda run: run["ended_order"] or 0):
        context.update(decode_outputs(run["outputs"]))
    document["outputs"] = without_secrets(context)
    document["tasks"] = shown
    return document


def is_large(tasks: Sequence[Row], *texts: bytes | None) -> bool:
    """Whether making the document takes long enough to be felt: it is made of so much JSON."""
    outputs = [row[_OUTPUTS] for row in tasks]
    return sum(len(text) for text in (*texts, *outputs) if isinstance(text, bytes)) > LARGE_BYTES


def add_checkpoints(document: dict[str, Any], rows: Sequence[Row]) -> None:
    """Adds what its tasks have left for their next attempts (rows of CHECKPOINT_COLUMNS) to the document of a job."""
    for _, position, attempt, value, written_at in rows:
        if isinstance(value, bytes) and not is_element(int(position or 0)):
            document["tasks"][int(position or 0)]["checkpoint"] = {
                "attempt": attempt,
                "written_at": timestamp(written_at),
                "size_bytes": len(value),
                "value": value.decode("utf-8", "replace")[:CHECKPOINT_SHOWN],
            }


def element(task_type: str, row: Row) -> dict[str, Any]:
    """One element of a task that fans out, as tasks are shown."""
    run = dict(zip(TASK_COLUMNS, row, strict=True))
    return _task(element_name(task_type, index_of(int(row[1] or 0))), run, over=False)


def _task(task_type: str, run: Mapping[str, Any] | None, *, over: bool) -> dict[str, Any]:
    if run is None or (run["state"] == life.PENDING and not run["attempts"]):
        run = dict.fromkeys(TASK_COLUMNS)
        run.update(state=life.SKIPPED if over else life.PENDING, attempts=0)
    document: dict[str, Any] = {
        "task_type": task_type,
        "state": run["state"],
        "exit_code": _exit_code(run),
        "attempts": run["attempts"],
        "ant": run["ant"].partition("/")[0] if run["ant"] else None,
        "started_at": timestamp(run["started_at"]),
        "ended_at": timestamp(run["ended_at"]),
        "outputs": decode_outputs(run["outputs"]),
    }
    if run["signal"]:
        document["signal"] = run["signal"]
    if run["skipped"]:
        document["skipped"] = True
    if run["error_code"] or run["error_message"]:
        document["error"] = {"code": run["error_code"], "message": run["error_message"]}
        if run["traceback"]:
            document["error"]["traceback"] = run["traceback"]
    for name in ("failures", "lost", "polls"):
        if run[name]:
            document[name] = run[name]
    return document


def _exit_code(run: Mapping[str, Any]) -> int | None:
    if run["signal"]:
        return 128 + int(run["signal"])
    code: int | None = run["exit_code"]
    return code


def decode_outputs(outputs: Any) -> dict[str, Any]:
    """A task's outputs as stored; nothing where there are none."""
    try:
        return _decode(outputs) if outputs else {}
    except msgspec.DecodeError:
        return {}


def _error(job: Mapping[str, Any]) -> dict[str, object] | None:
    code = job["error_code"]
    if not code:
        return None
    return problem(str(code), str(job["error_message"] or code)).to_document()
