"""Log files beside an SQLite store: one line of JSON per line of output.

``logs/<two characters>/<job id>.log`` holds the lines of all tasks of a job, each ``[number, task type, attempt, time,
stream, text]``. Once an attempt has filled its half there, its further lines go to two files of their own that take
turns (``….1.tail`` is written; when it is full it becomes ``….0.tail`` and the former one is dropped; its first line
says what was dropped so far). Nothing is ever rewritten. No fsync: a crash of the machine may lose the last seconds of
logs, never more than logs. A torn line, after a crash or on a full disk, is passed over.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from formicary.engine.storage.log_port import LogRecord
from formicary.engine.storage.logs import (
    ATTEMPT_BYTES,
    READ_BYTES,
    Attempt,
    BufferedLogs,
    cut,
    in_order,
    left_out,
)
from formicary.engine.storage.port import StoreUnavailable

FileLine = tuple[int, str, int, float, int, str]
"""Number, task type, attempt, time, stream, text; stream 0 = the head of a tail file: text "<lines> <bytes>"."""

_SCAN_BYTES: Final = 64 * 1024
_JOBS_REMEMBERED: Final = 4096
_encode: Final = msgspec.json.Encoder().encode
_decode: Final[Callable[[bytes], FileLine]] = msgspec.json.Decoder(FileLine).decode


@dataclass(slots=True)
class _Tail:
    """The end of one attempt's log."""

    current_bytes: int = 0
    current_lines: int = 0
    previous_bytes: int = 0
    previous_lines: int = 0
    dropped_bytes: int = 0
    dropped_lines: int = 0


@dataclass(slots=True)
class _Tally:
    """What is known of a job's files."""

    next_number: int = 0
    head_bytes: dict[Attempt, int] = field(default_factory=dict)
    tails: dict[Attempt, _Tail] = field(default_factory=dict)


