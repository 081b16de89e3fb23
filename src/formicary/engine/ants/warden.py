"""The warden: one small process per ant that outlives it just long enough to end its tasks.

A kill -9 of the ant cannot be caught, and the processes of its tasks would run on beside their next attempt. The
warden holds one end of a pipe and the process groups of the running tasks. When the pipe ends, the ant is gone: it
kills the groups, then every process whose environment names a running attempt (a process that left its group), and
goes. A warden that was killed is replaced with the next start of a task.

The warden is told what still runs after 10 ms, not before a task starts: waking it would cost a short task more than
the rest of its start. That loses nothing, because attempts have rising numbers: whatever has a number above the last
one that the warden heard of has started since, and counts as running.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import subprocess
import sys

_LOG = logging.getLogger(__name__)
_SOON_S = 0.01
_LATE_S = 0.5

MARK = "FORMICARY_LEASE"
"""Environment variable by which the warden finds processes of a running attempt."""

_PROGRAM = """
import os, sys
prefix = b"%s=" + sys.argv[1].encode() + b"."
groups, running, last, rest = set(), set(), 0, b""
while True:
    data = os.read(0, 65536)
    if not data:
        break
    *lines, rest = (rest + data).split(b"\\n")
    for line in lines:
        kind, value = line[:1], int(line[1:])
        if kind == b"+": groups.add(value)
        elif kind == b"-": groups.discard(value)
        elif kind == b">": running.add(value)
        elif kind == b"<": running.discard(value)
        elif kind == b"=": last = value
        elif kind == b"!": sys.exit()
def kill(group):
    try:
        os.killpg(group, 9)
    except OSError:
        pass
for group in groups:
    kill(group)
def is_ours(variable):
    number = variable[len(prefix):]
    return variable.startswith(prefix) and number.isdigit() and (int(number) in running or int(number) > last)
for _ in range(3):
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    found = any(map(is_ours, file.read().split(b"\\0")))
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
        self._name = secrets.token_hex(8)
        self._last = 0
        self._running: set[int] = set()
        self._told_groups: set[int] = set()
        self._told_running: set[int] = set()
        self._soon: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the warden, None before the first task."""
        return None if self._process is None else self._process.pid

    def group_started(self, group: int) -> None:
        """Says that a process group belongs to a running task."""
        self._groups.add(group)
        self._tell_soon()

    def group_ended(self, group: int) -> None:
        """Says that a process group is gone."""
        self._groups.discard(group)
        self._tell_soon()

    def attempt_started(self) -> tuple[int, str]:
        """Says that an attempt begins.

        Returns:
            Its number, and the mark that its processes must carry in ``FORMICARY_LEASE``.
        """
        self._last = number = self._last + 1
        self._running.add(number)
        if self._process is None:
            self._start()
        elif self._process.poll() is not None:
            self._replace()
        self._tell_soon()
        return number, f"{self._name}.{number}"

    def attempt_ended(self, number: int) -> None:
        """Says that the attempt is over; what it left behind on purpose may stay."""
        self._running.discard(number)
        self._tell_soon()

    def close(self) -> None:
        """Sends the warden home."""
        for timer in (self._soon, self._late):
            if timer is not None:
                timer.cancel()
        self._soon = self._late = None
        if self._process is None:
            return
        try:
            os.write(self._pipe, b"!0\n")
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

    def _tell_soon(self) -> None:
        """Tells within 10 ms what runs by then; most tasks are over by that time."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(_SOON_S, self._on_soon)

    def _on_soon(self) -> None:
        self._soon = None
        if self._groups != self._told_groups or self._running != self._told_running or self._process is None:
            self._tell()
        elif self._late is None:  # all that is new is over
            self._late = asyncio.get_running_loop().call_later(_LATE_S, self._tell)

    def _tell(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._process is None:
            self._start()
            return
        lines = [f"+{group}\n" for group in self._groups - self._told_groups]
        lines += [f"-{group}\n" for group in self._told_groups - self._groups]
        lines += [f">{number}\n" for number in self._running - self._told_running]
        lines += [f"<{number}\n" for number in self._told_running - self._running]
        lines.append(f"={self._last}\n")
        try:
            os.write(self._pipe, "".join(lines).encode())
        except OSError:
            self._process.kill()
            self._process.wait()
            self._replace()
        else:
            self._told_groups, self._told_running = set(self._groups), set(self._running)

    def _replace(self) -> None:
        _LOG.warning("the warden is gone, starting another one")
        os.close(self._pipe)
        self._start()

    def _start(self) -> None:
        """Starts the process and tells it everything that is known."""
        reads, writes = os.pipe2(os.O_CLOEXEC)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, self._name],
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
        self._told_groups, self._told_running = set(), set()
        self._tell()
