"""Runs the command as its user does: a process, two streams, an exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMICARY = (sys.executable, "-m", "formicary")
LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


def formicary(*arguments: str | Path, cwd: Path | None = None, stdin: str = "", **environment: str) -> Done:
    """Runs the command to its end; standard output and error are pipes."""
    done = subprocess.run(
        (*FORMICARY, *map(str, arguments)),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    return Done(done.returncode, done.stdout, done.stderr)
