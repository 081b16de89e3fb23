"""``python -m examples.payments``: the accounts from start to drained."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator

import grpc.aio
import uvicorn

from examples.payments.banks import Bank, bank_of
from examples.payments.rpc import Payments
from examples.payments.service import Service
from formicary.gateway import add_services
from formicary.gateway.interceptors import standard_chain
from formicary.idempotency.purging import Purger
from formicary.problems import Problem
from formicary.problems.asgi import ProblemMiddleware

DRAIN_S = 10.0


def main() -> int:
    """Serves until SIGTERM or SIGINT. Returns 0 drained, 1 cannot start, 2 wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m examples.payments", description="Transfers that happen once.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--http-port", type=int, default=8080, help="port, 0 = any free one (default %(default)s)")
    parser.add_argument(
        "--grpc-port", type=int, metavar="PORT", help="serve gRPC too, 0 = on any free port (without it: not at all)"
    )
    parser.add_argument(
        "--database",
        default="sqlite:///payments.db",
        metavar="URL",
        help="sqlite:///FILE, a path, or postgresql://… (default %(default)s)",
    )
    parser.add_argument(
        "--slow",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long a posting takes, to see what a duplicate gets",
    )
    args = parser.parse_args()
    try:
        bank = bank_of(args.database, args.slow)
    except ValueError as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        asyncio.run(_serve(args, bank))
    except (Problem, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(args: argparse.Namespace, bank: Bank) -> None:
    await bank.open()
    try:
        listener = socket.create_server((args.host, args.http_port))
        app = ProblemMiddleware(Service(bank))
        server = _Uvicorn(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", server_header=False))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, setattr, server, "should_exit", True)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.005)
        calls = await _serve_calls(args, bank)
        kind = "postgresql" if args.database.startswith("postgres") else args.database  # a URL may hold a password
        port = f" grpc={args.host}:{calls[1]}" if calls else ""
        print(f"ready http={args.host}:{listener.getsockname()[1]}{port} database={kind}", flush=True)
        async with Purger(bank.records, counted=0):  # keys whose time is over
            await serving
        if calls:
            await calls[0].stop(DRAIN_S)
    finally:
        await bank.close()


async def _serve_calls(args: argparse.Namespace, bank: Bank) -> tuple[grpc.aio.Server, int] | None:
    """The gRPC server and its port; None where none is wanted."""
    if args.grpc_port is None:
        return None
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_services(server, [Payments(bank)], standard_chain())
    port = server.add_insecure_port(f"{args.host}:{args.grpc_port}")
    await server.start()
    return server, port


class _Uvicorn(uvicorn.Server):
    """uvicorn that leaves the signals to whoever started it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


if __name__ == "__main__":
    sys.exit(main())
