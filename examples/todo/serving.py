"""One process, two ports: the servicer on a grpc.aio server and, transcoded in process, on uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc.aio
import uvicorn
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from examples.todo import headers
from examples.todo.access import Authentication
from examples.todo.pages import pages
from examples.todo.service import TodoService, time_processing
from examples.todo.store import Store, away
from examples.todo.v1 import todo_pb2
from formicary.gateway import Call, Interceptor, Run, Transcoder, add_services, refuse_unknown
from formicary.gateway.interceptors import standard_chain
from formicary.headers.grpc_aio import ServerInterceptor
from formicary.problems.asgi import ProblemMiddleware

SERVICE = todo_pb2.DESCRIPTOR.services_by_name["TodoService"].full_name
MAX_MESSAGE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve.

    Attributes:
        database: File of the tasks.
        host: Address to listen on.
        http_port: 0 = any free one.
        grpc_port: 0 = any free one.
        tokens: User -> secret; empty = no authentication, one user.
        admins: Users who may use all tasks.
        unavailable: Answer every call as if the database could not be reached.
        drain_s: Longest wait for open calls at the end.
    """

    database: Path
    host: str = "127.0.0.1"
    http_port: int = 0
    grpc_port: int = 0
    tokens: dict[str, str] = field(default_factory=dict)
    admins: frozenset[str] = frozenset()
    unavailable: bool = False
    drain_s: float = 10.0


class Server:
    """Serves between ``async with Server(options)`` and its end, which waits for open calls.

    Attributes:
        http_port: Where REST is.
        grpc_port: Where gRPC is.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self.http_port = 0
        self.grpc_port = 0

    async def __aenter__(self) -> Self:
        options = self._options
        servicer = TodoService(await asyncio.to_thread(Store, options.database))
        inner: list[Interceptor] = [time_processing, Authentication(options.tokens, options.admins)]
        if options.unavailable:
            inner.append(refuse)
        chain = [headers.use_mapped, *standard_chain(inner)]
        mapping = headers.mapping()
        self._listener = socket.create_server((options.host, options.http_port), reuse_port=False)
        self.http_port = int(self._listener.getsockname()[1])
        self._health = health.aio.HealthServicer()
        self._grpc = grpc.aio.server(
            interceptors=[ServerInterceptor(mapping)],
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)],
        )
        add_services(self._grpc, [servicer], chain)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)
        refuse_unknown(self._grpc)
        self.grpc_port = self._grpc.add_insecure_port(f"{options.host}:{options.grpc_port}")
        await self._grpc.start()
        others = pages(authenticated=bool(options.tokens))
        transcoder = Transcoder([servicer], chain, max_body_bytes=MAX_MESSAGE_BYTES, fallback=others)
        config = uvicorn.Config(
            ProblemMiddleware(headers.around(transcoder, mapping)),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=max(1, round(options.drain_s)),
        )
        self._http = _Uvicorn(config)
        self._serving = asyncio.create_task(self._http.serve(sockets=[self._listener]))
        while not self._http.started and not self._serving.done():
            await asyncio.sleep(0.005)
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._health.enter_graceful_shutdown()
        self._http.should_exit = True
        await asyncio.gather(self._grpc.stop(self._options.drain_s), self._serving)
        self._listener.close()


class _Uvicorn(uvicorn.Server):
    """uvicorn that leaves the signals to whoever started it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


async def refuse(_: Call, __: Run) -> None:
    """Raises Problem UNAVAILABLE."""
    raise away()
