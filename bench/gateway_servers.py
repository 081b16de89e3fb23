"""The servers that `bench.gateway` measures, one a process: ``python -m bench.gateway_servers KIND --port N``.

All have the same bare echo behind them. ``rest``: our transcoder, in process. ``grpc``: grpc.aio. ``hop``: our
transcoder as a gateway of its own, whose handlers call a ``grpc`` server. ``--chain engine`` puts the engine's chain
in front of the echo: trace, counts, problems, deadline, header mapping, token, rate limit, role, validation; ``--chain
access`` the same without mapping and validation.
``asgi`` and ``generic`` are the floors: an ASGI application and a handler of grpc.aio that send back what they got.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvicorn
import uvloop
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from bench.load import TOKEN
from formicary.engine.queen.runtime import GC_THRESHOLD
from formicary.engine.storage.memory import MemoryStore
from formicary.gateway import Call, Interceptor, Service, Transcoder, add_services, before
from formicary.gateway.interceptors import standard_chain
from formicary.gateway.transcoding.exchange import Receive, Scope, Send
from formicary.gateway.transcoding.transcoder import Application
from formicary.problems import problem
from formicary.server.api.serving import engine_chain
from formicary.server.auth.interceptors import Authenticate, LimitRate
from formicary.server.auth.principal import HOME
from formicary.server.auth.roles import may_call
from formicary.server.auth.tokens import Token, TokenBook
from tests.integration.gateway_envoy import contract

METHOD = "Create"
_HASH = sha256(TOKEN.encode()).hexdigest()


class Echo:
    """Answers with the request."""

    def __init__(self, service: ServiceDescriptor) -> None:
        for method in service.methods:
            setattr(self, method.name, self._echo)

    async def _echo(self, request: Any, _: Any) -> Any:
        return request


async def echo_bytes(_: Scope, receive: Receive, send: Send) -> None:
    """The least that an ASGI application can do for an echo."""
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event.get("body", b""), event.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class EchoBytes(grpc.GenericRpcHandler):
    """The least that grpc.aio can do for an echo."""

    def __init__(self) -> None:
        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._echo)

    async def _echo(self, request: bytes, _: object) -> bytes:
        return request

    def service(self, handler_call_details: object) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The same handler for every method."""
        return self._handler


async def full_chain(kind: str) -> list[Interceptor]:
    """The engine's chain with one token in its book; of the roles' table only the look is left, as it knows no echo."""
    book = TokenBook(MemoryStore())
    await book.add(Token(TOKEN.split("_")[1], HOME, "viewer", "bench", _HASH, TOKEN[-4:], 0.0, None))

    @before
    def permit(call: Call) -> None:
        """As `authorise`, for a method that is in no table."""
        if not (may_call(call.principal, call.method.full_name) or call.principal.roles):
            raise problem("PERMISSION_DENIED")

    access: list[Interceptor] = [Authenticate(book), LimitRate(1e9, 1_000_000_000), permit]
    return engine_chain(access) if kind == "engine" else standard_chain(access)


class Forward:
    """Calls the same method of a gRPC server."""

    def __init__(self, service: ServiceDescriptor, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        for method in service.methods:
            setattr(self, method.name, self._forward(method))

    def _forward(self, method: MethodDescriptor) -> Any:
        call = self._channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=contract.request_class(method).SerializeToString,
            response_deserializer=contract.response_class(method).FromString,
        )

        async def forward(request: Any, context: Any) -> Any:
            sent = [pair for pair in context.metadata if pair[0] == "authorization"]
            return await call(request, metadata=sent)

        return forward


async def _serve_grpc(service: ServiceDescriptor | None, port: int, chain: str) -> None:
    server = grpc.aio.server()
    if service is None:
        server.add_generic_rpc_handlers((EchoBytes(),))
    else:
        add_services(server, [Service(service, Echo(service))], await full_chain(chain) if chain else ())
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def _serve_http(service: ServiceDescriptor | None, port: int, grpc_port: int | None, chain: str) -> None:
    application: Application = echo_bytes
    if service is not None:
        servicer = Echo(service) if grpc_port is None else Forward(service, grpc_port)
        application = Transcoder([Service(service, servicer)], await full_chain(chain) if chain else ())
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=port,
        http="httptools",
        server_header=False,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
    await uvicorn.Server(config).serve()


def main() -> None:
    """The command; garbage is looked for as seldom as where a queen serves the API."""
    gc.set_threshold(*GC_THRESHOLD)
    parser = argparse.ArgumentParser(prog="python -m bench.gateway_servers", description=__doc__)
    parser.add_argument("kind", choices=("asgi", "generic", "rest", "grpc", "hop"))
    parser.add_argument("--port", type=int, required=True, help="to listen on, at 127.0.0.1")
    parser.add_argument("--grpc-port", type=int, help="of the server that a hop calls")
    parser.add_argument("--chain", choices=("access", "engine"), default="", help="interceptors before the echo")
    chosen = parser.parse_args()
    bare = chosen.kind in ("asgi", "generic")
    with tempfile.TemporaryDirectory() as folder:
        service = None if bare else contract.load(contract.compile_into(Path(folder)))
    if chosen.kind in ("grpc", "generic"):
        uvloop.run(_serve_grpc(service, chosen.port, chosen.chain))
    else:
        hop = chosen.grpc_port if chosen.kind == "hop" else None
        uvloop.run(_serve_http(service, chosen.port, hop, chosen.chain))


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
