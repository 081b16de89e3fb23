"""Starts and stops a Formicary server for a benchmark, and reads its memory and counters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from bench.peers.services import free_port

REPO = Path(__file__).resolve().parents[1]
_READY_LIMIT_S = 60.0
_STOP_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Counters:
    """What the queen has done since it started.

    Args:
        commits: journal commits.
        rows: rows written.
        tasks_completed: tasks whose end is committed.
    """

    commits: int
    rows: int
    tasks_completed: int


class Server:
    """One ``formicary up`` process with its ants.

    Args:
        data: folder of the SQLite file.
        log: file that its standard error is appended to.
        ants: number of ant processes.
        slots: slots of each ant.
        database: PostgreSQL URL, None for SQLite.
    """

    def __init__(self, data: Path, log: Path, ants: int = 2, slots: int = 4, database: str | None = None) -> None:
        self.http, self.grpc = free_port(), free_port()
        self._log = log
        command = [sys.executable, "-m", "formicary", "up", "--data", str(data), "--http-port", str(self.http)]
        command += ["--grpc-port", str(self.grpc), "--ants", str(ants), "--slots", str(slots), "--path", str(REPO)]
        if database:
            command += ["--database", database]
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The gRPC address for clients."""
        return f"127.0.0.1:{self.grpc}"

    def start(self) -> float:
        """Start it and return the seconds until it said ``ready``.

        Raises:
            RuntimeError: it ended or said nothing in time; the end of its log is in the message.
        """
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join((str(REPO / "src"), str(REPO))))
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
        with open(self._log, "ab") as log:
            begin = time.monotonic()
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True, cwd=REPO
            )
        ready = threading.Event()
        threading.Thread(target=self._read_output, args=(self._process, ready), daemon=True).start()
        while not ready.wait(0.005):
            if self._process.poll() is not None or time.monotonic() - begin > _READY_LIMIT_S:
                self.kill()
                raise RuntimeError(f"formicary up did not become ready: {self._log_end()}")
        return time.monotonic() - begin

    @staticmethod
    def _read_output(process: subprocess.Popen[bytes], ready: threading.Event) -> None:
        """Keep the pipe empty for as long as the server writes to it."""
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"ready"):
                ready.set()

    def _log_end(self) -> str:
        return self._log.read_text(errors="replace")[-600:].strip()

    @property
    def pid(self) -> int:
        """Process id of the queen."""
        assert self._process is not None
        return self._process.pid

    def resident_bytes(self) -> int:
        """Return the resident memory of the queen's process, without its ants."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the queen's process is gone")

    def counters(self) -> Counters | None:
        """Return the queen's counters, None where this version has none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/debug/counters", timeout=10) as answer:
                found = json.load(answer)
        except (urllib.error.URLError, ValueError):
            return None
        return Counters(int(found["commits"]), int(found["rows"]), int(found["tasks_completed"]))

    def stop(self) -> None:
        """End it with SIGTERM, and with SIGKILL when that takes too long."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def kill(self) -> None:
        """End it and all its children with SIGKILL."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._process = None
