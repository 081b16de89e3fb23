"""What the ant and a PYTHON worker process say to each other.

The child loads this, so it imports only the standard library and msgspec.

Theory of operation. Calls go to the child in frames over a socket pair: 4 bytes of length, then a msgpack ``Batch``.
Answers come back through a ring in shared memory, so that an answer is never lost with the process and costs no system
call; the child rings a *doorbell* (a frame of length 0) when its queue is empty, after 64 answers or after 1 ms. What
does not fit into the ring, progress and checkpoints come as frames of their own: one byte of kind, then msgpack.

The shared memory starts with cells of 8 bytes. ``STARTED`` holds the number of the call that runs; ``CLOCK`` its
monotonic start (written before it); a call whose number lies in ``(SKIP_AFTER, SKIP_UPTO]`` is not started but answered
with ``SKIPPED``: so the ant takes queued calls back from behind a long one. Numbers only grow, so the range never has
to be reset. ``TAKING`` is 1 while the ant looks whose output it is and reads it: a call that was announced in
``STARTED`` begins when it is 0, so that its first lines are not taken for those of the call before. ``STOPPING`` is the
number of the call that is asked to end by itself, before its process is killed. ``SAID`` counts the checkpoints that
were sent, so that the ant hears what a call has said before it takes the call's answer out of the ring.
"""

from __future__ import annotations

import struct

import msgspec

STARTED = 0
CLOCK = 1
SKIP_AFTER = 2
SKIP_UPTO = 3
WRITTEN = 4
READ = 5
TAKING = 6
STOPPING = 7
SAID = 8
RING_START = 128
RING_BYTES = 256 * 1024
MEMORY_BYTES = RING_START + RING_BYTES
MAX_RECORD_BYTES = RING_BYTES // 8

LENGTH = struct.Struct("<I")
ANSWER = b"A"
PROGRESS = b"P"
CHECKPOINT = b"C"

SOCKET_FD, MEMORY_FD, STDOUT_FD, STDERR_FD = range(4)
"""Order of the file descriptors on the child's command line; the last two are the read ends of its own pipes."""

RETURNED = 1
RAISED = 2
EXITED = 3
INVALID = 4
TOO_LARGE = 5
SKIPPED = 6
"""How a call ended."""


class Target(msgspec.Struct, array_like=True):
    """A function to call: sent once per child, then named by its number. ``memory`` is its bound in bytes, 0 = none."""

    id: int
    function: str
    task_type: str
    environment: dict[str, str]
    memory: int = 0


class Call(msgspec.Struct, array_like=True):
    """One call. ``variables`` is the JSON object as the queen sent it; ``folder`` its working directory."""

    seq: int
    target: int
    job_id: str
    execution: int
    attempt: int
    variables: bytes
    traceparent: str = ""
    folder: str = ""
    checkpoint: str = ""


class Batch(msgspec.Struct, array_like=True):
    """Calls to make one after the other, and the targets that are new among them."""

    targets: list[Target]
    calls: list[Call]


class Answer(msgspec.Struct, array_like=True):
    """How a call ended; times are monotonic seconds. ``stdout`` and ``stderr`` are what was left in the pipes."""

    seq: int
    how: int
    started: float
    ended: float
    outputs: bytes = b""
    exit_code: int = 0
    message: str = ""
    traceback: str = ""
    stdout: bytes = b""
    stderr: bytes = b""


class Progress(msgspec.Struct, array_like=True):
    """How far a running call is."""

    seq: int
    fraction: float
    message: str


class Checkpoint(msgspec.Struct, array_like=True):
    """What a running call leaves for the next attempt, JSON."""

    seq: int
    value: bytes


def ring_slot(written: int, read: int, size: int) -> int | None:
    """Finds room for a record of ``size`` bytes (length field included) in the ring.

    Returns:
        The count at which the record starts (the ring position is the count modulo the size of the ring), or None if
        the reader has to catch up first. A record never wraps around the end.
    """
    left = RING_BYTES - written % RING_BYTES
    start = written if size <= left else written + left
    return start if start + size - read <= RING_BYTES else None
