"""The file of an outbox: what is to be sent, written before it is sent for the first time.

An intent's states::

    WAITING   no final answer yet: never sent, or sent without an answer, or refused for the moment
    ANSWERED  the server's final answer is kept until it is acknowledged
    EXPIRED   sent once, and the server may have forgotten the key since: sending it again could do it twice
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from os import PathLike, fspath
from typing import Final

import msgspec

from formicary.problems import Problem, problem

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS formicary_outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, method TEXT NOT NULL, url TEXT NOT NULL,
    headers BLOB NOT NULL, body BLOB NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
    created_ms INTEGER NOT NULL, first_ms INTEGER NOT NULL, problem BLOB, answer BLOB,
    CHECK (state IN ('WAITING', 'ANSWERED', 'EXPIRED')))
"""
_COLUMNS: Final = "number, key, method, url, headers, body, state, attempts, created_ms, first_ms, problem, answer"
_encode = msgspec.json.encode
RPC: Final = "RPC"
"""The method of an intent that is a gRPC call."""


class IntentState(StrEnum):
    """Where an intent is in its life."""

    WAITING = "WAITING"
    ANSWERED = "ANSWERED"
    EXPIRED = "EXPIRED"


class Answer(msgspec.Struct, frozen=True):
    """The server's final answer.

    Attributes:
        status: Its status.
        headers: Its headers, without cookies.
        body: Its body; empty where it was too large to keep.
        replayed: Whether an earlier attempt had executed it.
        is_whole: Whether the body is all of it.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    replayed: bool = False
    is_whole: bool = True


class Intent(msgspec.Struct, frozen=True):
    """Something to be sent, with what became of it. Times are milliseconds since 1970.

    Attributes:
        number: Its place in the order.
        key: Its idempotency key, the same in every attempt of every process.
        method: Its verb.
        url: As it was given: relative to the client's address, or whole.
        headers: Its headers, without secrets.
        body: Its body.
        state: Where it is in its life.
        attempts: How often it was sent.
        created_ms: When it was written.
        first_ms: When it was sent for the first time; 0 = never.
        problem: What the last attempt failed with; None = nothing.
        answer: The final answer; None until ANSWERED.
    """

    number: int
    key: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    state: IntentState
    attempts: int
    created_ms: int
    first_ms: int
    problem: Problem | None = None
    answer: Answer | None = None

    def raise_for_problem(self) -> Answer:
        """The final answer. Raises Problem where it is 400 and above, or where there is none."""
        if self.answer is not None and self.answer.status < 400:
            return self.answer
        raise self.problem or problem("UNAVAILABLE", f"{self.method} {self.url} has no answer yet.")


class OutboxFile:
    """An SQLite file of intents; every change is on the disk when it returns. Safe to use from several threads.

    Args:
        path: The file, made for its owner alone; its directory has to be there.
        now_ms: The clock; None = this machine's.
    """

    def __init__(self, path: str | PathLike[str], now_ms: Callable[[], int] | None = None) -> None:
        self.now_ms = now_ms or _wall_ms
        os.close(os.open(fspath(path), os.O_RDWR | os.O_CREAT, 0o600))
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(_TABLE)

    def close(self) -> None:
        """Closes the file; may be called again."""
        with self._lock:
            self._db.close()

    def add(self, key: str, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> Intent:
        """Writes an intent; gives the one that is there if the same was written before.

        Raises:
            Problem: IDEMPOTENCY_KEY_REUSED, the key belongs to another intent.
        """
        self._do(
            "INSERT INTO formicary_outbox (key, method, url, headers, body, state, attempts, created_ms, first_ms)"
            " VALUES (?, ?, ?, ?, ?, 'WAITING', 0, ?, 0) ON CONFLICT (key) DO NOTHING",
            (key, method, url, _encode(list(headers)), body, self.now_ms()),
        )
        found = self.get(key)
        if found is None or (found.method, found.url, found.headers, found.body) != (method, url, tuple(headers), body):
            raise problem("IDEMPOTENCY_KEY_REUSED", f"The key {key} belongs to another request of this outbox.")
        return found

    def get(self, key: str) -> Intent | None:
        """The intent with a key; None where there is none (any more)."""
        rows = self._do(f"SELECT {_COLUMNS} FROM formicary_outbox WHERE key = ?", (key,))
        return _from_row(rows[0]) if rows else None

    def intents(self, state: IntentState | None = None, limit: int = 1000) -> list[Intent]:
        """Intents in their order; None = of any state."""
        where = "" if state is None else "WHERE state = ?"
        values = (limit,) if state is None else (state.value, limit)
        rows = self._do(f"SELECT {_COLUMNS} FROM formicary_outbox {where} ORDER BY number LIMIT ?", values)
        return [_from_row(row) for row in rows]

    def note_attempt(self, key: str) -> None:
        """It is about to be sent."""
        statement = "UPDATE formicary_outbox SET attempts = attempts + 1, first_ms = CASE first_ms WHEN 0 THEN ? ELSE"
        self._do(f"{statement} first_ms END WHERE key = ?", (self.now_ms(), key))

    def note_failure(self, key: str, failed: Problem, more_attempts: int) -> None:
        """It was sent, and there is no final answer."""
        statement = (
            "UPDATE formicary_outbox SET problem = ?, attempts = attempts + ? WHERE key = ? AND state = 'WAITING'"
        )
        self._do(statement, (_encode(failed.to_document()), more_attempts, key))

    def note_answer(self, key: str, answer: Answer, failed: Problem | None, more_attempts: int) -> None:
        """The final answer has come. The first one counts: a later one of a process beside this is the same anyway."""
        kept = None if failed is None else _encode(failed.to_document())
        self._do(
            "UPDATE formicary_outbox SET state = 'ANSWERED', answer = ?, problem = ?, attempts = attempts + ?"
            " WHERE key = ? AND state <> 'ANSWERED'",
            (_encode(answer), kept, more_attempts, key),
        )

    def note_expiry(self, key: str, failed: Problem) -> None:
        """The server may have forgotten its key."""
        statement = "UPDATE formicary_outbox SET state = 'EXPIRED', problem = ? WHERE key = ? AND state = 'WAITING'"
        self._do(statement, (_encode(failed.to_document()), key))

    def remove(self, key: str) -> bool:
        """Forgets an intent; whether there was one."""
        return bool(self._do("DELETE FROM formicary_outbox WHERE key = ? RETURNING number", (key,)))

    def _do(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()


def _from_row(row: tuple[object, ...]) -> Intent:
    number, key, method, url, headers, body, state, attempts, created_ms, first_ms, failed, answer = row
    members = {
        "number": number,
        "key": key,
        "method": method,
        "url": url,
        "headers": _pairs(headers),
        "body": body,
        "state": IntentState(str(state)),
        "attempts": attempts,
        "created_ms": created_ms,
        "first_ms": first_ms,
        "problem": Problem.from_document(_read(failed)) if isinstance(failed, bytes) else None,
        "answer": msgspec.json.decode(answer, type=Answer) if isinstance(answer, bytes) else None,
    }
    return Intent(**members)  # type: ignore[arg-type]  # the columns of a table that only this module writes


_read = msgspec.json.Decoder(dict[str, object]).decode
_read_pairs = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode


def _pairs(headers: object) -> tuple[tuple[str, str], ...]:
    return _read_pairs(headers) if isinstance(headers, bytes) else ()


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
