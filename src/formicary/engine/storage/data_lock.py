"""The lock of a data directory: one process serves it at a time, and whoever is refused learns which one.

An advisory ``flock`` on ``DIR/lock``: the system releases it when the holder dies, however it dies, so there is no
stale lock to clean up. The file's content is only there to be read by people and by commands that look for the server.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from formicary.engine.storage.port import DataInUse, StoreUnavailable

_FILE: Final = "lock"
_ATTEMPTS: Final = 10


class Holder(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who serves a data directory."""

    pid: int
    host: str
    started_at: float
    """Seconds since the epoch, UTC."""
    http_port: int = 0
    """0 = not serving (yet)."""
    grpc_port: int = 0
    """0 = not serving (yet)."""


class DataLock:
    """Exclusive use of a data directory, from :meth:`acquire` until :meth:`release` or the end of the process.

    Args:
        directory: the data directory; made when it is not there.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory).absolute()
        self._file = -1

    def acquire(self, *, http_port: int = 0, grpc_port: int = 0) -> Holder:
        """Takes the lock without waiting.

        Raises:
            DataInUse: another process holds it; the message names it.
            StoreUnavailable: the directory or the file cannot be made.
        """
        if self._file < 0:
            self._file = _open(self.directory)
            try:
                self._take()
            except BaseException:
                os.close(self._file)
                self._file = -1
                raise
        holder = Holder(os.getpid(), socket.gethostname(), time.time(), http_port, grpc_port)
        self._write(holder)
        return holder

    def update(self, *, http_port: int, grpc_port: int) -> None:
        """Records the ports once they are known."""
        if self._file >= 0:
            self.acquire(http_port=http_port, grpc_port=grpc_port)

    def release(self) -> None:
        """Gives the lock back; idempotent. The file stays: removing it would let two processes lock two files."""
        if self._file >= 0:
            try:
                os.ftruncate(self._file, 0)
            except OSError:
                pass
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> DataLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take(self) -> None:
        # A command that only looks holds a shared lock for an instant: a holder without a name is tried again.
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = _parse(self._file)
                if holder is not None or attempt == _ATTEMPTS - 1:
                    raise DataInUse(_refusal(self.directory, holder)) from None
                time.sleep(0.02)

    def _write(self, holder: Holder) -> None:
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, msgspec.json.encode(holder), 0)
        except OSError:
            pass  # a full disk must not keep the queen from starting: the lock itself holds, only the name is missing


def read_holder(directory: str | os.PathLike[str]) -> Holder | None:
    """Who serves a data directory now; None where nobody does (or nobody can tell who)."""
    try:
        file = os.open(Path(directory) / _FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _parse(file)
    except OSError:
        return None
    finally:
        os.close(file)


def _open(directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return os.open(directory / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreUnavailable(
            f"The data directory {directory} cannot be used: {error.strerror}. Name another one, or give this user "
            "write permission for it."
        ) from error


def _parse(file: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(file, 4096, 0), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None


def _refusal(directory: Path, holder: Holder | None) -> str:
    if holder is None:
        return f"The data directory {directory} is in use by another process. Stop it, or name another directory."
    since = datetime.fromtimestamp(holder.started_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    ports = f", HTTP port {holder.http_port}, gRPC port {holder.grpc_port}" if holder.grpc_port else ""
    return (
        f"The data directory {directory} is in use by process {holder.pid} on {holder.host} since {since}{ports}. "
        "Stop it, or name another directory."
    )
