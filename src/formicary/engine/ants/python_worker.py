"""One PYTHON worker process as the ant sees it: its calls in flight, its answers, its end.

See ``python_wire`` for the protocol. A worker is used by one event loop and never blocks it.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import signal
import socket
import subprocess
import termios
import time
from pathlib import Path
from typing import Protocol

import msgspec

import formicary
from formicary.engine.ants import python_wire
from formicary.engine.ants.attempt import Attempt
from formicary.engine.ants.offers import PRIVATE_VARIABLES
from formicary.engine.ants.output import STDERR, STDOUT
from formicary.engine.ants.python_wire import (
    CLOCK,
    LENGTH,
    MEMORY_BYTES,
    READ,
    RING_BYTES,
    RING_START,
    SAID,
    SKIP_AFTER,
    SKIP_UPTO,
    STARTED,
    STOPPING,
    TAKING,
    WRITTEN,
    Answer,
    Batch,
    Call,
    Checkpoint,
    Progress,
    Target,
)
from formicary.engine.jobs.quality import memory_limit_of

_BOOT = (
    "import sys; sys.path.append(sys.argv.pop(1)); from formicary.engine.ants.python_child import main; "
    "main(sys.argv[1:])"
)
_ROOT = str(Path(formicary.__file__).parent.parent)


class WorkerEvents(Protocol):
    """What a worker tells its pool."""

    def answered(self, worker: PythonWorker, attempt: Attempt, answer: Answer) -> None:
        """A call ended."""

    def skipped(self, worker: PythonWorker, attempt: Attempt) -> None:
        """A call was taken back before it started."""

    def progressed(self, attempt: Attempt, fraction: float, message: str) -> None:
        """A running function says how far it is."""

    def checkpointed(self, attempt: Attempt, value: bytes) -> None:
        """A running function leaves something for the next attempt."""

    def ended(self, worker: PythonWorker, charged: Attempt | None, unstarted: list[Attempt], status: int) -> None:
        """The process is gone; ``status`` is its exit code, or minus the signal."""


class PythonWorker:
    """A worker process and the calls that it was given.

    Args:
        events: Whom to tell.
        python: The interpreter.
        folders: Put on the import path; calls of other folders need another worker.
        max_outputs_bytes: Most bytes a function may return.
    """

    def __init__(self, events: WorkerEvents, *, python: str, folders: tuple[str, ...], max_outputs_bytes: int) -> None:
        self.folders = folders
        self.in_flight: dict[int, Attempt] = {}
        self.killed = False
        self.answers = 0
        self.last_words = b""
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._wall = time.time() - time.monotonic()
        self._targets: dict[tuple[object, ...], int] = {}
        self._new_targets: list[Target] = []
        self._calls: list[Call] = []
        self._seq = 0
        self._read = 0
        self._unsent = bytearray()
        self._is_blocked = False
        self._received = bytearray()
        self._heard = 0
        self._encoder = msgspec.msgpack.Encoder()
        self._answer_decoder = msgspec.msgpack.Decoder(Answer)
        self._progress_decoder = msgspec.msgpack.Decoder(Progress)
        self._checkpoint_decoder = msgspec.msgpack.Decoder(Checkpoint)
        self._open(python, folders, max_outputs_bytes)

    @property
    def pid(self) -> int:
        """Process id, and id of its process group."""
        return self._process.pid

    def _open(self, python: str, folders: tuple[str, ...], max_outputs_bytes: int) -> None:
        ours, theirs = socket.socketpair()
        descriptor = os.memfd_create("formicary-worker", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, MEMORY_BYTES)
        memory = mmap.mmap(descriptor, MEMORY_BYTES)
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
        reads, writes = [pipe[0] for pipe in pipes], [pipe[1] for pipe in pipes]
        for pipe in reads:
            os.set_blocking(pipe, False)
        passed = [theirs.fileno(), descriptor, *reads]
        try:
            self._process = subprocess.Popen(
                [python, "-P", "-c", _BOOT, _ROOT, *map(str, passed), str(max_outputs_bytes), *folders],
                stdin=subprocess.DEVNULL,
                stdout=writes[0],
                stderr=writes[1],
                pass_fds=passed,
                start_new_session=True,
                env={k: v for k, v in os.environ.items() if k not in PRIVATE_VARIABLES},
            )
        except BaseException:
            for pipe in reads:
                os.close(pipe)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(descriptor)
            for pipe in writes:
                os.close(pipe)
        self._socket, self._pipes, self._memory = ours, reads, memory
        view = memoryview(memory)
        self._cells, self._clock = view[:RING_START].cast("Q"), view[:RING_START].cast("d")
        self._ring = view[RING_START:]
        self._listen()

    def _listen(self) -> None:
        self._socket.setblocking(False)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._socket.fileno(), self._on_socket)
        self._loop.add_reader(self._pidfd, self._on_end)
        for stream, pipe in ((STDOUT, self._pipes[0]), (STDERR, self._pipes[1])):
            self._loop.add_reader(pipe, self._on_pipe, pipe, stream)

    # calls ------------------------------------------------------------------------------------------------------------

    def submit(self, attempt: Attempt) -> None:
        """Adds a call to the next frame; :meth:`flush` sends it."""
        task = attempt.task
        key: tuple[object, ...] = (task.function, task.task_type)
        if task.environment:
            key += tuple(task.environment.items())
        memory = memory_limit_of(task)
        if memory:
            key += (memory,)
        number = self._targets.get(key)
        if number is None:
            number = self._add_target(attempt, key, memory)
        self._seq = seq = self._seq + 1
        self.in_flight[seq] = attempt
        self._calls.append(
            Call(
                seq,
                number,
                attempt.job_id,
                attempt.execution,
                attempt.number,
                attempt.variables,
                attempt.traceparent,
                attempt.folder,
                attempt.checkpoint,
            )
        )

    def _add_target(self, attempt: Attempt, key: tuple[object, ...], memory: int) -> int:
        task = attempt.task
        number = len(self._targets) + 1
        self._targets[key] = number
        environment = {str(k): str(v) for k, v in task.environment.items()}
        self._new_targets.append(Target(number, task.function or "", task.task_type, environment, memory))
        return number

    def flush(self) -> None:
        """Sends the calls that were submitted."""
        if not self._calls:
            return
        self._wall = time.time() - time.monotonic()
        frame = self._encoder.encode(Batch(self._new_targets, self._calls))
        self._new_targets, self._calls = [], []
        self._unsent += LENGTH.pack(len(frame))
        self._unsent += frame
        self._send()

    def _send(self) -> None:
        unsent = self._unsent
        try:
            sent = self._socket.send(unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.kill()
            return
        if sent == len(unsent):
            self._unsent = bytearray()
            if self._is_blocked:
                self._is_blocked = False
                self._loop.remove_writer(self._socket.fileno())
        else:
            del unsent[:sent]
            if not self._is_blocked:
                self._is_blocked = True
                self._loop.add_writer(self._socket.fileno(), self._send)

    def running(self) -> tuple[Attempt, float] | None:
        """Returns the attempt that runs now and its monotonic start, None if none runs."""
        seq = self._cells[STARTED]
        attempt = self.in_flight.get(seq)
        if attempt is None:
            return None
        started = self._clock[CLOCK]
        return (attempt, started) if self._cells[STARTED] == seq else None

    def recall(self) -> None:
        """Asks for every call that has not started; they come back through ``skipped`` or :meth:`recalled`."""
        current = self._cells[STARTED]
        self._cells[SKIP_AFTER] = current
        self._cells[SKIP_UPTO] = self._seq

    def recalled(self) -> list[Attempt]:
        """Takes back what was recalled and cannot start any more, because the same call is running still.

        To be called a millisecond or more after :meth:`recall`: by then the child has either seen the range before it
        started another call, or its start of another call is to be seen here.
        """
        self.poll()
        current = self._cells[STARTED]
        if current != self._cells[SKIP_AFTER] or current not in self.in_flight:
            return []
        upto = self._cells[SKIP_UPTO]
        numbers = [seq for seq in self.in_flight if current < seq <= upto]
        return [self.in_flight.pop(seq) for seq in numbers]

    def stop(self, attempt: Attempt, grace_s: float) -> None:
        """Asks the call that runs to end by itself; the process is killed if it has not done so after the grace."""
        seq = self._cells[STARTED]
        if self.in_flight.get(seq) is not attempt or self._cells[STOPPING] == seq:
            return
        self._cells[STOPPING] = seq

        def kill() -> None:
            if self.in_flight.get(seq) is attempt:
                self.kill()

        self._loop.call_later(grace_s, kill)

    def kill(self) -> None:
        """Ends the process and everything in its group at once."""
        self.killed = True
        self._end_group()

    # answers ----------------------------------------------------------------------------------------------------------

    def _on_socket(self) -> None:
        try:
            data = self._socket.recv(262144)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket.fileno())
            self._end_group()
            return
        if data == b"\0\0\0\0" and not self._received:
            self.poll()
            return
        self._received += data
        self._frames()

    def _end_group(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def _frames(self) -> None:
        """Takes what came, answers last: what a call has said before its end is still heard."""
        is_rung, answers = self._heed()
        if is_rung or answers:
            self.poll()
        for answer in answers:
            self._take(answer)

    def _heed(self) -> tuple[bool, list[Answer]]:
        """Takes what came but for the ends of calls.

        Returns:
            Whether there are ends in the ring, and those that came beside it.
        """
        received, start = self._received, 0
        answers: list[Answer] = []
        is_rung = False
        while len(received) - start >= 4:
            (length,) = LENGTH.unpack_from(received, start)
            end = start + 4 + length
            if len(received) < end:
                break
            kind, payload = bytes(received[start + 4 : start + 5]), bytes(received[start + 5 : end])
            if length == 0:
                is_rung = True
            elif kind == python_wire.ANSWER:
                answers.append(self._answer_decoder.decode(payload))
            else:
                self._frame(kind, payload)
            start = end
        self._received = received[start:]
        return is_rung, answers

    def _listen_first(self) -> None:
        """Takes what calls have said and is in the socket still: it was sent before the answers in the ring."""
        said = self._cells[SAID]
        while True:
            try:
                data = self._socket.recv(262144)
            except OSError:
                break
            if not data:
                break
            self._received += data
        _, answers = self._heed()
        self._heard = max(self._heard, said)
        for answer in answers:
            self._take(answer)

    def _frame(self, kind: bytes, payload: bytes) -> None:
        if kind == python_wire.PROGRESS:
            progress = self._progress_decoder.decode(payload)
            attempt = self.in_flight.get(progress.seq)
            if attempt is not None:
                self._events.progressed(attempt, progress.fraction, progress.message)
        elif kind == python_wire.CHECKPOINT:
            checkpoint = self._checkpoint_decoder.decode(payload)
            self._heard += 1
            attempt = self.in_flight.get(checkpoint.seq)
            if attempt is not None:
                self._events.checkpointed(attempt, checkpoint.value)

    def poll(self) -> None:
        """Takes the answers out of the ring."""
        written = self._cells[WRITTEN]
        if self._cells[SAID] > self._heard:  # looked at after it: what was said before these answers is counted
            self._listen_first()
        ring, at = self._ring, self._read
        decode = self._answer_decoder.decode
        while at < written:
            position = at % RING_BYTES
            length = LENGTH.unpack_from(ring, position)[0] if RING_BYTES - position >= 4 else 0
            if length == 0:
                at += RING_BYTES - position
                continue
            answer = decode(ring[position + 4 : position + 4 + length])
            at += 4 + length
            self._read = self._cells[READ] = at
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        attempt = self.in_flight.pop(answer.seq, None)
        if attempt is None:
            return
        if answer.how == python_wire.SKIPPED:
            self._events.skipped(self, attempt)
            return
        self.answers += 1
        if answer.stdout:
            attempt.feed(STDOUT, answer.stdout)
        if answer.stderr:
            attempt.feed(STDERR, answer.stderr)
        answer.started += self._wall
        answer.ended += self._wall
        self._events.answered(self, attempt, answer)

    def _on_pipe(self, pipe: int, stream: int) -> None:
        cells = self._cells
        cells[TAKING] = 1
        try:
            seq = cells[STARTED]
            data = os.read(pipe, 32768)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        finally:
            cells[TAKING] = 0
        if not data:
            self._loop.remove_reader(pipe)
            return
        attempt = self.in_flight.get(seq)
        if attempt is not None:
            attempt.feed(stream, data)
        else:
            self.last_words = (self.last_words + data)[-4096:]

    # the end ----------------------------------------------------------------------------------------------------------

    def _on_end(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._drain_all()
        started = self._cells[STARTED]
        charged = self.in_flight.pop(started, None)
        unstarted = list(self.in_flight.values())
        self.in_flight.clear()
        self._end_group()
        status = self._process.wait()
        self.close()
        self._events.ended(self, charged, unstarted, status)

    def _drain_all(self) -> None:
        """Takes what the process left behind: answers in the socket and in the ring, output in its pipes."""
        while True:
            try:
                data = self._socket.recv(262144)
            except OSError:
                break
            if not data:
                break
            self._received += data
        self._frames()
        self.poll()
        for stream, pipe in ((STDOUT, self._pipes[0]), (STDERR, self._pipes[1])):
            for _ in range(4):
                if fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0") != b"\0\0\0\0":
                    self._on_pipe(pipe, stream)

    def close(self) -> None:
        """Gives the descriptors back; the process must be gone."""
        for descriptor in (self._socket.fileno(), *self._pipes):
            self._loop.remove_reader(descriptor)
        self._loop.remove_writer(self._socket.fileno())
        self._is_blocked = False
        self._socket.close()
        for descriptor in (*self._pipes, self._pidfd):
            os.close(descriptor)
