"""``python -m examples.orders``: the shop from start to drained."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from examples.orders.bank import Bank
from examples.orders.service import Service
from examples.orders.shop import Shop


def main() -> int:
    """Serves until SIGTERM or SIGINT. Returns 0 drained, 1 cannot start, 2 wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m examples.orders", description="Orders that are bought once.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--http-port", type=int, default=8080, help="port, 0 = any free one (default %(default)s)")
    parser.add_argument("--database", default="sqlite:///orders.db", help="sqlite:///FILE or a path (%(default)s)")
    parser.add_argument("--lease", type=float, default=5.0, metavar="SECONDS", help="until a dead one's work goes on")
    parser.add_argument(
        "--die-after", choices=("create", "charge", "allocate"), default="", help="kill -9 itself there"
    )
    args = parser.parse_args()
    path = Path(args.database.removeprefix("sqlite:///"))
    if "://" in args.database and not args.database.startswith("sqlite:///"):
        parser.error(f"{args.database} is no database of this example: sqlite:///FILE or a path")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        asyncio.run(_serve(args, path))
    except (OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(args: argparse.Namespace, path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise OSError(f"{path.absolute().parent} is no directory")
    shop, bank = Shop(path), Bank(path.with_suffix(".bank"))
    await shop.open()
    try:
        service = Service(shop, bank, lease_s=args.lease, die_after=args.die_after)
        listener = socket.create_server((args.host, args.http_port))
        config = uvicorn.Config(service.app(), log_config=None, access_log=False, lifespan="off")
        server = _Uvicorn(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, setattr, server, "should_exit", True)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.005)
        print(f"ready http={args.host}:{listener.getsockname()[1]} database={path.absolute()}", flush=True)
        await serving
    finally:
        await shop.close()


class _Uvicorn(uvicorn.Server):
    """uvicorn that leaves the signals to whoever started it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


if __name__ == "__main__":
    sys.exit(main())
