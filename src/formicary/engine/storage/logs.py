"""Log lines: buffered by the loop, written in batches, bounded per attempt.

Theory of operation. :meth:`append` only puts lines into a buffer; :meth:`flush` takes whole buffers and hands them to
the adapter, which numbers the lines of a job from 0 (that number is a reader's offset). Of each attempt the first half
of the limit is kept as it comes; what follows is kept at its end only, in pieces, and the oldest piece goes when the
second half is full. One line of the engine's own stream stands where lines are missing and says how much. A job's
tallies are rebuilt from what is written, so that a restart of the queen keeps the bound and the numbering.

Here: the buffer, and the store of *chunks* (memory; PostgreSQL adds a table). Files keep lines as lines
(:mod:`formicary.engine.storage.logs_files`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Final

from formicary.engine.jobs.fan_out import task_name
from formicary.engine.storage.log_port import LogRecord
from formicary.engine.storage.port import StoreUnavailable

ATTEMPT_BYTES: Final = 10_000_000
"""Most bytes that one attempt's log keeps."""
LINE_CHARACTERS: Final = 64 * 1024
"""Longer lines are cut."""
BUFFER_CHARACTERS: Final = 16_000_000
"""Most characters of one job that wait for a flush; more are left out (the disk is full or far too slow)."""
READ_BYTES: Final = 16_000_000
"""About how much one read returns; who wants all of a larger log reads until nothing comes."""
_LINE_OVERHEAD: Final = 64
_JOBS_REMEMBERED: Final = 4096

Attempt = tuple[str, int]
"""Task type and number of the attempt."""


def left_out(task_type: str, attempt: int, time: float, lines: int, size_bytes: int) -> LogRecord:
    """The line that stands for lines that are not kept."""
    amount = f"{lines:,} lines ({size_bytes / 1e6:,.1f} MB)" if lines else "lines"
    return LogRecord(task_type, attempt, time, 3, f"… {amount} left out: the log of an attempt is bounded …")


def cut(text: str) -> str:
    """A line within the bound, in characters that every store can keep."""
    if len(text) > LINE_CHARACTERS:
        text = f"{text[:LINE_CHARACTERS]} … {len(text) - LINE_CHARACTERS:,} characters left out"
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@dataclass(slots=True)
class _Buffer:
    """Lines of one job that wait for a flush."""

    records: list[LogRecord] = field(default_factory=list)
    characters: int = 0
    refused: int = 0


class BufferedLogs(ABC):
    """The port's calls over an adapter's `_write` and `_read`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._writing = Lock()
        self._buffers: dict[str, _Buffer] = {}

    def append(self, job_id: str, records: Sequence[LogRecord]) -> None:
        """Buffers lines; cheap, called from the loop."""
        with self._lock:
            buffer = self._buffers.setdefault(job_id, _Buffer())
            for record in records:
                if buffer.characters > BUFFER_CHARACTERS:
                    buffer.refused += 1
                else:
                    buffer.records.append(record)
                    buffer.characters += min(len(record.text), LINE_CHARACTERS) + _LINE_OVERHEAD

    def flush(self, job_ids: Sequence[str] | None = None) -> None:
        """Writes buffered lines (of these jobs, None = all). What a failure leaves unwritten stays buffered.

        Raises:
            StoreUnavailable: the lines cannot be written now.
        """
        with self._writing:
            with self._lock:
                names = list(self._buffers) if job_ids is None else [name for name in job_ids if name in self._buffers]
                taken = {name: self._buffers.pop(name) for name in names}
            batch = {name: _with_refusals(buffer) for name, buffer in taken.items()}
            try:
                if batch:
                    self._write(batch)
            except StoreUnavailable:
                with self._lock:
                    for name in batch:
                        self._put_back(name, taken[name])
                raise

    def _put_back(self, name: str, older: _Buffer) -> None:
        newer = self._buffers.get(name)
        if newer is not None:
            room = older.characters <= BUFFER_CHARACTERS
            older.records.extend(newer.records if room else ())
            older.characters += newer.characters if room else 0
            older.refused += newer.refused + (0 if room else len(newer.records))
        self._buffers[name] = older

    def pending(self) -> bool:
        """True where lines are buffered."""
        return bool(self._buffers)

    def read(self, job_id: str, *, task_type: str = "", offset: int = 0) -> tuple[list[LogRecord], int]:
        """Lines from `offset` on, and the next offset; no lines = the end.

        A task that fans out stands for all its elements. Buffered lines are written first, so that what a reader has
        seen keeps its number. Very long logs come in parts of about 16 MB.
        """
        try:
            self.flush([job_id])  # also where nothing is buffered: another thread may be writing its lines just now
        except StoreUnavailable:
            pass  # what is written can be read all the same
        while True:
            records, after = self._read(job_id, offset)
            wanted = [one for one in records if task_type in ("", one.task_type, task_name(one.task_type))]
            if wanted or not records:
                return wanted, after
            offset = after

    def remove(self, job_ids: Sequence[str]) -> None:
        """Forgets every line of these jobs, also buffered ones. Raises StoreUnavailable."""
        with self._writing:
            with self._lock:
                for job_id in job_ids:
                    self._buffers.pop(job_id, None)
            self._remove(job_ids)

    def close(self) -> None:
        """Flushes and releases; idempotent."""
        self.flush()

    @abstractmethod
    def _remove(self, job_ids: Sequence[str]) -> None:
        """Removes the written lines of jobs."""

    @abstractmethod
    def _write(self, batch: dict[str, list[LogRecord]]) -> None:
        """Writes the lines of several jobs, removing each job from the batch once its lines are written."""

    @abstractmethod
    def _read(self, job_id: str, offset: int) -> tuple[list[LogRecord], int]:
        """Written lines from `offset` on, and the next offset."""


def _with_refusals(buffer: _Buffer) -> list[LogRecord]:
    if not buffer.refused:
        return buffer.records
    last = buffer.records[-1]
    text = f"… {buffer.refused:,} lines left out: the log could not be written in time …"
    return [*buffer.records, LogRecord(last.task_type, last.attempt, last.time, 3, text)]


def in_order(found: list[tuple[int, LogRecord]], offset: int) -> tuple[list[LogRecord], int]:
    """Numbered lines as a reader gets them; a mark without a time takes its neighbour's."""
    found.sort(key=lambda pair: pair[0])
    records = [record for _, record in found]
    for at, record in enumerate(records):
        if not record.time:
            beside = records[at - 1] if at else records[min(at + 1, len(records) - 1)]
            records[at] = replace(record, time=beside.time)
    return records, found[-1][0] + 1 if found else offset


