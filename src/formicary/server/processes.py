"""Processes that outlive whoever started them: recognised by number and start time, watched without polling."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

ANTS_FILE = "ants.json"


class AntRecord(msgspec.Struct, frozen=True):
    """A local ant, as the next server on the same data needs to know it."""

    id: str
    pid: int
    """0 = it was about to be started when this was written."""
    started: int
    """Start time of the process in ticks since the machine started: with the number it names one process."""
    boot: str
    """Which start of the machine."""
    version: str
    """Of formicary, which an upgrade replaces under a running process."""
    command: tuple[str, ...]


class AntsFile(msgspec.Struct, frozen=True):
    """What a server leaves to the next one on the same data."""

    ants: tuple[AntRecord, ...] = ()
    gone: tuple[str, ...] = ()
    """Ids of ants that are dead, the last ones: their loss may not have been committed yet."""


def boot_id() -> str:
    """Names the present run of the machine; empty where it is not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def started_at(pid: int) -> int | None:
    """Start time of a live process in ticks; None where there is none or it is only waiting to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def find_process(command: Sequence[str]) -> int:
    """Number of the live process that was started with exactly this command, 0 = there is none.

    The oldest, where there are several: a process that is just being started bears its parent's command for a moment.
    """
    wanted = "\0".join(command).encode() + b"\0"
    found: list[tuple[int, int]] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                if Path("/proc", name, "cmdline").read_bytes() == wanted and (began := started_at(int(name))):
                    found.append((began, int(name)))
    return min(found, default=(0, 0))[1]


def read_ants(data: Path) -> AntsFile:
    """The ants of the last server on this data; none where the file is missing or damaged."""
    try:
        return msgspec.json.decode((data / ANTS_FILE).read_bytes(), type=AntsFile)
    except (OSError, msgspec.DecodeError):
        return AntsFile()


def write_ants(data: Path, ants: AntsFile) -> None:
    """Replaces the list; a full disk only costs the next server its adoption."""
    new = data / f"{ANTS_FILE}.new"
    with suppress(OSError):
        new.write_bytes(msgspec.json.encode(ants))
        new.replace(data / ANTS_FILE)


class Watched:
    """A process whose end is noticed at once, child or not.

    Args:
        pid: Its number.
        started: Its start time, so that a number used anew is not mistaken for it.
        ended: Called on the loop when it has ended.

    Raises:
        ProcessLookupError: It has ended already.
        OSError: It cannot be watched.
    """

    def __init__(self, pid: int, started: int, ended: Callable[[], None]) -> None:
        self.pid = pid
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._file = os.pidfd_open(pid)
        if started_at(pid) != started:
            os.close(self._file)
            raise ProcessLookupError(pid)
        self._loop.add_reader(self._file, self._noticed)

    def signal(self, number: int) -> None:
        """Sends a signal to exactly this process."""
        if self._file >= 0:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._file, number)

    def close(self) -> None:
        """Watches no longer; idempotent."""
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1

    def _noticed(self) -> None:
        self.close()
        self._ended()
