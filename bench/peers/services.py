"""Private Redis and PostgreSQL servers for a benchmark run, on loopback, in a temporary folder.

Redis runs with its append-only file flushed every second, PostgreSQL with ``fsync`` and ``synchronous_commit`` on, so
each peer keeps the promise printed beside it. Both are stopped by process id at the end.
RabbitMQ is used where one answers on 127.0.0.1:5672; none is started.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

RABBITMQ = ("127.0.0.1", 5672)
_START_LIMIT_S = 20.0
_POSTGRES_SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
shared_buffers = 1GB
max_connections = 200
max_wal_size = 4GB
fsync = on
synchronous_commit = on
full_page_writes = on
"""


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until(ready: Callable[[], bool], what: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_LIMIT_S
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with exit status {process.returncode} while starting")
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not answer within {_START_LIMIT_S:.0f} s")
        time.sleep(0.02)


def _exchange(address: tuple[str, int], request: bytes) -> bytes:
    """Send some bytes and return the first answer, empty when nothing answers."""
    try:
        with socket.create_connection(address, timeout=1.0) as connection:
            connection.sendall(request)
            return connection.recv(64)
    except OSError:
        return b""


def rabbitmq_url() -> str | None:
    """Return the URL of a RabbitMQ on the usual loopback port, None where no broker answers."""
    answer = _exchange(RABBITMQ, b"AMQP\x00\x00\x09\x01")
    return "amqp://guest:guest@127.0.0.1:5672//" if answer[:1] == b"\x01" else None


@dataclass(slots=True)
class Services:
    """The servers of one run; use it as a context manager, and start what is needed.

    Args:
        folder: temporary folder of all data, removed at the end.
    """

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="formicary-bench-")))
    _stops: list[Callable[[], None]] = field(default_factory=list)
    _redis: str | None = None
    _postgres: str | None = None

    def __enter__(self) -> Self:
        self.folder.chmod(0o755)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stop in reversed(self._stops):
            stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def redis(self) -> str | None:
        """Return the URL of the private Redis, starting it at the first call; None where it is not installed."""
        if self._redis is None:
            program = shutil.which("redis-server")
            if program is None:
                return None
            port, home = free_port(), self.folder / "redis"
            home.mkdir()
            process = subprocess.Popen(
                [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(home), "--save", "",
                 "--appendonly", "yes", "--appendfsync", "everysec", "--logfile", str(home / "log")],
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            self._stops.append(lambda: _stop(process, signal.SIGTERM))
            _until(lambda: _exchange(("127.0.0.1", port), b"PING\r\n") == b"+PONG\r\n", "redis-server", process)
            self._redis = f"redis://127.0.0.1:{port}"
        return self._redis

    def postgres(self) -> str | None:
        """Return the URL (without a database) of the private PostgreSQL; None where it is not installed."""
        if self._postgres is None:
            homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
            if not homes:
                return None
            port, data = free_port(), self.folder / "postgres"
            process = _start_postgres(homes[-1], data, port)
            self._stops.append(lambda: _stop(process, signal.SIGINT))
            probe = [str(homes[-1] / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-d", "postgres"]
            _until(lambda: subprocess.run(probe).returncode == 0, "postgres", process)
            self._postgres = f"postgresql://postgres@127.0.0.1:{port}"
        return self._postgres

    def database(self, name: str) -> str | None:
        """Make an empty database and return its URL; None where PostgreSQL is not installed."""
        server = self.postgres()
        if server is None:
            return None
        program = shutil.which("psql") or "psql"
        for statement in (f"drop database if exists {name} with (force)", f"create database {name}"):
            subprocess.run([program, "-q", f"{server}/postgres", "-c", statement], check=True, capture_output=True)
        return f"{server}/{name}"


def _start_postgres(programs: Path, data: Path, port: int) -> subprocess.Popen[bytes]:
    """Make a database cluster and start its server, as user postgres when this process is root."""
    data.mkdir(mode=0o700)
    account = _postgres_account()
    user, group = (None, None) if account is None else (account.pw_uid, account.pw_gid)
    groups = None if account is None else [account.pw_gid]
    if account is not None:
        os.chown(data, account.pw_uid, account.pw_gid)
    make = [str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]
    subprocess.run(make, check=True, capture_output=True, cwd="/", user=user, group=group, extra_groups=groups)
    with open(data / "postgresql.conf", "a") as settings:
        settings.write(_POSTGRES_SETTINGS.format(port=port, folder=data))
    with open(data.parent / "postgres.log", "wb") as log:
        return subprocess.Popen(
            [str(programs / "postgres"), "-D", str(data)],
            stdout=log, stderr=log, cwd="/", user=user, group=group, extra_groups=groups,
        )  # fmt: skip


def _postgres_account() -> pwd.struct_passwd | None:
    """Return the account that PostgreSQL runs under; None to run it under our own."""
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else None


def _stop(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
