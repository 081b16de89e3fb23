"""Quality of service of a task, by what it asks for: guaranteed, burstable or best-effort.

What a task *requests* it holds of its ant while it runs; its *limit* is the most that it may use. A limit without a
request is a request, too. Guaranteed: of all that it names the request is the limit. Best-effort: it names nothing.
Burstable: all others. Of a container that an ant starts (DOCKER) what its `container` says counts as well.

Source: Kubernetes, "Pod Quality of Service Classes"; there a guaranteed pod has to name both cpu and memory.
"""

from __future__ import annotations

from collections.abc import Mapping

from formicary.engine.jobs.amounts import Needs, is_virtual, limits_of, requests_of
from formicary.engine.jobs.model import TaskDefinition

GUARANTEED, BURSTABLE, BEST_EFFORT = "guaranteed", "burstable", "best-effort"
CLASSES = (GUARANTEED, BURSTABLE, BEST_EFFORT)
"""Who gives way last comes first."""
_OF_CONTAINERS = {"cpu": "cpu_{}_cores", "memory": "memory_{}_bytes"}


def holds(task: TaskDefinition) -> Needs:
    """The amounts above zero that it holds of its ant, sorted by name."""
    if task.resources is None and task.container is None:
        return ()
    return tuple(sorted(_asked(task)[0].items()))


def quality_of(task: TaskDefinition) -> str:
    """The class of a task: one of CLASSES."""
    requests, limits = _asked(task)
    if not requests:
        return BEST_EFFORT
    return GUARANTEED if all(limits.get(name) == amount for name, amount in requests.items()) else BURSTABLE


LEAST_MEMORY_BYTES = 4 * 1024 * 1024
"""No process starts with less: a smaller limit is a mistake of units, is told as one, and bounds nothing."""
BOUNDED_METHODS = frozenset({"SHELL", "PYTHON"})
"""Methods whose processes are the ant's own: it bounds their memory."""


def memory_limit_of(task: TaskDefinition) -> int:
    """Bytes that each process of the task may have by `resources.limits.memory`; 0 = nothing bounds them here."""
    if task.resources is None or task.method not in BOUNDED_METHODS:
        return 0
    limit = int(limits_of(task.resources).get("memory", 0))
    return limit if limit >= LEAST_MEMORY_BYTES else 0


def asks(task: TaskDefinition) -> bool:
    """Whether it names an amount, be it a template that is not rendered yet: it may turn out not to be best-effort."""
    named = task.resources is not None and bool(task.resources) and not is_virtual(task.resources)
    return named or bool(holds(task))


def _asked(task: TaskDefinition) -> tuple[dict[str, float], dict[str, float]]:
    """Requests and limits; what `resources` names goes before the container."""
    requests, limits = requests_of(task.resources), limits_of(task.resources)
    if task.container is not None and task.method == "DOCKER":
        own_requests, own_limits = _of_container(task.container, "request"), _of_container(task.container, "limit")
        limits = own_limits | limits
        requests = own_limits | own_requests | requests
    return requests, limits


def _of_container(container: Mapping[str, object], kind: str) -> dict[str, float]:
    found = {}
    for name, field in _OF_CONTAINERS.items():
        value = container.get(field.format(kind))
        if isinstance(value, int | float) and value > 0:
            found[name] = float(value)
    return found
