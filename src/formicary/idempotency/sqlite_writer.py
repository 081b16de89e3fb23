"""The one thread that writes to an SQLite file, and the shared commits.

Theory of operation: jobs wait in a queue. The thread takes all that wait (bounded), begins one IMMEDIATE transaction,
reads all their records with one statement, lets each job decide on them in memory, writes what changed with a few
statements of many rows, commits, and only then gives the answers. While it commits, the next jobs gather. sqlite3
gives the interpreter away for every step of a statement, so few statements count more than short ones.

A function of the user's runs inside a savepoint of its own: if it fails, that alone is rolled back.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Final

from formicary.idempotency.model import Record
from formicary.idempotency.refusals import outcome_unknown, store_unavailable
from formicary.idempotency.schema import COLUMN_LIST, COLUMNS, TABLE, from_row, to_row
from formicary.problems import Problem

_CHUNK: Final = 64
_BEGIN: Final = "BEGIN IMMEDIATE /* formicary */"
_COMMIT: Final = "COMMIT /* formicary */"
_ROLLBACK: Final = "ROLLBACK /* formicary */"
"""The comments make them other texts than a user's, which are denied while a function runs."""


class Guarded(sqlite3.Connection):
    """A connection on which a function may not begin or end a transaction: that would take all the others with it.

    Attributes:
        guarded: Whether that is refused just now.
    """

    guarded = False


def guard(connection: Guarded) -> None:
    """Makes SQLite ask before it prepares a statement (once for each text)."""
    weak = weakref.ref(connection)

    def allowed(action: int, *_: str | None) -> int:
        asking = weak()
        refused = action == sqlite3.SQLITE_TRANSACTION and asking is not None and asking.guarded
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    connection.set_authorizer(allowed)


Connect = Callable[[], Guarded]
Apply = Callable[["Batch"], object]
Orphaned = Callable[[object], None]


class Job:
    """One wish of a caller: what it does to the batch, and where its answer goes.

    Args:
        record_id: The record that it is about.
        apply: Called on the writer's thread; returns the answer, or raises it.
        orphaned: Called on the loop with an answer that nobody waits for any more.
        executes: Whether it has an effect of the caller's: once that has begun, a time-out means an unknown outcome.
    """

    __slots__ = ("apply", "begun", "deadline", "executes", "future", "orphaned", "record_id")

    def __init__(
        self, record_id: bytes, apply: Apply, orphaned: Orphaned | None = None, *, executes: bool = False
    ) -> None:
        self.record_id = record_id
        self.apply = apply
        self.orphaned = orphaned
        self.executes = executes
        self.begun = False
        self.future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.deadline = 0.0


class Batch:
    """What the jobs of one commit see and change.

    Attributes:
        connection: Inside the transaction.
        now_ms: The batch's time.
        least_token: No token below it may be given.
    """

    __slots__ = ("_changed", "_cursor", "_records", "connection", "least_token", "now_ms", "ran")

    def __init__(self, connection: Guarded, now_ms: int, least_token: int, ids: Sequence[bytes]) -> None:
        self.connection = connection
        self.now_ms = now_ms
        self.least_token = least_token
        self.ran = False
        self._cursor = connection.cursor()
        self._changed: dict[bytes, Record | None] = {}
        self._records = self._load(ids)

    def get(self, record_id: bytes) -> Record | None:
        """The record as the jobs before have left it. Raises Problem where its row is damaged."""
        if record_id in self._changed:
            return self._changed[record_id]
        row = self._records.get(record_id)
        return None if row is None else from_row(row)

    def put(self, record: Record) -> None:
        """Writes a record."""
        self._changed[record.id] = record
        if record.token >= self.least_token:
            self.least_token = record.token + 1

    def delete(self, record_id: bytes) -> None:
        """Removes a record."""
        self._changed[record_id] = None

    def effect(self, fn: Callable[[sqlite3.Connection], object], keep: Callable[[object], bool]) -> object:
        """Runs a function inside a savepoint, which is undone if it fails or `keep` says no to its value."""
        self.ran = True
        connection, execute = self.connection, self._cursor.execute
        execute("SAVEPOINT formicary_effect")
        connection.guarded = True
        try:
            value = fn(connection)
            kept = keep(value)
        except BaseException as error:
            self._undo()
            if isinstance(error, Exception):
                raise
            raise RuntimeError(f"the function wanted to end the writer: {error!r}") from error
        finally:
            connection.guarded = False
        if not kept:
            self._undo()
        else:
            execute("RELEASE formicary_effect")
        return value

    def _undo(self) -> None:
        if not self.connection.in_transaction:
            raise TransactionLostError
        self.connection.execute("ROLLBACK TO formicary_effect")
        self.connection.execute("RELEASE formicary_effect")

    def write(self) -> bool:
        """Writes what changed; says whether there is anything to commit."""
        known = self._records
        self._write_rows([record for key, record in self._changed.items() if record and key not in known], _INSERT)
        self._write_rows([record for key, record in self._changed.items() if record and key in known], _REPLACE)
        gone = [record_id for record_id, record in self._changed.items() if record is None]
        if gone:
            self.connection.executemany(_DELETE, [(record_id,) for record_id in gone])
        return self.ran or bool(self._changed)

    def _write_rows(self, rows: list[Record], statements: Mapping[int, str]) -> None:
        at = 0
        while at < len(rows):
            count = min(_CHUNK, 1 << ((len(rows) - at).bit_length() - 1))
            values: list[object] = []
            for record in rows[at : at + count]:
                values += to_row(record)
            self._cursor.execute(statements[count], values)
            at += count

    def _load(self, ids: Sequence[bytes]) -> dict[bytes, Sequence[object]]:
        found: dict[bytes, Sequence[object]] = {}
        for at in range(0, len(ids), _CHUNK):
            some = ids[at : at + _CHUNK]
            size = 1 << (len(some) - 1).bit_length()
            rows = self.connection.execute(_SELECT[size], [*some, *[None] * (size - len(some))])
            found.update((row[0], row) for row in rows)
        return found


