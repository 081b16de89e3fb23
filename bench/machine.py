"""Facts about the machine of a run, and how quiet it was."""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

_BUSY_LOAD = 1.0
_SPIN_SPREAD = 1.5
_COMMIT_SPREAD = 3.0


def spin_ms() -> float:
    """Return the milliseconds of a fixed piece of Python work; more than usual means that others use the cores."""
    begin = time.perf_counter()
    total = 0
    for number in range(1_500_000):
        total += number
    return (time.perf_counter() - begin) * 1e3


def _field(path: str, key: str) -> str:
    try:
        for line in Path(path).read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    except OSError:
        pass
    return "unknown"


def _filesystem(path: Path) -> str:
    """Return the type of the file system that holds ``path``."""
    best, kind = "", "unknown"
    try:
        for line in Path("/proc/mounts").read_text().splitlines():
            _, mount, found, *_ = line.split()
            if str(path).startswith(mount) and len(mount) >= len(best):
                best, kind = mount, found
    except OSError:
        pass
    return kind


def disturbances(load_before: float, spins_ms: Sequence[float], commits_ms: Sequence[float]) -> list[str]:
    """Return why the figures of this run should not be trusted, a sentence each; empty for a quiet run.

    Args:
        load_before: load average of one minute before anything was started.
        spins_ms: the fixed loop, once a round.
        commits_ms: the median commit, once a round; empty where nothing was committed.
    """
    found = []
    if load_before > _BUSY_LOAD:
        found.append(f"other programs were running at the start: load {load_before:.1f}")
    if max(spins_ms) > _SPIN_SPREAD * min(spins_ms):
        found.append(f"the processor was shared: a fixed loop took {min(spins_ms):.0f} to {max(spins_ms):.0f} ms")
    if commits_ms and max(commits_ms) > _COMMIT_SPREAD * min(commits_ms):
        found.append(f"the disk was shared: one commit took {min(commits_ms):.2f} to {max(commits_ms):.2f} ms")
    return found


def facts() -> dict[str, object]:
    """Return what a reader needs to judge the figures."""
    temporary = Path(tempfile.gettempdir()).resolve()
    return {
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "data_folder_filesystem": _filesystem(temporary),
        "load_1m": os.getloadavg()[0],
    }
