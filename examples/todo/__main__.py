"""``python -m examples.todo``: the service from start to drained."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import signal
import sys

from examples.todo.access import parse_tokens
from examples.todo.serving import Options, Server
from examples.todo.store import path_of
from formicary.problems import Problem


def main() -> int:
    """Serves until SIGTERM or SIGINT. Returns 0 drained, 1 cannot start, 2 wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m examples.todo", description="A to-do list over gRPC and REST.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--http-port", type=int, default=8080, help="REST port, 0 = any free one (default %(default)s)")
    parser.add_argument("--grpc-port", type=int, default=50051, help="gRPC port, 0 = any free one (%(default)s)")
    parser.add_argument("--database", default="sqlite:///todo.db", help="sqlite:///FILE or a path (%(default)s)")
    parser.add_argument("--token", action="append", default=[], metavar="USER=SECRET", help="a user; repeatable")
    parser.add_argument("--admin", action="append", default=[], metavar="USER", help="may use all tasks; repeatable")
    parser.add_argument("--unavailable", action="store_true", help="answer as if the database could not be reached")
    parser.add_argument(
        "--drain", type=float, default=10.0, metavar="SECONDS", help="wait for open calls (%(default)s)"
    )
    args = parser.parse_args()
    try:
        options = Options(
            host=args.host,
            http_port=args.http_port,
            grpc_port=args.grpc_port,
            database=path_of(args.database),
            tokens=parse_tokens(args.token),
            admins=frozenset(args.admin),
            unavailable=args.unavailable,
            drain_s=args.drain,
        )
        if not options.tokens and not ipaddress.ip_address(options.host).is_loopback:
            raise ValueError("without --token everybody is one user, so --host must be a loopback address")
    except ValueError as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(_run(options))
    except (Problem, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: Options) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Server(options) as server:
        ports = f"http={options.host}:{server.http_port} grpc={options.host}:{server.grpc_port}"
        print(f"ready {ports} database={options.database}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
