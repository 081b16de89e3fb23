"""The PYTHON worker process: executes calls one after the other until the ant closes the socket.

It imports only the standard library and msgspec, and what the called functions import. See ``python_wire`` for the
protocol. Its standard output and error are pipes that the ant reads; at the end of a call the child takes out what is
left in them itself, so that every byte belongs to the right call.
"""

from __future__ import annotations

import _thread
import fcntl
import mmap
import os
import signal
import socket
import sys
import termios
import time
from collections import deque
from types import CoroutineType, TracebackType

import msgspec

from formicary.engine.ants import context, python_wire
from formicary.engine.ants.python_call import Function, InvalidCallError, TooLargeError, load, to_outputs
from formicary.engine.ants.python_wire import (
    ANSWER,
    CHECKPOINT,
    CLOCK,
    LENGTH,
    MAX_RECORD_BYTES,
    MEMORY_BYTES,
    PROGRESS,
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
    ring_slot,
)

_NO_BYTES = b"\0\0\0\0"
_RING_AFTER = 64
_RING_AFTER_S = 0.001
_MAX_MESSAGE = 4096
_MAX_TRACEBACK = 64 * 1024
_PROGRESS_EVERY_S = 0.1


class Child:
    """The loop of the worker process.

    Args:
        connection: The socket to the ant.
        memory: The shared memory.
        pipes: Read ends of this process's own standard output and error.
        max_outputs_bytes: Most bytes a function may return.
    """

    def __init__(
        self, connection: socket.socket, memory: mmap.mmap, pipes: tuple[int, int], max_outputs_bytes: int
    ) -> None:
        self._connection = connection
        self._memory = memoryview(memory)
        self._cells = self._memory[:RING_START].cast("Q")
        self._clock = self._memory[:RING_START].cast("d")
        self._ring = self._memory[RING_START:]
        self._pipes = pipes
        self._max_outputs = max_outputs_bytes
        self._decoder = msgspec.msgpack.Decoder(Batch)
        self._encoder = msgspec.msgpack.Encoder()
        self._lock = _thread.allocate_lock()
        self._pending = bytearray()
        self._queue: deque[Call] = deque()
        self._targets: dict[int, Target] = {}
        self._functions: dict[str, Function] = {}
        self._unrung = 0
        self._unrung_since = 0.0
        self._now = time.monotonic()
        self._written = 0
        self._pid = os.getpid()
        self._current: Call | None = None
        self._last_progress = 0.0
        self._flush = (sys.stdout.flush, sys.stderr.flush)
        self._environment: dict[str, str] = {}
        self._base = dict(os.environ)
        self._home = os.getcwd()

    def run(self) -> None:
        """Executes calls until the ant is gone."""
        context.install(self._describe)
        queue = self._queue
        while True:
            while not queue:
                if self._unrung:
                    self._ring_bell()
                if not self._receive():
                    return
                self._now = time.monotonic()
            call = queue.popleft()
            self._make(call)
            if self._unrung and queue:
                late = self._now - self._unrung_since > _RING_AFTER_S
                if late or self._unrung >= _RING_AFTER or queue[0].target != call.target:
                    self._ring_bell()

    # calls ------------------------------------------------------------------------------------------------------------

    def _make(self, call: Call) -> None:
        seq, cells, started = call.seq, self._cells, self._now
        self._clock[CLOCK] = started
        cells[STARTED] = seq
        if cells[SKIP_AFTER] < seq <= cells[SKIP_UPTO]:
            self._answer(Answer(seq, python_wire.SKIPPED, started, started))
            return
        if cells[TAKING]:
            self._wait_for_reader()
        target = self._targets[call.target]
        self._current = call
        self._set_environment(call, target)
        answer = self._bounded(call, target, started) if target.memory else self._run(call, target, started)
        self._current = None
        if os.getpid() != self._pid:
            os._exit(0)
        self._collect_output(answer)
        self._now = answer.ended = time.monotonic()
        self._answer(answer)

    def _wait_for_reader(self) -> None:
        """Waits until the ant has read what the call before left, or is gone."""
        import select

        gone = select.poll()
        gone.register(self._connection, 0)
        while self._cells[TAKING]:
            if gone.poll(1):
                os.killpg(0, signal.SIGKILL)

    def _bounded(self, call: Call, target: Target, started: float) -> Answer:
        """The same with a bound for the memory of this process."""
        from formicary.engine.ants import memory_limit

        with memory_limit.bounding(target.memory):
            answer = self._run(call, target, started)
        if answer.how == python_wire.RAISED and answer.message.startswith("MemoryError"):
            answer.message = f"{answer.message}; {memory_limit.told(target.memory)}"
        return answer

    def _run(self, call: Call, target: Target, started: float) -> Answer:
        return self._execute(call, target, started) if not call.folder else self._in_folder(call, target, started)

    def _in_folder(self, call: Call, target: Target, started: float) -> Answer:
        """The same in the folder where its files are."""
        try:
            os.chdir(call.folder)
        except OSError as error:
            text = f"The working directory {call.folder} cannot be used: {error.strerror}."
            return Answer(call.seq, python_wire.INVALID, started, 0.0, message=text)
        try:
            return self._execute(call, target, started)
        finally:
            os.chdir(self._home)

    def _execute(self, call: Call, target: Target, started: float) -> Answer:
        how, message, trace, outputs, code = python_wire.RETURNED, "", "", b"", 0
        try:
            function = self._functions.get(target.function)
            if function is None:
                function = self._load(target.function)
            value = function.call(call.variables)
            if type(value) is CoroutineType:
                import asyncio

                value = asyncio.run(value)
            if value is not None:
                outputs = to_outputs(value, self._max_outputs)
        except InvalidCallError as error:
            how, message = python_wire.INVALID, str(error)
        except TooLargeError as error:
            how, message = python_wire.TOO_LARGE, f"{target.function}: {error}"
        except SystemExit as error:
            how, code = python_wire.EXITED, _exit_code(error.code)
        except BaseException as error:
            how, message, trace = python_wire.RAISED, _describe_error(error), _format(error)
        return Answer(call.seq, how, started, 0.0, outputs, code, message, trace)

    def _load(self, name: str) -> Function:
        function = self._functions[name] = load(name)
        if "logging" in sys.modules:
            import logging

            if not logging.getLogger().handlers:
                logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        return function

    def _set_environment(self, call: Call, target: Target) -> None:
        environ = os.environ
        job_id = call.job_id
        environ["FORMICARY_TASK_KEY"] = f"{job_id}/{call.execution}/{target.task_type}"
        environ["FORMICARY_JOB_ID"] = job_id
        rest = {"FORMICARY_TASK_TYPE": target.task_type, "FORMICARY_ATTEMPT": str(call.attempt)}
        if target.environment:
            rest.update(target.environment)
        if call.traceparent:
            rest["TRACEPARENT"] = call.traceparent
        if call.checkpoint:
            rest["FORMICARY_CHECKPOINT"] = call.checkpoint
        if rest != self._environment:
            for name in self._environment.keys() - rest.keys():
                if name in self._base:
                    environ[name] = self._base[name]
                else:
                    environ.pop(name, None)
            environ.update(rest)
            self._environment = rest

    def _describe(self) -> context.TaskContext | None:
        call = self._current
        if call is None:
            return None
        task_type = self._targets[call.target].task_type
        return context.TaskContext(
            key=f"{call.job_id}/{call.execution}/{task_type}",
            job_id=call.job_id,
            task_type=task_type,
            attempt=call.attempt,
            execution=call.execution,
            report=self._progress,
            folder=call.folder,
            left=call.checkpoint,
            leave=self._checkpoint,
            is_asked_to_stop=lambda: self._cells[STOPPING] == call.seq,
        )

    def _progress(self, fraction: float, message: str) -> None:
        call, now = self._current, time.monotonic()
        if call is None or (now - self._last_progress < _PROGRESS_EVERY_S and fraction < 1.0):
            return
        self._last_progress = now
        self._send(PROGRESS, self._encoder.encode(Progress(call.seq, fraction, str(message)[:_MAX_MESSAGE])))

    def _checkpoint(self, value: bytes) -> None:
        call = self._current
        if call is not None:
            self._send(CHECKPOINT, self._encoder.encode(Checkpoint(call.seq, value)))

    def _collect_output(self, answer: Answer) -> None:
        for flush in self._flush:
            try:
                flush()
            except (OSError, ValueError):
                pass
        out, err = self._pipes
        if fcntl.ioctl(out, termios.FIONREAD, _NO_BYTES) != _NO_BYTES:
            answer.stdout = _drain(out)
        if fcntl.ioctl(err, termios.FIONREAD, _NO_BYTES) != _NO_BYTES:
            answer.stderr = _drain(err)

    # the wire ---------------------------------------------------------------------------------------------------------

    def _receive(self) -> bool:
        """Waits for calls; returns False when the ant is gone."""
        data = self._connection.recv(262144)
        if not data:
            return False
        pending = self._pending
        pending += data
        start = 0
        while len(pending) - start >= 4:
            (length,) = LENGTH.unpack_from(pending, start)
            end = start + 4 + length
            if len(pending) < end:
                break
            batch = self._decoder.decode(memoryview(pending)[start + 4 : end])
            for target in batch.targets:
                self._targets[target.id] = target
            self._queue.extend(batch.calls)
            start = end
        if start == len(pending):
            self._pending = bytearray()
        elif start:
            self._pending = pending[start:]
        return True

    def _answer(self, answer: Answer) -> None:
        record = self._encoder.encode(answer)
        size = len(record) + 4
        start = ring_slot(self._written, self._cells[READ], size) if size <= MAX_RECORD_BYTES else None
        if start is None:
            self._send(ANSWER, record)
            return
        if start != self._written and RING_BYTES - self._written % RING_BYTES >= 4:
            LENGTH.pack_into(self._ring, self._written % RING_BYTES, 0)
        at = start % RING_BYTES
        LENGTH.pack_into(self._ring, at, len(record))
        self._ring[at + 4 : at + size] = record
        self._written = self._cells[WRITTEN] = start + size
        if not self._unrung:
            self._unrung_since = answer.started
        self._unrung += 1

    def _ring_bell(self) -> None:
        self._unrung = 0
        with self._lock:
            self._connection.sendall(_NO_BYTES)

    def _send(self, kind: bytes, payload: bytes) -> None:
        with self._lock:
            self._connection.sendall(LENGTH.pack(len(payload) + 1) + kind + payload)
            if kind == CHECKPOINT:
                self._cells[SAID] += 1


