"""SQLite: one file beside one queen, every commit on the disk before it is acknowledged.

Theory of operation. Write-ahead log with ``synchronous=FULL``: a commit is one append and one fsync. One connection
writes and checkpoints, used by the journal's thread alone; readers have connections of their own and never wait for
it. sqlite3 gives the GIL away at every step of a statement, and a thread that wants it back from a busy event loop
waits a whole switch interval: a commit therefore consists of few statements that bind many rows each, and the look-ups
on the hot path return one row of JSON instead of many rows. After any failure except a foreign lock the writing
connection is thrown away; the next commit opens the file again, so that work goes on as soon as the cause is gone.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar
from urllib.parse import quote

from formicary import __version__
from formicary.engine.storage import schema
from formicary.engine.storage.migrations import BOOTSTRAP, in_dialect, pending
from formicary.engine.storage.pool import ReaderPool
from formicary.engine.storage.port import (
    AuditQuery,
    Capabilities,
    Changes,
    DeadLetterQuery,
    Fenced,
    Row,
    Snapshot,
    StoreUnavailable,
)
from formicary.engine.storage.schema import Table
from formicary.engine.storage.sqlite_connection import discard, require_json, roll_back
from formicary.engine.storage.sqlite_errors import needs_new_connection, translate
from formicary.engine.storage.sqlite_log import lengthen

MINIMUM_VERSION: Final = (3, 32, 0)
"""Upsert (3.24) and 32,766 parameters per statement (3.32); JSON functions are asked for when a file is opened."""

CHUNK_ROWS: Final = 256
"""Most rows of one statement: beyond it nothing is gained and the prepared statement only grows."""

LONG_PARAMS: Final = 2048
LONG_CHUNK_ROWS: Final = 16
"""Rows of one statement when parameters are long: a prepared statement keeps copies of what was bound last."""

_SIZES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, CHUNK_ROWS)
_APPLICATION_ID: Final = 0x464F524D
_FENCE: Final = (
    "UPDATE colony SET seq = seq + 1, counter = max(counter, ?), last_number = max(last_number, ?), "
    "last_order = max(last_order, ?) WHERE epoch = ?"
)
_FIND_IDS: Final = "SELECT json_group_object(id, number) FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
_FIND_KEYS: Final = (
    "SELECT json_group_array(json_array(key, fingerprint, job_id)) FROM idempotency_keys "
    "WHERE org = ? AND key IN (SELECT value FROM json_each(?))"
)
# Bytes of many jobs in one row: numbers and lengths (-1 = null), and the values end to end. As "text" only in name:
# group_concat makes nothing else, and the connection hands it out as bytes.
_PARAMS: Final = (
    "SELECT group_concat(number || ' ' || coalesce(length(CAST(params AS BLOB)), 0) || ' ' || "
    "coalesce(length(CAST(variables AS BLOB)), -1), ' '), "
    "group_concat(CAST(coalesce(params, '') AS TEXT), ''), group_concat(CAST(coalesce(variables, '') AS TEXT), '') "
    "FROM params WHERE number IN (SELECT value FROM json_each(?))"
)
_WRITER_CACHE: Final = -16384
"""Page cache of the writing connection, in KiB with a minus, as SQLite takes it."""

Result = TypeVar("Result")


class SqliteStore:
    """A colony's data in one SQLite file.

    Args:
        path: the file; made, with its directory, when it is not there.
        busy_timeout_s: how long to wait for a lock that another program holds before giving up.
        checkpoint_pages: size of the write-ahead log, in pages of 4 KiB, at which a commit also moves it into the file.
            More makes the moves rarer and each one longer.
        max_size_bytes: bound of the file's size, 0 = none; beyond it commits fail like on a full disk.
    """

    capabilities = Capabilities(name="sqlite", durable=True, several_queens=False)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        busy_timeout_s: float = 5.0,
        checkpoint_pages: int = 4000,
        max_size_bytes: int = 0,
    ) -> None:
        self.path = Path(path).absolute()
        self._busy_timeout_s = busy_timeout_s
        self._checkpoint_pages = checkpoint_pages
        self._max_pages = max_size_bytes // 4096
        self._lock = Lock()
        self._writer: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._opened = False
        self._upserts: dict[tuple[str, int], str] = {}
        self._readers = ReaderPool(self._connect_reader, discard)

    # ------------------------------------------------------------------------------------------------ life
    def open(self) -> None:
        """Connects and migrates; a second call does nothing. Raises UnsupportedDataVersion, StoreUnavailable."""
        with self._lock:
            if self._opened:
                return
            if sqlite3.sqlite_version_info < MINIMUM_VERSION:
                needed = ".".join(map(str, MINIMUM_VERSION))
                raise StoreUnavailable(
                    f"Python was built with SQLite {sqlite3.sqlite_version}; Formicary needs {needed} or newer. "
                    "Use a Python with a newer SQLite, or a PostgreSQL database."
                )
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                writer = self._connect_writer(create=True)
            except OSError as error:
                raise StoreUnavailable(
                    f"The directory {self.path.parent} cannot be made: {error.strerror}. Name another one."
                ) from error
            with self._answering(writer):
                require_json(writer)
                self._migrate(writer)
            self._writer = writer
            self._opened = True

    def close(self) -> None:
        """Moves the write-ahead log into the file and releases everything; idempotent."""
        with self._lock:
            self._opened = False
            self._readers.clear()
            writer, self._writer = self._writer, None
            if writer is not None:
                try:
                    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                except sqlite3.Error:
                    pass  # everything committed stands in the log; the next start moves it
                discard(writer)

    def _migrate(self, writer: sqlite3.Connection) -> None:
        """Brings the schema to this program's version, one transaction per step."""
        exists = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
        found, product = 0, ""
        if writer.execute(exists, ("schema_version",)).fetchone()[0]:
            latest = "SELECT version, product FROM schema_version ORDER BY version DESC LIMIT 1"
            found, product = writer.execute(latest).fetchone() or (0, "")
        elif writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreUnavailable(
                f"The database {self.path} belongs to another program: it has tables but no schema_version. "
                "Name another file."
            )
        steps = pending(found, product, f"The database {self.path}")
        writer.execute("PRAGMA journal_mode = WAL")
        for step in steps:
            writer.execute("BEGIN IMMEDIATE")
            try:
                writer.execute(in_dialect(BOOTSTRAP, "sqlite"))
                for statement in step.statements("sqlite"):
                    writer.execute(statement)
                record = "INSERT INTO schema_version (version, name, applied_at, product) VALUES (?, ?, ?, ?)"
                writer.execute(record, (step.version, step.name, time.time(), __version__))
                writer.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                writer.execute("COMMIT")
            except BaseException:
                roll_back(writer)
                raise

    # ------------------------------------------------------------------------------------------- connections
    def _connect_writer(self, *, create: bool) -> sqlite3.Connection:
        uri = f"file:{quote(str(self.path))}?mode={'rwc' if create else 'rw'}"
        connection = self._connect(uri, cached_statements=256)
        with self._answering(connection):
            connection.execute("PRAGMA page_size = 4096")
            connection.execute("PRAGMA mmap_size = 0")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {self._checkpoint_pages}")
            connection.execute(f"PRAGMA journal_size_limit = {4 * 4096 * self._checkpoint_pages}")
            connection.execute(f"PRAGMA cache_size = {_WRITER_CACHE}")
            if self._max_pages:
                connection.execute(f"PRAGMA max_page_count = {self._max_pages}")
            status = os.stat(self.path)
            self._file = (status.st_dev, status.st_ino)
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        if not self._opened:
            raise StoreUnavailable(f"The database {self.path} is not open.")
        connection = self._connect(f"file:{quote(str(self.path))}?mode=rw", cached_statements=64)
        with self._answering(connection):
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA cache_size = -8192")
        return connection

    def _connect(self, uri: str, *, cached_statements: int) -> sqlite3.Connection:
        try:
            return sqlite3.connect(
                uri,
                uri=True,
                timeout=self._busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=cached_statements,
            )
        except sqlite3.Error as error:
            raise translate(error, str(self.path)) from error

    @contextmanager
    def _answering(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Closes a connection that could not be set up and says why in the port's words."""
        try:
            yield
        except BaseException as error:
            discard(connection)
            if isinstance(error, sqlite3.Error):
                raise translate(error, str(self.path)) from error
            raise

    # ------------------------------------------------------------------------------------------------ write
    def acquire(self, holder: str) -> int:
        """Takes the colony: raises the epoch by one and returns it."""

        def take(writer: sqlite3.Connection) -> int:
            writer.execute("UPDATE colony SET epoch = epoch + 1, seq = seq + 1, counter = 0, holder = ?", (holder,))
            epoch: int = writer.execute("SELECT epoch FROM colony").fetchone()[0]
            return epoch

        with self._lock:
            lengthen(self._sound_writer(), self.path, self._checkpoint_pages, _WRITER_CACHE)
        return self._write(take)

    def commit(self, epoch: int, changes: Changes) -> None:
        """Writes one batch in one transaction. Raises Fenced, RowRefused, StoreUnavailable (outcome unknown)."""
        batches = schema.batches(changes)
        fence = (changes.counter, *schema.marks(changes), epoch)
        try:
            self._write(lambda writer: self._put(writer, fence, batches))
        except UnicodeEncodeError:
            clean = [(table, schema.cleaned(rows, nul=False)) for table, rows in batches]
            self._write(lambda writer: self._put(writer, fence, clean))

    def _put(
        self,
        writer: sqlite3.Connection,
        fence: tuple[int, int, int, int],
        batches: Sequence[tuple[Table, Sequence[Row]]],
    ) -> None:
        if writer.execute(_FENCE, fence).rowcount != 1:
            raise Fenced(f"Another queen has taken over {self.path}: epoch {fence[-1]} is not the latest any more.")
        for table, rows in batches:
            self._upsert(writer, table, rows)

    def _upsert(self, writer: sqlite3.Connection, table: Table, rows: Sequence[Row]) -> None:
        """Writes rows in few statements of few sizes: up to 256 rows take two at most.

        The first takes as many rows as the largest size that they fill. The second fills up its size by repeating the
        last row, which costs a few microseconds; another statement would cost a turn at the GIL.
        """
        start, count = 0, len(rows)
        first = rows[0][1] if rows and table.name == "params" else b""
        most = LONG_CHUNK_ROWS if isinstance(first, bytes) and len(first) > LONG_PARAMS else CHUNK_ROWS
        while start < count:
            left = min(count - start, most)
            below = bisect_right(_SIZES, left) - 1
            size = _SIZES[below]
            if size < left < CHUNK_ROWS and start > 0:
                size = _SIZES[below + 1]
            text = self._upserts.get((table.name, size))
            if text is None:
                one = f"({', '.join('?' * len(table.columns))})"
                text = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES {', '.join([one] * size)} "
                text = self._upserts[table.name, size] = text + table.on_conflict
            chunk = [*rows[start : start + size]]
            chunk += chunk[-1:] * (size - len(chunk))
            writer.execute(text, tuple(chain.from_iterable(chunk)))
            start += size

    def _write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Runs work in one transaction on the writing connection, which is opened again after a failure."""
        with self._lock:
            writer = self._sound_writer()
            try:
                writer.execute("BEGIN IMMEDIATE")
                result = work(writer)
                writer.execute("COMMIT")
                return result
            except (sqlite3.Error, OverflowError) as error:
                roll_back(writer)
                if needs_new_connection(error):
                    self._drop_writer()
                raise translate(error, str(self.path)) from error
            except BaseException:
                roll_back(writer)
                raise

    def _sound_writer(self) -> sqlite3.Connection:
        """The writing connection, if its file is still the one at the path: a commit into a removed file is lost."""
        if not self._opened:
            raise StoreUnavailable(f"The database {self.path} is not open.")
        try:
            status = os.stat(self.path)
        except OSError as error:
            self._drop_writer()
            raise StoreUnavailable(
                f"The database {self.path} is gone: {error.strerror}. Put the file back, then start again."
            ) from error
        if self._writer is not None and self._file != (status.st_dev, status.st_ino):
            self._drop_writer()
            raise StoreUnavailable(f"The database {self.path} was replaced by another file while it was in use.")
        if self._writer is None:
            self._writer = self._connect_writer(create=False)
        return self._writer

    def _drop_writer(self) -> None:
        """Closes the writing connection, and the readers' too: they may look at the same broken file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            discard(writer)
        self._readers.clear()

    # ------------------------------------------------------------------------------------------------- read
    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._readers.reader() as connection:
                yield connection
        except (sqlite3.Error, OverflowError) as error:
            raise translate(error, str(self.path)) from error

    def load(self) -> Snapshot:
        """Reads what a starting queen needs, all of it at one moment."""
        with self._reading() as reader:
            reader.execute("BEGIN")
            try:
                epoch, last_number, last_order = reader.execute(schema.LOAD_COLONY).fetchone()
                return Snapshot(
                    epoch=epoch,
                    last_number=last_number,
                    last_order=last_order,
                    definitions=reader.execute(schema.LOAD_DEFINITIONS).fetchall(),
                    jobs=reader.execute(schema.LOAD_JOBS).fetchall(),
                    tasks=reader.execute(schema.LOAD_TASKS).fetchall(),
                    params={number: (params, more) for number, params, more in reader.execute(schema.LOAD_PARAMS)},
                    approvals=reader.execute(schema.LOAD_APPROVALS).fetchall(),
                    votes=reader.execute(schema.LOAD_VOTES).fetchall(),
                    states=reader.execute(schema.LOAD_STATES).fetchall(),
                    checkpoints=reader.execute(schema.LOAD_CHECKPOINTS).fetchall(),
                )
            finally:
                reader.execute("COMMIT")

    def params(self, numbers: Sequence[int]) -> dict[int, tuple[bytes, bytes | None]]:
        """Parameters and rendered variables of these jobs; unknown numbers are absent."""
        with self._reading() as reader:
            reader.text_factory = bytes
            try:
                lengths, params, variables = reader.execute(_PARAMS, (json.dumps(list(numbers)),)).fetchone()
            finally:
                reader.text_factory = str
        found: dict[int, tuple[bytes, bytes | None]] = {}
        words = [int(word) for word in (lengths or b"").split()]
        at = more_at = 0
        for number, length, more in zip(words[::3], words[1::3], words[2::3], strict=True):
            value = None if more < 0 else variables[more_at : more_at + more]
            found[number] = (params[at : at + length], value)
            at, more_at = at + length, more_at + max(more, 0)
        return found

    def find_ids(self, ids: Sequence[str]) -> dict[str, int]:
        """Numbers of those ids that exist."""
        with self._reading() as reader:
            found: dict[str, int] = json.loads(reader.execute(_FIND_IDS, (json.dumps(list(ids)),)).fetchone()[0])
        return found

    def find_keys(self, org: str, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """For the keys that exist: (fingerprint, job id)."""
        with self._reading() as reader:
            text = reader.execute(_FIND_KEYS, (org, json.dumps(list(keys)))).fetchone()[0]
        return {key: (fingerprint, job_id) for key, fingerprint, job_id in json.loads(text)}

    def job(self, org: str, job_id: str) -> Row | None:
        """The job's row, or None."""
        return self._one(schema.JOB_BY_ID, (job_id, org))

    def jobs(
        self,
        org: str,
        *,
        states: Sequence[str] = (),
        job_type: str = "",
        limit: int = 0,
        page: int = 500,
        before: int = 0,
    ) -> Iterator[list[Row]]:
        """Pages of job rows, newest first, from below the number `before` (0 = from the newest); limit 0 = all. Does
        not keep a transaction open between pages.
        """
        before, left = before or 2**63 - 1, limit or 2**62
        while left > 0:
            size = min(page, left)
            text, values = schema.page_query(org, sorted(set(states)), job_type, before, size)
            with self._reading() as reader:
                rows: list[Row] = reader.execute(text, values).fetchall()
            if rows:
                yield rows
            if len(rows) < size:
                return
            before, left = int(rows[-1][0] or 0), left - len(rows)

    def count_jobs(self, org: str, job_type: str, states: Sequence[str]) -> int:
        """Number of jobs of a type that are in one of the states."""
        with self._reading() as reader:
            return int(reader.execute(*schema.count_query(org, job_type, states)).fetchone()[0])

    def tasks(self, number: int, *, elements: bool = False) -> list[Row]:
        """Task rows of one job in order of position."""
        text = schema.TASKS_OF_JOB if elements else schema.PLAIN_TASKS_OF_JOB
        with self._reading() as reader:
            return reader.execute(text, (number,)).fetchall()

    def checkpoints(self, number: int) -> list[Row]:
        """What the tasks of a job have left for their next attempts."""
        with self._reading() as reader:
            return reader.execute(schema.CHECKPOINTS_OF_JOB, (number,)).fetchall()

    def element_states(self, number: int) -> list[tuple[int, str, int]]:
        """How many elements each task that fans out has in each state."""
        with self._reading() as reader:
            return reader.execute(schema.ELEMENT_STATES, (number,)).fetchall()

    def elements(
        self, number: int, position: int, *, after: int = -1, limit: int = 100, states: Sequence[str] = ()
    ) -> list[Row]:
        """A page of the elements of a task."""
        with self._reading() as reader:
            return reader.execute(*schema.elements_query(number, position, after, limit, states)).fetchall()

    def definition(self, definition_id: str) -> Row | None:
        """One definition row."""
        return self._one(schema.DEFINITION_BY_ID, (definition_id,))

    def latest_definition(self, org: str, job_type: str) -> Row | None:
        """The newest version of a job type."""
        return self._one(schema.LATEST_DEFINITION, (org, job_type))

    def definitions_of_all(self, job_type: str) -> list[Row]:
        """The versions of a job type that may be public, and the newest of each organisation."""
        with self._reading() as reader:
            return reader.execute(schema.DEFINITIONS_OF_ALL, (job_type, schema.MAY_BE_PUBLIC)).fetchall()

    def definitions(
        self,
        org: str,
        *,
        job_type: str = "",
        after: tuple[str, int] = ("", 0),
        limit: int = 100,
        with_source: bool = False,
    ) -> list[Row]:
        """A page of definitions."""
        text, values = schema.definitions_query(org, job_type, after, limit, with_source=with_source)
        with self._reading() as reader:
            return reader.execute(text, values).fetchall()

    def counts(self) -> dict[str, int]:
        """Number of jobs by state."""
        with self._reading() as reader:
            return dict(reader.execute(schema.COUNT_STATES).fetchall())

    def schedules(self) -> list[Row]:
        """Every schedule in order of organisation, job type and name."""
        with self._reading() as reader:
            return reader.execute(schema.SCHEDULES_BY_NAME).fetchall()

    def triggers(self) -> list[Row]:
        """Every event trigger in order of organisation, job type and name."""
        with self._reading() as reader:
            return reader.execute(schema.TRIGGERS_BY_NAME).fetchall()

    def letters(self, org: str, job_type: str, limit: int) -> list[Row]:
        """Events that could start no job, newest first."""
        with self._reading() as reader:
            return reader.execute(*schema.letters_query(org, job_type, limit)).fetchall()

    def purge_letters(self, before: float, limit: int) -> int:
        """Removes at most `limit` of the oldest letters. Raises StoreUnavailable."""
        return self._write(lambda writer: writer.execute(schema.PURGE_LETTERS, (before, limit)).rowcount)

    def approvals(
        self, org: str, *, job: int = 0, after: tuple[int, int, int] = (0, -1, 0), limit: int = 100
    ) -> list[Row]:
        """A page of questions to people."""
        with self._reading() as reader:
            return reader.execute(*schema.approvals_query(org, job, after, limit)).fetchall()

    def votes(self, jobs: Sequence[int]) -> list[Row]:
        """Votes on all questions of these jobs, oldest first."""
        with self._reading() as reader:
            return [row for number in jobs for row in reader.execute(schema.VOTES_OF_JOB, (number,))]

    def dead_letters(self, query: DeadLetterQuery, limit: int) -> list[Row]:
        """A page of dead letters in order of job and execution."""
        with self._reading() as reader:
            return reader.execute(*schema.dead_letters_query(query, limit)).fetchall()

    def redriven(self, org: str, key: str) -> list[Row]:
        """The dead letters that the call with this idempotency key has redriven."""
        with self._reading() as reader:
            return reader.execute(schema.REDRIVEN, (org, key)).fetchall()

    def dead_letter_counts(self) -> dict[str, tuple[int, int]]:
        """Number of dead letters by queue, and of those that somebody is to be told of."""
        with self._reading() as reader:
            rows = reader.execute(schema.COUNT_DEAD_LETTERS).fetchall()
        return {str(queue): (int(dead), int(told)) for queue, dead, told in rows}

    def states(self, kind: str) -> list[Row]:
        """What a part of the engine remembers, by key."""
        with self._reading() as reader:
            return reader.execute(schema.STATES_OF_KIND, (kind,)).fetchall()

    def due_notices(self, limit: int) -> list[Row]:
        """Notices that are pending, those that are due first in front."""
        with self._reading() as reader:
            return reader.execute(schema.DUE_NOTICES, (limit,)).fetchall()

    def notices(
        self, org: str, *, job_id: str = "", state: str = "", after: tuple[float, str] = (1e12, ""), limit: int = 100
    ) -> list[Row]:
        """A page of notices, newest first."""
        with self._reading() as reader:
            return reader.execute(*schema.notices_query(org, job_id, state, after, limit)).fetchall()

    def notice(self, org: str, notice_id: str) -> Row | None:
        """One notice."""
        return self._one(schema.NOTICE, (notice_id, org))

    def tokens(self) -> list[Row]:
        """Every token in order of creation."""
        with self._reading() as reader:
            return reader.execute(schema.TOKENS).fetchall()

    def add_token(self, row: Row) -> None:
        """Stores a token. Raises RowRefused, StoreUnavailable."""
        self._write(lambda writer: writer.execute(schema.ADD_TOKEN, row))

    def revoke_token(self, token_id: str, at: float) -> bool:
        """Marks a token as revoked; False where there is none that is not."""
        return self._write(lambda writer: writer.execute(schema.REVOKE_TOKEN, (at, token_id)).rowcount) > 0

    def configs(self) -> list[Row]:
        """Every configuration, in no order."""
        with self._reading() as reader:
            return reader.execute(schema.ALL_CONFIGS).fetchall()

    def put_config(self, row: Row) -> None:
        """Stores a configuration. Raises RowRefused, StoreUnavailable."""
        self._write(lambda writer: writer.execute(schema.PUT_CONFIG, row))

    def remove_config(self, scope: str, org: str, owner: str, name: str) -> bool:
        """Removes a configuration; False where there is none."""
        return self._write(lambda writer: writer.execute(schema.REMOVE_CONFIG, (scope, org, owner, name)).rowcount) > 0

    def error_codes(self) -> list[Row]:
        """Every rule that names failures, in no order."""
        with self._reading() as reader:
            return reader.execute(schema.ALL_ERROR_CODES).fetchall()

    def put_error_code(self, row: Row) -> None:
        """Stores a rule. Raises RowRefused, StoreUnavailable."""
        self._write(lambda writer: writer.execute(schema.PUT_ERROR_CODE, row))

    def remove_error_code(self, org: str, name: str) -> bool:
        """Removes a rule; False where there is none."""
        return self._write(lambda writer: writer.execute(schema.REMOVE_ERROR_CODE, (org, name)).rowcount) > 0

    def add_audit(self, rows: Sequence[Row]) -> None:
        """Appends records in one transaction. Raises StoreUnavailable."""

        def append(writer: sqlite3.Connection) -> None:
            for text, values in schema.audit_inserts(rows):
                writer.execute(text, values)

        self._write(append)

    def audit(self, query: AuditQuery, limit: int) -> list[Row]:
        """At most `limit` records, newest first."""
        with self._reading() as reader:
            return reader.execute(*schema.audit_query(query, limit)).fetchall()

    def purge_audit(self, before: float, limit: int) -> int:
        """Removes at most `limit` of the oldest records. Raises StoreUnavailable."""
        return self._write(lambda writer: writer.execute(schema.PURGE_AUDIT, (before, limit)).rowcount)

    def add_artifact(self, row: Row) -> None:
        """Stores what is known of a file. Raises RowRefused, StoreUnavailable."""
        clean = schema.cleaned([row], nul=False)[0]
        self._write(lambda writer: writer.execute(schema.ADD_ARTIFACT, clean))

    def artifacts(self, org: str, job_id: str) -> list[Row]:
        """The artifacts of a job that can be seen."""
        with self._reading() as reader:
            return reader.execute(schema.ARTIFACTS, (job_id, org)).fetchall()

    def artifact(self, artifact_id: str) -> Row | None:
        """One artifact that can be seen, or one entry of the cache."""
        return self._one(schema.ARTIFACT, (artifact_id,))

    def cached(self, org: str, job_type: str, cache_key: str, now: float) -> Row | None:
        """The oldest entry of the cache under a key that has not expired."""
        return self._one(schema.CACHED, (cache_key, job_type, org, now))

    def artifact_bytes(self, org: str) -> int:
        """Size of an organisation's files."""
        with self._reading() as reader:
            return int(reader.execute(schema.ARTIFACT_BYTES, (org,)).fetchone()[0])

    def removable_artifacts(self, now: float, left_before: float, limit: int) -> list[str]:
        """Ids of files that nobody can want any more."""
        with self._reading() as reader:
            found = reader.execute(schema.REMOVABLE_ARTIFACTS, (now, left_before, limit)).fetchall()
        return [str(row[0]) for row in found]

    def remove_artifacts(self, ids: Sequence[str]) -> int:
        """Removes the rows of these ids. Raises StoreUnavailable."""
        values = [(one,) for one in ids]
        return self._write(lambda writer: writer.executemany(schema.REMOVE_ARTIFACT, values).rowcount)

    def upload(self, org: str, name: str) -> Row | None:
        """The row of an upload that is not complete, by its id or its place."""
        return self._one(schema.UPLOAD, (name, name, org))

    def upload_count(self, org: str) -> int:
        """How many uploads of an organisation are not complete."""
        with self._reading() as reader:
            return int(reader.execute(schema.UPLOAD_COUNT, (org,)).fetchone()[0])

    def complete_upload(self, row: Row) -> bool:
        """Puts an artifact in the place of its upload. Raises RowRefused, StoreUnavailable."""
        clean = schema.cleaned([row], nul=False)[0]

        def complete(writer: sqlite3.Connection) -> bool:
            if writer.execute(schema.REMOVE_UPLOAD, (row[0],)).rowcount != 1:
                return False
            writer.execute(schema.ADD_ARTIFACT, clean)
            return True

        return self._write(complete)

    def ended_jobs(self, after: int, limit: int) -> list[Row]:
        """Jobs that have ended, in order of number."""
        with self._reading() as reader:
            return reader.execute(schema.ENDED_JOBS, (after, limit)).fetchall()

    def remove_jobs(self, epoch: int, numbers: Sequence[int]) -> int:
        """Removes jobs that have ended, with all that belongs to them. Raises Fenced, StoreUnavailable."""
        named = (json.dumps(list(numbers)),)

        def remove(writer: sqlite3.Connection) -> int:
            if writer.execute(schema.HOLD_COLONY, (epoch,)).rowcount != 1:
                raise Fenced(f"Another queen has taken over {self.path}: epoch {epoch} is not the latest any more.")
            removed = 0
            for text in schema.REMOVE_JOBS:
                removed = writer.execute(text.replace("(?)", "(SELECT value FROM json_each(?))"), named).rowcount
            return removed

        return self._write(remove)

    def remove_keys(self, after: tuple[str, str], limit: int) -> tuple[int, tuple[str, str] | None]:
        """Removes keys whose job is gone. Raises StoreUnavailable."""
        with self._reading() as reader:
            found = reader.execute(schema.NEXT_KEYS, (*after, limit)).fetchall()
        gone = [(org, key) for org, key, has_job in found if not has_job]
        removed = self._write(lambda writer: writer.executemany(schema.REMOVE_KEY, gone).rowcount) if gone else 0
        return removed, (found[-1][0], found[-1][1]) if found else None

    def _one(self, text: str, values: tuple[str | int | float, ...]) -> Row | None:
        with self._reading() as reader:
            row: Row | None = reader.execute(text, values).fetchone()
        return row
