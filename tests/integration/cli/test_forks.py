"""A command that is forked does what one does that is started as users do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.server import Up
from tests.forks import Forked, run_forked


@pytest.mark.parametrize("arguments", [("version",), ("validate", "-"), ("no-such-command",), ("get", "1")])
def test_streams_and_status_are_the_same(arguments: tuple[str, ...], tmp_path: Path, data_dir: Path) -> None:
    """What it reads, prints and leaves."""
    text = "job_type: x\ntasks:\n- task_type: a\n  script: ['true']\n  unknown: 1\n"
    options = ("--server", "127.0.0.1:1", "--timeout", "1") if arguments[0] == "get" else ()
    words = (*arguments, *options)
    command = (sys.executable, "-m", "formicary", *words)
    true = subprocess.run(command, input=text, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    forked = run_forked(words, stdin=text, cwd=tmp_path)
    assert (forked.returncode, forked.stdout, forked.stderr) == (true.returncode, true.stdout, true.stderr)


def test_it_can_be_stopped_and_killed(data_dir: Path) -> None:
    """SIGTERM lets it end well, SIGKILL ends it at once; a second life has the same data."""
    up = Up(data_dir, "--ants", "0")
    up.start()
    assert isinstance(up.process, Forked) and up.process.poll() is None
    up.process.kill()
    assert up.process.wait(20) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(up.process.pid, 0)
    up.start()
    assert up.stop() == 0
