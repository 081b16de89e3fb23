"""The service as a process, for its tests."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
READY = re.compile(r"ready http=127\.0\.0\.1:(\d+)( grpc=127\.0\.0\.1:\d+)? database=.+\n")


@contextmanager
def bank(database: str, port: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the service."""
    command = [sys.executable, "-m", "examples.payments", "--http-port", str(port), "--database", database, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and READY.fullmatch(process.stdout.readline())
            yield process
        finally:
            process.kill()
