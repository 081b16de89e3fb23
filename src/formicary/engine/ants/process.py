"""An ant in a process of its own: signals, the line that says it is ready, and exit codes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from formicary.engine.ants.ant import Ant
from formicary.engine.ants.channel import is_local
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.offers import WORKER_TOKEN_VARIABLE
from formicary.engine.ants.session import Ending
from formicary.engine.ants.worker_port import WorkerPort
from formicary.engine.storage.freed_memory import keep_freed_memory

if TYPE_CHECKING:
    from formicary.engine.ants.channel import Reach

EXIT_STOPPED = 0
EXIT_CANNOT_START = 3
EXIT_ORPHANED = 4
EXIT_KILLED = 130
"""Exit codes of the command ``formicary ant``."""

_EXIT_CODES = {
    Ending.STOPPED: EXIT_STOPPED,
    Ending.ORPHANED: EXIT_ORPHANED,
    Ending.KILLED: EXIT_KILLED,
}


def run_ant(
    config: AntConfig,
    queen: str | Reach,
    *,
    token: str = "",
    insecure: bool = False,
    workers: tuple[str, int] | None = None,
    worker_token: str = "",
) -> int:
    """Runs an ant until it is stopped by SIGTERM or SIGINT; a second signal kills what runs.

    Prints one line ``ready ant ID …`` on standard output when the queen has welcomed it.

    Args:
        config: The ant's configuration.
        queen: HOST:PORT of the queen's gRPC port (not encrypted), or the way there.
        token: Says who the ant is; empty = the queen does not ask.
        insecure: The token may travel as plain text beyond this machine.
        workers: Host and port at which workers register over web sockets; None = nowhere.
        worker_token: What they have to know; needed beyond loopback.

    Returns:
        0 stopped, 3 an address is not allowed or taken, 4 the lease ended and no queen answers (only with
        ``exit_when_orphaned``), 130 killed by a second signal.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # a queen that goes away is our news, not gRPC's
    from formicary.engine.ants.grpc_transport import check_way

    try:
        way = check_way(queen, beyond_loopback=bool(token) and insecure)
    except ValueError as error:
        print(f"The ant cannot start: {error}", file=sys.stderr)
        return EXIT_CANNOT_START
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if workers is not None and not worker_token and not is_local(workers[0]):
        print(
            f"The ant cannot start: beyond this machine workers need a token; set {WORKER_TOKEN_VARIABLE}.",
            file=sys.stderr,
        )
        return EXIT_CANNOT_START
    keep_freed_memory()
    return asyncio.run(_run(config, way, token, insecure, workers, worker_token))


async def _run(
    config: AntConfig, queen: Reach, token: str, insecure: bool, workers: tuple[str, int] | None, worker_token: str
) -> int:
    from formicary.engine.ants.grpc_artifacts import GrpcArtifactLink
    from formicary.engine.ants.grpc_transport import grpc_factory

    loop = asyncio.get_running_loop()
    stop, kill = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            kill.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)

    def on_ready() -> None:
        try:
            print(f"ready ant {config.ant_id} pid {os.getpid()} slots {config.slots} queen {queen.address}", flush=True)
        except OSError:
            pass  # nobody reads any more; the work goes on

    factory = grpc_factory(queen, token=token, insecure=insecure)
    link = GrpcArtifactLink(queen, token, os.environ.get("FORMICARY_PUBLIC_URL", ""))
    port = WorkerPort(config, factory, *workers, worker_token) if workers is not None else None
    try:
        if port is not None:
            try:
                print(f"workers {await port.open()}", flush=True)
            except OSError as error:
                print(f"The ant cannot start: workers cannot register: {error.strerror}.", file=sys.stderr)
                return EXIT_CANNOT_START
        closing = asyncio.create_task(_close_with(port, stop, kill))
        ending = await Ant(config, on_ready=on_ready, link=link).run(factory, stop, kill)
        stop.set()
        await closing
        return _EXIT_CODES[ending]
    finally:
        await link.close()


async def _close_with(port: WorkerPort | None, stop: asyncio.Event, kill: asyncio.Event) -> None:
    """Ends the workers together with the ant."""
    await stop.wait()
    if port is not None:
        closing, killed = asyncio.create_task(port.close()), asyncio.create_task(kill.wait())
        await asyncio.wait({closing, killed}, return_when=asyncio.FIRST_COMPLETED)
        port.kill()
        killed.cancel()
        await closing
