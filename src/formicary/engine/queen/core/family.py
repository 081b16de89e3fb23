"""The jobs that one attempt of a task forks or waits for: what the task asks for, and how far its jobs are."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.arguments import resolve_arguments
from formicary.engine.jobs.configs import NO_CONFIGS, ConfigView, may_hold_secrets, secret_in
from formicary.engine.jobs.fan_out import is_set, item_name, number_of
from formicary.engine.jobs.model import COMPOSING_METHODS, TaskDefinition
from formicary.engine.jobs.templates.budget import TemplateError
from formicary.engine.queen.core.batch import JobEnded, RenderRequest
from formicary.engine.queen.core.outcome import Lookup, decode_outputs, merged_variables
from formicary.engine.queen.core.passing import element_params, outputs_given, pairs_of, per_element
from formicary.engine.queen.core.records import Definition, TaskRun

FORK, AWAIT, FAN_OUT = "fork", "await", "job"
"""Kinds of families; the last is also what `FanOutMode` says."""
MAX_ID_CHARS = 96
"""Ids of forked jobs that would be longer end in a digest."""
MAX_OUTPUT_BYTES = 1024 * 1024
MOST_NAMED = 1_000
"""Up to so many elements what becomes of each has a name of its own."""
MOST_MESSAGE = 300
"""Characters of an error that are told under such a name."""


class CannotCompose(Exception):
    """What a task asks for is not possible; `code` is the task's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Family:
    """The jobs of one attempt.

    Attributes:
        run: The task.
        kind: FORK, AWAIT or FAN_OUT.
        ids: Id of each job by index.
        names: For AWAIT, the task that forked the job, by index.
        items: For FAN_OUT, the elements by index.
        configs: What its job sees of the configurations.
        joins: The task ends when its jobs have ended; otherwise as soon as they are forked.
        limit: Jobs that may be open at a time.
        answered: It is known which of its jobs exist.
        open: Indexes of jobs that have not ended.
        ends: How those ended that have, by index.
        next: First index that may still have to be started.
        stopped: Nothing more is started and what is open is cancelled; the outcome it leads to, empty = it goes on.
    """

    run: TaskRun
    kind: str
    ids: list[str]
    names: tuple[str, ...] = ()
    items: tuple[object, ...] = ()
    joins: bool = True
    limit: int = 1
    fail_fast: bool = False
    configs: ConfigView = NO_CONFIGS
    definition: Definition | None = None
    answered: bool = False
    open: set[int] = field(default_factory=set)
    listens: bool = True
    """The ends of all its jobs are waited for; else of each that it starts."""
    checked: bool = True
    """The parameters of all jobs were looked at."""
    lookup: Lookup | None = None
    """Answers the references in arguments."""
    expanding: set[int] = field(default_factory=set)
    """Those of the open ones whose tasks are being made by their template."""
    ends: dict[int, JobEnded] = field(default_factory=dict)
    next: int = 0
    stopped: str = ""
    fresh: list[int] = field(default_factory=list)
    """Indexes of the open ones of which it was not looked yet whether the task waits for itself by them."""

    @property
    def failed(self) -> JobEnded | None:
        """The first job by index that has not completed: one that failed before those that were cancelled for it."""
        bad = [(end.state == life.CANCELLED, index) for index, end in self.ends.items() if end.state != life.COMPLETED]
        return self.ends[min(bad)[1]] if bad else None


def child_id(parent: str, position: int, index: int, attempt: int) -> str:
    """The id of a forked job: always the same for the same attempt, and never one that a client can make.

    Ids of clients hold no dot; the dots of an id are the depth of its job.
    """
    return _below(parent, f"{position}-{index}-{attempt}")


def template_job_id(request: RenderRequest, content: bytes, turn: int) -> str:
    """The id of a job that a template submits: the same for each attempt of the task in one execution.

    Args:
        request: What is rendered.
        content: What is submitted.
        turn: Which of the equal submissions of one rendering it is, from 0.
    """
    place = "v" if request.position is None else str(request.position)
    digest = sha256(content + turn.to_bytes(4, "big")).hexdigest()[:16]
    return _below(request.job_id, f"{place}-{request.execution}-t{digest}")


def _below(parent: str, name: str) -> str:
    found = f"{parent}.{name}"
    if len(found) <= MAX_ID_CHARS:
        return found
    depth = depth_of(parent) + 1
    return f"{root_of(parent)}{'.' * depth}{sha256(found.encode()).hexdigest()[:32]}"


def root_of(job_id: str) -> str:
    """The id of the job that a client submitted and all others of its tree come from."""
    return job_id.partition(".")[0]


def depth_of(job_id: str) -> int:
    """How many forks lie between a job and the one that a client submitted."""
    return job_id.count(".")


