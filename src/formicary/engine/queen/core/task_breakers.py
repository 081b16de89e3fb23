"""Which circuit breaker the attempts of a task pass: that of `downstream`, of the host that is called, or its own."""

from __future__ import annotations

from urllib.parse import urlsplit

from formicary.engine.jobs.model import QUEEN_METHODS, JobDefinition, TaskDefinition
from formicary.engine.scheduling.breakers import TASK_MARK
from formicary.engine.scheduling.demand import Gate


def breaker_name(model: JobDefinition, task: TaskDefinition) -> str:
    """The name of a task's breaker.

    Args:
        model: The job.
        task: As it runs, templates rendered.

    Returns:
        Empty where no attempt of it has to pass one: it says nothing of it, no ant runs it, or its job passes the very
        same one as a whole, whose trial would wait for itself.
    """
    spec = task.circuit_breaker
    if spec is None or task.method in QUEEN_METHODS:
        return ""
    name = str(spec.get("downstream") or "") or _host(task.url or "") or f"{model.job_type}.{task.task_type}"
    whole = model.circuit_breaker
    return "" if whole is not None and name == str(whole.get("downstream") or model.job_type) else name


def task_gate(org: str, model: JobDefinition, task: TaskDefinition) -> Gate | None:
    """The gate of a task's demand, None where it has to pass no breaker."""
    name = breaker_name(model, task) if task.circuit_breaker is not None else ""
    return (org, TASK_MARK + name) if name else None


def _host(url: str) -> str:
    """The host that an address names, with the port where it says one; empty where it names none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    host = (parts.hostname or "").strip("[]").replace(":", "-")
    return f"{host}-{port}" if host and port else host