class FileLogs(BufferedLogs):
    """Logs in files.

    Args:
        directory: made when the first line is written.
        attempt_bytes: most bytes that one attempt keeps.
    """

    def __init__(self, directory: str | os.PathLike[str], attempt_bytes: int = ATTEMPT_BYTES) -> None:
        super().__init__()
        self.directory = Path(directory)
        self._half = attempt_bytes // 2
        self._tallies: OrderedDict[str, _Tally] = OrderedDict()

    # ------------------------------------------------------------------------------------------------ write
    def _write(self, batch: dict[str, list[LogRecord]]) -> None:
        for job_id in list(batch):
            try:
                self._write_job(job_id, batch[job_id])
            except OSError as error:
                self._tallies.pop(job_id, None)
                raise StoreUnavailable(
                    f"The log {self._path(job_id)} cannot be written: {error.strerror}. Lines are kept in memory and "
                    "written once that is possible; free some space or give this user write permission."
                ) from error
            del batch[job_id]

    def _write_job(self, job_id: str, records: Sequence[LogRecord]) -> None:
        path = self._path(job_id)
        tally = self._tally(job_id, path)
        head: list[bytes] = []
        tails: dict[Attempt, list[bytes]] = {}
        number = tally.next_number
        taken = dict(tally.head_bytes)
        for record in records:
            key = (record.task_type, record.attempt)
            line = _encode((number, *key, record.time, record.stream, cut(record.text))) + b"\n"
            number += 1
            if key not in tally.tails and key not in tails and taken.get(key, 0) + len(line) <= self._half:
                taken[key] = taken.get(key, 0) + len(line)
                head.append(line)
            else:
                tails.setdefault(key, []).append(line)
        if head:
            _append(path, b"".join(head))
        tally.head_bytes = taken
        for key, lines in tails.items():
            self._write_tail(path, key, tally.tails.setdefault(key, _Tail()), lines)
        tally.next_number = number  # from here on readers may pass these lines

    def _write_tail(self, path: Path, key: Attempt, tail: _Tail, lines: Sequence[bytes]) -> None:
        """Appends to the end of one attempt's log; what does not fit on the disk is counted as dropped."""
        current, previous = _tail_paths(path, key)
        try:
            for piece in _pieces(lines, self._half // 4):
                size, count = sum(map(len, piece)), len(piece)
                if tail.current_bytes and tail.current_bytes + size > self._half // 2:
                    os.replace(current, previous)
                    tail.dropped_bytes += tail.previous_bytes
                    tail.dropped_lines += tail.previous_lines
                    tail.previous_bytes, tail.previous_lines = tail.current_bytes, tail.current_lines
                    tail.current_bytes = tail.current_lines = 0
                if not tail.current_bytes:
                    text = f"{tail.dropped_lines} {tail.dropped_bytes}"
                    piece = [_encode((_decode(piece[0])[0], *key, 0.0, 0, text)) + b"\n", *piece]
                _append(current, b"".join(piece))
                tail.current_bytes += size
                tail.current_lines += count
        except OSError:
            tail.dropped_lines += len(lines)
            tail.dropped_bytes += sum(map(len, lines))

    def _tally(self, job_id: str, path: Path) -> _Tally:
        tally = self._tallies.get(job_id)
        if tally is None:
            tally = self._tallies[job_id] = _Tally()
            for line in _lines(path, 0):
                tally.next_number = max(tally.next_number, line[0] + 1)
                key = (line[1], line[2])
                tally.head_bytes[key] = tally.head_bytes.get(key, 0) + len(_encode(line)) + 1
            for key, tail, last in _tails(path):
                tally.next_number = max(tally.next_number, last + 1)
                tally.tails[key] = tail
            if len(self._tallies) > _JOBS_REMEMBERED:
                self._tallies.popitem(last=False)
        return tally

    def _remove(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            self._tallies.pop(job_id, None)
            path = self._path(job_id)
            try:
                for one in [path, *path.parent.glob(f"{path.stem}.*.tail")]:
                    one.unlink(missing_ok=True)
            except OSError as error:
                raise StoreUnavailable(f"The log {path} cannot be removed: {error.strerror}.") from error

    # ------------------------------------------------------------------------------------------------- read
    def _read(self, job_id: str, offset: int) -> tuple[list[LogRecord], int]:
        path = self._path(job_id)
        found: list[tuple[int, LogRecord]] = []
        size, until = 0, -1
        # While a flush is half done, the file may show later lines than the tails do: they wait for the next read.
        tally = self._tallies.get(job_id)
        complete = tally.next_number if tally is not None else 0
        try:
            for line in _lines(path, offset):
                found.append((line[0], LogRecord(*line[1:])))
                size += len(line[5])
                if size > READ_BYTES:
                    until = line[0]
                    break
            for current in path.parent.glob(f"{path.stem}.*.1.tail"):
                found += _read_tail(current, offset)
        except OSError as error:
            raise StoreUnavailable(f"The log {path} cannot be read: {error.strerror}.") from error
        if until >= 0:
            found = [pair for pair in found if pair[0] <= until]
        if tally is not None:
            found = [pair for pair in found if pair[0] < complete]
        return in_order(found, offset)

    def _path(self, job_id: str) -> Path:
        """The job's file; an id comes from outside, so nothing but letters and digits gets into a path as it is."""
        name = "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}" for c in job_id)
        return self.directory / (name[-2:] or "__") / f"{name}.log"


def _tail_paths(path: Path, key: Attempt) -> tuple[Path, Path]:
    """The file that is written and the one before it."""
    digest = blake2b(f"{key[1]} {key[0]}".encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return path.with_name(f"{path.stem}.{digest}.1.tail"), path.with_name(f"{path.stem}.{digest}.0.tail")


def _pieces(lines: Sequence[bytes], most_bytes: int) -> Iterator[list[bytes]]:
    """The lines in groups of at most so many bytes (or one line)."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > most_bytes:
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield piece


def _append(path: Path, data: bytes) -> None:
    """Appends in one write; a failure leaves the file as it was, or with a torn line that readers pass over."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        before = os.fstat(file).st_size
        if before and os.pread(file, 1, before - 1) != b"\n":
            data = b"\n" + data
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError:
            os.ftruncate(file, before)
            raise
    finally:
        os.close(file)


def _lines(path: Path, offset: int) -> Iterator[FileLine]:
    """Whole lines from number `offset` on."""
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return
    with file:
        at = _seek(file.fileno(), offset) if offset else 0
        file.seek(at)
        if at:
            file.readline()
        for raw in file:
            line = _parse(raw)
            if line is not None and line[0] >= offset:
                yield line


def _seek(file: int, offset: int) -> int:
    """A position before line `offset`, near it: the numbers in a file only grow, so it is found by halving."""
    low, high = 0, os.fstat(file).st_size
    while high - low > _SCAN_BYTES:
        middle = (low + high) // 2
        number = _number_after(file, middle, high)
        if number is None or number >= offset:
            high = middle
        else:
            low = middle
    return low


def _number_after(file: int, position: int, limit: int) -> int | None:
    """Number of the first whole line that starts after `position`."""
    block = b""
    while position + len(block) < limit:
        block += os.pread(file, _SCAN_BYTES, position + len(block))
        for raw in block.splitlines(keepends=True)[1:]:
            line = _parse(raw)
            if line is not None:
                return line[0]
    return None


def _parse(raw: bytes) -> FileLine | None:
    """A line of a file; None for a torn one."""
    if not raw.endswith(b"\n"):
        return None
    try:
        return _decode(raw)
    except msgspec.MsgspecError:
        return None


def _read_tail(current: Path, offset: int) -> list[tuple[int, LogRecord]]:
    """The kept end of one attempt's log from `offset` on, with the mark for what is missing before it."""
    lines = list(_lines(current, 0))
    # In this order, because the files may take turns meanwhile: a line may then show twice but never not at all.
    previous = list(_lines(current.with_name(current.name.replace(".1.tail", ".0.tail")), 0))
    lines = [line for line in previous if not lines or line[0] < lines[0][0]] + lines
    found = [(line[0], LogRecord(*line[1:])) for line in lines if line[4] and line[0] >= offset]
    heads = [line for line in lines if not line[4]]
    dropped, size = (int(word) for word in heads[-1][5].split()) if heads else (0, 0)
    if dropped and lines[0][0] - 1 >= offset:
        found.append((lines[0][0] - 1, left_out(lines[0][1], lines[0][2], 0.0, dropped, size)))
    return found


def _tails(path: Path) -> Iterator[tuple[Attempt, _Tail, int]]:
    """The tails of a job as they stand on the disk, and the last number in each."""
    for current in path.parent.glob(f"{path.stem}.*.1.tail"):
        tail, key, last = _Tail(), None, 0
        for line in _lines(current, 0):
            key, last = (line[1], line[2]), line[0]
            if line[4]:
                tail.current_bytes += len(_encode(line)) + 1
                tail.current_lines += 1
            else:
                tail.dropped_lines, tail.dropped_bytes = (int(word) for word in line[5].split())
        for line in _lines(current.with_name(current.name.replace(".1.tail", ".0.tail")), 0):
            if line[4]:
                tail.previous_bytes += len(_encode(line)) + 1
                tail.previous_lines += 1
        if key is not None:
            yield key, tail, last
