"""Logs in PostgreSQL: one row per attempt and flush (a *chunk*), one round trip per flush."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any, Final, TypeVar

import msgspec
import psycopg

from formicary.engine.storage.logs import ATTEMPT_BYTES, READ_BYTES, Chunk, ChunkedLogs, Line
from formicary.engine.storage.pg_arrays import ByteaArray, IntArray, TextArray
from formicary.engine.storage.pg_connection import Connection, connect, discard, split_url, translate

_OUTLINE: Final = "first_seq, last_seq, task_type, attempt, size_bytes, line_count, missing"
_PUT: Final = (
    f"INSERT INTO log_chunks (job_id, {_OUTLINE}, lines) SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bigint[], "
    "%b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bytea[]) "
    "ON CONFLICT (job_id, first_seq) DO UPDATE SET last_seq = excluded.last_seq, size_bytes = excluded.size_bytes, "
    "line_count = excluded.line_count, missing = excluded.missing, lines = excluded.lines"
)
_REMOVE: Final = (
    "DELETE FROM log_chunks USING unnest(%b::text[], %b::bigint[]) AS gone (job_id, first_seq) "
    "WHERE log_chunks.job_id = gone.job_id AND log_chunks.first_seq = gone.first_seq"
)
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[Line]).decode

Result = TypeVar("Result")


class PostgresLogs(ChunkedLogs):
    """Logs in the table that the store's migrations made: open the store first.

    Args:
        url: as for the store.
        attempt_bytes: most bytes that one attempt keeps.
    """

    def __init__(self, url: str, attempt_bytes: int = ATTEMPT_BYTES) -> None:
        super().__init__(attempt_bytes)
        self.url, self.schema = split_url(url)
        self._using = Lock()
        self._connection: Connection | None = None

    def close(self) -> None:
        """Flushes and releases; idempotent."""
        try:
            super().close()
        finally:
            with self._using:
                self._drop()

    def _store(self, changes: dict[str, tuple[list[Chunk], list[int]]]) -> None:
        put = [(job_id, chunk) for job_id, (chunks, _) in changes.items() for chunk in chunks]
        gone = [(job_id, first) for job_id, (_, firsts) in changes.items() for first in firsts]
        columns = (
            TextArray([job_id for job_id, _ in put]),
            IntArray([chunk.first for _, chunk in put]),
            IntArray([chunk.last for _, chunk in put]),
            TextArray([chunk.task_type for _, chunk in put]),
            IntArray([chunk.attempt for _, chunk in put]),
            IntArray([chunk.size_bytes for _, chunk in put]),
            IntArray([chunk.line_count for _, chunk in put]),
            IntArray([int(chunk.missing) for _, chunk in put]),
            ByteaArray([_encode(chunk.lines) for _, chunk in put]),
        )

        def send(connection: Connection) -> None:
            with connection.transaction(), connection.pipeline():
                if gone:
                    jobs, firsts = zip(*gone, strict=True)
                    connection.execute(_REMOVE.encode(), (TextArray(jobs), IntArray(firsts)))
                connection.execute(_PUT.encode(), columns)

        self._use(send)

    def _drop_jobs(self, job_ids: Sequence[str]) -> None:
        query, names = b"DELETE FROM log_chunks WHERE job_id = ANY(%s)", list(job_ids)

        def send(connection: Connection) -> None:
            with connection.transaction():
                connection.execute(query, (names,))

        self._use(send)

    def _outline(self, job_id: str) -> Iterable[Chunk]:
        query = f"SELECT {_OUTLINE} FROM log_chunks WHERE job_id = %s ORDER BY first_seq".encode()
        rows = self._use(lambda connection: connection.execute(query, (job_id,), binary=True).fetchall())
        return [_chunk(row, []) for row in rows]

    def _chunks(self, job_id: str, offset: int) -> Iterable[Chunk]:
        # A chunk more than a full read needs, so that the reader knows up to where its lines are complete.
        query = (
            f"SELECT {_OUTLINE}, lines FROM (SELECT *, sum(size_bytes * (1 - missing)) OVER (ORDER BY first_seq "
            "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM log_chunks WHERE job_id = %s AND "
            "last_seq >= %s) AS counted WHERE coalesce(before, 0) <= %s ORDER BY first_seq"
        ).encode()
        values = (job_id, offset, 2 * READ_BYTES)
        rows = self._use(lambda connection: connection.execute(query, values, binary=True).fetchall())
        return [_chunk(row, _decode(row[7])) for row in rows]

    def _use(self, work: Callable[[Connection], Result]) -> Result:
        """Runs work on the one connection; one that was lost since its last use is replaced once."""
        with self._using:
            for fresh in (False, True):
                if self._connection is None:
                    fresh = True
                    self._connection = connect(self.url, self.schema)
                try:
                    return work(self._connection)
                except psycopg.Error as error:
                    gone = self._connection.closed or self._connection.broken
                    self._drop()
                    if fresh or not gone:
                        raise translate(error, self.url) from error
            raise AssertionError("unreachable")

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            discard(connection)


def _chunk(row: tuple[Any, ...], lines: list[Line]) -> Chunk:
    first, last, task_type, attempt, size_bytes, line_count, missing, *_ = row
    return Chunk(first, last, task_type, attempt, size_bytes, line_count, bool(missing), lines)
