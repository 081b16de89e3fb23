"""One chain over both protocols on real servers: headers mapped, failures as problems, traces, deadlines, counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
import uvicorn
from grpc_health.v1 import health_pb2

from formicary.gateway import Call, Service, Transcoder, add_services
from formicary.gateway.interceptors import AccessLog, MapHeaders, Validate, standard_chain
from formicary.headers import MappingBuilder, transform
from formicary.problems import Problem, problem
from formicary.problems.http import parse_http
from formicary.problems.rpc import from_rpc_error

Answer = tuple[dict[str, str], list[dict[str, Any]], Problem | None]
Ask = Callable[..., Awaitable[Answer]]
CANARY = "secret-canary-4711"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SERVICE = "/grpc.health.v1.Health"


class Echo:
    """Answers in `service`-driven ways and remembers the metadata it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.ended = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, call: Call) -> health_pb2.HealthCheckResponse:
        """Unary."""
        self.seen = list(call.invocation_metadata())
        await call.send_initial_metadata((("processing-time", "150"),))
        if request.service == "refuse":
            raise problem("NOT_FOUND", "There is no such thing here.")
        if request.service == "crash":
            raise RuntimeError(CANARY)
        if request.service == "abort":
            await call.abort(grpc.StatusCode.ALREADY_EXISTS, "twice")
        if request.service == "code":
            call.set_code(grpc.StatusCode.ABORTED)
            call.set_details("changed")
        if request.service == "sleep":
            try:
                await asyncio.sleep(30)
            finally:
                self.ended.set()
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Server streaming."""
        self.seen = list(call.invocation_metadata())
        call.set_header("processing-time", "150")
        for _ in range(3):
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        if request.service == "refuse":
            raise problem("CONFLICT", "It changed meanwhile.")

    async def List(self, request: Any, call: Call) -> health_pb2.HealthListResponse:
        """The service has a third method."""
        return health_pb2.HealthListResponse()


class Sides:
    """The same servicer over gRPC and REST."""

    def __init__(self) -> None:
        self.echo = Echo()
        self.log = AccessLog()
        mapping = (
            MappingBuilder()
            .incoming("Authorization", "token")
            .with_transform(transform("trim"), transform("remove_prefix", "Bearer "))
            .incoming("X-Tenant", "tenant")
            .with_required()
            .outgoing("processing-time", "X-Processing-Time")
            .with_transform(transform("add_suffix", "ms"))
            .build()
        )
        self.chain = standard_chain([MapHeaders(mapping), Validate()], access_log=self.log)
        self.service = Service(health_pb2.DESCRIPTOR.services_by_name["Health"], self.echo)
        self.grpc_port = self.http_port = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Sides]:
        """Serves both."""
        server = grpc.aio.server()
        add_services(server, [self.service], self.chain)
        self.grpc_port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        listener = socket.create_server(("127.0.0.1", 0))
        self.http_port = listener.getsockname()[1]
        config = uvicorn.Config(Transcoder([self.service], self.chain), lifespan="off", log_config=None, ws="none")
        http = uvicorn.Server(config)
        task = asyncio.create_task(http.serve([listener]))
        while not http.started:
            await asyncio.sleep(0.01)
        try:
            yield self
        finally:
            http.should_exit = True
            await task
            listener.close()
            await server.stop(0)

    async def over_http(self, method: str, service: str, timeout_s: float | None = None, **headers: str) -> Answer:
        """One call over REST."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if timeout_s is not None:
            sent["x-request-timeout"] = str(timeout_s)
        sent["accept"] = "application/x-ndjson" if method == "Watch" else "application/json"
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{self.http_port}{SERVICE}/{method}"
            answer = await client.post(url, json={"service": service}, headers=sent)
        if not answer.is_success:
            return dict(answer.headers), [], parse_http(answer.status_code, dict(answer.headers), answer.content)
        found = [json.loads(line) for line in answer.text.splitlines()]
        failed = [Problem.from_document(one.pop("@problem")) for one in found if "@problem" in one]
        return dict(answer.headers), [one for one in found if one], failed[0] if failed else None

    async def over_grpc(self, method: str, service: str, timeout_s: float | None = None, **headers: str) -> Answer:
        """One call over gRPC."""
        sent = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            make = channel.unary_stream if method == "Watch" else channel.unary_unary
            stub: Any = make(
                f"{SERVICE}/{method}",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            call = stub(health_pb2.HealthCheckRequest(service=service), metadata=sent, timeout=timeout_s)
            found, failure = [], None
            try:
                if method == "Watch":
                    async for message in call:
                        found.append({"status": message.status})
                else:
                    found.append({"status": (await call).status})
            except grpc.aio.AioRpcError as error:
                failure = from_rpc_error(error)
            return dict(await call.initial_metadata()), found, failure


def over_both(check: Callable[[Sides, Ask], Awaitable[None]]) -> None:
    """Runs a check over REST and over gRPC."""

    async def work() -> None:
        async with Sides().serving() as sides:
            for ask in (sides.over_http, sides.over_grpc):
                await check(sides, ask)

    asyncio.run(work())


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_the_service_sees_mapped_metadata_and_the_caller_mapped_headers(method: str) -> None:
    async def check(sides: Sides, ask: Ask) -> None:
        headers, found, failure = await ask(method, "", authorization="Bearer abc", x_tenant="t1", cookie="c=1")
        assert failure is None and len(found) == (3 if method == "Watch" else 1)
        assert sorted(sides.echo.seen) == [("tenant", "t1"), ("token", "abc")]
        assert headers["x-processing-time"] == "150ms"
        assert "processing-time" not in headers

    over_both(check)


def test_headers_are_mapped_on_errors_too() -> None:
    async def check(sides: Sides, ask: Ask) -> None:
        headers, _, failure = await ask("Check", "refuse", x_tenant="t1")
        assert failure is not None and failure.code == "NOT_FOUND"
        assert headers["x-processing-time"] == "150ms"

    over_both(check)


def test_a_missing_header_is_one_problem_and_the_service_is_not_called() -> None:
    async def check(sides: Sides, ask: Ask) -> None:
        sides.echo.seen = [("untouched", "")]
        _, _, failure = await ask("Check", "")
        assert failure is not None and failure.status == 400
        assert "x-tenant" in str(failure.errors).lower()
        assert sides.echo.seen == [("untouched", "")]

    over_both(check)


def test_a_stream_that_fails_late_ends_with_its_problem() -> None:
    async def check(sides: Sides, ask: Ask) -> None:
        _, found, failure = await ask("Watch", "refuse", x_tenant="t1")
        assert len(found) == 3
        assert failure is not None and (failure.code, failure.detail) == ("CONFLICT", "It changed meanwhile.")

    over_both(check)


@pytest.mark.parametrize(("service", "code"), [("abort", "ALREADY_EXISTS"), ("code", "CONFLICT")])
def test_a_servicer_written_for_grpc_aio_fails_as_it_means_to(service: str, code: str) -> None:
    async def check(sides: Sides, ask: Ask) -> None:
        _, _, failure = await ask("Check", service, x_tenant="t1")
        assert failure is not None and failure.code == code

    over_both(check)


def test_what_nobody_expected_shows_its_trace_and_nothing_else() -> None:
    async def check(sides: Sides, ask: Ask) -> None:
        headers, _, failure = await ask("Check", "crash", x_tenant="t1", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        assert failure is not None and failure.code == "INTERNAL"
        assert CANARY not in json.dumps([failure.to_document(), headers])
        assert headers["x-trace-id"] == TRACE
        assert failure.to_document()["traceId"] == TRACE

    over_both(check)


def test_a_call_ends_with_its_deadline_and_so_does_the_handler() -> None:
    async def check(sides: Sides, ask: Ask) -> None:
        sides.echo.ended.clear()
        _, _, failure = await ask("Check", "sleep", 1.5, x_tenant="t1")
        assert failure is not None and failure.code == "DEADLINE_EXCEEDED"
        await asyncio.wait_for(sides.echo.ended.wait(), 60)

    over_both(check)


def test_calls_are_counted_by_method_protocol_and_code() -> None:
    async def check(sides: Sides, ask: Ask) -> None:
        await ask("Check", "", x_tenant="t1")
        await ask("Check", "refuse", x_tenant="t1")
        protocol = "http" if ask == sides.over_http else "grpc"
        counts = sides.log.counts.ended
        assert counts[f"{SERVICE}/Check", protocol, "OK"] == 1
        assert counts[f"{SERVICE}/Check", protocol, "NOT_FOUND"] == 1

    over_both(check)