# ---------------------------------------------------------------------------------------------------------- chunks
Line = tuple[int, float, int, str]
"""Number in its job, time, stream, text."""


@dataclass(slots=True)
class Chunk:
    """What one flush found for one attempt, or (`missing`) what was left out of it."""

    first: int
    """Number of its first line: its key within the job."""
    last: int
    task_type: str
    attempt: int
    size_bytes: int
    line_count: int
    missing: bool = False
    lines: list[Line] = field(default_factory=list)


@dataclass(slots=True)
class _AttemptTally:
    head_bytes: int = 0
    head_full: bool = False
    tail_bytes: int = 0
    tail: list[Chunk] = field(default_factory=list)
    gap: Chunk | None = None


@dataclass(slots=True)
class _JobTally:
    next_number: int = 0
    attempts: dict[Attempt, _AttemptTally] = field(default_factory=dict)


class ChunkedLogs(BufferedLogs):
    """Logs whose adapter keeps chunks under (job, first line)."""

    def __init__(self, attempt_bytes: int = ATTEMPT_BYTES) -> None:
        super().__init__()
        self._half = attempt_bytes // 2
        self._jobs: OrderedDict[str, _JobTally] = OrderedDict()

    @abstractmethod
    def _store(self, changes: dict[str, tuple[list[Chunk], list[int]]]) -> None:
        """Puts and removes chunks of several jobs at once."""

    @abstractmethod
    def _drop_jobs(self, job_ids: Sequence[str]) -> None:
        """Removes every chunk of these jobs."""

    def _remove(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            self._jobs.pop(job_id, None)
        self._drop_jobs(job_ids)

    @abstractmethod
    def _outline(self, job_id: str) -> Iterable[Chunk]:
        """A job's chunks without their lines, in order."""

    @abstractmethod
    def _chunks(self, job_id: str, offset: int) -> Iterable[Chunk]:
        """A job's chunks with a line at or after `offset`, in order of their first lines."""

    def _write(self, batch: dict[str, list[LogRecord]]) -> None:
        try:
            changes = {job_id: self._place(self._tally(job_id), records) for job_id, records in batch.items()}
            self._store(changes)
        except BaseException:
            for job_id in batch:
                self._jobs.pop(job_id, None)  # the tally counts lines that were not written: rebuild it
            raise
        batch.clear()

    def _tally(self, job_id: str) -> _JobTally:
        tally = self._jobs.get(job_id)
        if tally is None:
            tally = _JobTally()
            for chunk in self._outline(job_id):
                tally.next_number = max(tally.next_number, chunk.last + 1)
                self._count(tally, chunk)
            self._jobs[job_id] = tally
            if len(self._jobs) > _JOBS_REMEMBERED:
                self._jobs.popitem(last=False)
        return tally

    def _count(self, tally: _JobTally, chunk: Chunk) -> _AttemptTally:
        """Adds a chunk to the head or the tail of its attempt."""
        attempt = tally.attempts.setdefault((chunk.task_type, chunk.attempt), _AttemptTally())
        if chunk.missing:
            attempt.gap = chunk
            attempt.head_full = True
        elif not attempt.head_full and attempt.head_bytes + chunk.size_bytes <= self._half:
            attempt.head_bytes += chunk.size_bytes
        else:
            attempt.head_full = True
            attempt.tail_bytes += chunk.size_bytes
            attempt.tail.append(Chunk(**{name: getattr(chunk, name) for name in _OUTLINE}))
        return attempt

    def _place(self, tally: _JobTally, records: Sequence[LogRecord]) -> tuple[list[Chunk], list[int]]:
        """The chunks to put and the keys to remove for these new lines."""
        put: dict[int, Chunk] = {}
        gone: list[int] = []
        for chunk in self._split(tally, records):
            put[chunk.first] = chunk
            attempt = self._count(tally, chunk)
            while attempt.tail_bytes > self._half and len(attempt.tail) > 1:
                oldest = attempt.tail.pop(0)
                attempt.tail_bytes -= oldest.size_bytes
                if attempt.gap is None:
                    attempt.gap = oldest
                    oldest.missing = True
                else:
                    attempt.gap.size_bytes += oldest.size_bytes
                    attempt.gap.line_count += oldest.line_count
                    gone.append(oldest.first)
                    put.pop(oldest.first, None)
                put[attempt.gap.first] = attempt.gap
        return list(put.values()), gone

    def _split(self, tally: _JobTally, records: Sequence[LogRecord]) -> list[Chunk]:
        """Numbers the lines and groups them by attempt, in chunks of an eighth of the limit at most."""
        ready: list[Chunk] = []
        open_chunks: dict[Attempt, Chunk] = {}
        for record in records:
            key = (record.task_type, record.attempt)
            text = cut(record.text)
            size = len(text.encode()) + _LINE_OVERHEAD
            chunk = open_chunks.get(key)
            if chunk is None or chunk.size_bytes + size > self._half // 4:
                chunk = open_chunks[key] = Chunk(tally.next_number, tally.next_number, *key, 0, 0)
                ready.append(chunk)
            chunk.lines.append((tally.next_number, record.time, record.stream, text))
            chunk.last = tally.next_number
            chunk.size_bytes += size
            chunk.line_count += 1
            tally.next_number += 1
        return ready

    def _read(self, job_id: str, offset: int) -> tuple[list[LogRecord], int]:
        found: list[tuple[int, LogRecord]] = []
        size, until = 0, -1
        for chunk in self._chunks(job_id, offset):
            if 0 <= until < chunk.first:
                # Chunks of parallel tasks overlap: complete are only the lines that no later chunk can precede.
                found = [pair for pair in found if pair[0] <= until]
                break
            if chunk.missing:
                if chunk.first >= offset:
                    marker = left_out(chunk.task_type, chunk.attempt, 0.0, chunk.line_count, chunk.size_bytes)
                    found.append((chunk.first, marker))
                continue
            for number, time, stream, text in chunk.lines:
                if number >= offset:
                    found.append((number, LogRecord(chunk.task_type, chunk.attempt, time, stream, text)))
            size += chunk.size_bytes
            if size > READ_BYTES and until < 0:
                until = chunk.last
        return in_order(found, offset)


_OUTLINE: Final = ("first", "last", "task_type", "attempt", "size_bytes", "line_count")


class MemoryLogs(ChunkedLogs):
    """Logs in memory, for tests and for the simulation."""

    def __init__(self, attempt_bytes: int = ATTEMPT_BYTES) -> None:
        super().__init__(attempt_bytes)
        self._kept: dict[str, dict[int, Chunk]] = {}

    def _store(self, changes: dict[str, tuple[list[Chunk], list[int]]]) -> None:
        for job_id, (put, gone) in changes.items():
            kept = self._kept.setdefault(job_id, {})
            for first in gone:
                kept.pop(first, None)
            kept.update((chunk.first, chunk) for chunk in put)

    def _drop_jobs(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            self._kept.pop(job_id, None)

    def _outline(self, job_id: str) -> Iterable[Chunk]:
        return self._chunks(job_id, 0)

    def _chunks(self, job_id: str, offset: int) -> Iterable[Chunk]:
        kept = sorted(self._kept.get(job_id, {}).items())
        return [chunk for _, chunk in kept if chunk.last >= offset]
