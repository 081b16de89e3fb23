"""The catalogue of metrics, what is exposed, and what `deploy/` asks of it, say the same."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from formicary.engine.queen.census import take_backlog, take_census
from formicary.engine.queen.core.leases import Hello
from formicary.engine.queen.core.outcome import FAILED, Outcome
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.edge import new_id
from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.logs import MemoryLogs
from formicary.engine.storage.memory import MemoryStore
from formicary.gateway import Call, Service, bind
from formicary.gateway.interceptors import AccessLog, as_problems
from formicary.gateway.interceptors.access_log import BOUNDS_S, CallCounts
from formicary.problems import Problem, problem
from formicary.server.metrics.catalogue import CATALOGUE
from formicary.server.metrics.collector import MOST_LABELS, OTHER, Sources, bounded
from formicary.server.metrics.page import registry_of
from formicary.v1.tokens_pb2 import DESCRIPTOR

ROOT = Path(__file__).resolve().parents[3]
WORDS = {
    *("absent", "and", "by", "deriv", "histogram_quantile", "increase", "or", "rate", "sum", "topk", "without"),
    *("code", "instance", "le", "method", "priority", "protocol", "state"),
}
ARTICLES = {
    *("queue_depth_by_priority", "average_wait_time_by_tag", "resource_utilization_by_worker"),
    *("job_completion_rate_by_tenant", "org_concurrent_jobs", "user_concurrent_jobs", "scheduler_failed_total"),
    *("scheduler_no_more_jobs_total", "service_startup_duration_seconds", "service_recovery_duration_seconds"),
    *("last_checkpoint_age_seconds", "data_consistency_checks_total", "data_inconsistencies_detected_total"),
}


BREAKING = """job_type: breaking
tenant_limits: {users: {ann: {max_concurrent_jobs: 3}}}
circuit_breaker: {downstream: api, consecutive_failures: 9}
tasks: [{task_type: a, tags: [gpu, big], script: ['true']}]
"""
WAITING = "job_type: waiting\ntasks: [{task_type: a, tags: [gpu, big], script: ['true']}]\n"


class _Tokens:
    """Has every method, answers none."""

    def __getattr__(self, name: str) -> object:
        return lambda request, context: None


def exposed(registry: CollectorRegistry) -> dict[str, Metric]:
    return {metric.name: metric for metric in registry.collect()}


def sample_names() -> set[str]:
    """Every name that a query may use."""
    found = {sample.name for metric in registry_of(Sources()).collect() for sample in metric.samples}
    for row in CATALOGUE:
        parts = ("_bucket", "_sum", "_count") if row.kind == "histogram" else ("",)
        found |= {row.name + part for part in parts}
    return found


def test_every_row_is_exposed_under_its_kind_and_nothing_else_of_ours() -> None:
    metrics = exposed(registry_of(Sources()))
    for row in CATALOGUE:
        assert metrics.pop(row.name.removesuffix("_total")).type == row.kind
    assert all(name.startswith(("process_", "python_")) for name in metrics)


SEVERAL = {
    "formicary_calls_total": {"method": "/m", "protocol": "grpc", "code": "NOT_FOUND"},
    "formicary_call_duration_seconds": {"method": "/m", "protocol": "grpc"},
    "formicary_jobs_ended_total": {"tenant": "acme", "state": "FAILED"},
    "formicary_backlog": {"method": "SHELL", "tags": "big,gpu"},
    "formicary_breaker_open": {"tenant": "acme", "breaker": "api"},
    "user_concurrent_jobs": {"org": "acme", "user": "ann"},
    "formicary_tenant_used": {"org": "acme", "user": "ann", "job_type": "breaking", "limit": "max_concurrent_jobs"},
    "formicary_tenant_limit": {"org": "acme", "user": "ann", "job_type": "breaking", "limit": "max_concurrent_jobs"},
}
"""What each metric of several labels says of the one thing that has happened."""


def test_each_label_has_its_own_value() -> None:
    """Every metric that has several labels: none of them carries what another one means."""

    async def collected() -> dict[str, Metric]:
        queen = Queen(MemoryStore(), MemoryLogs())
        await queen.start()
        try:
            key = await queen.register(BREAKING, org="acme")
            jobs = [Submission(new_id(), b"{}", user="ann") for _ in range(2)]
            await queen.submit(key, jobs, org="acme")
            core = queen.pump.now()
            core.connect(1, Hello("x", "1", frozenset({"SHELL"}), frozenset({"big", "gpu"}), 1, 1))
            await queen.pump.settle()
            queen.pump.now().result(1, Outcome(next(iter(core.leases.tokens)), FAILED, 1))
            await queen.pump.settle()
            waiting = [Submission(new_id(), b"{}", user="ann")]
            await queen.submit(await queen.register(WAITING, org="acme"), waiting, org="acme")
            counts = CallCounts()
            counts.ended["/m", "grpc", "NOT_FOUND"] = 1
            counts.durations["/m", "grpc"] = [1] * (len(BOUNDS_S) + 1)
            census, backlog = await take_census(core.jobs.values()), await take_backlog(core.queues)
            return exposed(registry_of(Sources(counts, queen, census, backlog)))
        finally:
            await queen.stop()

    found = asyncio.run(collected())
    for row in CATALOGUE:
        if len(row.labels) > 1:
            told = SEVERAL.pop(row.name)
            samples = found[row.name.removesuffix("_total")].samples
            seen = [{name: sample.labels[name] for name in row.labels} for sample in samples]
            assert told in seen and all(labels.keys() == told.keys() for labels in seen), (row.name, seen)
            assert not any(sorted(labels.values()) == sorted(told.values()) for labels in seen if labels != told)
    assert not SEVERAL


def test_the_articles_names_are_there_or_left_out_with_a_reason() -> None:
    names = {row.name for row in CATALOGUE}
    assert names >= ARTICLES


def expressions() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in json.loads((ROOT / "deploy/grafana/formicary.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_alerts_and_dashboard_name_only_metrics_that_exist(where: str, expression: str) -> None:
    text = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
    words = set(re.findall(r"[A-Za-z_:][A-Za-z0-9_:]*", text))
    assert words - WORDS <= sample_names(), where
    assert words - WORDS, "a query without a metric"


def test_the_scrape_example_loads_the_rules_beside_it() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert [(ROOT / "deploy/prometheus" / name).exists() for name in config["rule_files"]] == [True]
    assert config["scrape_configs"][0]["metrics_path"] == "/metrics"


def test_labels_beyond_the_bound_stand_together() -> None:
    found = bounded(Counter({f"org{number}": number for number in range(1, MOST_LABELS + 11)}))
    assert len(found) == MOST_LABELS + 1 and found[OTHER] == sum(range(1, 11))


@pytest.mark.parametrize(
    ("error", "code", "panics"),
    [(ValueError("no"), "INTERNAL", 1), (problem("INTERNAL"), "INTERNAL", 0), (problem("NOT_FOUND"), "NOT_FOUND", 0)],
)
def test_only_what_nobody_expected_is_a_panic(error: Exception, code: str, panics: int) -> None:
    access = AccessLog()

    async def fail(_: Call) -> None:
        raise error

    async def inner(call: Call) -> None:
        await as_problems(call, fail)

    method = bind([Service(DESCRIPTOR.services_by_name["TokenService"], _Tokens())])[0]
    with pytest.raises(Problem):
        asyncio.run(access(Call(method, "grpc", ()), inner))
    assert access.counts.ended == {(method.full_name, "grpc", code): 1} and access.counts.panics == panics


def test_a_histogram_counts_each_call_once() -> None:
    counts = CallCounts()
    counts.durations["/m", "grpc"] = [1] * (len(BOUNDS_S) + 1)
    counts.seconds["/m", "grpc"] = 2.5
    samples = exposed(registry_of(Sources(counts)))["formicary_call_duration_seconds"].samples
    buckets = [sample.value for sample in samples if sample.name.endswith("_bucket")]
    assert buckets == list(range(1, len(BOUNDS_S) + 2))
    assert {s.name: s.value for s in samples if not s.name.endswith("_bucket")} == {
        "formicary_call_duration_seconds_count": len(BOUNDS_S) + 1,
        "formicary_call_duration_seconds_sum": 2.5,
    }
