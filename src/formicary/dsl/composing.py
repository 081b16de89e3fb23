"""Jobs in Python that start other jobs, and wait for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from formicary.dsl.builder import CURRENT, Builder, DefinitionError
from formicary.dsl.handles import Handle, ParameterHandle
from formicary.dsl.jobs import Job
from formicary.engine.jobs.model import Json

JobName = str | Job[Any, Any]
"""A job type, which has to be registered where it is to run, or a job in Python, which is registered with this one."""


def fork(job: JobName, *, name: str = "", version: str = "", wait: bool = False, **params: object) -> Handle:
    """Adds a task that starts another job; for a job's function.

    Without `wait` the task ends as soon as that job is stored, and its handle is the job's id; :func:`join` waits for
    it. With `wait` the task ends with the job, and its handle is what the job gave.

    Args:
        job: The job to start.
        name: The task's ``task_type``; the name of the job where it is left out.
        version: Number or ``sem_version`` to pin; the newest where it is left out.
        wait: Whether the task ends with the job.
        **params: Parameters of the job: constants, parameters of this job, handles.

    Raises:
        DefinitionError: No job is being defined.
    """
    builder = _builder("fork")
    fields = _fields(builder, "FORK_JOB", job, version)
    if wait:
        fields["sub_workflow"] = {"wait_for_completion": True}
    handle = builder.add_without_function(name or _type_of(job), fields, params or None)
    return handle if wait else handle["ForkedJobID"]


def join(*forks: Handle, name: str = "join") -> Handle:
    """Adds a task that waits for the jobs that :func:`fork` has started; its handle is all that they gave.

    Args:
        *forks: What :func:`fork` returned.
        name: The task's ``task_type``.

    Raises:
        DefinitionError: No job is being defined, or a handle is of another kind.
    """
    builder = _builder("join")
    nodes = [builder.node_of(one, "join()") for one in forks]
    if not nodes or any(node.fields.get("method") != "FORK_JOB" for node in nodes):
        raise DefinitionError("join() takes what fork() has returned.")
    names: list[Json] = [node.name for node in nodes]
    handle = builder.add_without_function(name, {"method": "AWAIT_FORKED_JOB", "await_forked_tasks": names})
    handle.node.wait_for(forks)
    return handle


def fork_each(
    job: JobName,
    items: Iterable[object] | Handle | ParameterHandle,
    *,
    item: str,
    name: str = "",
    version: str = "",
    max_parallel: int = 0,
    fail_fast: bool = False,
    **params: object,
) -> Handle:
    """Adds a task that starts a job for each element of a list and ends with the last of them.

    Args:
        job: The job to start.
        items: The list: constants, a parameter of this job, or what a task returns.
        item: Parameter of the job that gets the element.
        name: The task's ``task_type``; the name of the job where it is left out.
        version: Number or ``sem_version`` to pin; the newest where it is left out.
        max_parallel: Jobs that may be open at a time, 0 = all.
        fail_fast: The first job that fails ends the others.
        **params: Further parameters, the same for each.

    Returns:
        The handle of a list with the outputs of each job, in the order of the elements.
    """
    builder = _builder("fork_each")
    fields = _fields(builder, "FAN_OUT_JOB", job, version)
    handle = builder.add_without_function(name or _type_of(job), fields, params or None)
    return builder.fan_out(handle.node, items, item, max_parallel=max_parallel, fail_fast=fail_fast)


def _builder(what: str) -> Builder:
    builder = CURRENT.get()
    if builder is None:
        raise DefinitionError(f"{what}() works inside of a job's function only.")
    return builder


def _fields(builder: Builder, method: str, job: JobName, version: str) -> dict[str, Json]:
    if isinstance(job, Job):
        builder.forked[job.name] = job
    fields: dict[str, Json] = {"method": method, "fork_job_type": _type_of(job)}
    return {**fields, "fork_job_version": version} if version else fields


def _type_of(job: JobName) -> str:
    return job if isinstance(job, str) else job.name
