"""Renders what the core asks for, off the loop: a task's text before an attempt, a job's variables before its start."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from formicary.engine.jobs.configs import NO_CONFIGS, ConfigView, altered_secret, secret_in
from formicary.engine.jobs.fan_out import definition_task, fans_out
from formicary.engine.jobs.model import JobDefinition, TaskDefinition, Violation, task_to_json
from formicary.engine.jobs.rendering import RenderedTask, expand_dynamic, render_job_variables, render_task
from formicary.engine.jobs.templates.engine import Lookup, TemplateError, is_true, render_text
from formicary.engine.jobs.templates.go_format import as_json
from formicary.engine.jobs.variables import defaults, job_builtins, layer, task_builtins
from formicary.engine.queen.core.batch import RenderRequest, TemplateJob
from formicary.engine.queen.core.passing import first_element
from formicary.engine.queen.definitions import refused

Clock = Callable[[], float]
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode
_ALTERED = (
    "the secret {name} is changed by a template function: a template can only put it in, as in {{{{.{name}}}}}; "
    "let the task change it"
)
_SEEN_FIELDS = (
    "cache",
    "artifacts",
    "artifact_ids",
    "tags",
    "method",
    "task_type",
    "routes",
    "labels",
    "approval_policy",
)
"""Fields whose values come back to the queen."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job's rendered variables and whether `skip_if` leaves it out, or the problem."""

    variables: bytes
    skip: bool
    problem: str | None
    jobs: tuple[TemplateJob, ...] = ()


@dataclass(frozen=True, slots=True)
class Rendered:
    """A task as rendered, or the problem."""

    task: RenderedTask | None
    problem: str | None
    jobs: tuple[TemplateJob, ...] = ()


class JobLookup(Lookup, Protocol):
    """What templates ask for, and what they have submitted."""

    def begin(self) -> None:
        """The text is rendered, perhaps again: what was submitted before does not count."""
        ...

    def jobs(self) -> tuple[TemplateJob, ...]:
        """What has been submitted. Raises StoreError."""
        ...


def render(request: RenderRequest, clock: Clock, lookup: JobLookup | None = None) -> Prepared | Rendered:
    """Renders what is asked for; what goes wrong is the answer's problem, never an exception but StoreError."""
    answer = _attempt(request, clock, lookup)
    return answer if lookup is None else replace(answer, jobs=lookup.jobs())


def _attempt(request: RenderRequest, clock: Clock, lookup: JobLookup | None) -> Prepared | Rendered:
    try:
        if request.position is None:
            return _prepare(request, clock, lookup)
        return _render(request, clock, lookup)
    except TemplateError as error:
        text = f"the template cannot be rendered: {error}"
    except Exception as error:  # user text drives this code: whatever it breaks fails this one job, not the queen
        text = f"rendering failed: {type(error).__name__}: {error}"
    return Prepared(b"{}", False, text) if request.position is None else Rendered(None, text)


def _prepare(request: RenderRequest, clock: Clock, lookup: JobLookup | None) -> Prepared:
    definition, rng = request.definition, random.Random(request.seed)
    configs, params = request.configs, {**defaults(definition), **_decode(request.params)}
    below = {**_older_names(request), **configs.below}
    outer = {"org_configs": below, "job_configs": configs.above, "params": params}
    builtins = _builtins(request)
    given = layer(**outer, job_variables=definition.variables, builtins=builtins)
    now = request.now
    variables, violations = render_job_variables(definition, given, now=now, rng=rng, lookup=lookup, clock=clock)
    if (problem := _first(violations)) is not None:
        return Prepared(b"{}", False, problem)
    encoded = _encode(variables)
    if (name := altered_secret(encoded, configs.secrets)) is not None:
        return Prepared(b"{}", False, _ALTERED.format(name=name))
    skip = False
    if definition.skip_if:
        seen = layer(**outer, job_variables=variables, builtins=builtins)
        text = render_text(definition.skip_if, seen, definition.template, now=now, rng=rng, lookup=lookup, clock=clock)
        skip = is_true(text)
    return Prepared(encoded, skip, None)


