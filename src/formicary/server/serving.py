"""`formicary up` from start to end: lock, ports, store, queen, ants; drained by a signal, stopped in reverse."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from formicary.embedded.opening import as_problems, open_data
from formicary.engine.queen.runtime import Queen, QueenConfig
from formicary.engine.queen.service import GrpcServer, serve
from formicary.engine.storage.data_lock import DataLock
from formicary.problems import Problem, problem
from formicary.server.config import UpConfig
from formicary.server.http import HttpServer, Pages, listen
from formicary.server.supervisor import Supervisor

log = logging.getLogger("formicary.server")
EXIT_OK = 0
EXIT_FORCED = 1
EXIT_CANNOT_START = 3
CLOSE_STREAMS_S = 0.5


def run_server(config: UpConfig) -> int:
    """Serves until SIGTERM or SIGINT; prints one line ``ready …`` on standard output when it serves.

    Returns:
        0 drained, 1 forced by a second signal, 3 another queen has taken over the database.

    Raises:
        Problem: It cannot start: DATA_IN_USE, UNSUPPORTED_DATA_VERSION, UNAVAILABLE, FAILED_PRECONDITION (a port).
    """
    return asyncio.run(_Server(config).run())


class _Server:
    """The parts of one server and the state they share."""

    def __init__(self, config: UpConfig) -> None:
        self._config = config
        self._queen: Queen | None = None
        self._supervisor: Supervisor | None = None
        self._starting = True
        self._draining = False
        self._signals = 0
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self) -> int:
        """Starts everything, waits, stops everything."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        async with AsyncExitStack() as stack:
            config = self._config
            lock = DataLock(config.data)
            with as_problems():
                lock.acquire(http_port=config.http_port, grpc_port=config.grpc_port)
            stack.callback(lock.release)
            http, http_port = await self._open_http(stack)
            queen = await self._open_queen(stack)
            grpc = await self._open_grpc(queen, stack)
            lock.update(http_port=http_port, grpc_port=grpc.port)
            self._supervisor = Supervisor(config, f"{config.host}:{grpc.port}", queen.bury_ant)
            self._supervisor.start()
            self._starting = False
            self._print_ready(http_port, grpc.port)
            status = await self._serve(queen)
            await http.stop()
            return status

    async def _open_http(self, stack: AsyncExitStack) -> tuple[HttpServer, int]:
        listener = listen(self._config.host, self._config.http_port)
        port = int(listener.getsockname()[1])
        http = HttpServer(Pages(self._unready, self._counters), listener)
        await http.start()
        stack.push_async_callback(http.stop)
        return http, port

    async def _open_queen(self, stack: AsyncExitStack) -> Queen:
        config = self._config
        store, logs = await asyncio.to_thread(open_data, config.target)
        queen = Queen(store, logs, QueenConfig(methods=dict(config.methods)))
        try:
            with as_problems():
                await queen.start()
        except BaseException:
            store.close()
            raise
        stack.push_async_callback(queen.stop)
        self._queen = queen
        return queen

    async def _open_grpc(self, queen: Queen, stack: AsyncExitStack) -> GrpcServer:
        config = self._config
        try:
            grpc = await serve(queen, config.host, config.grpc_port)
        except Problem as error:
            raise problem(
                "FAILED_PRECONDITION",
                f"The gRPC port {config.host}:{config.grpc_port} cannot be used: another process listens there. Stop "
                "it, or choose another one with --grpc-port.",
            ) from error
        stack.push_async_callback(grpc.stop, CLOSE_STREAMS_S)
        return grpc

    async def _serve(self, queen: Queen) -> int:
        """Waits for a signal (or the loss of the colony) and drains."""
        fenced = asyncio.create_task(queen.pump.fenced.wait())
        stopped = asyncio.create_task(self._stop.wait())
        forced = asyncio.create_task(self._force.wait())
        await asyncio.wait({fenced, stopped}, return_when=asyncio.FIRST_COMPLETED)
        self._draining = True
        supervisor = self._supervisor
        if supervisor is None:
            return EXIT_OK
        if fenced.done():
            print("error: another queen has taken over this database; this one stops.", file=sys.stderr)
            await supervisor.kill()
            return EXIT_CANNOT_START
        draining = asyncio.create_task(supervisor.drain(self._config.grace_s))
        await asyncio.wait({draining, forced}, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            draining.cancel()
            await supervisor.kill()
            return EXIT_FORCED
        for task in (fenced, stopped, forced):
            task.cancel()
        return EXIT_OK

    def _signalled(self) -> None:
        self._signals += 1
        if self._signals == 1:
            log.info("draining: running tasks may finish within %g s; a second signal ends them", self._config.grace_s)
            self._stop.set()
        else:
            self._force.set()

    def _unready(self) -> str:
        """Why no work is taken, empty while it is."""
        if self._draining:
            return "The server is draining."
        if self._starting or self._queen is None:
            return "The server is starting."
        return "" if self._queen.ready else "The store cannot be written at the moment."

    def _counters(self) -> Mapping[str, Any]:
        queen, supervisor = self._queen, self._supervisor
        found: dict[str, Any] = dict(queen.counters()) if queen is not None else {}
        found["ant_restarts"] = supervisor.restarts if supervisor is not None else 0
        return found

    def _print_ready(self, http_port: int, grpc_port: int) -> None:
        host = self._config.host
        try:
            print(f"ready http={host}:{http_port} grpc={host}:{grpc_port} data={self._config.data}", flush=True)
        except OSError:
            pass  # nobody reads; the server is there all the same
