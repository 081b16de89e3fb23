"""A Docker engine for tests: the machine's own, else one that is started here, which needs root and Debian's packages
docker.io, iptables and busybox-static.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from formicary.engine.ants.offers import docker_here

START_S = 60.0
STOP_S = 30.0


@contextmanager
def docker_engine() -> Iterator[str]:
    """The address of an engine; skips the test where there is none and none can run.

    Not even a machine that has to have all components needs one: whether containers may run is up to its kernel.
    """
    if address := docker_here():
        yield address
        return
    missing = [name for name in ("dockerd", "iptables") if shutil.which(name, path=_path()) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(
            f"no Docker engine: none runs, and one of ours needs root and {', '.join(missing) or 'nothing else'}"
        )
    with tempfile.TemporaryDirectory(prefix="docker-") as name, (Path(name) / "log").open("wb") as log:
        folder = Path(name)
        command = ["dockerd", "--iptables=false", "--bridge=none", "--storage-driver=vfs", "--shutdown-timeout=5"]
        command += [f"--data-root={folder / 'data'}", f"--exec-root={folder / 'exec'}", f"--pidfile={folder / 'pid'}"]
        process = subprocess.Popen(
            [*command, f"--host=unix://{folder / 'socket'}"],
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": _path()},
        )
        try:
            _wait(process, folder)
            yield f"unix://{folder / 'socket'}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _path() -> str:
    """Where programs of the system's own are, too."""
    return f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin{os.pathsep}/sbin"


def _wait(process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + START_S
    while not (folder / "socket").exists():
        if process.poll() is not None or time.monotonic() > until:
            last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
            pytest.skip(f"no Docker engine: dockerd does not start here: {' '.join(last)[-300:]}")
        time.sleep(0.1)
