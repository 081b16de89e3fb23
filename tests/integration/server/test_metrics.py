"""`/metrics` of a real server: figures that match what was done, both formats, and who may read it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from formicary.server.metrics.catalogue import CATALOGUE
from tests.acceptance.server import Up, until

JOB = """job_type: {name}
tasks:
  - task_type: t
    method: SHELL
    {extra}
    script: ["{command}"]
"""
JOBS = {
    "good": JOB.format(name="good", extra="retry: 0", command="true"),
    "bad": JOB.format(name="bad", extra="retry: 1\n    delay_between_retries: 10ms", command="false"),
    "never": JOB.format(name="never", extra="tags: [nowhere]", command="true"),
}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scrape(up: Up, accept: str = "", token: str = "", path: str = "/metrics") -> tuple[int, str, str]:
    """Status, media type and text."""
    headers = {"Accept": accept or "*/*"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"http://127.0.0.1:{up.http}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["content-type"], error.read().decode()


def figures(up: Up) -> dict[tuple[str, ...], float]:
    """Every sample of a scrape: (name, values of its labels in order of their names) -> value."""
    found = {}
    for metric in parser.text_string_to_metric_families(scrape(up)[2]):
        for sample in metric.samples:
            found[(sample.name, *(sample.labels[name] for name in sorted(sample.labels)))] = sample.value
    return found


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A server with one ant of two slots that has run three jobs and failed one; two more wait for an ant."""
    folder = tmp_path_factory.mktemp("metrics")
    server = Up(folder / "data", "--slots", "2", "--method", "KUBERNETES=SHELL")
    server.start()
    for name, text in JOBS.items():
        (folder / f"{name}.yaml").write_text(text)
    for _ in range(2):
        server.cli("submit", str(folder / "good.yaml"), "--count", "3", "--idempotency-key", "good")
    server.cli("submit", str(folder / "bad.yaml"))
    server.cli("submit", str(folder / "never.yaml"), "--count", "2")

    def over() -> bool:
        jobs = json.loads(server.cli("list", "--output", "json"))
        return sum(job["state"] in ("COMPLETED", "FAILED") for job in jobs) == 4

    until(over, 30, "the jobs have ended")
    assert server.page("/v1/jobs/none")[0] == 404
    yield server
    server.clear()


def test_the_figures_are_those_of_what_was_done(up: Up) -> None:
    found = figures(up)
    assert found["formicary_jobs_submitted_total",] == 6
    assert found["formicary_submissions_repeated_total",] == 3
    assert found["formicary_jobs_ended_total", "COMPLETED", "local"] == 3
    assert found["formicary_jobs_ended_total", "FAILED", "local"] == 1
    assert found["job_completion_rate_by_tenant", "local"] == 0.75
    assert found["formicary_attempts_granted_total",] == 5 and found["formicary_attempts_retried_total",] == 1
    assert found["formicary_tasks_running",] == 0 == found["formicary_ant_slots_busy",]
    assert found["queue_depth_by_priority", "0"] == 2 == found["formicary_jobs", "PENDING"]
    assert 0 <= found["average_wait_time_by_tag", ""] < 30 and ("average_wait_time_by_tag", "nowhere") not in found
    assert (found["formicary_ants_connected",], found["formicary_ant_slots",]) == (1, 2)
    assert [v for (name, *_), v in found.items() if name == "resource_utilization_by_worker"] == [0]
    assert found["formicary_ready",] == 1 and 0 < found["service_startup_duration_seconds",] < 60
    assert found["scheduler_failed_total",] == 0 == found["data_inconsistencies_detected_total",]
    assert found["data_consistency_checks_total",] == found["formicary_commits_total",] + 1
    assert 0 < found["service_recovery_duration_seconds",] < 60
    assert found["process_resident_memory_bytes",] > 10_000_000


def test_commits_and_their_sizes_add_up(up: Up) -> None:
    found, counters = figures(up), up.page("/debug/counters")[1]
    commits = found["formicary_commits_total",]
    assert found["formicary_commit_rows_count",] == commits == found["formicary_commit_duration_seconds_count",]
    assert (found["formicary_commit_rows_sum",], commits) == (counters["rows"], counters["commits"])
    assert 0 < found["formicary_commit_duration_seconds_sum",] < 60 < commits * 60


def test_calls_of_both_protocols_are_counted_by_code(up: Up) -> None:
    before = figures(up)
    up.page("/v1/jobs/none")
    up.cli("get", "none", status=2)
    after = figures(up)
    for protocol in ("http", "grpc"):
        key = ("formicary_calls_total", "NOT_FOUND", "/formicary.v1.JobService/GetJob", protocol)
        assert after[key] == before.get(key, 0) + 1, protocol
        count = ("formicary_call_duration_seconds_count", "/formicary.v1.JobService/GetJob", protocol)
        assert after[count] == before.get(count, 0) + 1, protocol
    assert after["formicary_problems_total", "NOT_FOUND"] == before["formicary_problems_total", "NOT_FOUND"] + 2
    assert after["problems_panics_total",] == 0


def test_both_formats_carry_every_metric_of_the_catalogue(up: Up) -> None:
    names = {row.name.removesuffix("_total") for row in CATALOGUE} | {"formicary_headers"}
    status, media_type, text = scrape(up)
    assert status == 200 and media_type.startswith("text/plain; version=")
    assert names <= {metric.name for metric in parser.text_string_to_metric_families(text)}
    status, media_type, text = scrape(up, OPENMETRICS)
    assert status == 200 and media_type.startswith("application/openmetrics-text")
    assert names <= {metric.name for metric in openmetrics.text_string_to_metric_families(text)}


def test_a_server_with_tokens_shows_its_metrics_to_viewers_of_its_own(tmp_path: Path) -> None:
    server = Up(tmp_path / "data", "--auth", "token", "--ants", "0")

    def token(*options: str) -> str:
        return server.cli("token", "create", "--data", str(server.data), *options).strip()

    viewer, ant, other = token("--role", "viewer"), token("--role", "ant"), token("--role", "admin", "--org", "other")
    try:
        server.start()
        until(lambda: scrape(server)[0] == 401, 10, "the page is there")
        assert scrape(server, token="fmc_x_y")[0] == 401
        assert scrape(server, token=ant)[0] == 403 and scrape(server, token=other)[0] == 403
        status, _, text = scrape(server, token=viewer)
        assert status == 200 and "formicary_ready 1.0" in text and viewer not in text
    finally:
        server.clear()
