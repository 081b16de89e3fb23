"""What a task writes: cut into lines, bounded, and searched for ``::set-output name=KEY::VALUE`` and
``::checkpoint::VALUE``. Lines ``::add-job-context KEY::VALUE`` and ``::add-task-context KEY::VALUE`` of older files set
outputs, too.

Theory of operation. Bytes arrive in pieces of any size. Complete lines leave at once while the *head* of the log has
room; after that, whole blocks go into a ring, the *tail*, which is sent when the attempt ends, and what falls out of it
is counted. Set outputs and checkpoints are read from standard output wherever they stand, also in what the log leaves
out.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from formicary.engine.ants.context import MAX_CHECKPOINT_BYTES
from formicary.engine.ants.masking import Mask

STDOUT = 1
STDERR = 2
ENGINE = 3
"""Streams of a log line; the third holds the engine's own words."""

Line = tuple[float, int, str]
"""Time in seconds since the epoch, stream, text without its line end."""

SET_OUTPUT = b"::set-output "
CHECKPOINT = b"::checkpoint::"
_PREFIXES = (b"::set-output name=", b"::add-job-context ", b"::add-task-context ")
_MARKS = (SET_OUTPUT, *_PREFIXES[1:])
_LINE_COST = 64
RECENT_BYTES = 4096
"""Of the output, told with a failure."""


def checkpoint_line(text: str) -> str:
    """The line that leaves a text for the next attempt.

    Raises:
        ValueError: It is no single line, or larger than 64 KiB.
    """
    if "\n" in text or "\r" in text:
        raise ValueError("A checkpoint is one line: write JSON, or replace its line ends.")
    if (size := len(text.encode("utf-8", "replace"))) > MAX_CHECKPOINT_BYTES:
        raise ValueError(f"A checkpoint of {size:,} bytes is too large: at most {MAX_CHECKPOINT_BYTES:,} are kept.")
    return f"{CHECKPOINT.decode()}{text}\n"


