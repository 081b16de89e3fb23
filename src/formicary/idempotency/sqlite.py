"""A store in an SQLite file: durable, shared by the processes of one machine, many requests in one commit."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from os import PathLike, fspath
from typing import Final, Literal, cast

from msgspec.structs import replace

from formicary.idempotency.deciding import decide
from formicary.idempotency.grouped import Executed, is_success, kept_form, response_of
from formicary.idempotency.model import (
    Acquired,
    Busy,
    Claim,
    Mismatch,
    Outcome,
    Record,
    Replay,
    State,
    StoredResponse,
    decode_response,
    encode_response,
)
from formicary.idempotency.policy import Rule
from formicary.idempotency.refusals import in_progress, key_reused, lease_lost, store_unavailable
from formicary.idempotency.schema import COLUMN_LIST, TABLE, from_row, table_statements
from formicary.idempotency.sqlite_writer import Batch, Guarded, Job, Writer, guard
from formicary.idempotency.store import Capabilities
from formicary.problems import Problem

Synchronous = Literal["FULL", "NORMAL", "EXTRA"]
Effect = Callable[[sqlite3.Connection], StoredResponse]

_FILTERS: Final = (("tenant", "tenant"), ("state", "state"), ("parent", "parent"), ("key", "client_key"))
_ONE: Final = f"SELECT {COLUMN_LIST} FROM {TABLE} WHERE id = ?"
_PURGE: Final = (
    f"DELETE FROM {TABLE} WHERE id IN (SELECT id FROM {TABLE} WHERE expires_ms <= ?1"
    " AND NOT (state = 'IN_PROGRESS' AND lease_ms > ?1) LIMIT ?2)"
)
_MAX_KNOWN: Final = 50_000


class SqliteStore:
    """Records in the table ``formicary_idempotency`` of an SQLite file, which may hold the application's own tables.

    Args:
        path: The file; it is made where it is missing, its directory is not.
        synchronous: ``FULL`` = what was answered outlives a power cut; ``NORMAL`` = it outlives the end of the process,
            and a power cut may undo the last answers.
        now_ms: The clock in milliseconds; None = this machine's. Tests move it.
        max_batch: Most requests of one commit.
        max_batch_s: How long the functions of one commit may run together before it is written.
        timeout_s: Longest wait for the file's lock, and for an answer; then 503.
    """

    name = "sqlite"
    capabilities = Capabilities(
        durable=True,
        shared=True,
        grouped=True,
        isolation="Serializable: BEGIN IMMEDIATE takes the file's one write lock before a record is read.",
    )

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        synchronous: Synchronous = "FULL",
        now_ms: Callable[[], int] | None = None,
        max_batch: int = 128,
        max_batch_s: float = 0.01,
        timeout_s: float = 5.0,
    ) -> None:
        self._path = fspath(path)
        self._synchronous = synchronous
        self._clock = now_ms
        self._limits = (max_batch, max_batch_s, timeout_s)
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._known: OrderedDict[bytes, None] = OrderedDict()

    @property
    def commits(self) -> int:
        """How many commits were written since :meth:`open`."""
        return 0 if self._writer is None else self._writer.commits

    async def open(self) -> None:
        """Opens the file and makes the table. Raises Problem IDEMPOTENCY_STORE_UNAVAILABLE where it cannot."""
        if self._writer is None:
            self._reader = await asyncio.to_thread(self._prepare)
            batch, batch_s, timeout_s = self._limits
            self._writer = Writer(
                self._connect, self._now, self._path, max_batch=batch, max_batch_s=batch_s, timeout_s=timeout_s
            )

    async def close(self) -> None:
        """Writes what waits and closes the file."""
        writer, self._writer = self._writer, None
        reader, self._reader = self._reader, None
        if writer is not None:
            await asyncio.to_thread(writer.stop)
        if reader is not None:
            reader.close()

    async def now_ms(self) -> int:
        """The clock's time."""
        return self._now()[0]

    async def acquire(self, claim: Claim) -> Outcome:
        """A known answer is read beside the writer; anything else is decided by it."""
        if claim.id in self._known:
            known = self._replay(claim)
            if known is not None:
                return known
        job = Job(claim.id, lambda batch: _acquire(batch, claim), lambda answer: self._give_back(claim.id, answer))
        outcome = cast(Outcome, await self._open_writer().submit(job))
        if isinstance(outcome, Replay):
            self._know(claim.id)
        return outcome

    async def run(self, claim: Claim, fn: Effect, *, rule: Rule | None = None) -> Executed:
        """Grouped mode: the claim, what `fn` writes and its answer are one commit, shared with all that wait.

        Args:
            claim: Who wants to execute what.
            fn: Called on the writer's thread with the connection, inside a savepoint, only if nobody has executed the
                claim before. It must be quick, may not begin or end a transaction, and everybody waits for it. An
                answer of 400 and above, and a Problem, undo what it wrote; those that the rule keeps are replayed.
                Anything else it raises is raised here, and the claim is as if never made.
            rule: What is kept; None = the usual.

        Raises:
            Problem: IDEMPOTENT_REQUEST_IN_PROGRESS, IDEMPOTENCY_KEY_REUSED; IDEMPOTENCY_STORE_UNAVAILABLE, nothing was
                and nothing will be executed; IDEMPOTENCY_OUTCOME_UNKNOWN where `fn` had begun when the time-out came.
        """
        rule = rule or _USUAL
        if claim.id in self._known:
            known = self._replay(claim)
            if known is not None:
                return _told(known)
        job = Job(claim.id, lambda batch: _grouped(batch, claim, fn, rule), executes=True)
        done = await self._open_writer().submit(job)
        self._know(claim.id)
        return done if isinstance(done, Executed) else _told(cast("Replay | Busy | Mismatch", done))

    async def renew(self, record_id: bytes, token: int, lease_s: float) -> None:
        """Moves the lease's end."""
        await self._change(record_id, token, lambda r, now: replace(r, lease_ms=now + round(lease_s * 1000)))

    async def checkpoint(self, record_id: bytes, token: int, point: str, data: bytes) -> None:
        """Notes a recovery point."""
        await self._change(record_id, token, lambda r, now: replace(r, point=point, data=data))

    async def complete(self, record_id: bytes, token: int, response: bytes, ttl_s: float) -> None:
        """Keeps the answer."""

        def completed(record: Record, now: int) -> Record:
            return replace(record, state=State.COMPLETED, response=response, expires_ms=now + round(ttl_s * 1000))

        await self._change(record_id, token, completed)
        self._know(record_id)

    async def release(self, record_id: bytes, token: int) -> None:
        """May be tried again."""
        await self._change(record_id, token, lambda r, now: replace(r, state=State.RELEASED))

    async def discard(self, record_id: bytes, token: int) -> None:
        """Keeps nothing."""
        await self._change(record_id, token, None)

    async def get(self, record_id: bytes) -> Record | None:
        """The record as it is."""
        return self._read(record_id)

    async def records(
        self,
        *,
        tenant: str | None = None,
        state: State | None = None,
        parent: str | None = None,
        key: str | None = None,
        after: bytes = b"",
        limit: int = 100,
    ) -> Sequence[Record]:
        """Records in the order of their ids."""
        wanted = {"tenant": tenant, "state": state, "parent": parent, "key": key}
        asked = [(column, wanted[name]) for name, column in _FILTERS if wanted[name] is not None]
        where = "".join(f" AND {column} = ?" for column, _ in asked)
        statement = f"SELECT {COLUMN_LIST} FROM {TABLE} WHERE id > ?{where} ORDER BY id LIMIT ?"
        values = (after, *(str(value) for _, value in asked), limit)
        rows = await asyncio.to_thread(self._query, statement, values)
        return [from_row(row) for row in rows]

    async def purge(self, limit: int = 1000) -> int:
        """Deletes what is over."""

        def over(batch: Batch) -> int:
            batch.ran = True
            return batch.connection.execute(_PURGE, (batch.now_ms, limit)).rowcount

        return cast(int, await self._open_writer().submit(Job(b"", over)))

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _change(self, record_id: bytes, token: int, changed: Callable[[Record, int], Record] | None) -> None:
        def apply(batch: Batch) -> None:
            record = batch.get(record_id)
            if record is None or record.token != token or record.state is not State.IN_PROGRESS:
                raise lease_lost()
            if changed is None:
                batch.delete(record_id)
            else:
                batch.put(changed(record, batch.now_ms))

        await self._open_writer().submit(Job(record_id, apply))

    def _give_back(self, record_id: bytes, answer: object) -> None:
        """A claim was granted to a caller who has gone: nothing began, so nothing has to wait for its lease."""
        if self._writer is None or not isinstance(answer, Acquired):
            return
        begun = answer.attempt > 1
        task = asyncio.ensure_future(
            self.release(record_id, answer.token) if begun else self.discard(record_id, answer.token)
        )
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # the lease ends it otherwise

    def _replay(self, claim: Claim) -> Replay | Mismatch | None:
        record = self._read(claim.id)
        if record is not None and record.state is State.COMPLETED:
            outcome, _ = decide(record, claim, self._now()[0])
            if isinstance(outcome, Replay | Mismatch):
                return outcome
        self._known.pop(claim.id, None)
        return None

    def _know(self, record_id: bytes) -> None:
        """Remembers that an answer is kept under the id, so that it is looked for beside the writer."""
        known = self._known
        if record_id in known:
            known.move_to_end(record_id)
            return
        known[record_id] = None
        if len(known) > _MAX_KNOWN:
            known.popitem(last=False)  # whose answer is then asked of the writer once, and known again

    def _read(self, record_id: bytes) -> Record | None:
        rows = self._query(_ONE, (record_id,))
        return from_row(rows[0]) if rows else None

    def _query(self, statement: str, values: tuple[object, ...]) -> list[Sequence[object]]:
        if self._reader is None:
            raise store_unavailable(f"the idempotency store {self._path} is not open")
        try:
            with self._reading:
                return self._reader.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise store_unavailable(f"the idempotency store {self._path}: {error}") from error

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise store_unavailable(f"the idempotency store {self._path} is not open")
        return self._writer

    def _now(self) -> tuple[int, int]:
        if self._clock is not None:
            now = self._clock()
            return now, now * 1000
        micros = time.time_ns() // 1000
        return micros // 1000, micros

    def _prepare(self) -> sqlite3.Connection:
        """Makes the table, and gives the connection for reading."""
        try:
            writing = self._connect()
            try:
                ensure_table(writing)
            finally:
                writing.close()
            reader = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            reader.execute("PRAGMA query_only = ON")
            return reader
        except sqlite3.Error as error:
            raise store_unavailable(f"the idempotency store {self._path}: {error}") from error

    def _connect(self) -> Guarded:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=self._limits[2], factory=Guarded)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            guard(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def ensure_table(connection: sqlite3.Connection) -> None:
    """Makes the table and its indexes where they are missing."""
    for statement in table_statements("sqlite"):
        connection.execute(statement)


_USUAL: Final = Rule()


def _acquire(batch: Batch, claim: Claim) -> Outcome:
    outcome, changed = decide(batch.get(claim.id), claim, batch.now_ms, batch.least_token)
    if changed is not None:
        batch.put(changed)
    return outcome


def _grouped(batch: Batch, claim: Claim, fn: Effect, rule: Rule) -> Executed | Replay | Busy | Mismatch:
    outcome, record = decide(batch.get(claim.id), claim, batch.now_ms, batch.least_token)
    if not isinstance(outcome, Acquired) or record is None:
        return cast("Replay | Busy | Mismatch", outcome)
    try:
        response = cast(StoredResponse, batch.effect(fn, _succeeded))
    except Problem as problem:
        response = response_of(problem)
    if is_success(response) or rule.keeps(response.status):
        expires = batch.now_ms + round(claim.ttl_s * 1000)
        stored = encode_response(kept_form(response, rule))
        batch.put(replace(record, state=State.COMPLETED, response=stored, expires_ms=expires))
    return Executed(response)


def _succeeded(response: object) -> bool:
    if not isinstance(response, StoredResponse):
        raise TypeError(f"the function returned {type(response).__name__}; it has to return a StoredResponse")
    return is_success(response)


def _told(outcome: Replay | Busy | Mismatch) -> Executed:
    if isinstance(outcome, Replay):
        return Executed(_decoded(outcome.response), True, outcome.created_ms)
    raise in_progress(outcome.retry_after_s) if isinstance(outcome, Busy) else key_reused("Idempotency-Key")


def _decoded(stored: bytes) -> StoredResponse:
    try:
        return decode_response(stored)
    except ValueError as error:
        raise store_unavailable(str(error)) from error
