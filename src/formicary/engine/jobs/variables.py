"""The variables a task sees: where they come from, and which one counts when two have one name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from formicary.engine.jobs.model import JobDefinition, Parameter
from formicary.engine.jobs.yaml_nodes import plain_value

MAX_VALUE_CHARS = 1024 * 1024
"""Longest text of one parameter."""

Values = Mapping[str, object]
_NOTHING: Values = {}
BUILT_IN_NAMES = frozenset(
    {
        "JobID", "JobType", "JobRetry", "JobElapsedSecs", "UserID", "OrganizationID", "TaskType", "TaskRetry",
        "DateYear", "DateMonth", "DateDay", "YearDay", "FullDate", "EpochSecs", "UnescapeHTML", "JobDefinitionID",
        "WorkflowVersion", "WorkflowInternalVersion",
    }
)  # fmt: skip
"""Variables that the engine sets by itself."""

EXPORTED = ("JobID", "JobType", "DateYear", "DateMonth", "DateDay", "YearDay", "FullDate", "EpochSecs")
"""Those of the job that an ant knows by itself, for the environment of scripts."""

_NAME = re.compile(r"[^\s={}]{1,200}\Z")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list, tuple),
    "dict": (dict,),
}


def layer(
    *,
    org_configs: Values = _NOTHING,
    user_configs: Values = _NOTHING,
    job_variables: Values = _NOTHING,
    job_configs: Values = _NOTHING,
    task_variables: Values = _NOTHING,
    params: Values = _NOTHING,
    context: Values = _NOTHING,
    builtins: Values = _NOTHING,
) -> dict[str, object]:
    """Puts the sources of variables over each other; each wins over the ones before it.

    Args:
        org_configs: Configuration of the organisation.
        user_configs: Configuration of the user.
        job_variables: The job's variables, rendered.
        job_configs: Configuration of the job type.
        task_variables: The task's own variables.
        params: Parameters of the request.
        context: Outputs of earlier tasks, in the order of their commits, and ``task.name`` for each.
        builtins: What :func:`job_builtins` and :func:`task_builtins` return.
    """
    merged: dict[str, object] = {}
    for values in (org_configs, user_configs, job_variables, job_configs, task_variables, params, context, builtins):
        merged.update(values)
    return merged


def job_builtins(
    *,
    job_id: str,
    job_type: str,
    now: float,
    started_at: float | None = None,
    retry: int = 0,
    user_id: str = "",
    organization_id: str = "",
    definition_id: str = "",
    sem_version: str = "",
    version: int = 0,
) -> dict[str, object]:
    """Returns the variables that every template of a job can use.

    Args:
        job_id: The job request's id.
        job_type: Name of the job.
        now: Seconds since the epoch, UTC.
        started_at: When the job's execution started, for ``JobElapsedSecs``.
        retry: Retries of the whole job so far.
        user_id: Who submitted it.
        organization_id: For whom.
        definition_id: Id of the definition that it began with.
        sem_version: What that definition calls itself.
        version: Its number.
    """
    today = datetime.fromtimestamp(now, UTC)
    return {
        "JobID": job_id,
        "JobType": job_type,
        "JobRetry": retry,
        "JobElapsedSecs": int(max(0.0, now - started_at)) if started_at is not None else 0,
        "UserID": user_id,
        "OrganizationID": organization_id,
        "DateYear": today.year,
        "DateMonth": today.month,
        "DateDay": today.day,
        "YearDay": today.timetuple().tm_yday,
        "FullDate": today.strftime("%Y-%m-%d"),
        "EpochSecs": int(now),
        "JobDefinitionID": definition_id,
        "WorkflowVersion": sem_version,
        "WorkflowInternalVersion": version,
    }


def task_builtins(task_type: str, retry: int = 0) -> dict[str, object]:
    """Returns the variables that say which task runs, and how often it has run again: after failures and polls."""
    return {"TaskType": task_type, "TaskRetry": retry}


def missing_params(definition: JobDefinition, params: Values, configs: Values = _NOTHING) -> tuple[str, ...]:
    """Returns the required names that neither parameters nor variables nor configurations give, in their order.

    Args:
        definition: The job.
        params: Parameters of the request.
        configs: All configurations together.
    """
    given = (params, definition.variables, configs)
    required = dict.fromkeys(definition.required_params)
    required.update(dict.fromkeys(p.name for p in definition.parameters if p.required))
    return tuple(name for name in required if all(values.get(name) is None for values in given))


check_required_params = missing_params
"""The same under the name of the field it checks."""


def wrong_params(definition: JobDefinition, params: Values) -> tuple[str, ...]:
    """Returns a sentence for each parameter whose value is not of its declared type."""
    found = []
    for parameter in definition.parameters:
        value = params.get(parameter.name)
        types = _PYTHON_TYPES.get(parameter.type)
        if value is None or types is None:
            continue
        if not isinstance(value, types) or (isinstance(value, bool) and parameter.type in ("int", "float")):
            found.append(f"The parameter {parameter.name} must be of type {parameter.type}.")
    return tuple(found)


def defaults(definition: JobDefinition) -> dict[str, object]:
    """Returns the default values of the typed parameters that have one."""
    return {p.name: p.default for p in definition.parameters if not p.required}


def parse_params(pairs: Iterable[str], parameters: Iterable[Parameter] = ()) -> dict[str, object]:
    """Reads parameters as the command line takes them: ``NAME=VALUE``.

    A value is typed as YAML 1.2 types it (``3`` is a number, ``true`` a bool, ``[1, 2]`` and ``{"a": 1}`` are JSON;
    ``"3"`` in double quotes is text, and so is ``007``), unless a typed parameter says that it is text.

    Args:
        pairs: The arguments.
        parameters: Typed parameters of the job.

    Raises:
        ValueError: A pair has no ``=``, no name, or a value that is too long; the text says what to write.
    """
    texts = {p.name for p in parameters if p.type == "str"}
    found: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not _NAME.match(name):
            raise ValueError(f"{pair[:60]!r} is no parameter: write -p NAME=VALUE")
        if len(text) > MAX_VALUE_CHARS:
            raise ValueError(f"the value of {name} is longer than 1 MB: pass a path or an address instead")
        found[name] = text if name in texts else typed_value(text)
    return found


def typed_value(text: str) -> object:
    """Types one value of the command line; see :func:`parse_params`."""
    if text[:1] in ("[", "{", '"'):
        try:
            value: object = json.loads(text, parse_constant=_refuse)
            return value
        except (ValueError, RecursionError):
            return text
    if text == "" or _LEADING_ZERO.match(text):
        return text
    typed = plain_value(text)
    return text if isinstance(typed, float) and (typed != typed or abs(typed) == float("inf")) else typed


def _refuse(name: str) -> object:
    raise ValueError(name)
