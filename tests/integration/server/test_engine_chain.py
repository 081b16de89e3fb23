"""The engine's chain: what of a caller's headers a method sees, and in which order things are asked."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import httpx
import pytest

from formicary.gateway import Call, Transcoder, add_services
from formicary.gateway.interceptors import MapHeaders, Validate
from formicary.gateway.service import bind
from formicary.problems import problem
from formicary.server.api.serving import engine_chain
from formicary.server.auth.interceptors import Authenticate, LimitRate, authorise
from formicary.server.auth.local import as_local_admin
from formicary.v1 import ants_pb2 as pb
from formicary.v1 import ants_pb2_grpc, jobs_pb2_grpc

FORGED = {
    "grpc-metadata-user-id": "root",
    "grpc-metadata-x-trace-bin": "!!not base64",
    "x-user-id": "root",
    "x-user-role": "admin",
    "formicary-mapped": "1",
    "cookie": "session=CANARY",
    "x-internal": "1",
}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Listing(ants_pb2_grpc.AntServiceServicer):
    """Keeps what it was called with; fails where it is told to."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.failing = False

    async def Session(self, requests: Any, call: Call) -> None:
        """Sends one message, or fails before it."""
        self.seen.append(dict(call.metadata))
        if self.failing:
            raise problem("UNAVAILABLE", "Not now.")
        await call.write(pb.QueenMessage(beat=1))

    async def ListAnts(self, request: pb.ListAntsRequest, call: Call) -> pb.ListAntsResponse:
        """Answers, or fails."""
        self.seen.append(dict(call.metadata))
        if self.failing:
            raise problem("UNAVAILABLE", "Not now.")
        return pb.ListAntsResponse()


def check(seen: dict[str, Any], answered: dict[str, Any]) -> None:
    """What was declared arrives and goes back; nothing that was forged arrives."""
    assert seen["request-id"] == answered["x-request-id"] == "mine"
    assert seen["traceparent"].split("-")[1] == TRACE.split("-")[1] == answered["x-trace-id"]
    assert (
        "CANARY" not in str(seen) and not {"user-id", "user-role", "x-internal", "cookie", "x-trace-bin"} & seen.keys()
    )
    assert answered["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("failing", [False, True])
def test_over_http(failing: bool) -> None:
    """What was declared arrives and goes back over http, answered or refused; nothing forged does."""
    asyncio.run(_over_http(failing))


async def _over_http(failing: bool) -> None:
    """Requests over HTTP, answered or refused."""
    servicer = Listing()
    servicer.failing = failing
    app: Any = Transcoder([servicer], engine_chain([as_local_admin]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.get("/v1/ants", headers=FORGED | {"x-request-id": "mine", "traceparent": TRACE})
    assert answer.status_code == (503 if failing else 200)
    check(servicer.seen[0], dict(answer.headers))
    assert ("retry-after" in answer.headers) == failing


@pytest.mark.parametrize("failing", [False, True])
def test_over_grpc(failing: bool) -> None:
    """What was declared arrives and goes back over grpc, answered or refused; nothing forged does."""
    asyncio.run(_over_grpc(failing))


async def _over_grpc(failing: bool) -> None:
    """Unary calls and streams over gRPC, answered or refused."""
    servicer = Listing()
    servicer.failing = failing
    server = grpc.aio.server()
    add_services(server, [servicer], engine_chain([as_local_admin]))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    forged = {name: value for name, value in FORGED.items() if not name.endswith("-bin")}
    metadata = [*forged.items(), ("x-trace-bin", b"\xff\x00"), ("x-request-id", "mine"), ("traceparent", TRACE)]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = ants_pb2_grpc.AntServiceStub(channel)
            for call in (stub.ListAnts(pb.ListAntsRequest(), metadata=metadata), stub.Session(metadata=metadata)):
                answered = dict(await call.initial_metadata())
                if failing:
                    assert await call.code() is grpc.StatusCode.UNAVAILABLE
                    answered |= dict(await call.trailing_metadata())
                check(servicer.seen[-1], answered)
                call.cancel()
    finally:
        await server.stop(None)


def test_the_order_is_that_of_the_sheet() -> None:
    """Headers are mapped before the caller is known; what the caller sent is checked after."""
    book: Any = None
    chain = engine_chain([Authenticate(book), LimitRate(1, 1), authorise])
    kinds = [getattr(one, "__name__", type(one).__name__) for one in chain]
    assert kinds == [
        *("trace", "AccessLog", "as_problems", "keep_deadline", "MapHeaders"),
        *("Authenticate", "LimitRate", "authorise", "Validate"),
    ]
    assert isinstance(chain[4], MapHeaders) and isinstance(chain[-1], Validate)


def test_messages_of_streams_are_left_to_the_queen() -> None:
    """The streams of ants and clients have no link of validation, nor has a type without rules; submissions have."""
    check_requests = engine_chain([])[-1]
    assert isinstance(check_requests, Validate)
    applies = {
        method.full_name: check_requests.applies(method)
        for method in bind([Listing(), jobs_pb2_grpc.JobServiceServicer()])
    }
    assert not applies["/formicary.v1.AntService/Session"] and not applies["/formicary.v1.AntService/ListAnts"]
    assert not applies["/formicary.v1.JobService/Session"]
    assert applies["/formicary.v1.JobService/SubmitJob"] and applies["/formicary.v1.JobService/GetJob"]
