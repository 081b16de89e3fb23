"""The SHELL executor: every script line in a ``/bin/sh -c`` of its own, each in its own process group.

Theory of operation. The lines of one attempt share two pipes, read by the event loop as output comes. A line ends when
its shell ends (a pidfd becomes readable); what it left in the background lives until the task ends. Ended shells stay
zombies until then, so that no process group number can be used by anybody else before its group was killed. Stopping
sends SIGTERM to the group of the running line, SIGKILL after the grace; losing the lease sends SIGKILL at once.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shlex
import signal
import termios
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from formicary.engine.ants.attempt import Attempt, Outcome, Result, failure
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.output import STDERR, STDOUT
from formicary.engine.ants.warden import MARK, Warden

_READ_BYTES = 32768
_NOTHING = b"\0\0\0\0"
_GROUP_POLL_S = 0.02
_ENTER = 'cd -- "$0" && exec "$@"'
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores these; its children shall not."""


class ShellExecutor:
    """Runs SHELL attempts.

    Args:
        config: Grace periods.
        warden: Told about every process group.
    """

    def __init__(self, config: AntConfig, warden: Warden) -> None:
        self._config = config
        self._warden = warden
        self._environment = dict(os.environb)

    async def run(self, attempt: Attempt) -> Result:
        """Runs the script of one attempt.

        Returns:
            COMPLETED, or FAILED with the exit code or signal of the line that failed; ERR_VALIDATION or ERR_START
            where nothing could be run.
        """
        try:
            environment = environment_of(attempt, self._environment)
        except msgspec.DecodeError as error:
            return failure("ERR_VALIDATION", f"The variables are not a JSON object: {error}.")
        mark = f"{attempt.token}.{os.getpid()}"
        environment[MARK.encode()] = mark.encode()
        run = _Run(attempt, environment, self._config, self._warden)
        self._warden.attempt_started(mark)
        attempt.ender = run.stop
        try:
            return await run.execute()
        finally:
            attempt.ender = None
            run.close()
            self._warden.attempt_ended(mark)

    async def close(self) -> None:
        """Holds nothing."""


