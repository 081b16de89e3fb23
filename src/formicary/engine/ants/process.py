"""An ant in a process of its own: signals, the line that says it is ready, and exit codes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from formicary.engine.ants.ant import Ant
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.session import Ending

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


def run_ant(config: AntConfig, queen: str | Reach, *, token: str = "", insecure: bool = False) -> int:
    """Runs an ant until it is stopped by SIGTERM or SIGINT; a second signal kills what runs.

    Prints one line ``ready ant ID …`` on standard output when the queen has welcomed it.

    Args:
        config: The ant's configuration.
        queen: HOST:PORT of the queen's gRPC port (not encrypted), or the way there.
        token: Says who the ant is; empty = the queen does not ask.
        insecure: The token may travel as plain text beyond this machine.

    Returns:
        0 stopped, 3 the address is not allowed, 4 the lease ended and no queen answers (only with
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
    return _EXIT_CODES[asyncio.run(_run(config, way, token, insecure))]


async def _run(config: AntConfig, queen: Reach, token: str, insecure: bool) -> Ending:
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
    link = GrpcArtifactLink(queen, token)
    try:
        return await Ant(config, on_ready=on_ready, link=link).run(factory, stop, kill)
    finally:
        await link.close()