def forked_type(task: TaskDefinition) -> tuple[str, str]:
    """Job type and version that a task forks, empty where it names none."""
    spec: Mapping[str, Any] = task.fan_out or {}
    job_type = str(spec.get("fork_job_type") or task.fork_job_type or "")
    return job_type, str(spec.get("fork_job_version") or task.fork_job_version or task.job_version or "")


def joins(task: TaskDefinition) -> bool:
    """Whether a task waits for jobs, its own or those of other tasks."""
    if task.method == "FORK_JOB" and task.fan_out is None:
        return bool((task.sub_workflow or {}).get("wait_for_completion"))
    return task.method in COMPOSING_METHODS


def joined(run: TaskRun) -> list[tuple[str, str]]:
    """Ids of the jobs that a task has waited for, each with the folder where files of that job belong.

    The jobs of a fan-out leave files of the same names: each has a folder of its own, as its outputs have names.
    """
    if run.task.method == "AWAIT_FORKED_JOB":
        return [(job_id, "") for job_id in dict.fromkeys(_awaited(run).ids)]
    outputs = decode_outputs(run.outputs)
    if run.task.fan_out is None:
        found = outputs.get("ForkedJobID")
        return [(found, "")] if isinstance(found, str) and joins(run.task) else []
    results = outputs.get("FanOutResults")
    name = item_name(run.task)
    return [
        (one["job"], f"{name}_{one['index']}")
        for one in (results if isinstance(results, list) else ())
        if isinstance(one, dict) and isinstance(one.get("job"), str)
    ]


def family_of(run: TaskRun, *, most: int, configs: ConfigView = NO_CONFIGS) -> Family:
    """The family that the attempt asks for. Raises CannotCompose."""
    task = run.task
    if task.method == "AWAIT_FORKED_JOB":
        return _awaited(run)
    passed = ("variables", task.variables) if task.sub_workflow is None else ("sub_workflow", task.sub_workflow)
    refuse_secrets(*passed)
    refuse_secrets("fan_out", task.fan_out)
    refuse_secrets("arguments", resolve_arguments(task.arguments or {}, Lookup(run.job, configs)))
    if task.fan_out is None:
        waits = bool((task.sub_workflow or {}).get("wait_for_completion"))
        return Family(run, FORK, _own_ids(run, 1), joins=waits, configs=configs)
    items = items_of(run, configs)
    if len(items) > most:
        raise CannotCompose("ERR_FORK_LIMIT", f"{len(items)} elements to fan out over: at most {most} are possible")
    limit = limit_of(task) or most
    ids = _own_ids(run, len(items))
    fast = is_set(task.fan_out, "fail_fast")
    return Family(run, FAN_OUT, ids, items=tuple(items), limit=limit, fail_fast=fast, configs=configs)


def _own_ids(run: TaskRun, count: int) -> list[str]:
    """Ids of the jobs of an attempt, as `child_id` makes them; of thousands of them it is called for long ones only."""
    parent, position, attempt = run.job.id, run.position, run.attempts
    if len(f"{parent}.{position}-{count}-{attempt}") <= MAX_ID_CHARS:
        start, end = f"{parent}.{position}-", f"-{attempt}"
        return [f"{start}{index}{end}" for index in range(count)]
    return [child_id(parent, position, index, attempt) for index in range(count)]


def _awaited(run: TaskRun) -> Family:
    job, ids, names = run.job, [], []
    runs = job.run.runs if job.run is not None else {}
    for name in run.task.await_forked_tasks:
        position = job.definition.model.index.get(name)
        fork = runs.get(position) if position is not None else None
        if position is None or (fork is not None and fork.is_active()):
            raise CannotCompose("ERR_FORK", f"the task {name} to wait for has not forked its job yet")
        found = decode_outputs(fork.outputs if fork is not None else None).get("ForkedJobID")
        if isinstance(found, str):
            ids.append(found)
            names.append(name)
    return Family(run, AWAIT, ids, names=tuple(names))


def limit_of(task: TaskDefinition) -> int:
    """How many may be open at a time, 0 = no limit. Raises CannotCompose."""
    value = (task.fan_out or {}).get("max_parallel")
    found = number_of(value)
    if found is None:
        what = f"fan_out.max_parallel has to be a number from 0 on, not {str(value)[:40]!r}"
        raise CannotCompose("ERR_VALIDATION", what)
    return found


def refuse_secrets(name: str, value: object) -> None:
    """Raises CannotCompose where a value that is passed on holds a secret."""
    if value and may_hold_secrets(msgspec.json.encode(value)) and secret_in(value):
        raise CannotCompose(
            "ERR_VALIDATION",
            f"{name} holds a secret: secrets are never passed to other jobs. The forked job sees those of its own "
            "organisation and type: name it there.",
        )


