"""Own transaction: the key, the business writes and the stored answer are one commit on the caller's connection.

::

    async with idempotent(claim, connection) as tx:
        if tx.replayed is None:
            await connection.execute("INSERT INTO orders ...")
            tx.complete(StoredResponse(201, headers, body))
    return tx.response

Theory of operation. Entering begins the transaction and takes the key's lock (an advisory lock on PostgreSQL, a named
one on MySQL, the file's write lock on SQLite), so that a duplicate in the same moment is refused at once; then it reads
the record and decides. No row says IN_PROGRESS: until the commit nobody sees anything, and whatever ends before it, the
process included, leaves nothing. The record is written last, and only if it is still what was read; if it is not,
everything is rolled back. So effect and record are there together or not at all, whatever becomes of the locks.

A refusal that the rule keeps undoes the business writes (they are inside a savepoint) and commits the record alone.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final

from msgspec.structs import replace

from formicary.idempotency.connections import Rows, Values, adapt, drive, pause
from formicary.idempotency.deciding import decide
from formicary.idempotency.grouped import is_success, kept_form, response_of
from formicary.idempotency.model import (
    Acquired,
    Busy,
    Claim,
    Mismatch,
    Outcome,
    Record,
    State,
    StoredResponse,
    decode_response,
    encode_response,
)
from formicary.idempotency.policy import Rule
from formicary.idempotency.refusals import in_progress, key_reused, outcome_unknown, store_unavailable
from formicary.idempotency.schema import COLUMN_LIST, COLUMNS, TABLE, from_row, to_row
from formicary.problems import Problem

_MICROS: Final = {
    "sqlite": "CAST(:now_us AS INTEGER)",
    "postgresql": "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000000) AS bigint)",
    "mysql": "CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)",
}
_INSERT: Final = f"INSERT INTO {TABLE} ({COLUMN_LIST}) VALUES ({', '.join(f':{name}' for name in COLUMNS)})"
_OR_NOTHING: Final = {
    "sqlite": " ON CONFLICT (id) DO NOTHING",
    "postgresql": " ON CONFLICT (id) DO NOTHING",
    "mysql": "",
}
"""MySQL has no such words: there the adapter takes a row that is there already for no change."""
_SWAP: Final = (
    f"UPDATE {TABLE} SET {', '.join(f'{name} = :{name}' for name in COLUMNS[1:])}"
    " WHERE id = :id AND token = :seen_token AND state = :seen_state"
)
_USUAL: Final = Rule()
_executing: set[tuple[str, bytes]] = set()
"""On SQLite: what this process executes just now. The write lock is of the whole file and says nothing of a key."""
_marking = threading.Lock()


class Transaction:
    """What the block sees.

    Attributes:
        replayed: The answer of an earlier execution; None = execute. What the block writes in spite of it is undone.
        attempt: 1 = the first.
        point: The recovery point that an earlier attempt under a lease has passed; empty = none.
        data: What it kept there.
    """

    __slots__ = ("_response", "attempt", "data", "point", "replayed")

    def __init__(self, outcome: Acquired | StoredResponse) -> None:
        begun = outcome if isinstance(outcome, Acquired) else Acquired(0)
        self.replayed = outcome if isinstance(outcome, StoredResponse) else None
        self.attempt = begun.attempt
        self.point = begun.point
        self.data = begun.data
        self._response: StoredResponse | None = None

    @property
    def response(self) -> StoredResponse | None:
        """What the caller is to be told: the earlier answer, else the one of this execution."""
        return self.replayed or self._response

    def complete(self, response: StoredResponse) -> None:
        """Says what the answer is; it is kept by the commit at the end of the block.

        Args:
            response: Its status decides: below 400 everything is kept; a refusal undoes what the block wrote, and is
                itself kept if the rule keeps its status. On a replay the earlier answer counts.
        """
        if not isinstance(response, StoredResponse):
            raise TypeError(f"complete() takes a StoredResponse, not {type(response).__name__}")
        self._response = response


class idempotent:
    """The block around an operation; ``async with`` on every connection, ``with`` on those of synchronous drivers.

    Args:
        claim: Who wants to execute what.
        connection: See :mod:`formicary.idempotency.connections`; no transaction may be open on it.
        rule: What is kept, and whether a duplicate waits; None = the usual.
        header: Name of the key in errors.
        lock_wait_s: On SQLite: longest wait for the file's write lock.

    Raises:
        Problem: On entering IDEMPOTENT_REQUEST_IN_PROGRESS, IDEMPOTENCY_KEY_REUSED or IDEMPOTENCY_STORE_UNAVAILABLE; on
            leaving the latter where it cannot be written, IDEMPOTENCY_OUTCOME_UNKNOWN where the connection broke at the
            commit, and the first where another has written the record.
        RuntimeError: The block ended without ``complete``, or has ended the transaction itself.
    """

    def __init__(
        self,
        claim: Claim,
        connection: object,
        *,
        rule: Rule | None = None,
        header: str = "Idempotency-Key",
        lock_wait_s: float = 1.0,
    ) -> None:
        self._claim = claim
        self._adapter = adapt(connection)
        self._rule = rule or _USUAL
        self._header = header
        self._lock_wait_s = lock_wait_s
        self._mark = (self._adapter.database, claim.id)
        self._marked = False
        self._seen: Record | None = None
        self._held: Record | None = None
        self._read_at = 0.0
        self._tx: Transaction | None = None

    async def __aenter__(self) -> Transaction:
        """Begins, and decides."""
        return await self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commits or rolls back."""
        await self._exit(error)

    def __enter__(self) -> Transaction:
        """The same for synchronous drivers."""
        return drive(self._enter())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The same for synchronous drivers."""
        drive(self._exit(error))

    # --- entering ---------------------------------------------------------------------------------------------------

    async def _enter(self) -> Transaction:
        if self._adapter.in_transaction():
            raise RuntimeError("a transaction is open on this connection: end it first, idempotent() begins its own")
        until = time.monotonic() + (self._rule.wait_s if self._rule.on_busy == "wait" else 0.0)
        delay_s = 0.02
        while True:
            outcome = await self._begin()
            if not isinstance(outcome, Busy):
                break
            if time.monotonic() + delay_s > until:
                raise in_progress(outcome.retry_after_s, self._rule.busy_retry_s)
            await pause(self._adapter, delay_s)
            delay_s = min(2 * delay_s, 0.5)
        if isinstance(outcome, Mismatch):
            raise key_reused(self._header)
        self._tx = Transaction(outcome if isinstance(outcome, Acquired) else _decoded(outcome.response))
        return self._tx

    async def _begin(self) -> Outcome:
        """Begins, locks, reads and decides; rolled back again unless the caller executes or the answer is replayed."""
        adapter = self._adapter
        if adapter.dialect == "sqlite":
            with _marking:  # before the lock is waited for: whoever comes meanwhile with this key is no stranger to it
                if self._mark in _executing:
                    return Busy(1)
                _executing.add(self._mark)
            self._marked = True
        try:
            if not await adapter.begin(self._lock_wait_s):
                raise store_unavailable(f"another transaction held the write lock for {self._lock_wait_s:g} s")
            outcome = await self._decide()
            if isinstance(outcome, Acquired):
                await adapter.savepoint()
            elif isinstance(outcome, Busy | Mismatch):
                await self._roll_back()
            return outcome
        except adapter.unavailable as error:
            await self._roll_back()
            raise store_unavailable(f"the caller's database: {error}") from error
        except BaseException:
            await self._roll_back()
            raise

    async def _decide(self) -> Outcome:
        claim, adapter = self._claim, self._adapter
        if not await adapter.lock(claim.id):
            return await self._without_lock()
        self._seen, now_us = await self._look()
        outcome, self._held = decide(self._seen, claim, now_us // 1000, now_us)
        return outcome

    async def _without_lock(self) -> Outcome:
        """Another transaction of this key is open: an answer may be there all the same, else it executes just now."""
        record, now_us = await self._look()
        outcome, _ = decide(record, self._claim, now_us // 1000)
        return Busy(1) if isinstance(outcome, Acquired) else outcome

    async def _look(self) -> tuple[Record | None, int]:
        adapter = self._adapter
        micros = _MICROS[adapter.dialect]
        statement = (
            f"SELECT n.us, {', '.join(f't.{name}' for name in COLUMNS)} FROM (SELECT {micros} AS us) n"
            f" LEFT JOIN {TABLE} t ON t.id = :id"
        )
        values: Values = {"id": self._claim.id}
        if adapter.dialect == "sqlite":
            values = {**values, "now_us": time.time_ns() // 1000}
        rows: Rows = await adapter.fetch(statement, values)
        self._read_at = time.monotonic()
        now_us, *row = rows[0]
        return (None if row[0] is None else from_row(row)), int(str(now_us))

    # --- leaving ----------------------------------------------------------------------------------------------------

    async def _exit(self, error: BaseException | None) -> None:
        tx = self._tx
        assert tx is not None
        try:
            if tx.replayed is not None:
                return
            if isinstance(error, Problem):
                tx._response = response_of(error)
            elif error is not None:
                return
            response = tx._response
            if response is None:
                raise RuntimeError("the block ended without tx.complete(...): everything was rolled back")
            if error is None and is_success(response):
                await self._finish(response, undo=False)
            elif not is_success(response) and self._rule.keeps(response.status):
                await self._finish(response, undo=True)
        except self._adapter.unavailable as failed:
            raise store_unavailable(f"the caller's database: {failed}") from failed
        finally:
            await self._roll_back()

    async def _finish(self, response: StoredResponse, *, undo: bool) -> None:
        adapter = self._adapter
        if not adapter.in_transaction():
            raise RuntimeError("the block has ended the transaction itself: its writes may be there without a record")
        await (adapter.undo() if undo else adapter.keep())
        await self._write(encode_response(kept_form(response, self._rule)))
        try:
            await adapter.commit()
        except adapter.unavailable as failed:
            if adapter.dialect == "sqlite":  # a commit that fails there is none
                raise
            raise outcome_unknown(f"the caller's database, at the commit: {failed}") from failed

    async def _write(self, stored: bytes) -> None:
        held, seen = self._held, self._seen
        assert held is not None
        elapsed_ms = round((time.monotonic() - self._read_at) * 1000)
        expires_ms = held.expires_ms + elapsed_ms  # it was counted from the reading on; it counts from now
        record = replace(held, state=State.COMPLETED, response=stored, expires_ms=expires_ms)
        values = dict(zip(COLUMNS, to_row(record), strict=True))
        if seen is not None:
            values |= {"seen_token": seen.token, "seen_state": seen.state.value}
        insert = _INSERT + _OR_NOTHING[self._adapter.dialect]
        if await self._adapter.change(insert if seen is None else _SWAP, values) != 1:
            raise in_progress(1)  # another one was faster: it counts, and this one is rolled back

    async def _roll_back(self) -> None:
        """Ends the transaction, if one is open. Where even that fails the connection has gone, and it with it."""
        try:
            if self._adapter.in_transaction():
                await self._adapter.rollback()
            await self._adapter.unlock()
        except self._adapter.unavailable:
            pass
        finally:
            if self._marked:
                self._marked = False
                _executing.discard(self._mark)


def _decoded(stored: bytes) -> StoredResponse:
    try:
        return decode_response(stored)
    except ValueError as error:
        raise store_unavailable(str(error)) from error
