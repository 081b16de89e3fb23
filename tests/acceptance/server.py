"""A real `formicary up` for tests: started, killed, restarted, never left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.forks import REPOSITORY, Forked, run_forked

FORMICARY = (sys.executable, "-m", "formicary")
LEASE_S = 10.0


def free_port(count: int = 1) -> int:
    """A port that nobody listens on at the moment, the first of so many.

    None that the system gives to who asks for any port, or to who connects: else somebody else soon had it. None
    either that another test process has chosen and whose server does not listen yet, or was killed a moment ago.
    """
    while True:
        first = random.randrange(12_000, 32_000)
        taken: list[socket.socket] = []
        try:
            for port in range(first, first + count):
                with socket.socket() as tried:
                    tried.bind(("127.0.0.1", port))
                taken.append(socket.socket(socket.AF_UNIX))
                taken[-1].bind(f"\0formicary-test-port-{port}")  # a name that no file stands for; it ends with us
        except OSError:
            for one in taken:
                one.close()
            continue
        _RESERVED.extend(one.detach() for one in taken)
        while len(_RESERVED) > RESERVED:
            os.close(_RESERVED.popleft())
        return first


RESERVED = 64
"""So many ports that were chosen last are nobody else's."""
_RESERVED: deque[int] = deque()
"""Descriptors that tell other test processes so."""


def busyness() -> float:
    """How many times as long everything may take as on a machine that has nothing else to do, at least 1.

    The runnable processes for each processor: the mean of the last minute, or those of this moment where they are more.
    """
    mean, _, _, shown, _ = Path("/proc/loadavg").read_text().split()
    return max(1.0, max(float(mean), float(shown.partition("/")[0])) / (os.cpu_count() or 1))


def until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Waits for a condition; fails after the limit, which a busy machine multiplies."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > limit_s and time.monotonic() - begun > limit_s * busyness():
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.01)


def kill_process(pid: int, number: int = signal.SIGKILL) -> None:
    """Sends a signal to a process that may have gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Up:
    """One server on one data directory and fixed ports, over any number of lives.

    Args:
        data: Data directory.
        options: More options of `formicary up`.
        is_forked: Not started as users do, which takes longer, but forked from a process with all modules.
    """

    def __init__(self, data: Path, *options: str, is_forked: bool = True) -> None:
        self.data = data
        self.http, self.grpc = free_port(), free_port()
        self.address = f"127.0.0.1:{self.grpc}"
        self.scheme = "http"
        self.context: ssl.SSLContext | None = None
        self.log = data.parent / f"{data.name}-up.log"
        ports = ("--http-port", str(self.http), "--grpc-port", str(self.grpc))
        self.arguments = ("up", "--data", str(data), *ports, *options)
        self._is_forked = is_forked
        self.process: subprocess.Popen[bytes] | Forked | None = None

    def start(self, *, wait: bool = True) -> None:
        """Starts it; waits until it is ready.

        Where the test says nothing of leases they are the usual ones, and longer on a busy machine: there a server may
        need longer than that to start again, and what its ants run shall go on meanwhile.
        """
        environment = {"FORMICARY_LEASE_S": f"{LEASE_S * busyness():g}", **os.environ}
        with open(self.log, "ab") as log:
            if self._is_forked:
                self.process = Forked(self.arguments, stderr=log, env=environment)
            else:
                command = (*FORMICARY, *self.arguments)
                self.process = subprocess.Popen(
                    command, stdout=subprocess.DEVNULL, stderr=log, cwd=REPOSITORY, env=environment
                )
        if wait:
            self.until_ready()

    def until_ready(self, limit_s: float = 30.0) -> None:
        """Waits until /readyz says yes. Fails where the process has ended."""

        def ready() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"up ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
            return self.page("/readyz")[0] == 200

        until(ready, limit_s, f"ready; its log: {self.log.read_text()[-2000:]}")

    def page(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of a page; status 0 where nobody answers."""
        url = f"{self.scheme}://127.0.0.1:{self.http}{path}"
        try:
            with urllib.request.urlopen(url, timeout=60, context=self.context) as answer:
                return int(answer.status), json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0, {}

    def ants(self) -> list[int]:
        """Process ids of the ants that work for this server, adopted or not."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                command = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            queens = (self.address.encode(), f"unix:{self.data}/queen.sock".encode())
            if b"ant" in command and any(queen in command for queen in queens):
                found.append(int(name))
        return sorted(found)

    def kill(self) -> None:
        """Ends the server process with SIGKILL; its ants live on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """Drains it; everything of it is gone afterwards. Returns the exit status."""
        status = 0
        if self.process is not None:
            self.process.terminate()
            try:
                status = self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                status = self.process.wait()
            self.process = None
        self.clear()
        return status

    def clear(self) -> None:
        """Kills what is left."""
        self.kill()
        for pid in self.ants():
            kill_process(pid)

    def cli(self, *arguments: str, status: int | None = 0) -> str:
        """Runs a client command against this server and returns its standard output."""
        environment = {**os.environ, "FORMICARY_SERVER": self.address}
        done = run_forked(arguments, env=environment, cwd=REPOSITORY)
        if status is not None and done.returncode != status:
            raise AssertionError(f"{arguments}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def job(self, job_id: str) -> dict[str, Any]:
        """The job's document."""
        found: dict[str, Any] = json.loads(self.cli("get", job_id, "--output", "json"))
        return found
