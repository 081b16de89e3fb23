"""The warden: one small process per ant that outlives it just long enough to end its tasks.

A kill -9 of the ant cannot be caught, and the processes of its tasks would run on beside their next attempt. The
warden holds one end of a pipe and the process groups of the running tasks. When the pipe ends, the ant is gone: it
kills the groups, then every process whose environment names a running attempt (a process that left its group), and
goes. A warden that was killed is replaced with the next start of a task.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys

_LOG = logging.getLogger(__name__)
_SOON_S = 0.01

MARK = "FORMICARY_LEASE"
"""Environment variable by which the warden finds processes of a running attempt."""

_PROGRAM = """
import os, sys
groups, marks, rest = set(), set(), b""
while True:
    data = os.read(0, 65536)
    if not data:
        break
    *lines, rest = (rest + data).split(b"\\n")
    for line in lines:
        kind, value = line[:1], line[1:]
        if kind == b"+": groups.add(int(value))
        elif kind == b"-": groups.discard(int(value))
        elif kind == b">": marks.add(value)
        elif kind == b"<": marks.discard(value)
        elif kind == b"!": sys.exit()
def kill(group):
    try:
        os.killpg(group, 9)
    except OSError:
        pass
for group in groups:
    kill(group)
if marks:
    wanted = {b"%s=" + mark for mark in marks}
    for _ in range(3):
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    with open(f"/proc/{name}/environ", "rb") as file:
                        found = wanted.intersection(file.read().split(b"\\0"))
                    if found:
                        os.kill(int(name), 9)
                except OSError:
                    pass
""".replace("%s", MARK)


class Warden:
    """The ant's side of the warden."""

    def __init__(self) -> None:
        self._pipe = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: set[int] = set()
        self._marks: set[str] = set()
        self._later: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the warden, None before the first task."""
        return None if self._process is None else self._process.pid

    def group_started(self, group: int) -> None:
        """Says that a process group belongs to a running task."""
        self._groups.add(group)
        self._tell_soon(f"+{group}\n")

    def group_ended(self, group: int) -> None:
        """Says that a process group is gone."""
        self._groups.discard(group)
        self._tell_soon(f"-{group}\n")

    def attempt_started(self, mark: str) -> None:
        """Says that processes with this mark may appear from now on."""
        self._marks.add(mark)
        self._tell(f">{mark}\n")

    def attempt_ended(self, mark: str) -> None:
        """Says that the attempt is over; what it left behind on purpose may stay."""
        self._marks.discard(mark)
        self._tell_soon(f"<{mark}\n")

    def close(self) -> None:
        """Sends the warden home."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._process is None:
            return
        try:
            os.write(self._pipe, b"!\n")
        except OSError:
            pass
        os.close(self._pipe)
        self._pipe = -1
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _tell_soon(self, line: str) -> None:
        """Tells within 10 ms, together with what else happens until then: most tasks are over by that time.

        A task that is so young is found by its mark, which the warden knew before it started.
        """
        self._later.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SOON_S, self._tell, "")

    def _tell(self, line: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        line = "".join(self._later) + line
        self._later.clear()
        if self._process is None:
            self._start()
            return
        try:
            os.write(self._pipe, line.encode())
        except OSError:
            _LOG.warning("the warden is gone, starting another one")
            os.close(self._pipe)
            self._process.kill()
            self._process.wait()
            self._start()

    def _start(self) -> None:
        """Starts the process and tells it everything that is known."""
        reads, writes = os.pipe2(os.O_CLOEXEC)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM],
                stdin=reads,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            _LOG.error("no warden can be started (%s): tasks would outlive a kill of this ant", error)
            os.close(writes)
            self._process = None
            return
        finally:
            os.close(reads)
        self._pipe = writes
        os.set_blocking(writes, False)
        known = [f"+{group}\n" for group in self._groups] + [f">{mark}\n" for mark in self._marks]
        os.write(writes, "".join(known).encode())
