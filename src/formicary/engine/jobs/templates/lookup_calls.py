"""The functions that ask for other jobs, for both dialects: counting and submitting them through the port."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from formicary.engine.jobs.templates.budget import TemplateError
from formicary.engine.jobs.templates.lookup import Environment, Lookup, LookupRefused

MAX_JOBS = 1000
"""Jobs that one call submits at most."""
WAITING = ("PENDING", "PAUSED", "MANUAL_APPROVAL_REQUIRED")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "WAITING": WAITING,
    "RUNNING": ("EXECUTING",),
    "HISTORY": ("COMPLETED", "FAILED", "CANCELLED"),
    "READY": ("PENDING",),
    "STARTED": ("EXECUTING",),
}
"""Names of the original engine: groups of states, and states that are one with another here."""
STATES = (*WAITING, "EXECUTING", "COMPLETED", "FAILED", "CANCELLED")


class CallError(Exception):
    """A function of a template cannot work with its arguments."""


def submit_job(env: Environment, job_type: str, params: Mapping[str, object]) -> str:
    """Submits a job and returns its id. Raises CallError, TemplateError."""
    port = _port(env, "SubmitJob")
    try:
        return port.submit_job(job_type, params)
    except LookupRefused as refused:
        raise CallError(str(refused)) from None


def submit_jobs(env: Environment, job_type: str, jobs: object, more: Mapping[str, object]) -> str:
    """Submits a job per object and returns the ids, joined by commas. Raises CallError, TemplateError.

    Args:
        env: Of the rendering.
        job_type: What is submitted; an object with `job_type` and `params` names its own. Empty: each names its own.
        jobs: The objects, or the text of a JSON array of them, or one object; each is the parameters of a job.
        more: Parameters of every job, above its own.
    """
    found = _read(jobs) if isinstance(jobs, str) else jobs
    listed: Sequence[object] = found if isinstance(found, Sequence) else [found]
    if len(listed) > MAX_JOBS:
        raise CallError(f"submits {len(listed):,} jobs at once; at most {MAX_JOBS:,} are possible")
    ids = []
    for one in listed:
        if not isinstance(one, Mapping):
            raise CallError("expected a JSON array of objects, one for each job")
        params, name = one.get("params"), one.get("job_type")
        if not job_type and not isinstance(name, str):
            raise CallError('without a job type, each object needs its own: {"job_type": …, "params": {…}}')
        if isinstance(params, Mapping):
            ids.append(submit_job(env, name if isinstance(name, str) else job_type, {**params, **more}))
        elif not job_type:
            own = {key: value for key, value in one.items() if key != "job_type"}
            ids.append(submit_job(env, str(name), {**own, **more}))
        else:
            ids.append(submit_job(env, job_type, {**one, **more}))
    return ",".join(ids)


def _read(text: str) -> object:
    try:
        found: object = json.loads(text.strip() or "[]")
    except (ValueError, RecursionError):
        raise CallError(f"expected a JSON array of objects, got {text[:40]!r}") from None
    return found


def count_jobs(env: Environment, job_type: str, states: Sequence[str]) -> int:
    """Counts jobs of a type; without states those that have not ended. Raises CallError, TemplateError."""
    port = _port(env, "CountByJobTypeAndState")
    wanted: dict[str, None] = {}
    for text in states or (*WAITING, "EXECUTING"):
        for state in (word.strip().upper() for word in text.split(",")):
            if state not in GROUPS and state not in STATES:
                raise CallError(f"{state[:40]!r} is no state of a job; write one of {', '.join(STATES)}")
            wanted.update(dict.fromkeys(GROUPS.get(state, (state,))))
    try:
        return port.count_by_job_type_and_state(job_type, tuple(wanted))
    except LookupRefused as refused:
        raise CallError(str(refused)) from None


def _port(env: Environment, name: str) -> Lookup:
    if env.lookup is None:
        message = f"{name} asks for other jobs: only tasks, the job's variables and skip_if can do that."
        raise TemplateError(message, code="NOT_AVAILABLE")
    return env.lookup
