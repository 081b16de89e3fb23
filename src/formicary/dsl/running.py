"""Runs a job in this process: a queen with its store in memory, an ant, and the tasks on threads of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from typing import cast

from formicary.dsl.handles import Handle
from formicary.dsl.jobs import Built
from formicary.dsl.results import JobResult, TaskResult
from formicary.engine.jobs.arguments import result_of
from formicary.engine.jobs.fan_out import VALUES, values_of
from formicary.engine.jobs.model import Json
from formicary.engine.jobs.quality import holds


def run_job(built: Built) -> JobResult:
    """Runs a job and blocks until it has ended; where an event loop runs already, on a thread beside it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run_job_async(built))
    found: list[JobResult | BaseException] = []

    def work() -> None:
        try:
            found.append(asyncio.run(run_job_async(built)))
        except BaseException as error:  # raised again below, on the caller's thread
            found.append(error)

    thread = threading.Thread(target=work, name=f"job {built.definition.job_type}")
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


async def run_job_async(built: Built) -> JobResult:
    """Runs a job; PYTHON tasks are called in this process, everything else is done as always."""
    from formicary.embedded import Colony, ColonyConfig, InlinePython

    definition = built.definition
    every = (*built.forked, built)
    tags = frozenset(tag for one in every for task in one.definition.tasks for tag in task.tags)
    functions = {name: function for one in every for name, function in one.functions.items()}
    config = ColonyConfig(tags=tags, resources=_most(every), executors={"PYTHON": InlinePython(functions)})
    async with Colony(config) as colony:
        for other in built.forked:
            await colony.register(other.definition.source, filename=other.definition.job_type)
        definition_id = await colony.register(definition.source, filename=definition.job_type)
        job_id = await colony.submit(definition_id, built.params)
        try:
            await colony.ended([job_id])
        except asyncio.CancelledError:
            colony.kill()
            raise
        return to_result(await colony.get(job_id), built.returned)


def _most(every: Iterable[Built]) -> dict[str, float]:
    """The largest amount that a task asks for, by resource: it is there, as tags are."""
    found: dict[str, float] = {}
    for one in every:
        for task in one.definition.tasks:
            for name, amount in holds(task):
                found[name] = max(amount, found.get(name, 0.0))
    return found


def to_result(document: Mapping[str, object], returned: Handle | None) -> JobResult:
    """Turns a job's document into a result."""
    rows = cast("list[Mapping[str, object]]", document.get("tasks") or [])
    tasks = {task.name: task for task in map(_task, rows)}
    error = document.get("error")
    return JobResult(
        id=str(document["id"]),
        state=str(document["state"]),
        outputs=cast("Mapping[str, Json]", document.get("outputs") or {}),
        tasks=tasks,
        value=_value(tasks, returned),
        error=str(error.get("detail", "")) if isinstance(error, Mapping) else "",
        document=document,
    )


def _task(row: Mapping[str, object]) -> TaskResult:
    error = row.get("error")
    found = error if isinstance(error, Mapping) else {}
    exit_code = row.get("exit_code")
    return TaskResult(
        name=str(row["task_type"]),
        state=str(row["state"]),
        attempts=int(cast("int", row.get("attempts") or 0)),
        outputs=cast("Mapping[str, Json]", row.get("outputs") or {}),
        exit_code=exit_code if isinstance(exit_code, int) else None,
        error=str(found.get("message") or found.get("detail") or found.get("code") or ""),
        traceback=str(found.get("traceback") or row.get("traceback") or ""),
    )


def _value(tasks: Mapping[str, TaskResult], returned: Handle | None) -> Json:
    """Returns what the task returned whose handle the job's function returned."""
    task = tasks.get(returned.name) if returned is not None else None
    if task is None or returned is None or task.state != "COMPLETED":
        return None
    if returned.output == VALUES:
        return values_of(task.outputs)
    if returned.output is not None:
        return task.outputs.get(returned.output)
    return dict(task.outputs) if returned.node.output == "*" else result_of(task.outputs)