def environment_of(attempt: Attempt, own: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Makes the environment: the ant's own, the variables, the task's ``environment``, FORMICARY_*.

    Scalars are exported as text (``true``, ``5``, empty for null), lists and maps as JSON. Names that an environment
    cannot hold are left out.

    Raises:
        msgspec.DecodeError: The variables are not a JSON object.
    """
    environment = dict(own)
    for name, value in attempt.variables_map().items():
        if name and "=" not in name and "\0" not in name:
            environment[_encode(name)] = _text(value)
    for name, text in attempt.task.environment.items():
        environment[_encode(name)] = _text(text)
    for name, text in attempt.identity().items():
        environment[name.encode()] = _text(text)
    return environment


def _text(value: object) -> bytes:
    if isinstance(value, str):
        return _encode(value.replace("\0", ""))
    if value is None:
        return b""
    return msgspec.json.encode(value)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _Run:
    """One attempt while it runs."""

    def __init__(self, attempt: Attempt, environment: dict[bytes, bytes], config: AntConfig, warden: Warden) -> None:
        self._attempt = attempt
        self._environment = environment
        self._config = config
        self._warden = warden
        self._loop = asyncio.get_running_loop()
        self._processes: list[int] = []
        self._is_stopped = False
        self._is_killed = False
        self._killer: asyncio.TimerHandle | None = None
        self._folder = _folder(attempt)
        out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        self._reads = {STDOUT: out[0], STDERR: err[0]}
        self._writes = (out[1], err[1])
        for stream, pipe in self._reads.items():
            os.set_blocking(pipe, False)
            self._loop.add_reader(pipe, self._read, stream, pipe)

    # the script -------------------------------------------------------------------------------------------------------

    async def execute(self) -> Result:
        """Runs before_script and script until one fails, then after_script."""
        task = self._attempt.task
        result = Result(outcome=Outcome.COMPLETED, exit_code=0)
        for line in (*task.before_script, *task.script):
            if self._is_stopped:
                break
            result = await self._line(line)
            if result.outcome != Outcome.COMPLETED:
                break
        if task.after_script and not self._is_killed:
            await self._after(task.after_script)
        return result

    async def _after(self, lines: Iterable[str]) -> None:
        was_stopped, self._is_stopped = self._is_stopped, False
        try:
            async with asyncio.timeout(self._config.after_script_s if was_stopped else None):
                for line in lines:
                    result = await self._line(line)
                    if result.outcome != Outcome.COMPLETED:
                        self._attempt.say(f"after_script: {result.error_message}")
                    if self._is_stopped:
                        break
        except TimeoutError:
            self._attempt.say(f"after_script was ended after {self._config.after_script_s:g} s")
            self._signal(signal.SIGKILL)

    async def _line(self, line: str) -> Result:
        try:
            process = self._spawn(line)
        except (OSError, ValueError) as error:
            return self._not_started(line, error)
        self._processes.append(process)
        self._warden.group_started(process)
        status = await self._end_of(process)
        self._drain()
        if self._is_stopped and not self._is_killed:
            await self._rest_of_group(process)
        return _result(line, status)

    def _spawn(self, line: str) -> int:
        """Starts a line; returns its process id, which is that of its group."""
        arguments = ["/bin/sh", "-c", line]
        if self._attempt.task.execute_command_without_shell:
            arguments = shlex.split(line) or ["true"]
        if self._folder is not None:
            if not os.access(self._folder, os.X_OK) or not Path(self._folder).is_dir():
                raise NotADirectoryError(f"working_dir {self._folder} is not a folder that this ant can use")
            arguments = ["/bin/sh", "-c", _ENTER, self._folder, *arguments]
        return os.posix_spawnp(
            arguments[0],
            arguments,
            self._environment,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, self._writes[0], 1),
                (os.POSIX_SPAWN_DUP2, self._writes[1], 2),
            ),
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )

    def _not_started(self, line: str, error: OSError | ValueError) -> Result:
        if isinstance(error, OSError) and error.errno == errno.E2BIG:
            name, value = max(self._environment.items(), key=lambda item: len(item[1]))
            total = sum(len(k) + len(v) + 2 for k, v in self._environment.items())
            return failure(
                "ERR_START",
                f"The variables are too large for the environment of a process ({total:,} bytes in all; the largest is"
                f" {os.fsdecode(name)} with {len(value):,}). Pass large values in a file.",
            )
        return failure("ERR_START", f"The line {_short(line)} cannot be started: {error}.")

    async def _end_of(self, process: int) -> int:
        """Waits for a process without reaping it; returns its exit code, or minus the signal."""
        pidfd = os.pidfd_open(process)
        ended: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(pidfd, _set, ended)
        try:
            await ended
        finally:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
        info = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        assert info is not None, "the pidfd said that it ended"
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    async def _rest_of_group(self, process: int) -> None:
        """Leaves processes of a stopped line the rest of the grace to end by themselves."""
        while self._killer is not None and _others_in_group(process):
            await asyncio.sleep(_GROUP_POLL_S)
        self._drain()

    # output -----------------------------------------------------------------------------------------------------------

    def _read(self, stream: int, pipe: int) -> None:
        try:
            data = os.read(pipe, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if data:
            self._attempt.feed(stream, data)
        else:
            self._loop.remove_reader(pipe)

    def _drain(self) -> None:
        """Takes what the ended line left in the pipes (a pipe holds 64 KB; a background writer does not hold us up)."""
        for stream, pipe in self._reads.items():
            for _ in range(4):
                if fcntl.ioctl(pipe, termios.FIONREAD, _NOTHING) == _NOTHING:
                    break
                self._read(stream, pipe)

    # the end ----------------------------------------------------------------------------------------------------------

    def stop(self, at_once: bool) -> None:
        """Ends the running line and starts no further one.

        Args:
            at_once: SIGKILL and no after_script; else SIGTERM, and SIGKILL after the grace.
        """
        self._is_stopped = True
        if at_once:
            self._is_killed = True
            self._signal(signal.SIGKILL)
            return
        self._signal(signal.SIGTERM)
        if self._killer is None:
            self._killer = self._loop.call_later(self._config.kill_grace_s, self._kill)

    def _kill(self) -> None:
        self._killer = None
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            try:
                os.killpg(process, number)
            except (ProcessLookupError, PermissionError):
                pass

    def close(self) -> None:
        """Kills every group of the attempt, reaps the shells and gives the pipes back."""
        if self._killer is not None:
            self._killer.cancel()
            self._killer = None
        self._signal(signal.SIGKILL)
        for process in self._processes:
            if os.waitpid(process, os.WNOHANG)[0] == 0:  # killed, but the kernel takes its time
                threading.Thread(target=os.waitpid, args=(process, 0), daemon=True).start()
            self._warden.group_ended(process)
        for pipe in self._reads.values():
            self._loop.remove_reader(pipe)
            os.close(pipe)
        for pipe in self._writes:
            os.close(pipe)


def _set(ended: asyncio.Future[int]) -> None:
    if not ended.done():
        ended.set_result(0)


def _folder(attempt: Attempt) -> str | None:
    folder = attempt.task.working_dir
    if not folder:
        return None
    folder = os.path.expanduser(folder)
    return os.path.join(attempt.path, folder) if attempt.path else folder


def _others_in_group(group: int) -> bool:
    """Says whether a group has living processes beside its ended leader."""
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == group:
            continue
        try:
            stat = Path(f"/proc/{name}/stat").read_bytes()
        except OSError:
            continue
        state, _, number = stat.rpartition(b")")[2].split()[:3]
        if int(number) == group and state not in b"ZX":
            return True
    return False


def _short(line: str) -> str:
    text = line if len(line) <= 80 else line[:77] + "…"
    return repr(text)


def _result(line: str, status: int) -> Result:
    if status == 0:
        return Result(outcome=Outcome.COMPLETED, exit_code=0)
    if status > 0:
        return failure("ERR_EXIT_CODE", f"The line {_short(line)} ended with exit code {status}.", exit_code=status)
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return Result(
        outcome=Outcome.FAILED,
        exit_code=128 - status,
        signal=-status,
        error_code="ERR_SIGNAL",
        error_message=f"The line {_short(line)} was ended by {name}.",
    )
