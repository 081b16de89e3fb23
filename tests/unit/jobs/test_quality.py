"""Requests, limits and the class that follows from them, in `resources` and in containers."""

from __future__ import annotations

import pytest

from formicary.engine.jobs.availability import availability_violations
from formicary.engine.jobs.model import TaskDefinition
from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.quality import BEST_EFFORT, BURSTABLE, GUARANTEED, asks, holds, quality_of

JOB = "job_type: j\ntasks:\n- task_type: a\n  script: x\n{task}"
DOCKER = "  method: DOCKER\n  container: {{image: i, {more}}}\n"


def _read(task: str) -> tuple[TaskDefinition, ...]:
    (found,) = parse_source(JOB.format(task=task))
    assert found.definition is not None, found.violations
    return found.definition.tasks


@pytest.mark.parametrize(
    ("task", "quality", "held"),
    [
        ("", BEST_EFFORT, {}),
        ("  resources: {}\n", BEST_EFFORT, {}),
        ("  resources: {cpu: 0}\n", BEST_EFFORT, {}),
        ("  resources: {resource_type: licence, value: 2}\n", BEST_EFFORT, {}),
        ("  resources: {cpu: 500m}\n", BURSTABLE, {"cpu": 0.5}),
        ("  resources: {requests: {cpu: 1}, limits: {cpu: 2}}\n", BURSTABLE, {"cpu": 1}),
        ("  resources: {cpu: 1, limits: {cpu: 2}}\n", BURSTABLE, {"cpu": 1}),
        ("  resources: {requests: {cpu: 1, memory: 1Ki}, limits: {cpu: 1}}\n", BURSTABLE, {"cpu": 1, "memory": 1024}),
        ("  resources: {requests: {cpu: 1}, limits: {cpu: 1000m}}\n", GUARANTEED, {"cpu": 1}),
        ("  resources: {limits: {cpu: 1, gpu: 2}}\n", GUARANTEED, {"cpu": 1, "gpu": 2}),
        (DOCKER.format(more="cpu_request: 500m"), BURSTABLE, {"cpu": 0.5}),
        (DOCKER.format(more="cpu_limit: 2, memory_limit: 1Ki"), GUARANTEED, {"cpu": 2, "memory": 1024}),
        (DOCKER.format(more="resources: {requests: {cpu: 1}, limits: {cpu: 1}}"), GUARANTEED, {"cpu": 1}),
        (DOCKER.format(more="cpu_limit: 2") + "  resources: {cpu: 1}\n", BURSTABLE, {"cpu": 1}),
        ("  container: {image: i, cpu_limit: 2}\n", BEST_EFFORT, {}),  # a shell runs without its container
    ],
)
def test_the_class_follows_from_requests_and_limits(task: str, quality: str, held: dict[str, float]) -> None:
    (one,) = _read(task)
    assert (quality_of(one), dict(holds(one))) == (quality, held)
    assert asks(one) == bool(held) or task.endswith("{cpu: 0}\n")


def test_what_a_template_will_ask_for_is_known_to_be_something() -> None:
    (one,) = _read("  resources: {limits: {cpu: '{{.Cpu}}'}}\n")
    assert asks(one) and holds(one) == ()


@pytest.mark.parametrize(
    ("resources", "path", "code"),
    [
        ("{requests: {cpu: 2}, limits: {cpu: 1}}", "resources", "OUT_OF_RANGE"),
        ("{requests: {cpu: lots}}", "resources.requests.cpu", "BAD_AMOUNT"),
        ("{requests: {CPU: 1}}", "resources.requests.CPU", "BAD_NAME"),
        ("{limits: 3}", "resources.limits", "WRONG_TYPE"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(resources: str, path: str, code: str) -> None:
    found = parse_source(JOB.format(task=f"  resources: {resources}\n"))[0].violations
    assert [(v.path, v.code, v.line) for v in found] == [(f"tasks[0].{path}", code, 5)]


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("  script: x\n  resources: {limits: {memory: 1Gi}}\n", []),
        ("  script: x\n  resources: {memory: 512}\n", []),
        ("  script: x\n  resources: {limits: {memory: 512}}\n", ["tasks[0].resources.limits.memory"]),
        ("  script: x\n  resources: {limits: {cpu: 1, memory: 1Gi}}\n", ["tasks[0].resources.limits"]),
        ("  function: a:b\n  method: PYTHON\n  resources: {limits: {gpu: 1}}\n", ["tasks[0].resources.limits"]),
        ("  method: DOCKER\n  container: a\n  script: x\n  resources: {limits: {cpu: 1}}\n", []),
        ("  method: SHELL\n  container: {image: a, memory_limit: 64Mi}\n  script: x\n", ["tasks[0].container"]),
        ("  method: SHELL\n  container: a\n  script: x\n", []),
    ],
)
def test_a_limit_that_bounds_nothing_is_told(task: str, told: list[str]) -> None:
    """As a warning: the amount is held of the ant all the same."""
    (parsed,) = parse_source(f"job_type: j\ntasks:\n- task_type: t\n{task}")
    assert parsed.definition is not None, parsed.violations
    found = availability_violations(parsed.definition)
    assert [one.path for one in found] == told and all(one.severity == "warning" for one in found)
