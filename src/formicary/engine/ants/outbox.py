"""What waits to be told to the queen, and what she has not acknowledged yet.

Everything that is said within one turn of the loop leaves as one message (or several, each below 3 MB). A result is
never sent before the log lines and the checkpoint of its attempt, and is kept until the queen acknowledges it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import cast

from formicary.engine.ants.attempt import Attempt, Result
from formicary.engine.ants.observing import Use
from formicary.engine.ants.output import ENGINE, Line
from formicary.v1.ants_pb2 import AntMessage, LogChunk, TaskCheckpoint, TaskProgress, TaskResult, TaskStarted, TaskUse

MAX_MESSAGE_BYTES = 3_000_000
_CHUNK_BYTES = 256 * 1024
_LINE_BYTES = 24


class Outbox:
    """Messages to the queen.

    Args:
        max_pending_log_bytes: Log lines waiting beyond this are dropped and counted.
        wake: Called when there is something to send.
    """

    def __init__(self, *, max_pending_log_bytes: int, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._max_log_bytes = max_pending_log_bytes
        self._log_bytes = 0
        self._dropped: dict[int, int] = {}
        self._logs: dict[int, list[tuple[LogChunk, int]]] = {}
        self._results: dict[int, TaskResult] = {}
        self._unacknowledged: dict[int, TaskResult] = {}
        self._started: list[TaskStarted] = []
        self._progress: dict[int, TaskProgress] = {}
        self._checkpoints: dict[int, TaskCheckpoint] = {}
        self._last: dict[int, TaskCheckpoint] = {}
        """The last checkpoint of each attempt whose end is not acknowledged: said again on a new stream."""
        self._returned: list[int] = []
        self._beat = 0
        self._window = 0
        self._is_draining = False
        self._uses: list[TaskUse] = []

    # putting in -------------------------------------------------------------------------------------------------------

    def add_result(self, attempt: Attempt, result: Result) -> None:
        """Adds the end of an attempt."""
        token = attempt.token
        outcome = cast("TaskResult.Outcome", result.outcome)
        message = TaskResult(token=token, outcome=outcome, started_at=result.started_at, ended_at=result.ended_at)
        if result.outputs:
            message.outputs = result.outputs
        if result.exit_code is not None:
            message.has_exit_code = True
            message.exit_code = result.exit_code
        if result.error_code:
            message.error_code = result.error_code
            message.error_message = _clean(result.error_message)
            message.signal = result.signal
            message.traceback = _clean(result.traceback)
            message.recent_output = result.recent
        self._results[token] = self._unacknowledged[token] = message
        self._wake()

    def add_log(self, attempt: Attempt, lines: list[Line]) -> None:
        """Adds log lines of an attempt."""
        size = sum([len(line[2]) + _LINE_BYTES for line in lines])
        if self._log_bytes + size > self._max_log_bytes:
            self._dropped[attempt.token] = self._dropped.get(attempt.token, 0) + len(lines)
            return
        token = attempt.token
        dropped = self._dropped.pop(token, 0)
        if dropped:
            lines = [(lines[0][0], ENGINE, f"… {dropped} lines left out: the queen could not take them …"), *lines]
        chunks = self._logs.setdefault(token, [])
        for time, stream, text in lines:
            if not chunks or chunks[-1][1] > _CHUNK_BYTES:
                chunks.append((_chunk(attempt), 0))
            chunk, used = chunks[-1]
            chunk.lines.add(time=time, stream=stream, text=text)
            chunks[-1] = (chunk, used + len(text) + _LINE_BYTES)
        self._log_bytes += size
        self._wake()

    def add_started(self, token: int, started_at: float) -> None:
        """Announces that an attempt has started."""
        self._started.append(TaskStarted(token=token, started_at=started_at))
        self._wake()

    def add_progress(self, token: int, fraction: float, message: str) -> None:
        """Adds how far an attempt is; only the latest word is sent."""
        self._progress[token] = TaskProgress(token=token, fraction=fraction, message=_clean(message))
        self._wake()

    def add_checkpoint(self, token: int, value: bytes) -> None:
        """Adds what an attempt leaves for the next one; only the latest word is sent."""
        self._checkpoints[token] = self._last[token] = TaskCheckpoint(token=token, value=value)
        self._wake()

    def drop_checkpoint(self, token: int) -> None:
        """What an attempt has left does not count any more."""
        self._checkpoints.pop(token, None)
        self._last.pop(token, None)

    def add_returned(self, tokens: Iterable[int]) -> None:
        """Gives tokens back that never started."""
        self._returned.extend(tokens)
        self._wake()

    def set_uses(self, uses: Mapping[int, Use]) -> None:
        """Says what running attempts use; only the latest word is sent, with what is sent next."""
        self._uses = [TaskUse(token=token, cpu=use.cpu, memory_bytes=use.memory) for token, use in uses.items()]

    def set_beat(self, beat: int) -> None:
        """Sends a beat."""
        self._beat = beat
        self._wake()

    def set_window(self, window: int) -> None:
        """Says how many tasks the ant is willing to hold."""
        self._window = window
        self._wake()

    def set_draining(self) -> None:
        """Says that the ant is stopping."""
        self._is_draining = True
        self._wake()

    # the queen's answers ----------------------------------------------------------------------------------------------

    @property
    def unacknowledged(self) -> list[int]:
        """Tokens of results that the queen has not acknowledged."""
        return list(self._unacknowledged)

    def holds(self, token: int) -> bool:
        """Says whether a result of this token waits for its acknowledgement."""
        return token in self._unacknowledged

    def acknowledged(self, tokens: Iterable[int]) -> None:
        """Forgets results that are committed or stale."""
        for token in tokens:
            self._unacknowledged.pop(token, None)
            self._results.pop(token, None)
            if self._last:
                self.drop_checkpoint(token)

    def resend(self) -> None:
        """Sends every unacknowledged result and every last checkpoint again; called on each new stream."""
        self._results = dict(self._unacknowledged)
        self._checkpoints = dict(self._last)
        self._started.clear()
        self._beat = 0
        if self._results or self._checkpoints or self._is_draining:
            self._wake()

    def resend_one(self, token: int) -> None:
        """Sends an unacknowledged result again."""
        self._results[token] = self._unacknowledged[token]
        self._wake()

    # taking out -------------------------------------------------------------------------------------------------------

    def next_message(self) -> AntMessage | None:
        """Takes the next message, None if there is nothing to say."""
        message = AntMessage()
        room = MAX_MESSAGE_BYTES
        something = False
        if self._beat or self._window or self._is_draining:
            something = True
            message.beat, message.window, message.draining = self._beat, self._window, self._is_draining
            self._beat = self._window = 0
            self._is_draining = False
        if self._uses:
            something = True
            message.uses.extend(self._uses)
            self._uses = []
        if self._started or self._progress or self._returned:
            something = True
            message.started.extend(self._started)
            message.progress.extend(self._progress.values())
            message.returned.extend(self._returned)
            self._started, self._progress, self._returned = [], {}, []
        if self._checkpoints:
            something = True
            room -= self._take_checkpoints(message, room)
        if self._logs:
            something = True
            room -= self._take_logs(message, room)
        if self._results:
            something = self._take_results(message, room) or something
        return message if something else None

    def _take_checkpoints(self, message: AntMessage, room: int) -> int:
        used = 0
        for token in list(self._checkpoints):
            size = len(self._checkpoints[token].value) + 16
            if used and used + size > room:
                break
            message.checkpoints.append(self._checkpoints.pop(token))
            used += size
        return used

    def _take_logs(self, message: AntMessage, room: int) -> int:
        used = 0
        for token in list(self._logs):
            chunks = self._logs[token]
            taken = 0
            for chunk, size in chunks:
                real = chunk.ByteSize() + 16
                if used and used + real > room:
                    break
                message.logs.append(chunk)
                used += real
                self._log_bytes -= size
                taken += 1
            if taken < len(chunks):
                del chunks[:taken]
                break
            del self._logs[token]
        return used

    def _take_results(self, message: AntMessage, room: int) -> bool:
        if (
            not (self._logs or self._checkpoints)
            and len(self._results) < 64
            and all(not r.outputs for r in self._results.values())
        ):
            message.results.extend(self._results.values())  # the usual case: small ones
            if message.ByteSize() < MAX_MESSAGE_BYTES:
                self._results = {}
                return True
            del message.results[:]
        taken: list[int] = []
        for token, result in self._results.items():
            size = result.ByteSize() + 16
            if token in self._logs or token in self._checkpoints:
                continue
            if taken and size > room:
                break
            if not taken and size > room and room < MAX_MESSAGE_BYTES:
                break
            message.results.append(result)
            room -= size
            taken.append(token)
        for token in taken:
            del self._results[token]
        return bool(taken)


def _chunk(attempt: Attempt) -> LogChunk:
    return LogChunk(
        token=attempt.token, job_id=attempt.job_id, task_type=attempt.task.task_type, attempt=attempt.number
    )


def _clean(text: str) -> str:
    """Makes a text that protobuf can hold: lone surrogates (undecodable bytes) become question marks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
