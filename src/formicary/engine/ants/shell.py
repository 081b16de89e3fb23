"""The SHELL executor: every script line in a ``/bin/sh -c`` of its own, or in the interpreter that its first line names
(``#!``), each in its own process group.

Theory of operation. The lines of one attempt share two pipes, read by the event loop as output comes. A line ends when
its shell ends (a pidfd becomes readable); what it left in the background lives until the task ends. Ended shells stay
zombies until then, so that no process group number can be used by anybody else before its group was killed. Stopping
sends SIGTERM to the group of the running line, SIGKILL after the grace; losing the lease sends SIGKILL at once.

What a short task feels is everything the ant does from its grant to its result, also while the shell starts: often
both share a CPU. So the pipes are made and watched ahead and given back once the result is on its way, and the end of
a shell resumes the attempt at once. Groups are killed and shells reaped before the result leaves.
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
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path

import msgspec

from formicary.engine.ants.attempt import Attempt, Outcome, Result, failure
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.interpreters import NAMED, command_of
from formicary.engine.ants.memory_limit import bounded, told
from formicary.engine.ants.offers import PRIVATE_VARIABLES
from formicary.engine.ants.output import STDERR, STDOUT
from formicary.engine.ants.warden import MARK, Warden
from formicary.engine.jobs.quality import memory_limit_of
from formicary.engine.jobs.variables import EXPORTED, job_builtins

_READ_BYTES = 32768
_NOTHING = b"\0\0\0\0"
_GROUP_POLL_S = 0.02
_LATER_S = 0.001
MOST_STRUCTURE_BYTES = 32 * 1024
"""Of a list or map in the environment: a system takes 128 KiB for one, and all share a few hundred more."""
_ENTER = 'cd -- "$0" && exec "$@"'
_MARK = MARK.encode()
_PRIVATE = frozenset(name.encode() for name in PRIVATE_VARIABLES)
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT)
"""Python ignores the first two, a server that was started with `&` by a script the others; tasks shall not."""


class ShellExecutor:
    """Runs SHELL attempts.

    Args:
        config: Grace periods.
        warden: Told about every process group.
    """

    def __init__(self, config: AntConfig, warden: Warden) -> None:
        self._config = config
        self._warden = warden
        self._environment = {k: v for k, v in os.environb.items() if k not in _PRIVATE}
        self._spare: _Pipes | None = None
        self._is_closed = False
        self._ended: list[_Pipes] = []

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
        number, mark = self._warden.attempt_started()
        environment[_MARK] = mark.encode()
        try:
            pipes, self._spare = self._spare or _Pipes(), None
        except OSError:
            self._warden.attempt_ended(number)
            raise
        run = _Run(attempt, environment, self._config, self._warden, pipes)
        attempt.ender = run.stop
        try:
            return await run.execute()
        finally:
            attempt.ender = None
            run.end()
            self._warden.attempt_ended(number)
            if not self._ended:
                asyncio.get_running_loop().call_later(_LATER_S, self._tidy)
            self._ended.append(pipes)

    def _tidy(self) -> None:
        """Gives back the pipes of ended runs and makes those of the next one."""
        for pipes in self._ended:
            pipes.close()
        self._ended.clear()
        if self._spare is None and not self._is_closed:
            try:
                self._spare = _Pipes()
            except OSError:
                pass  # the next attempt says so

    async def close(self) -> None:
        """Gives the pipes back."""
        self._is_closed = True
        self._tidy()
        if self._spare is not None:
            self._spare.close()
            self._spare = None


def environment_of(attempt: Attempt, own: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Makes the environment: the ant's own, the variables, those the engine sets, the task's, FORMICARY_*.

    Scalars are exported as text (``true``, ``5``, empty for null), lists and maps as JSON. Names that an environment
    cannot hold are left out, and so are lists and maps of more than 32 KiB, which the log says.

    Raises:
        msgspec.DecodeError: The variables are not a JSON object.
    """
    environment = dict(own)
    for name, value in attempt.variables_map().items():
        if name and "=" not in name and "\0" not in name:
            text = _text(value)
            if len(text) > MOST_STRUCTURE_BYTES and isinstance(value, (list, dict)):
                attempt.say(f"{name} ({len(text):,} bytes) is too large for the environment and left out of it")
                continue
            environment[_encode(name)] = text
    builtins = job_builtins(job_id=attempt.job_id, job_type=attempt.job_type, now=time.time())
    names = {name: builtins[name] for name in EXPORTED} | {"TaskType": attempt.task.task_type}
    for name, given in {**names, **attempt.task.environment, **attempt.identity()}.items():
        environment[_encode(name)] = _text(given)
    return environment


