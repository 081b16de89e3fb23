"""Spans and metrics of a real server at a real OTLP collector: one span per call, one per attempt below it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

from tests.acceptance.server import FORMICARY, REPOSITORY, Up, until

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
JOB = """job_type: traced
tasks:
  - task_type: show
    method: SHELL
    script: ['echo "seen=$TRACEPARENT"; exit 3']
    on_exit_code: {3: told}
    allow_failure: true
  - task_type: told
    method: PYTHON
    function: traced_task:told
"""

KILLED = """job_type: killed
tasks:
  - task_type: again
    method: SHELL
    script: ['test "$FORMICARY_ATTEMPT" = 2 || kill -9 $(cat ANT)']
"""


class Collector(trace_grpc.TraceServiceServicer, metrics_grpc.MetricsServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: dict[bytes, Any] = {}
        """By id: what was not acknowledged in time is sent again."""
        self.metrics: set[str] = set()
        self.lock = threading.Lock()
        self.server = grpc.server(ThreadPoolExecutor(2))
        trace_grpc.add_TraceServiceServicer_to_server(self, self.server)
        metrics_grpc.add_MetricsServiceServicer_to_server(_Metrics(self), self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def Export(self, request: Any, context: Any) -> Any:
        with self.lock:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self.spans |= {span.span_id: span for span in scope.spans}
        return trace_pb2.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Any]:
        with self.lock:
            return [span for span in self.spans.values() if span.name == name]


class _Metrics(metrics_grpc.MetricsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self.collector = collector

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                self.collector.metrics |= {metric.name for metric in scope.metrics}
        return metrics_pb2.ExportMetricsServiceResponse()


def call(up: Up, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of a REST call under the caller's span."""
    found = {"content-type": "application/json", "traceparent": f"00-{TRACE}-{CALLER}-01", **headers}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{up.http}{path}", data, found, method=method)
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collector, str, Any, Any]]:
    """A collector after the life of a server: with the job's id, its document and a problem's document."""
    folder = tmp_path_factory.mktemp("otlp")
    (folder / "traced_task.py").write_text(
        "import os\n\ndef told():\n    return {'python': os.environ['TRACEPARENT']}\n"
    )
    collector = Collector()
    up = Up(folder / "data", "--path", str(folder), "--otlp-endpoint", f"http://127.0.0.1:{collector.port}")
    try:
        up.start()
        until(lambda: call(up, "GET", "/v1/jobs")[0] == 200, 10, "the API is served")
        status, _ = call(up, "POST", "/v1/definitions", {"source": JOB})
        assert status == 200
        status, job = call(up, "POST", "/v1/jobs", {"job_type": "traced"}, **{"idempotency-key": "k"})
        assert status == 200, job
        until(lambda: up.job(job["id"])["state"] in ("COMPLETED", "FAILED"), 30, "the job has ended")
        document, lines = up.job(job["id"]), up.cli("logs", job["id"])
        (folder / "ant").write_text(str(up.ants()[0]))
        call(up, "POST", "/v1/definitions", {"source": KILLED.replace("ANT", str(folder / "ant"))})
        _, lost = call(up, "POST", "/v1/jobs", {"job_type": "killed"}, **{"idempotency-key": "l"})
        until(lambda: up.job(lost["id"])["state"] == "COMPLETED", 30, "the job has ended after its ant was killed")
        until(lambda: call(up, "GET", "/v1/jobs")[0] == 200, 10, "the API is served")
        problem = call(up, "GET", "/v1/jobs/none")[1]
        assert up.stop() == 0
        yield collector, lines, document, problem
    finally:
        up.clear()
        collector.server.stop(0)


def attributes(span: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


def context(span: Any) -> str:
    return f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"


def test_a_call_is_a_span_below_its_caller(ended: tuple[Collector, str, Any, Any]) -> None:
    span = ended[0].named("formicary.v1.JobService/SubmitJob")[0]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, CALLER)
    assert attributes(span)["rpc.system"] == "http" and attributes(span)["url.path"] == "/v1/jobs"


def test_each_attempt_is_a_span_below_the_call_that_submitted_its_job(ended: tuple[Collector, str, Any, Any]) -> None:
    collector, lines, document, _ = ended
    submit = collector.named("formicary.v1.JobService/SubmitJob")[0]
    (show,), (told,) = collector.named("attempt traced/show"), collector.named("attempt traced/told")
    for span in (show, told):
        assert (span.trace_id, span.parent_span_id) == (submit.trace_id, submit.span_id)
        assert attributes(span)["formicary.job.id"] == document["id"] and attributes(span)["formicary.attempt"] == 1
    assert f"seen={context(show)}" in lines, "the process sees its attempt's context"
    assert document["outputs"]["python"] == context(told), "the function sees its attempt's context"


def test_a_failed_attempt_records_why(ended: tuple[Collector, str, Any, Any]) -> None:
    (show,), (told,) = ended[0].named("attempt traced/show"), ended[0].named("attempt traced/told")
    assert (show.status.code, attributes(show)["formicary.outcome"], attributes(show)["formicary.exit_code"]) == (
        show.status.STATUS_CODE_ERROR,
        "FAILED",
        3,
    )
    assert [event.name for event in show.events] == ["exception"]
    assert (told.status.code, attributes(told)["formicary.outcome"]) == (told.status.STATUS_CODE_UNSET, "COMPLETED")


def test_an_attempt_whose_ant_is_killed_is_lost_and_the_next_one_stands_beside_it(
    ended: tuple[Collector, str, Any, Any],
) -> None:
    first, second = sorted(ended[0].named("attempt killed/again"), key=lambda s: attributes(s)["formicary.attempt"])
    assert attributes(first)["formicary.outcome"] == "LOST" and first.status.code == first.status.STATUS_CODE_ERROR
    assert attributes(second)["formicary.outcome"] == "COMPLETED"
    assert (first.trace_id, first.parent_span_id) == (second.trace_id, second.parent_span_id)
    assert attributes(first)["formicary.ant"] != attributes(second)["formicary.ant"]


def test_a_grpc_call_is_a_span_of_the_same_form(ended: tuple[Collector, str, Any, Any]) -> None:
    systems = {attributes(span)["rpc.system"] for span in ended[0].named("formicary.v1.JobService/GetJob")}
    assert systems == {"grpc", "http"}
    for session in ended[0].named("formicary.v1.AntService/Session"):
        assert session.end_time_unix_nano > session.start_time_unix_nano


def test_a_problem_names_the_trace_of_its_span(ended: tuple[Collector, str, Any, Any]) -> None:
    (failed,) = [s for s in ended[0].named("formicary.v1.JobService/GetJob") if "formicary.code" in attributes(s)]
    assert attributes(failed)["formicary.code"] == "NOT_FOUND"
    assert ended[3]["traceId"] == TRACE == failed.trace_id.hex()


def test_the_metrics_arrive_too(ended: tuple[Collector, str, Any, Any]) -> None:
    wanted = {"formicary_jobs_submitted_total", "formicary_commit_duration_seconds_count", "queue_depth_by_priority"}
    assert wanted <= ended[0].metrics


def test_nothing_of_it_is_loaded_where_it_is_off() -> None:
    program = (
        "import sys, formicary.server.serving; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY).returncode == 0


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """A module of the name that cannot be imported stands in for a package that is not installed."""
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('not installed')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = (*FORMICARY, "up", "--data", str(tmp_path / "data"), "--http-port", "0", "--grpc-port", "0")
    done = subprocess.run(
        (*command, "--otlp-endpoint", "http://127.0.0.1:4317"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3 and "pip install 'formicary[otel]'" in done.stderr