class TransactionLostError(Exception):
    """SQLite has rolled the whole transaction back by itself (disk full, I/O error)."""


class Writer:
    """The thread.

    Args:
        connect: Opens the connection, on the thread.
        now: The clock: milliseconds, and the least token that goes with them.
        where: Name of the file for messages.
        max_batch: Most jobs of one commit.
        max_batch_s: How long jobs may run before their commit, so that the first need not wait for slow ones.
        timeout_s: Longest wait of a caller.
    """

    def __init__(
        self,
        connect: Connect,
        now: Callable[[], tuple[int, int]],
        where: str,
        *,
        max_batch: int,
        max_batch_s: float,
        timeout_s: float,
    ) -> None:
        self._connect = connect
        self._now = now
        self._where = where
        self._max_batch = max_batch
        self._max_batch_s = max_batch_s
        self._timeout_s = timeout_s
        self._connection: Guarded | None = None
        self._queue: deque[Job] = deque()
        self._signal: SimpleQueue[bool] = SimpleQueue()
        self._flushing: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[asyncio.AbstractEventLoop, deque[Job]] = {}
        self._beginning = threading.Lock()
        self._last_token = 0
        self.commits = 0
        self._thread = threading.Thread(target=self._run, name="formicary-idempotency", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> asyncio.Future[object]:
        """The job's answer, to be awaited; what the job raised, or Problem IDEMPOTENCY_STORE_UNAVAILABLE."""
        future = job.future
        loop = future.get_loop()
        job.deadline = loop.time() + self._timeout_s
        waiting = self._waiting.get(loop)
        if waiting is None:
            waiting = self._begin_to_wait(loop)
        while waiting and waiting[0].future.done():  # answers come nearly in the order of the jobs
            waiting.popleft()
        waiting.append(job)
        self._queue.append(job)
        if self._flushing is not loop:  # what else this turn of the loop brings goes into the same commit
            self._flushing = loop
            loop.call_soon(self._flush)
        return future

    def _begin_to_wait(self, loop: asyncio.AbstractEventLoop) -> deque[Job]:
        for each in list(self._waiting):
            if each.is_closed():
                del self._waiting[each]
        loop.call_later(self._timeout_s, self._sweep, loop)
        return self._waiting.setdefault(loop, deque())

    def stop(self) -> None:
        """Lets the thread finish what waits, and waits for it."""
        self._signal.put(False)
        self._thread.join()

    def _flush(self) -> None:
        self._flushing = None
        self._signal.put(True)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tells the loop's callers whose time is over; the first that waits is the first to be told."""
        now, waiting = loop.time(), self._waiting[loop]
        with self._beginning:
            while waiting and (waiting[0].future.done() or waiting[0].deadline <= now):
                job = waiting.popleft()
                if not job.future.done():
                    job.future.set_exception(self._timed_out(job))
        if waiting:
            loop.call_later(max(0.01, waiting[0].deadline - now), self._sweep, loop)
        else:
            del self._waiting[loop]

    # --- on the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        go_on = True
        while go_on:
            go_on = self._signal.get()
            while self._queue:
                self._commit_some()
        self._drop()

    def _commit_some(self) -> None:
        jobs: list[Job] = []
        while self._queue and len(jobs) < self._max_batch:
            job = self._queue.popleft()
            if not job.future.done():
                jobs.append(job)
        if not jobs:
            return
        try:
            answers = self._transaction(jobs)
        except Exception as error:  # whatever it was: nothing is committed, and every caller is told
            self._undo()
            text = str(error) or "the transaction was rolled back"
            answers = [(job, self._unavailable(text, error)) for job in jobs]
        _answer(answers)

    def _transaction(self, jobs: list[Job]) -> list[tuple[Job, object]]:
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        connection.execute(_BEGIN)
        with self._beginning:  # who was told while the file was locked that nothing was executed is right
            jobs[:] = [job for job in jobs if not job.future.done()]
            for job in jobs:
                job.begun = True
        now_ms, least = self._now()
        batch = Batch(connection, now_ms, max(least, self._last_token + 1), [job.record_id for job in jobs])
        until = time.perf_counter() + self._max_batch_s
        answers: list[tuple[Job, object]] = []
        for at, job in enumerate(jobs):
            if at and time.perf_counter() > until:
                for later in jobs[at:]:
                    later.begun = False
                self._queue.extendleft(reversed(jobs[at:]))
                del jobs[at:]
                break
            answers.append((job, _answer_of(job, batch)))
        if batch.write():
            connection.execute(_COMMIT)
            self.commits += 1
        else:
            connection.execute(_ROLLBACK)
        self._last_token = batch.least_token - 1
        return answers

    def _undo(self) -> None:
        """Leaves no transaction open; a connection that cannot even roll back is given up."""
        connection = self._connection
        try:
            if connection is not None and connection.in_transaction:
                connection.execute(_ROLLBACK)
        except sqlite3.Error:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _timed_out(self, job: Job) -> Problem:
        what = f"gave no answer for {self._timeout_s:g} s"
        if job.executes and job.begun:
            return outcome_unknown(f"the idempotency store {self._where}: {what}")
        return self._unavailable(what)

    def _unavailable(self, what: str, cause: BaseException | None = None) -> Problem:
        found = store_unavailable(f"the idempotency store {self._where}: {what}")
        found.__cause__ = cause
        return found


def _answer_of(job: Job, batch: Batch) -> object:
    try:
        return job.apply(batch)
    except Exception as error:
        if isinstance(error, TransactionLostError) or not batch.connection.in_transaction:
            raise TransactionLostError from error
        return error


def _answer(answers: list[tuple[Job, object]]) -> None:
    """Gives the answers, each loop all of its own at once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Job, object]]] = {}
    some: list[tuple[Job, object]] = []
    last = None
    for answer in answers:
        loop = answer[0].future.get_loop()
        if loop is not last:
            some, last = by_loop.setdefault(loop, []), loop
        some.append(answer)
    for loop, some in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, some)
        except RuntimeError:  # the loop has been closed: nobody waits there
            continue


def _resolve(answers: list[tuple[Job, object]]) -> None:
    for job, answer in answers:
        if job.future.done():
            if job.orphaned is not None:
                job.orphaned(answer)
        elif isinstance(answer, BaseException):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)


def _sizes() -> tuple[int, ...]:
    return tuple(1 << power for power in range(_CHUNK.bit_length()))


_ROW: Final = f"({', '.join('?' * len(COLUMNS))})"
_REPLACE: Final = {size: f"REPLACE INTO {TABLE} ({COLUMN_LIST}) VALUES {', '.join([_ROW] * size)}" for size in _sizes()}
_INSERT: Final = {
    size: f"INSERT OR FAIL INTO {TABLE} ({COLUMN_LIST}) VALUES {', '.join([_ROW] * size)}" for size in _sizes()
}
"""Of rows that were not there when the transaction began. FAIL, since what fails ends the transaction anyway: SQLite
need not keep copies of all pages to undo the one statement.
"""
_SELECT: Final = {size: f"SELECT {COLUMN_LIST} FROM {TABLE} WHERE id IN ({', '.join('?' * size)})" for size in _sizes()}
_DELETE: Final = f"DELETE FROM {TABLE} WHERE id = ?"