def _render(request: RenderRequest, clock: Clock, lookup: JobLookup | None) -> Rendered:
    definition = request.definition
    task = definition_task(definition, request.position or 0)
    context: dict[str, object] = {}
    for outputs in request.outputs.values():
        context.update(outputs)
    configs = request.configs

    def seen_with(own: Mapping[str, object]) -> dict[str, object]:
        found = layer(
            org_configs={**_older_names(request), **configs.below},
            job_configs=configs.above,
            job_variables=_decode(request.variables) if request.variables else definition.variables,
            task_variables=own,
            params={**defaults(definition), **_decode(request.params)},
            context={**context, **request.outputs},  # `.task.name` is exact, whatever else carries the task's name
            builtins={**_builtins(request), **task_builtins(task.task_type, request.task_retries)},
        )
        if request.element:
            return {**found, **{name: as_json(value) for name, value in request.element.items()}}
        return {**found, **first_element(task, found)}

    def render_with(own: Mapping[str, object]) -> RenderedTask:
        if lookup is not None:
            lookup.begin()
        rng, seen = random.Random(request.seed), seen_with(own)  # the same numbers in both passes
        return render_task(definition, task.task_type, seen, now=request.now, rng=rng, lookup=lookup, clock=clock)

    if fans_out(task) and request.element is None:
        return _render_fan_out(request, task, seen_with(task.variables), clock, lookup)
    # The task's own variables are there for its templates; those that are templates themselves after a first pass.
    literal = {name: value for name, value in task.variables.items() if not _is_template(value)}
    answer = render_with(literal)
    if len(literal) < len(task.variables) and _first(answer.violations) is None:
        own = answer.task.variables
        answer = render_with(own)
        answer = replace(answer, task=replace(answer.task, variables=own))
    problem = _first(answer.violations)
    if problem is None and configs.secrets:
        problem = _misused(answer.task, configs)
    return Rendered(None, problem) if problem is not None else Rendered(answer, None)


def _render_fan_out(
    request: RenderRequest, task: TaskDefinition, seen: Mapping[str, object], clock: Clock, lookup: JobLookup | None
) -> Rendered:
    """What a task says of its fan-out; everything else is rendered for each element."""
    if lookup is not None:
        lookup.begin()
    rng = random.Random(request.seed)

    def render_value(value: object) -> object:
        if isinstance(value, str):
            dialect = request.definition.template
            return render_text(value, seen, dialect, now=request.now, rng=rng, lookup=lookup, clock=clock)
        if isinstance(value, list | tuple):
            return [render_value(item) for item in value]
        return {k: render_value(v) for k, v in value.items()} if isinstance(value, Mapping) else value

    spec = {name: render_value(value) for name, value in (task.fan_out or {}).items()}
    return Rendered(RenderedTask(replace(task, fan_out=spec), False), None)


def _is_template(value: object) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _misused(task: TaskDefinition, configs: ConfigView) -> str | None:
    """Why secrets cannot be where a rendered task has them."""
    if (name := altered_secret(task_to_json(task), configs.secrets)) is not None:
        return _ALTERED.format(name=name)
    for field in _SEEN_FIELDS:
        if secret_in(getattr(task, field)):
            return f"{field} would hold a secret, and what stands there is stored and shown: leave the secret out."
    return None


def expand(
    definition: JobDefinition, params: bytes, now: float, clock: Clock, seed: int, configs: ConfigView = NO_CONFIGS
) -> str:
    """The source of a job with `dynamic_template_tasks`, expanded for these parameters. Raises Problem.

    A secret becomes the template action that names it: it is stored like that, and rendered before each attempt.
    """
    action = "{{{{ {} }}}}" if definition.template == "jinja" else "{{{{.{}}}}}"
    named = {name: action.format(name) for name in configs.secrets}
    params_of = {**defaults(definition), **_decode(params)}
    seen = {**configs.below, **definition.variables, **configs.above, **named, **params_of}
    parsed = expand_dynamic(definition, seen, now, random.Random(seed), clock=clock)
    errors = [found for found in parsed.violations if found.is_error]
    if errors or parsed.definition is None:
        raise refused(errors, definition.job_type)
    return parsed.definition.source


def _builtins(request: RenderRequest) -> dict[str, object]:
    return job_builtins(
        job_id=request.job_id,
        job_type=request.definition.job_type,
        now=request.now,
        started_at=request.started_at,
        retry=request.retries,
        user_id=request.user,
        organization_id=request.org,
        definition_id=str(request.row[0]),
        sem_version=request.definition.sem_version or "",
        version=abs(int(request.row[3] or 0)),
    )


def _older_names(request: RenderRequest) -> dict[str, object]:
    """Names that older job files use and nobody sets there; anything else of the same name wins."""
    nonce = random.Random(f"nonce {request.seed}").getrandbits(62)
    return {"SemVersion": request.definition.sem_version or "", "Nonce": nonce}


def _first(violations: tuple[Violation, ...]) -> str | None:
    errors = [found for found in violations if found.is_error]
    if not errors:
        return None
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"line {errors[0].line}, column {errors[0].column}: {errors[0].message}{more}"
