"""The servers that `bench.gateway` measures, one a process: ``python -m bench.gateway_servers KIND --port N``.

All have the same bare echo behind them. ``rest``: our transcoder, in process. ``grpc``: grpc.aio. ``hop``: our
transcoder as a gateway of its own, whose handlers call a ``grpc`` server.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

import grpc.aio
import uvicorn
import uvloop
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from formicary.gateway import Service, Transcoder, add_services
from tests.integration.gateway_envoy import contract

METHOD = "Create"


class Echo:
    """Answers with the request."""

    def __init__(self, service: ServiceDescriptor) -> None:
        for method in service.methods:
            setattr(self, method.name, self._echo)

    async def _echo(self, request: Any, _: Any) -> Any:
        return request


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

        async def forward(request: Any, _: Any) -> Any:
            return await call(request)

        return forward


async def _serve_grpc(service: ServiceDescriptor, port: int) -> None:
    server = grpc.aio.server()
    add_services(server, [Service(service, Echo(service))])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def _serve_http(service: ServiceDescriptor, port: int, grpc_port: int | None) -> None:
    servicer = Echo(service) if grpc_port is None else Forward(service, grpc_port)
    config = uvicorn.Config(
        Transcoder([Service(service, servicer)]),
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
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway_servers", description=__doc__)
    parser.add_argument("kind", choices=("rest", "grpc", "hop"))
    parser.add_argument("--port", type=int, required=True, help="to listen on, at 127.0.0.1")
    parser.add_argument("--grpc-port", type=int, help="of the server that a hop calls")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        service = contract.load(contract.compile_into(Path(folder)))
    if chosen.kind == "grpc":
        uvloop.run(_serve_grpc(service, chosen.port))
    else:
        uvloop.run(_serve_http(service, chosen.port, chosen.grpc_port if chosen.kind == "hop" else None))


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