def _drain(pipe: int) -> bytes:
    pieces = []
    while True:
        try:
            piece = os.read(pipe, 65536)
        except BlockingIOError:
            break
        if not piece:
            break
        pieces.append(piece)
        if len(pieces) >= 64:
            break
    return b"".join(pieces)


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _describe_error(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be read)"
    return f"{type(error).__name__}: {text}"[:_MAX_MESSAGE] if text else type(error).__name__


def _format(error: BaseException) -> str:
    """Formats the traceback without the frames of this package and of the event loop above the function."""
    import traceback

    frames: TracebackType | None = error.__traceback__
    while frames is not None:
        name = frames.tb_frame.f_globals.get("__name__", "")
        if not name.startswith(("formicary.engine.ants.", "asyncio.")):
            break
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception:
        return ""
    return text if len(text) <= _MAX_TRACEBACK else text[: _MAX_TRACEBACK // 2] + "\n…\n" + text[-_MAX_TRACEBACK // 2 :]


def main(arguments: list[str]) -> None:
    """Runs the worker process.

    Args:
        arguments: Descriptors of socket, shared memory and the two pipes, the limit of outputs in bytes, then the
            folders to put on the import path.
    """
    descriptors = [int(argument) for argument in arguments[:4]]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    sys.path[:0] = arguments[5:]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]  # they are text files here
    connection = socket.socket(fileno=descriptors[0])
    memory = mmap.mmap(descriptors[1], MEMORY_BYTES)
    child = Child(connection, memory, (descriptors[2], descriptors[3]), int(arguments[4]))
    try:
        child.run()
    except OSError:
        pass
    os.killpg(0, signal.SIGKILL)