def items_of(run: TaskRun, configs: ConfigView) -> list[object]:
    """The elements: a list, the name of a variable that holds one, `task.output`, a JSON array, or a reference.

    Raises CannotCompose.
    """
    source: object = (run.task.fan_out or {}).get("source")
    if isinstance(source, dict):  # as an argument, see engine/jobs/arguments.py
        source = resolve_arguments({"source": source}, Lookup(run.job, configs)).get("source")
    if isinstance(source, str):
        source = _named(merged_variables(run.job, dict(run.task.variables), configs), source.strip())
    refuse_secrets("fan_out.source", source)
    if isinstance(source, str):
        try:
            source = msgspec.json.decode(source)
        except msgspec.DecodeError:
            source = None
    if not isinstance(source, list):
        given = str((run.task.fan_out or {}).get("source"))[:60]
        raise CannotCompose("ERR_VALIDATION", f"fan_out.source {given!r} is neither a list nor a variable with one")
    return source


def _named(variables: Mapping[str, object], name: str) -> object:
    """What a name leads to, also one output of a task by `task.output`; the name itself where there is none."""
    if name in variables:
        return variables[name]
    task, _, output = name.partition(".")
    outputs = variables.get(task)
    return outputs.get(output, name) if isinstance(outputs, dict) else name


def params_of(family: Family, index: int, now: float) -> dict[str, object]:
    """What the forked job gets: the task's arguments, its variables, or what `sub_workflow` maps; and the element.

    Raises CannotCompose where a template cannot be rendered for the element.
    """
    run = family.run
    task = run.task
    element: dict[str, object] = {}
    if family.kind == FAN_OUT:
        name = item_name(task)
        element = {name: family.items[index], f"{name}_index": index}
    params: dict[str, object] = {}
    if task.arguments is not None:
        named = {item_name(task): family.items[index]} if element else {}
        family.lookup = lookup = (family.lookup or Lookup(run.job, family.configs)).at(named)
        params.update(resolve_arguments(task.arguments, lookup))
    elif task.sub_workflow is None:
        params.update(task.variables)
    params.update(pairs_of(task, "input_params"))
    if element and (texts := per_element(run.source)):
        try:
            params.update(element_params(run, texts, element, family.configs, now))
        except TemplateError as error:
            raise CannotCompose("ERR_VALIDATION", f"for the element {index}: {error}") from error
    return {**params, **element}


def outputs_of(family: Family, now: float) -> Generator[None, None, tuple[bytes, dict[str, object]]]:
    """What the task gives its job, as JSON and as it is; a step for each element of a fan-out.

    Raises CannotCompose where that is too much.
    """
    name = family.run.task.task_type
    found: dict[str, object] = {}
    texts: list[bytes] = []
    if family.kind == FAN_OUT:
        found = yield from _fan_out_outputs(family, now, texts)
    else:
        for index in sorted(family.ends):
            found.update(outputs_given(family.run, decode_outputs(family.ends[index].outputs), now))
        if family.kind == AWAIT:
            found.update({f"{fork}.ForkedJobState": family.ends[i].state for i, fork in enumerate(family.names)})
        else:
            found.update({"ForkedJobID": family.ids[0], f"{name}.ForkedJobID": family.ids[0]})
    raw = {"FanOutResults": msgspec.Raw(b"[" + b",".join(texts) + b"]")} if family.kind == FAN_OUT else {}
    data = msgspec.json.encode(found | raw)
    if len(data) > MAX_OUTPUT_BYTES:
        raise CannotCompose("ERR_RESULT_TOO_LARGE", f"the outputs of its {len(family.ids)} jobs exceed 1 MB")
    return data, found


def _fan_out_outputs(family: Family, now: float, texts: list[bytes]) -> Generator[None, None, dict[str, object]]:
    """The outputs; `texts` gets the JSON of each result, a step each: all at once would hold the loop."""
    task = family.run.task
    name = item_name(task)
    found: dict[str, object] = {}
    results: list[object] = []
    for index, job_id in enumerate(family.ids):
        end = family.ends.get(index)
        state = end.state if end is not None else life.SKIPPED
        outputs = outputs_given(family.run, decode_outputs(end.outputs), now) if end is not None else {}
        found.update({f"{name}_{index}_{key}": value for key, value in outputs.items()})
        found.setdefault(f"{name}_{index}_status", state)  # an output of that name says more
        if end is not None and state == life.FAILED and len(family.ids) <= MOST_NAMED:
            why = (end.error_message or end.error_code)[:MOST_MESSAGE]
            found.setdefault(f"{name}_{index}_error_message", why)
        job: object = job_id if end is not None else None
        results.append({"index": index, "job": job, "state": state, "outputs": outputs})
        texts.append(msgspec.json.encode(results[-1]))
        yield
    source = (task.fan_out or {}).get("source_name")
    return {
        **found,
        "FanOutItemCount": len(family.ids),
        "FanOutMode": family.kind,
        "FanOutSource": source,
        "FanOutResults": results,
    }
