"""Commands of `formicary` in processes that need not read its modules first: forked from one that has read them.

Theory of operation. Most of what a command costs is reading modules; hundreds of commands are started by tests whose
subject is what a command does and not how it starts. So each test process has one *prepared* process with all modules
read, no threads and no loop; it forks at request. A fork gets its own standard streams, environment, folder and
signals, runs the command's `main` and ends as any process does: it can be stopped and killed as usual, and leaves an
exit status. What `/proc/PID/cmdline` shows is not the same, so tests that look at it, and some of each kind anyway
(`test_up`, `test_kills`, `test_run`, the sessions of the documents, the examples), start the command as users do.

The request goes through a socket, with the descriptors of the streams and of a pipe on which the prepared process
first writes the process id and, at the end of the process, its status.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn

REPOSITORY = Path(__file__).resolve().parents[1]
MOST_BYTES = 1024 * 1024
"""Of a request: arguments and environment."""
DESCRIPTOR = "FORMICARY_TEST_FORKS"
"""Variable with the descriptor of the way to the prepared process, for shells."""
ALSO = ("formicary.client.sync", "formicary.embedded", "formicary.server.serving", "rich.table", "rich.live")
"""What the prepared process reads besides the modules of the subcommands, which import these late."""


class Forked:
    """A command that runs; of `subprocess.Popen` what tests use.

    Args:
        arguments: Of `formicary`.
        stdin: What it reads; None = nothing.
        stdout: Where its output goes; None = nowhere.
        stderr: Where its errors go.
        cwd: Its folder.
        env: Its environment; None = this process's.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        *,
        stderr: IO[bytes],
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        cwd: Path = REPOSITORY,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.args = ("formicary", *arguments)
        self.returncode: int | None = None
        environment = dict(os.environ if env is None else env)
        request = json.dumps({"arguments": arguments, "cwd": str(cwd), "env": environment}).encode()
        reading, writing = os.pipe()
        self._status = open(reading, encoding="ascii")  # noqa: SIM115 - open until the process has ended
        with open(os.devnull, "r+b") as nothing:
            streams = [(one or nothing).fileno() for one in (stdin, stdout, stderr)]
            socket.send_fds(_prepared(), [request], [*streams, writing])
        os.close(writing)
        self.pid = int(self._status.readline())

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end and returns the exit status; negative is the signal that has ended it."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, where it has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        with self._status:
            self.returncode = int(self._status.readline())


def run_forked(
    arguments: tuple[str, ...],
    *,
    stdin: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 180.0,
) -> subprocess.CompletedProcess[str]:
    """Runs a command of `formicary` to its end.

    Raises:
        subprocess.TimeoutExpired: It did not end in time, and has been killed.
    """
    with contextlib.ExitStack() as left:
        given, out, err = (left.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        given.write(stdin.encode())
        given.seek(0)
        process = Forked(arguments, stdin=given, stdout=out, stderr=err, cwd=cwd or Path.cwd(), env=env)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(process.args, status, out.read().decode(), err.read().decode())


@functools.cache
def _prepared() -> socket.socket:
    """The way to the prepared process of this one; closing it ends that."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
    with theirs:
        command = (sys.executable, "-m", "tests.forks", str(theirs.fileno()))
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )

    def leave() -> None:
        ours.close()
        process.wait()

    atexit.register(leave)
    return ours


SHIM = f"""#!{sys.executable} -IS
import json, os, signal, socket, sys
environment = dict(os.environ)
prepared = socket.socket(fileno=int(environment.pop("{DESCRIPTOR}")))
request = json.dumps({{"arguments": sys.argv[1:], "cwd": os.getcwd(), "env": environment}}).encode()
reading, writing = os.pipe()
socket.send_fds(prepared, [request], [0, 1, 2, writing])
os.close(writing)
with open(reading) as status:
    pid = int(status.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    ended = int(status.readline())
if ended < 0:
    signal.signal(-ended, signal.SIG_DFL)
    os.kill(os.getpid(), -ended)
os._exit(ended)
"""
"""A program `formicary` for shells: has the command forked, passes signals on, and ends as it ends. SIGKILL reaches
nobody but the program itself."""


def make_shim(folder: Path) -> tuple[dict[str, str], int]:
    """Writes the program `formicary` to a folder.

    Returns:
        What the shell's environment needs besides a PATH with the folder, and the descriptor to pass to it.
    """
    shim = folder / "formicary"
    shim.write_text(SHIM)
    shim.chmod(0o755)
    descriptor = _prepared().fileno()
    return {DESCRIPTOR: str(descriptor)}, descriptor


def serve(requests: socket.socket) -> None:
    """Forks at each request until the other end is closed."""
    read_modules()
    if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:
        raise AssertionError("a module starts a thread when it is imported; a process with threads cannot be forked")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # so that forks do not copy what stays
    running: dict[int, tuple[int, int]] = {}  # pidfd -> process id, pipe
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not requests:
                    selector.unregister(key.fileobj)
                    _tell_end(key.fd, *running.pop(key.fd))
                    continue
                request, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, 4)
                if not request:
                    return
                *streams, pipe = descriptors
                pid = os.fork()
                if pid == 0:
                    for other in (requests.detach(), pipe, *running, *(one for _, one in running.values())):
                        os.close(other)
                    selector.close()
                    _become(json.loads(request), streams)
                for stream in streams:
                    os.close(stream)
                watched = os.pidfd_open(pid)
                running[watched] = (pid, pipe)
                selector.register(watched, selectors.EVENT_READ)
                _write(pipe, pid)


def read_modules() -> None:
    """Imports all subcommands, and what they import late."""
    from formicary.cli.main import COMMANDS

    for name in (*ALSO, *(where.partition(":")[0] for where, _ in COMMANDS.values())):
        importlib.import_module(name)


def _tell_end(watched: int, pid: int, pipe: int) -> None:
    os.close(watched)
    _write(pipe, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.close(pipe)


def _write(pipe: int, number: int) -> None:
    """Tells who has asked; who has gone need not know."""
    with contextlib.suppress(BrokenPipeError):
        os.write(pipe, b"%d\n" % number)


def _become(request: dict[str, object], streams: list[int]) -> NoReturn:
    """Makes this process one that has just been started with these arguments, and runs it to its end."""
    status = 1
    try:
        from formicary.cli.main import main

        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        arguments, folder, environment = request["arguments"], request["cwd"], request["env"]
        assert isinstance(arguments, list) and isinstance(folder, str) and isinstance(environment, dict)
        os.chdir(folder)
        given = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
        sys.path[0:1] = [folder, *given]
        sys.argv = ["formicary", *arguments]
        os.environ.clear()
        os.environ.update(environment)
        main(arguments)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # as Python does at the end, which is not run to
        atexit._run_exitfuncs()
        for file in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                file.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
