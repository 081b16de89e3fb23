"""`tenant_limits` of a job file: its two shapes, other names of limits, and every mistake with its place."""

from __future__ import annotations

from math import inf

import pytest

from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.tenants import Limit, Tenant, limits_of
from formicary.engine.queen.definitions import Definitions
from formicary.engine.storage.memory import MemoryStore
from formicary.problems import Problem

TASKS = "tasks:\n- task_type: a\n  script: x\n"


def read(text: str) -> dict[str, Tenant] | None:
    found = parse_source(f"job_type: j\ntenant_limits: {text}\n{TASKS}")[0]
    assert found.definition is not None and not found.violations, found.violations
    limits = found.definition.tenant_limits
    return None if limits is None else dict(limits)


def wrong(text: str) -> list[tuple[int, int, str, str]]:
    found = parse_source(f"job_type: j\ntenant_limits:\n{text}{TASKS}")[0]
    assert found.definition is None
    return [(one.line, one.column, one.path.removeprefix("tenant_limits"), one.code) for one in found.violations]


def told(text: str) -> str:
    found = parse_source(f"job_type: j\ntenant_limits: {text}\n{TASKS}")[0]
    assert found.definition is None
    return " ".join(one.message for one in found.violations)


def test_limits_without_a_tenant_hold_for_each_organisation() -> None:
    found = read("{max_concurrent_jobs: 5, max_cpu_hours_per_day: 1.5, users: {'*': {max_concurrent_tasks: 2}}}")
    assert found is not None
    assert limits_of(found, "any", "") == {"max_concurrent_jobs": Limit(5), "max_cpu_hours_per_day": Limit(1.5)}
    assert limits_of(found, "any", "ann") == {"max_concurrent_tasks": Limit(2)}


def test_organisations_may_be_named_as_in_the_file_of_queues() -> None:
    limit = "{soft: 1, hard: 2, burst: 3, burst_for: 1m}"
    found = read(f"{{acme: {{max_concurrent_jobs: {limit}, users: {{ann: {{max_concurrent_jobs: 1}}}}}}, '*': {{}}}}")
    assert found is not None
    assert limits_of(found, "acme", "")["max_concurrent_jobs"] == Limit(2, 1, 3, 60)
    assert limits_of(found, "acme", "ann")["max_concurrent_jobs"] == Limit(1)
    assert limits_of(found, "other", "") == {}


def test_a_limit_of_its_parts_needs_no_tenant_either() -> None:
    found = read("{concurrent_jobs: {soft: 3}}")
    assert found is not None and found["*"].limits == {"max_concurrent_jobs": Limit(inf, 3)}


@pytest.mark.parametrize("name", ["concurrent_jobs", "concurrent_tasks", "cpu_hours_per_day", "cpu_hours_per_month"])
def test_names_without_max_mean_the_same(name: str) -> None:
    assert read(f"{{{name}: 7}}") == read(f"{{max_{name}: 7}}") == {"*": Tenant({f"max_{name}": Limit(7)}, {})}


@pytest.mark.parametrize("text", ["", "{}", "{acme: {}}", "{users: {}}"])
def test_nothing_is_no_limit(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("name", ["max_storage_gb", "storage", "storage_gb"])
def test_storage_is_told_where_it_belongs(name: str) -> None:
    assert wrong(f"  concurrent_jobs: 5\n  {name}: 10\n") == [(4, 3, f".{name}", "UNKNOWN_FIELD")]
    assert "file of queues (formicary queues apply)" in told(f"{{{name}: 10}}")
    assert wrong(f"  acme:\n    users: {{ann: {{{name}: 1}}}}\n") == [
        (4, 19, f".acme.users.ann.{name}", "UNKNOWN_FIELD")
    ]


def test_every_mistake_is_told_with_its_place() -> None:
    text = (
        "  max_concurent_jobs: 5\n"
        "  concurrent_jobs: many\n"
        "  cpu_hours_per_day: -1\n"
        "  max_cpu_hours_per_day: 3\n"
        "  max_concurrent_tasks: {hard: 5, soft: 9}\n"
        "  acme: {max_concurrent_jobs: 1}\n"
        "  users: [ann]\n"
    )
    assert wrong(text) == [
        (3, 3, ".max_concurent_jobs", "UNKNOWN_FIELD"),
        (4, 20, ".concurrent_jobs", "WRONG_TYPE"),
        (5, 22, ".cpu_hours_per_day", "WRONG_TYPE"),
        (6, 3, ".max_cpu_hours_per_day", "DUPLICATE_FIELD"),
        (7, 25, ".max_concurrent_tasks.soft", "OUT_OF_RANGE"),
        (8, 3, ".acme", "UNKNOWN_FIELD"),
        (9, 10, ".users", "WRONG_TYPE"),
    ]
    assert "Did you mean" in told("{max_concurent_jobs: 5}")
    assert "below the names of organisations" in told("{max_concurrent_jobs: 5, acme: {}}")
    assert wrong("  [5]\n") == [(3, 3, "", "WRONG_TYPE")]


def test_a_template_is_told_to_have_no_place_there() -> None:
    assert wrong('  max_concurrent_jobs: "{{.Most}}"\n  cpu_hours_per_day: {hard: "{{.Hours}}"}\n  storage: 1\n') == [
        (3, 24, ".max_concurrent_jobs", "BAD_VALUE"),
        (4, 29, ".cpu_hours_per_day.hard", "BAD_VALUE"),
        (5, 3, ".storage", "UNKNOWN_FIELD"),
    ]
    assert wrong('  "{{.Org}}": {max_concurrent_jobs: 1}\n') == [(3, 3, "", "BAD_VALUE")]
    assert wrong('  "{{.Everything}}"\n') == [(3, 3, "", "BAD_VALUE")]
    assert "Write the number or the name itself" in told("{max_concurrent_jobs: '{{.Most}}'}")


def test_a_stored_definition_that_a_former_version_took_runs_without_its_mistake() -> None:
    definitions, source = Definitions(MemoryStore()), f"job_type: j\ntenant_limits: {{storage: 5}}\n{TASKS}"
    stored = definitions.model(("1", "org", "j", 1, source, b"{}", "", "", 0.0))
    assert (stored.job_type, stored.tenant_limits) == ("j", None)
    with pytest.raises(Problem, match="file of queues"):
        definitions.build(source, {}, "", "", "org")
    with pytest.raises(Problem, match="A job has no field"):
        definitions.model(("2", "org", "j", 1, f"nothing: 1\n{source}", b"{}", "", "", 0.0))
