"""OpenTelemetry: a span per call and per attempt, and the server's metrics, over OTLP; loaded only where it is on.

Theory of operation. The chain's trace interceptor has given the call its W3C trace context; the call's span *is* that
context, so that a problem's `traceId` finds it. A job that a call submits remembers that context in memory; each
of its attempts is a span under it, begun when the attempt goes to its ant and ended when its result arrives. The ant
hands the attempt's context to the task as `TRACEPARENT`, where the task's own instrumentation takes it up. What the
queen does not remember (after a restart, or beyond `MOST_JOBS`) begins a trace of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

try:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
except ImportError as error:
    from formicary.problems import problem as _problem

    raise _problem(
        "FAILED_PRECONDITION", "OTLP needs OpenTelemetry: pip install 'formicary[otel]', or leave the endpoint out."
    ) from error

import formicary
from formicary.engine.queen.core.batch import Assignment
from formicary.gateway import Call, Run
from formicary.problems import Problem
from formicary.server.metrics.catalogue import CATALOGUE
from formicary.server.metrics.collector import ServerCollector, Sources
from formicary.v1 import ants_pb2 as ants

MOST_JOBS = 100_000
"""Jobs whose trace is remembered; 200 bytes each."""
METRICS_EVERY_S = 15.0
ANSWER_S = 5.0
EXPORT_S = 3
"""How long one export may take: what a server waits at most when it stops and its collector is away."""
_OUTCOMES = {number: name for name, number in ants.TaskResult.Outcome.items()}


class _GivenIds(RandomIdGenerator):
    """Ids of the next span where they are given, else random ones; used on one thread."""

    def __init__(self) -> None:
        self.trace_id = 0
        self.span_id = 0

    def generate_trace_id(self) -> int:
        """The trace id of a span without a parent."""
        given, self.trace_id = self.trace_id, 0
        return given or super().generate_trace_id()

    def generate_span_id(self) -> int:
        """The span id."""
        given, self.span_id = self.span_id, 0
        return given or super().generate_span_id()


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """Where spans and metrics go.

    Attributes:
        endpoint: ``http://HOST:PORT`` or ``https://…`` of an OTLP collector (gRPC).
        metrics_every_s: Seconds between exports of metrics.
    """

    endpoint: str
    metrics_every_s: float = METRICS_EVERY_S


class Telemetry:
    """Spans of calls (an interceptor) and of attempts (the queen's tracer), and the export of metrics.

    Args:
        config: Where they go.
        sources: The server's figures, as for `/metrics`.
        loop: The loop on which the figures change.
    """

    def __init__(self, config: TelemetryConfig, sources: Sources, loop: asyncio.AbstractEventLoop) -> None:
        plain = config.endpoint.startswith("http://")
        resource = Resource.create({"service.name": "formicary", "service.version": formicary.__version__})
        self._ids = _GivenIds()
        self._spans = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._spans.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(config.endpoint, insecure=plain, timeout=EXPORT_S))
        )
        self._tracer = self._spans.get_tracer("formicary", formicary.__version__)
        exporter = OTLPMetricExporter(config.endpoint, insecure=plain, timeout=EXPORT_S)
        reader = PeriodicExportingMetricReader(exporter, config.metrics_every_s * 1000)
        self._figures = MeterProvider([reader], resource, shutdown_on_exit=False)
        _observe(self._figures, _Snapshot(sources, loop))
        self._jobs: OrderedDict[str, SpanContext] = OrderedDict()
        self._open: dict[int, Span] = {}

    async def shutdown(self) -> None:
        """Ends open spans and sends what is left, for a few seconds at most."""
        for token in list(self._open):
            self._open.pop(token).end()
        await asyncio.gather(
            asyncio.to_thread(self._spans.shutdown), asyncio.to_thread(self._figures.shutdown, EXPORT_S * 1000)
        )

    # --- calls ------------------------------------------------------------------------------------------------------

    async def span(self, call: Call, proceed: Run) -> None:
        """Interceptor, directly after `trace`: one span per call, whatever its protocol."""
        span = self._begin(call)
        if span.get_span_context().trace_flags.sampled:
            call.traceparent = call.traceparent[:-2] + "01"
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                await proceed(call)
            except Problem as error:
                span.set_attribute("formicary.code", error.code)
                if error.status >= 500:
                    span.record_exception(error.__cause__ or error)
                    span.set_status(Status(StatusCode.ERROR, error.code))
                raise
            except BaseException as error:
                span.set_attribute("formicary.code", "CANCELLED")
                span.record_exception(error)
                raise

    def _begin(self, call: Call) -> Span:
        """The span with the ids of the call's trace context; its parent is what the caller sent, if that was valid."""
        _, trace_id, span_id, flags = call.traceparent.split("-")
        sent = call.value("traceparent").split("-")
        parent = None
        if len(sent) >= 4 and sent[1] == trace_id:
            context = SpanContext(int(trace_id, 16), int(sent[2], 16), True, TraceFlags(int(flags, 16)))
            parent = trace.set_span_in_context(NonRecordingSpan(context))
        else:
            self._ids.trace_id = int(trace_id, 16)
        self._ids.span_id = int(span_id, 16)
        method = call.method
        return self._tracer.start_span(
            f"{method.service}/{method.name}",
            parent,
            SpanKind.SERVER,
            {
                "rpc.system": call.protocol,
                "rpc.service": method.service,
                "rpc.method": method.name,
                **({"http.request.method": call.http_method, "url.path": call.path} if call.http_method else {}),
            },
        )

    # --- attempts: the queen's tracer -------------------------------------------------------------------------------

    def submitted(self, job_ids: Iterable[str]) -> None:
        """The present call submits these jobs."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return
        for job_id in job_ids:
            self._jobs[job_id] = context
        while len(self._jobs) > MOST_JOBS:
            self._jobs.popitem(last=False)

    def granted(self, grant: Assignment, job_type: str, task_type: str, ant_id: str) -> str:
        """An attempt goes to its ant, under the span of the call that submitted its job."""
        context = self._jobs.get(grant.job_id)
        parent = None if context is None else trace.set_span_in_context(NonRecordingSpan(context))
        span = self._tracer.start_span(
            f"attempt {job_type}/{task_type}",
            parent or trace.set_span_in_context(trace.INVALID_SPAN),
            SpanKind.INTERNAL,
            {
                "formicary.job.id": grant.job_id,
                "formicary.job.type": job_type,
                "formicary.task.type": task_type,
                "formicary.execution": grant.execution,
                "formicary.attempt": grant.attempt,
                "formicary.ant": ant_id,
            },
        )
        self._open[grant.token] = span
        own = span.get_span_context()
        return f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"

    def ended(self, result: ants.TaskResult) -> None:
        """An attempt has ended as its ant says."""
        span = self._open.pop(result.token, None)
        if span is None:
            return  # lost before, or sent again
        span.set_attribute("formicary.outcome", _OUTCOMES.get(result.outcome, str(result.outcome)))
        if result.has_exit_code:
            span.set_attribute("formicary.exit_code", result.exit_code)
        if result.error_code or result.error_message:
            code = result.error_code or "ERR_EXIT_CODE"
            span.add_event(
                "exception",
                {
                    "exception.type": code,
                    "exception.message": result.error_message,
                    "exception.stacktrace": result.traceback,
                },
            )
            span.set_status(Status(StatusCode.ERROR, code))
        elif result.outcome != ants.TaskResult.Outcome.Value("COMPLETED"):
            span.set_status(Status(StatusCode.ERROR, _OUTCOMES.get(result.outcome, "")))
        span.end()

    def returned(self, token: int) -> None:
        """An attempt never began."""
        span = self._open.pop(token, None)
        if span is not None:
            span.set_attribute("formicary.outcome", "RETURNED")
            span.end()

    def sweep(self, held: Container[int]) -> None:
        """Ends the spans of attempts that nobody holds any more."""
        for token in [token for token in self._open if token not in held]:
            span = self._open.pop(token)
            span.set_attribute("formicary.outcome", "LOST")
            span.set_status(Status(StatusCode.ERROR, "the ant that held it is gone"))
            span.end()


class _Snapshot:
    """The figures of `/metrics`, read on the loop for whatever thread exports them; one reading serves one export."""

    def __init__(self, sources: Sources, loop: asyncio.AbstractEventLoop) -> None:
        self._collector = ServerCollector(sources)
        self._loop = loop
        self._read_at = float("-inf")
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = {}

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values by the name of a sample."""
        if time.monotonic() - self._read_at > 1.0:
            self._samples = asyncio.run_coroutine_threadsafe(self._read(), self._loop).result(ANSWER_S)
            self._read_at = time.monotonic()
        return self._samples.get(name, [])

    async def _read(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for metric in self._collector.collect():
            for sample in metric.samples:
                found.setdefault(sample.name, []).append((sample.labels, float(sample.value)))
        return found


def _observe(provider: MeterProvider, snapshot: _Snapshot) -> None:
    """An instrument for each metric of the catalogue; of histograms the count and the sum."""
    meter = provider.get_meter("formicary", formicary.__version__)

    def read(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def callback(_: CallbackOptions) -> Iterator[Observation]:
            for labels, value in snapshot.samples(name):
                yield Observation(value, labels)

        return callback

    for row in CATALOGUE:
        if row.kind == "gauge":
            meter.create_observable_gauge(row.name, [read(row.name)], description=row.help)
            continue
        for name in [row.name] if row.kind == "counter" else [f"{row.name}_count", f"{row.name}_sum"]:
            meter.create_observable_counter(name, [read(name)], description=row.help)
