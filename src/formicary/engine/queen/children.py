"""Looks up what a task that composes jobs has to know: the definition to fork, and which of its jobs have ended."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.configs import ConfigView
from formicary.engine.jobs.model import JobDefinition
from formicary.engine.queen.core.batch import Children, ChildrenRequest, ExpandRequest, JobEnded, TemplateJob
from formicary.engine.queen.core.outcome import decode_outputs
from formicary.engine.queen.definitions import Definitions
from formicary.engine.queen.public_jobs import find_public
from formicary.engine.queen.rendering import expand
from formicary.engine.storage.port import JOB_COLUMNS, TASK_COLUMNS, Row, Store
from formicary.problems import Problem, problem

LATEST = "latest"
"""Stands for the newest version."""
_PAGE = 100
_STATE, _CODE, _MESSAGE = (JOB_COLUMNS.index(name) for name in ("state", "error_code", "error_message"))
_OUTPUTS, _ORDER = TASK_COLUMNS.index("outputs"), TASK_COLUMNS.index("ended_order")


def find_children(store: Store, model: Callable[[Row], JobDefinition], request: ChildrenRequest) -> Children:
    """Answers a request from what is committed; blocking. Raises StoreError."""
    ended: dict[str, JobEnded] = {}
    for job_id in store.find_ids(list(request.ids)) if request.ids else ():
        row = store.job(request.org, job_id)
        if row is not None and row[_STATE] in life.JOB_ENDED:
            ended[job_id] = _end(store, row)
    if not request.job_type:
        return Children(None, "", ended)
    try:
        found = newest_definition(store, model, request.org, request.job_type, request.version)
    except Problem as error:
        return Children(None, error.detail, ended)
    return Children(found, "", ended)


def newest_definition(
    store: Store, model: Callable[[Row], JobDefinition], org: str, job_type: str, version: str = ""
) -> tuple[Row, JobDefinition]:
    """The definition to start a job with. Raises StoreError; Problem NOT_FOUND or FAILED_PRECONDITION with the reason.

    Args:
        store: Where definitions are.
        model: The definition of a row.
        org: Whose they are.
        job_type: Its job type.
        version: Its number or `sem_version`; empty or ``latest`` = the newest.
    """
    name = f"the job type {job_type!r}" + (f" in version {version}" if version else "")
    try:
        row = find_version(store, model, org, job_type, version)
        if row is None:
            raise problem("NOT_FOUND", f"{name} is not registered")
        found = model(row)
    except Problem as error:
        if error.code in ("NOT_FOUND", "FAILED_PRECONDITION"):
            raise
        raise problem("FAILED_PRECONDITION", f"{name} cannot be read: {error}") from error
    return row, found


def expand_child(
    parser: Definitions, request: ExpandRequest, clock: Callable[[], float] = time.monotonic
) -> tuple[Row, JobDefinition]:
    """The definition that a template makes for a fork; blocking. Raises StoreError; Problem with the reason."""
    return _expanded(parser, request.row, request.model, request.params, request.configs, clock)


def with_tasks(
    parser: Definitions, jobs: Sequence[TemplateJob], configs: Sequence[ConfigView]
) -> tuple[tuple[TemplateJob, ...], str]:
    """Jobs that a template submits, with the tasks that their own templates make; blocking.

    Args:
        parser: Makes definitions.
        jobs: The jobs, some of them with `dynamic_template_tasks`.
        configs: What each of them sees of the configurations.

    Returns:
        The jobs, and why one of them has no tasks; empty = all have theirs.
    """
    found = []
    for job, seen in zip(jobs, configs, strict=True):
        if job.model.dynamic_template_tasks:
            try:
                row, model = _expanded(parser, job.row, job.model, job.params, seen, time.monotonic)
            except Problem as error:
                return (), f"the tasks of {job.model.job_type} cannot be made: {error.detail}"
            found.append(replace(job, row=row, model=model))
        else:
            found.append(job)
    return tuple(found), ""


def _expanded(
    parser: Definitions,
    row: Row,
    template: JobDefinition,
    params: bytes,
    configs: ConfigView,
    clock: Callable[[], float],
) -> tuple[Row, JobDefinition]:
    """Row and definition with the tasks that a template makes. Raises Problem."""
    source = expand(template, params, time.time(), clock, random.getrandbits(32), configs)
    methods, path, filename, org = dict(template.methods), str(row[6] or ""), str(row[7] or ""), str(row[1])
    key, model = parser.build(source, methods, path, filename, org, expanded=True)
    return parser.row(key, model, methods, path, filename, org, abs(int(row[3] or 0))), model


def find_version(
    store: Store, model: Callable[[Row], JobDefinition], org: str, job_type: str, version: str
) -> Row | None:
    """The newest version (empty or ``latest``), that of a number or id, or the newest of a `sem_version`.

    Where the organisation has no such job type, that of a public job of another one (:mod:`.public_jobs`). Raises
    StoreError; Problem FAILED_PRECONDITION.
    """
    version = "" if version == LATEST else version
    newest = store.latest_definition(org, job_type)
    if newest is None:
        return find_public(store, model, org, job_type, version)
    if not version:
        return newest
    after = ("", 0)
    while rows := store.definitions(org, job_type=job_type, after=after, limit=_PAGE, with_source=True):
        for row in rows:
            if version in (str(row[3]), str(row[0])) or model(row).sem_version == version:
                return row
        after = (str(rows[-1][2]), int(rows[-1][3] or 0))
    return None


def _end(store: Store, row: Row) -> JobEnded:
    """How a job ended, with the merged outputs of its tasks as its end carried them."""
    merged: dict[str, Any] = {}
    tasks = [task for task in store.tasks(int(row[0] or 0)) if task[2] in (life.COMPLETED, life.FAILED)]
    done = [task for task in tasks if task[_OUTPUTS]]
    for task in sorted(done, key=lambda task: int(task[_ORDER] or 0)):
        merged.update(decode_outputs(task[_OUTPUTS]))  # type: ignore[arg-type]  # the column holds bytes
    outputs = msgspec.json.encode(merged) if merged else b""
    return JobEnded(str(row[1]), str(row[_STATE]), outputs, str(row[_CODE] or ""), str(row[_MESSAGE] or ""))