def _text(value: object) -> bytes:
    if isinstance(value, str):
        return _encode(value.replace("\0", ""))
    if value is None:
        return b""
    return msgspec.json.encode(value)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _Pipes:
    """The two pipes of one attempt, read by the loop. Raises OSError when there are no descriptors left."""

    __slots__ = ("_loop", "feed", "reads", "writes")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.feed: Callable[[int, bytes], None] = _drop
        out = os.pipe2(os.O_CLOEXEC)
        try:
            err = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(out[0])
            os.close(out[1])
            raise
        self.reads = ((STDOUT, out[0]), (STDERR, err[0]))
        self.writes = (out[1], err[1])
        for stream, pipe in self.reads:
            os.set_blocking(pipe, False)
            self._loop.add_reader(pipe, self._read, stream, pipe)

    def _read(self, stream: int, pipe: int) -> None:
        try:
            data = os.read(pipe, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        self.feed(stream, data)  # never empty: we hold the other end ourselves

    def drain(self) -> None:
        """Takes what the ended line left (a pipe holds 64 KB; a background writer does not hold us up)."""
        for stream, pipe in self.reads:
            for _ in range(4):
                if fcntl.ioctl(pipe, termios.FIONREAD, _NOTHING) == _NOTHING:
                    break
                self._read(stream, pipe)

    def close(self) -> None:
        """Gives the descriptors back."""
        for _, pipe in self.reads:
            self._loop.remove_reader(pipe)
            os.close(pipe)
        for pipe in self.writes:
            os.close(pipe)


def _drop(stream: int, data: bytes) -> None:
    """Takes what nobody wants any more."""


class _End:
    """Waits for the end of a process, and resumes its task in the very turn in which the loop hears of it.

    An ``asyncio.Future`` would resume it one turn later. One task awaits it, once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, process: int) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._resume: Callable[[_End], object] | None = None
        self._is_cancelled = False
        self._pidfd = os.pidfd_open(process)
        loop.add_reader(self._pidfd, self._ended)

    def __await__(self) -> Generator[_End, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def _ended(self) -> None:
        self._forget()
        if self._resume is not None:
            resume, self._resume = self._resume, None
            resume(self)

    def _forget(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    # what a task asks of what it awaits

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the task."""
        return self._loop

    def add_done_callback(self, resume: Callable[[_End], object], *, context: object = None) -> None:
        """Takes the function that resumes the task."""
        self._resume = resume

    def cancel(self, msg: object = None) -> bool:
        """Resumes the task with a CancelledError."""
        self._forget()
        self._is_cancelled = True
        if self._resume is not None:
            self._loop.call_soon(self._resume, self)
            self._resume = None
        return True

    def result(self) -> None:
        """Says how it ended."""
        if self._is_cancelled:
            raise asyncio.CancelledError


class _Run:
    """One attempt while it runs."""

    def __init__(
        self, attempt: Attempt, environment: dict[bytes, bytes], config: AntConfig, warden: Warden, pipes: _Pipes
    ) -> None:
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
        self._memory = memory_limit_of(attempt.task)
        self._pipes = pipes
        pipes.feed = attempt.feed

    # the script -------------------------------------------------------------------------------------------------------

    async def execute(self) -> Result:
        """Runs before_script and script until one fails, then after_script."""
        task = self._attempt.task
        result = await self._until_failure(task.before_script)
        prepared = self._attempt.prepared
        if result.outcome == Outcome.COMPLETED and not self._is_stopped and prepared is not None:
            problem = await prepared()
            result = failure("ERR_ARTIFACT", problem) if problem else result
        if result.outcome == Outcome.COMPLETED:
            result = await self._until_failure(task.script)
        if task.after_script and not self._is_killed:
            await self._after(task.after_script)
        return result

    async def _until_failure(self, lines: Iterable[str]) -> Result:
        result = Result(outcome=Outcome.COMPLETED, exit_code=0)
        for line in lines:
            if self._is_stopped:
                break
            result = await self._line(line)
            if result.outcome != Outcome.COMPLETED:
                break
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
        self._attempt.groups.add(process)
        self._warden.group_started(process)
        status = await self._end_of(process)
        self._pipes.drain()
        if self._is_stopped and not self._is_killed:
            await self._rest_of_group(process)
        result = _result(line, status)
        if self._memory and result.outcome != Outcome.COMPLETED:
            result.error_message = f"{result.error_message[:-1]}; {told(self._memory)}."
        return result

    def _spawn(self, line: str) -> int:
        """Starts a line; returns its process id, which is that of its group."""
        arguments = ["/bin/sh", "-c", line]
        if self._attempt.task.execute_command_without_shell:
            arguments = shlex.split(line) or ["true"]
        elif line.startswith(NAMED):
            path = self._environment.get(b"PATH")
            arguments, missing = command_of(line, None if path is None else os.fsdecode(path))
            if missing:
                self._attempt.say(f"{missing[:200]} is not here: the text runs in /bin/sh")
        if self._folder is not None:
            if not os.access(self._folder, os.X_OK) or not Path(self._folder).is_dir():
                raise NotADirectoryError(f"working_dir {self._folder} is not a folder that this ant can use")
            arguments = ["/bin/sh", "-c", _ENTER, self._folder, *arguments]
        arguments = bounded(arguments, self._memory)
        return os.posix_spawnp(
            arguments[0],
            arguments,
            self._environment,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, self._pipes.writes[0], 1),
                (os.POSIX_SPAWN_DUP2, self._pipes.writes[1], 2),
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
        await _End(self._loop, process)
        info = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        assert info is not None, "the pidfd said that it ended"
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    async def _rest_of_group(self, process: int) -> None:
        """Leaves processes of a stopped line the rest of the grace to end by themselves."""
        while self._killer is not None and _others_in_group(process):
            await asyncio.sleep(_GROUP_POLL_S)
        self._pipes.drain()

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
            given = self._attempt.grace_s
            grace_s = self._config.kill_grace_s if given is None else given
            self._killer = self._loop.call_later(grace_s, self._kill)

    def _kill(self) -> None:
        self._killer = None
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            try:
                os.killpg(process, number)
            except (ProcessLookupError, PermissionError):
                pass

    def end(self) -> None:
        """Kills every group of the attempt and reaps the shells; what still comes through the pipes is dropped."""
        self._pipes.feed = _drop
        if self._killer is not None:
            self._killer.cancel()
            self._killer = None
        self._signal(signal.SIGKILL)
        for process in self._processes:
            if os.waitpid(process, os.WNOHANG)[0] == 0:  # killed, but the kernel takes its time
                threading.Thread(target=os.waitpid, args=(process, 0), daemon=True).start()
            self._warden.group_ended(process)


def _folder(attempt: Attempt) -> str | None:
    return attempt.folder or working_directory(attempt)


def working_directory(attempt: Attempt) -> str | None:
    """The folder that the task names, None where it names none."""
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
