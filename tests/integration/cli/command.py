"""Runs the command as its user does: two streams, an exit status; only that the process is forked from a ready one."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forks import run_forked

FORMICARY = (sys.executable, "-m", "formicary")
LIMIT_S = 180


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
    words = tuple(map(str, arguments))
    done = run_forked(words, stdin=stdin, cwd=cwd, env={**os.environ, **environment}, timeout=LIMIT_S)
    return Done(done.returncode, done.stdout, done.stderr)
