"""Completion counters that no-op tasks of every engine write, so throughput is taken the same way for all.

Each process that runs tasks maps one 24-byte file under ``$BENCH_STAMPS`` (a folder in /dev/shm) that holds its count
and the first and last CLOCK_MONOTONIC time. One stamp costs about 1 us and no traffic to any broker.
The clock is the machine's, so the times of different processes can be compared.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass

FOLDER_VARIABLE = "BENCH_STAMPS"
_LAYOUT = struct.Struct("qdd")
_mapped: tuple[int, mmap.mmap] | None = None


@dataclass(frozen=True, slots=True)
class Stamps:
    """What all processes stamped together.

    Args:
        count: number of stamps.
        first: monotonic time of the earliest, seconds; 0 when there is none.
        last: monotonic time of the latest, seconds.
        processes: how many processes took part.
    """

    count: int
    first: float
    last: float
    processes: int


def folder() -> str:
    """Return the folder of the counters, making it where needed."""
    path = os.environ.get(FOLDER_VARIABLE, "/dev/shm/formicary-bench")
    os.makedirs(path, exist_ok=True)
    return path


def _open() -> mmap.mmap:
    descriptor = os.open(f"{folder()}/{os.getpid()}", os.O_RDWR | os.O_CREAT)
    try:
        os.ftruncate(descriptor, _LAYOUT.size)
        return mmap.mmap(descriptor, _LAYOUT.size)
    finally:
        os.close(descriptor)


def stamp() -> None:
    """Count one completion of this process. Called inside the task."""
    global _mapped
    now = time.monotonic()
    if _mapped is None or _mapped[0] != os.getpid():
        _mapped = (os.getpid(), _open())
    area = _mapped[1]
    count, first, _ = _LAYOUT.unpack_from(area)
    _LAYOUT.pack_into(area, 0, count + 1, first or now, now)


def reset() -> None:
    """Set every counter to zero; the processes keep their files mapped."""
    for name in os.listdir(folder()):
        with open(f"{folder()}/{name}", "r+b") as handle:
            handle.write(b"\0" * _LAYOUT.size)


def read() -> Stamps:
    """Return the sum over all processes."""
    count, first, last, processes = 0, 0.0, 0.0, 0
    for name in os.listdir(folder()):
        with open(f"{folder()}/{name}", "rb") as handle:
            content = handle.read(_LAYOUT.size)
        if len(content) < _LAYOUT.size:
            continue
        n, earliest, latest = _LAYOUT.unpack(content)
        if n:
            count += n
            processes += 1
            first = min(first or earliest, earliest)
            last = max(last, latest)
    return Stamps(count, first, last, processes)


def wait_for(count: int, limit_s: float) -> Stamps:
    """Wait until ``count`` stamps are there.

    Args:
        count: stamps since the last ``reset``.
        limit_s: seconds to wait at most.

    Raises:
        TimeoutError: fewer came in time.
    """
    end = time.monotonic() + limit_s
    while True:
        got = read()
        if got.count >= count:
            return got
        if time.monotonic() > end:
            raise TimeoutError(f"{got.count} of {count} tasks ran within {limit_s:.0f} s")
        time.sleep(0.01)