class TaskOutput:
    """The output of one attempt.

    Args:
        emit: Takes lines that are ready to be sent.
        head_bytes: Room of the head; a line costs its length and 64 bytes.
        tail_bytes: Room of the tail.
        max_line_bytes: Longest line.
        max_outputs_bytes: Longest value of a set output, and all of them together.
        mask: Takes secrets out, of the log, of set outputs and of checkpoints; None = there are none.
        checkpointed: Takes checkpoints, UTF-8; None = they are only logged.
    """

    __slots__ = (
        "_checkpointed", "_dropped", "_emit", "_head_left", "_mask", "_max_line", "_max_outputs", "_outputs_bytes",
        "_partial", "_recent", "_skipping", "_tail", "_tail_bytes", "_tail_left", "outputs", "outputs_too_large",
    )  # fmt: skip

    def __init__(
        self,
        emit: Callable[[list[Line]], None],
        *,
        head_bytes: int,
        tail_bytes: int,
        max_line_bytes: int,
        max_outputs_bytes: int,
        mask: Mask | None = None,
        checkpointed: Callable[[bytes], None] | None = None,
    ) -> None:
        self.outputs: dict[str, str] = {}
        self.outputs_too_large = False
        self._emit = emit
        self._mask = mask
        self._checkpointed = checkpointed
        self._head_left = head_bytes
        self._tail_left = tail_bytes
        self._max_line = max_line_bytes
        self._max_outputs = max_outputs_bytes
        self._outputs_bytes = 0
        self._partial: dict[int, bytes] = {}
        self._skipping: set[int] = set()
        self._tail: deque[tuple[float, int, bytes]] = deque()
        self._tail_bytes = 0
        self._dropped = 0
        self._recent = b""

    @property
    def recent(self) -> str:
        """The last 4 KB of both streams together, as they are in the log."""
        return self._recent.decode("utf-8", "replace").replace("\0", "\ufffd")

    def feed(self, stream: int, data: bytes) -> None:
        """Takes bytes as they come from a pipe."""
        end = data.rfind(b"\n")
        if end < 0:
            self._keep_partial(stream, data)
            return
        block = data[: end + 1]
        if stream in self._skipping:
            self._skipping.discard(stream)
            block = block[block.index(b"\n") + 1 :]
        before = self._partial.pop(stream, b"")
        if before:
            block = before + block
        if block:
            self._take(stream, block)
        if end + 1 < len(data):
            self._keep_partial(stream, data[end + 1 :])

    def say(self, text: str) -> None:
        """Adds a line in the engine's own words; these are always sent."""
        self._emit([(time.time(), ENGINE, text if self._mask is None else self._mask.text(text))])

    def finish(self) -> None:
        """Takes what is left without a line end and sends the tail."""
        for stream, rest in sorted(self._partial.items()):
            self._take(stream, rest, is_cut=True)
        self._partial.clear()
        if not self._tail:
            return
        lines: list[Line] = []
        if self._dropped:
            lines.append((self._tail[0][0], ENGINE, f"… {self._dropped} bytes of output left out here …"))
        for when, stream, block in self._tail:
            lines.extend((when, stream, self._text(line)) for line in _lines(block))
        self._tail.clear()
        self._emit(lines)

    def _keep_partial(self, stream: int, data: bytes) -> None:
        if stream in self._skipping:
            return
        partial = self._partial.get(stream, b"") + data
        is_output = stream == STDOUT and any(partial.startswith(mark[: len(partial)]) for mark in _MARKS)
        is_checkpoint = stream == STDOUT and partial.startswith(CHECKPOINT[: len(partial)])
        most = self._max_outputs + 1024 if is_output else self._max_line
        if len(partial) <= (max(most, MAX_CHECKPOINT_BYTES + 1024) if is_checkpoint else most):
            self._partial[stream] = partial
            return
        if is_output or is_checkpoint:
            if is_output:
                self.outputs_too_large = True
            else:
                self.say(f"a checkpoint is not kept: at most {MAX_CHECKPOINT_BYTES:,} bytes are")
            if self._mask is not None:
                partial = self._mask.data(partial, is_cut=True)
            partial = partial[: self._max_line + 1]
            self._partial.pop(stream, None)
            self._skipping.add(stream)
            self._log(stream, partial)
            return
        self._partial.pop(stream, None)
        self._skipping.add(stream)
        self._take(stream, partial, is_cut=True)

    def _take(self, stream: int, block: bytes, *, is_cut: bool = False) -> None:
        """Takes whole lines; after the last one more may have come if it `is_cut`."""
        if self._mask is not None:
            block = self._mask.lines(stream, block, is_cut=is_cut)
        if stream == STDOUT and any(mark in block for mark in _MARKS):
            for line in _lines(block):
                if line.startswith(_PREFIXES):
                    self._set_output(line)
        if stream == STDOUT and CHECKPOINT in block and self._checkpointed is not None:
            lines = [line for line in _lines(block) if line.startswith(CHECKPOINT)]
            if lines:  # only the last one counts
                text = lines[-1][len(CHECKPOINT) :].decode("utf-8", "replace").replace("\0", "\ufffd")
                self._checkpointed(text.encode())
        self._log(stream, block)

    def _log(self, stream: int, block: bytes) -> None:
        now = time.time()
        self._recent = (self._recent + block)[-RECENT_BYTES:] if len(block) < RECENT_BYTES else block[-RECENT_BYTES:]
        if self._head_left > 0:
            lines = _lines(block)
            cost = len(block) + _LINE_COST * len(lines)
            if cost <= self._head_left:
                self._head_left -= cost
                self._emit([(now, stream, self._text(line)) for line in lines])
                return
            fits = 0
            for line in lines:
                self._head_left -= len(line) + _LINE_COST
                if self._head_left <= 0:
                    break
                fits += 1
            self._head_left = 0
            self._emit([(now, stream, self._text(line)) for line in lines[:fits]])
            block = b"".join(line + b"\n" for line in lines[fits:])
        self._tail.append((now, stream, block))
        self._tail_bytes += len(block)
        while self._tail_bytes > self._tail_left:
            when, stream, first = self._tail.popleft()
            self._tail_bytes -= len(first)
            over = self._tail_left - self._tail_bytes
            if over > 0 and len(first) > over:
                rest = first[-over:]
                rest = rest[rest.find(b"\n") + 1 :]
                self._tail.appendleft((when, stream, rest))
                self._tail_bytes += len(rest)
                self._dropped += len(first) - len(rest)
                break
            self._dropped += len(first)

    def _text(self, line: bytes) -> str:
        if len(line) > self._max_line:
            return line[: self._max_line].decode("utf-8", "replace").replace("\0", "�") + " … (line cut)"
        text = line.decode("utf-8", "replace")
        return text.replace("\0", "�") if "\0" in text else text

    def _set_output(self, line: bytes) -> None:
        prefix = next(prefix for prefix in _PREFIXES if line.startswith(prefix))
        name, separator, value = line[len(prefix) :].decode("utf-8", "replace").partition("::")
        name = name.strip()
        if not separator or not name:
            return
        before = self.outputs.get(name)
        self._outputs_bytes += len(value) - (len(before) if before is not None else -len(name))
        if self._outputs_bytes > self._max_outputs:
            self.outputs_too_large = True
            return
        self.outputs[name] = value


def _lines(block: bytes) -> list[bytes]:
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if b"\r" in block:
        lines = [line[:-1] if line.endswith(b"\r") else line for line in lines]
    return lines
