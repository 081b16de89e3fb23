"""Both sides of the comparison: one echo behind Envoy and grpc.aio, and behind our Transcoder on uvicorn.

The echo writes down each request it is given, so that what arrived can be compared and not only what came back.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import uvicorn
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from formicary.gateway import Service, Transcoder
from tests.acceptance.server import free_port
from tests.integration.gateway_envoy import contract, envoy

FUZZ_ID = "x-fuzz-id"
_id_over_http: ContextVar[str] = ContextVar("id_over_http", default="")


@dataclass(slots=True)
class Recorder:
    """Which method was called with what, by the id of the HTTP request."""

    calls: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def take(self, key: str) -> tuple[str, Any] | None:
        """The call that a request led to, None where it led to none."""
        return self.calls.pop(key, None)


class Echo:
    """Answers every method with its request; a stream has it twice."""

    def __init__(self, service: ServiceDescriptor, recorder: Recorder) -> None:
        for method in service.methods:
            setattr(
                self, method.name, _streamed(method, recorder) if method.server_streaming else _single(method, recorder)
            )


def _key(context: Any) -> str:
    """Over HTTP the id comes in a context variable, so that no header mapping is in the way."""
    found = _id_over_http.get()
    if found:
        return found
    return str(next((text for name, text in context.invocation_metadata() or () if name == FUZZ_ID), ""))


def _single(method: MethodDescriptor, recorder: Recorder) -> Any:
    async def echo(request: Any, context: Any) -> Any:
        recorder.calls[_key(context)] = (method.name, request)
        return request.data if method.name == "Upload" else request

    return echo


def _streamed(method: MethodDescriptor, recorder: Recorder) -> Any:
    async def echo(request: Any, context: Any) -> AsyncIterator[Any]:
        recorder.calls[_key(context)] = (method.name, request)
        for _ in range(2):
            yield request

    return echo


def add_to_grpc(server: grpc.aio.Server, service: ServiceDescriptor, echo: object) -> None:
    """Serves the echo with plain grpc.aio handlers, none of our own code between."""
    handlers = {}
    for method in service.methods:
        make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        handlers[method.name] = make(
            getattr(echo, method.name),
            request_deserializer=contract.request_class(method).FromString,
            response_serializer=contract.response_class(method).SerializeToString,
        )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


@asynccontextmanager
async def grpc_server(service: ServiceDescriptor, echo: object) -> AsyncIterator[int]:
    """Runs a grpc.aio server; gives its port."""
    server = grpc.aio.server()
    add_to_grpc(server, service, echo)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


class _Server(uvicorn.Server):
    """Uvicorn as a guest in a loop that is not its own: it takes no signals."""

    @contextmanager
    def capture_signals(self) -> Any:
        yield


def _with_id(app: Any) -> Any:
    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        _id_over_http.set(dict(scope["headers"]).get(FUZZ_ID.encode(), b"").decode())
        await app(scope, receive, send)

    return wrapped


@asynccontextmanager
async def http_server(service: ServiceDescriptor, echo: object) -> AsyncIterator[int]:
    """Runs our Transcoder on uvicorn; gives its port."""
    port = free_port()
    app = _with_id(Transcoder([Service(service, echo)]))
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if running.done():
                running.result()
                raise RuntimeError("uvicorn ended before it served")
            await asyncio.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        await running


@dataclass(frozen=True, slots=True)
class Sides:
    """Ports of both, with what each echo has written down."""

    service: ServiceDescriptor
    envoy_port: int
    our_port: int
    at_envoy: Recorder
    at_ours: Recorder


@asynccontextmanager
async def both() -> AsyncIterator[Sides]:
    """Runs everything; nothing is left when it ends."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compiled = contract.compile_into(folder)
        service = contract.load(compiled)
        theirs, ours = Recorder(), Recorder()
        async with (
            grpc_server(service, Echo(service, theirs)) as grpc_port,
            http_server(service, Echo(service, ours)) as our_port,
        ):
            with envoy.running(folder, contract.for_envoy(compiled), service.full_name, grpc_port) as (envoy_port, _):
                yield Sides(service, envoy_port, our_port, theirs, ours)
