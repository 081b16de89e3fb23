"""The end of one attempt as the core takes it, and the variables a task sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.arguments import MISSING, Missing, resolve_arguments
from formicary.engine.jobs.configs import NO_CONFIGS, ConfigView, secret_in
from formicary.engine.jobs.fan_out import VALUES, definition_position, values_of
from formicary.engine.jobs.model import SCRIPT_METHODS, TaskDefinition
from formicary.engine.queen.core.records import Job, TaskRun

COMPLETED, FAILED, TIMED_OUT, CANCELLED, LOST = range(1, 6)
"""Outcomes, numbered as in the contract."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What an ant reports of an attempt. Times are seconds since the epoch, UTC."""

    token: int
    outcome: int
    exit_code: int | None = None
    signal: int | None = None
    outputs: bytes = b""
    error_code: str = ""
    error_message: str = ""
    traceback: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    recent: str = ""
    """End of its output, where it failed."""


def task_variables(run: TaskRun, configs: ConfigView = NO_CONFIGS) -> bytes:
    """JSON of everything the attempt sees: configurations and job variables < task variables < parameters < outputs.

    An HTTP task sends its variables away: those that its job, itself, the request or an earlier script name, with the
    values that they have by then; configurations, secrets in variables of the job, and what else earlier tasks have
    handed on (answers of HTTP tasks, results of functions) are there for its templates only.
    """
    job = run.job
    if run.task.arguments is not None:
        return _encode(resolve_arguments(run.task.arguments, Lookup(job, configs, run.element)))
    if run.element is not None:
        return _of_element(run, run.element, configs)
    configs = _for_task(run, configs)
    if job.definition.simple and not configs:
        return job.params or b"{}"
    return _encode(_seen(run, configs))


def _seen(run: TaskRun, configs: ConfigView) -> dict[str, Any]:
    job, own = run.job, dict(run.task.variables)
    merged = merged_variables(job, own, configs)
    if _sends(run.task):
        named = {**_job_variables(job, configs), **own, **(_decode(job.params) if job.params else {}), **_set(job)}
        return {name: merged[name] for name in named if name in own or not secret_in(merged[name])}
    return merged


def _set(job: Job) -> dict[str, Any]:
    """What scripts have set by name (`::set-output`), which the older engine sends too."""
    outputs, model = job.run.outputs if job.run is not None else {}, job.definition.model
    found: dict[str, Any] = {}
    for name, values in outputs.items():
        if name in model.index and model.tasks[model.index[name]].method in SCRIPT_METHODS:
            found |= values
    return found


def _sends(task: TaskDefinition) -> bool:
    return task.method.startswith("HTTP_")


def _for_task(run: TaskRun, configs: ConfigView) -> ConfigView:
    if configs is NO_CONFIGS or _sends(run.task):
        return NO_CONFIGS
    return configs.for_task(run.job.definition.model, definition_position(run.position))


def _of_element(run: TaskRun, element: dict[str, object], configs: ConfigView) -> bytes:
    """What all elements of a task see is made once, until an output or a configuration changes; the element is added.

    The list itself is left out, as large as it may be.
    """
    execution, own = run.job.run, run.task.variables
    assert execution is not None, "a job whose task has begun has an execution"
    position = definition_position(run.position)
    shared = execution.shared.get(position)
    if shared is None or shared[0] is not configs or shared[1:3] != (execution.version, own):
        merged = _seen(run, _for_task(run, configs))
        for name in (str((run.source.fan_out or {}).get("source")), *element):
            merged.pop(name, None)
        shared = execution.shared[position] = (configs, execution.version, own, _encode(merged)[:-1])
    start = shared[3]
    return start + (b"," if len(start) > 1 else b"") + _encode(element)[1:]


class Lookup:
    """Answers references: an element of a list, parameters of the job, outputs of tasks that completed."""

    def __init__(self, job: Job, configs: ConfigView, element: Mapping[str, object] | None = None) -> None:
        self._job = job
        self._configs = configs
        self._element = element or {}
        self._params: dict[str, Any] | None = None

    def at(self, element: Mapping[str, object]) -> Lookup:
        """The same for another element of the list: what was read of the job is not read again."""
        self._element = element
        return self

    def param(self, name: str) -> object:
        """The element of a list, a parameter or a variable of the job, or MISSING."""
        job = self._job
        if name in self._element:
            return self._element[name]
        if self._params is None:
            self._params = _job_variables(job, self._configs)
            if job.params:
                self._params.update(_decode(job.params))
        return self._params.get(name, MISSING)

    def outputs(self, task_type: str) -> dict[str, Any] | Missing:
        """The outputs of a task that completed, or MISSING."""
        job = self._job
        position = job.definition.model.index.get(task_type)
        if job.run is None or position is None:
            return MISSING
        run = job.run.runs.get(position)
        if run is None or run.state != life.COMPLETED or run.skipped:
            return MISSING
        outputs = job.run.outputs.get(task_type, {})
        return outputs if run.source.fan_out is None else {**outputs, VALUES: values_of(outputs)}


def _job_variables(job: Job, configs: ConfigView) -> dict[str, Any]:
    own = _decode(job.variables) if job.variables else job.definition.model.variables
    return {**configs.below, **own, **configs.above}


def merged_variables(job: Job, task_variables: dict[str, Any], configs: ConfigView = NO_CONFIGS) -> dict[str, Any]:
    """The layers of the sheet's precedence; each earlier task's outputs also under its own name."""
    outputs = job.run.outputs if job.run is not None else {}
    merged = _job_variables(job, configs)
    merged.update(task_variables)
    if job.params:
        merged.update(_decode(job.params))
    for found in outputs.values():
        merged.update(found)
    merged.update(outputs)  # `.task.name` is exact, whatever else carries the task's name
    return merged


def merged_outputs(job: Job) -> bytes:
    """JSON of the tasks' outputs, later commits over earlier ones; empty = none."""
    outputs = job.run.outputs if job.run is not None else {}
    if not outputs:
        return b""
    if len(outputs) == 1:
        return _encode(next(iter(outputs.values())))
    merged: dict[str, Any] = {}
    for found in outputs.values():
        merged.update(found)
    return _encode(merged)


def decode_outputs(outputs: bytes | None) -> dict[str, Any]:
    """Outputs of one task; whatever is not a JSON object counts as none."""
    if not outputs:
        return {}
    try:
        return _decode(outputs)
    except msgspec.DecodeError:
        return {}
