"""PostgreSQL: the same tables for a colony whose queens run on several machines.

Theory of operation. The journal's thread owns one connection. A commit is one transaction sent in one pipeline: the
fence, one ``INSERT … SELECT unnest(…) ON CONFLICT`` per table whose parameters are whole columns, and COMMIT: it
costs one round trip however many rows it holds. The fence is a statement that *fails* where the epoch is not ours: the
server then refuses everything that follows, COMMIT included, without asking back. Its update also locks the colony's
row, so that a take-over waits for a commit in flight and every later commit of the old queen meets the new epoch.
``synchronous_commit`` is left as the server has it. A lost connection fails the commit with an unknown outcome; the
next call connects anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors

from formicary import __version__
from formicary.engine.storage import schema
from formicary.engine.storage.migrations import BOOTSTRAP, in_dialect, pending
from formicary.engine.storage.pg_arrays import ARRAYS, PACKING_ERRORS
from formicary.engine.storage.pg_connection import Connection, connect, discard, lost, shown, split_url, translate
from formicary.engine.storage.pool import ReaderPool
from formicary.engine.storage.port import (
    AuditQuery,
    Capabilities,
    Changes,
    DeadLetterQuery,
    Fenced,
    Row,
    RowRefused,
    Snapshot,
    StoreUnavailable,
)
from formicary.engine.storage.schema import Table

# The cast of a word to a number fails, with this text in the server's log, where no row has our epoch.
_FENCE: Final = (
    "WITH mine AS (UPDATE colony SET seq = seq + 1, counter = greatest(counter, %b), "
    "last_number = greatest(last_number, %b), last_order = greatest(last_order, %b) WHERE epoch = %b RETURNING seq) "
    "SELECT CAST(CASE WHEN count(*) = 1 THEN '1' ELSE 'formicary: another queen has taken over' END AS integer) "
    "FROM mine"
)
_MIGRATION_LOCK: Final = 0x464F524D
_TYPE_NAMES: Final = {int: "bigint", float: "double precision", bytes: "bytea", str: "text"}

Statement = tuple[bytes, tuple[Any, ...]]
Result = TypeVar("Result")


class PostgresStore:
    """A colony's data in one schema of a PostgreSQL database.

    Args:
        url: ``postgresql://user:password@host/database``; ``?schema=name`` names the schema (default ``formicary``).
    """

    capabilities = Capabilities(name="postgresql", durable=True, several_queens=True, keeps_nul=False)

    def __init__(self, url: str) -> None:
        self.url, self.schema = split_url(url)
        self._lock = Lock()
        self._writer: Connection | None = None
        self._opened = False
        self._readers = ReaderPool(self._connect_reader, discard)
        self._upserts = {table.name: _upsert(table) for table in _TABLES}

    # ------------------------------------------------------------------------------------------------ life
    def open(self) -> None:
        """Connects and migrates; a second call does nothing. Raises UnsupportedDataVersion, StoreUnavailable."""
        with self._lock:
            if self._opened:
                return
            writer = connect(self.url, self.schema)
            try:
                self._migrate(writer)
            except psycopg.Error as error:
                discard(writer)
                raise translate(error, self.url) from error
            except BaseException:
                discard(writer)
                raise
            self._writer = writer
            self._opened = True

    def close(self) -> None:
        """Releases connections; idempotent."""
        with self._lock:
            self._opened = False
            self._drop_writer()

    def _migrate(self, writer: Connection) -> None:
        """Brings the schema to this program's version, one transaction per step; queens that start together queue."""
        step_found = True
        while step_found:
            with writer.transaction():
                writer.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
                if not writer.execute("SELECT to_regnamespace(%s)", (self.schema,)).fetchall()[0][0]:
                    writer.execute(f'CREATE SCHEMA "{self.schema}"'.encode())
                if not writer.execute("SELECT to_regclass('schema_version')").fetchall()[0][0]:
                    writer.execute(in_dialect(BOOTSTRAP, "postgresql").encode())
                latest = "SELECT version, product FROM schema_version ORDER BY version DESC LIMIT 1"
                found, product = writer.execute(latest).fetchone() or (0, "")
                steps = pending(found, product, f"The schema {self.schema} at {shown(self.url)}")
                for step in steps[:1]:
                    for statement in step.statements("postgresql"):
                        writer.execute(statement.encode())
                    writer.execute(
                        "INSERT INTO schema_version (version, name, applied_at, product) "
                        "VALUES (%s, %s, extract(epoch FROM now()), %s)",
                        (step.version, step.name, __version__),
                    )
                step_found = len(steps) > 1

    # ------------------------------------------------------------------------------------------------ write
    def acquire(self, holder: str) -> int:
        """Takes the colony: raises the epoch by one and returns it."""

        def take(writer: Connection) -> int:
            text = "UPDATE colony SET epoch = epoch + 1, seq = seq + 1, counter = 0, holder = %s RETURNING epoch"
            row = writer.execute(text, (holder.replace("\0", ""),)).fetchone()
            if row is None:
                raise StoreUnavailable(f"The schema {self.schema} at {shown(self.url)} has lost its colony row.")
            return int(row[0])

        return self._write(take)

    def commit(self, epoch: int, changes: Changes) -> None:
        """Writes one batch in one transaction. Raises Fenced, RowRefused, StoreUnavailable (outcome unknown)."""
        batches = schema.batches(changes)
        fence = (changes.counter, *schema.marks(changes), epoch)
        try:
            statements = self._statements(batches)
            self._write(lambda writer: _put(writer, fence, statements))
        except (UnicodeEncodeError, RowRefused) as error:
            # A second look, not a rule: NUL and lone surrogates are so rare that no batch is searched beforehand.
            clean = [(table, schema.cleaned(rows, nul=True)) for table, rows in batches]
            if isinstance(error, RowRefused) and clean == [(table, list(rows)) for table, rows in batches]:
                raise
            statements = self._statements(clean)
            self._write(lambda writer: _put(writer, fence, statements))

    def _statements(self, batches: Sequence[tuple[Table, Sequence[Row]]]) -> list[Statement]:
        """The upserts of a batch with whole columns as parameters, packed before any of it is sent."""
        ready: list[Statement] = []
        for table, rows in batches:
            try:
                columns = zip(table.types, zip(*rows, strict=True), strict=True)
                ready.append((self._upserts[table.name], tuple(ARRAYS[kind](values) for kind, values in columns)))
            except UnicodeEncodeError:
                raise
            except (*PACKING_ERRORS, ValueError) as error:
                raise RowRefused(f"A row of {table.name} cannot be stored, nothing was written: {error}") from error
        return ready

    def _write(self, work: Callable[[Connection], Result]) -> Result:
        """Runs work on the writing connection, which is opened again after it was lost."""
        with self._lock:
            if not self._opened:
                raise StoreUnavailable(f"The store at {shown(self.url)} is not open.")
            if self._writer is None or self._writer.closed:
                self._writer = connect(self.url, self.schema)
            writer = self._writer
            try:
                return work(writer)
            except psycopg.Error as error:
                if lost(error, writer):
                    self._drop_writer()
                else:
                    self._roll_back(writer)
                if isinstance(error, errors.InvalidTextRepresentation) and "another queen" in str(error):
                    raise Fenced(
                        f"Another queen has taken over the schema {self.schema} at {shown(self.url)}."
                    ) from error
                raise translate(error, self.url) from error

    def _roll_back(self, writer: Connection) -> None:
        try:
            writer.rollback()
        except psycopg.Error:
            self._drop_writer()

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            discard(writer)
        self._readers.clear()

    # ------------------------------------------------------------------------------------------------- read
    def _connect_reader(self) -> Connection:
        if not self._opened:
            raise StoreUnavailable(f"The store at {shown(self.url)} is not open.")
        connection = connect(self.url, self.schema)
        connection.read_only = True
        return connection

    def _read(self, work: Callable[[Connection], Result]) -> Result:
        """Runs work on a reading connection; one that was lost while it lay in the pool is replaced once."""
        for attempt in (1, 2):
            try:
                with self._readers.reader() as reader:
                    return work(reader)
            except psycopg.Error as error:
                if attempt == 2 or not lost(error, reader):
                    raise translate(error, self.url) from error
                self._readers.clear()
        raise AssertionError("unreachable")

    def _rows(self, text: str, values: Sequence[object] = ()) -> list[Row]:
        query = text.replace("?", "%b").encode()
        return self._read(lambda reader: reader.execute(query, values, binary=True).fetchall())

    def _one(self, text: str, values: Sequence[object]) -> Row | None:
        rows = self._rows(text, values)
        return rows[0] if rows else None

    def load(self) -> Snapshot:
        """Reads what a starting queen needs, all of it at one moment."""
        return self._read(_load)

    def params(self, numbers: Sequence[int]) -> dict[int, tuple[bytes, bytes | None]]:
        """Parameters and rendered variables of these jobs; unknown numbers are absent."""
        text = "SELECT number, params, variables FROM params WHERE number = ANY(?)"
        return _params(self._rows(text, (ARRAYS[int](list(numbers)),)))

    def find_ids(self, ids: Sequence[str]) -> dict[str, int]:
        """Numbers of those ids that exist."""
        text = "SELECT id, number FROM jobs WHERE id = ANY(?)"
        rows = self._rows(text, (ARRAYS[str](_storable(ids)),))
        return {str(row[0]): int(row[1] or 0) for row in rows}

    def find_keys(self, org: str, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """For the keys that exist: (fingerprint, job id)."""
        text = "SELECT key, fingerprint, job_id FROM idempotency_keys WHERE org = ? AND key = ANY(?)"
        rows = self._rows(text, (org, ARRAYS[str](_storable(keys))))
        return {str(row[0]): (str(row[1]), str(row[2])) for row in rows}

    def job(self, org: str, job_id: str) -> Row | None:
        """The job's row, or None."""
        return self._one(schema.JOB_BY_ID, (job_id, org)) if _storable([job_id, org])[1:] else None

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
            rows = self._rows(*schema.page_query(org, sorted(set(states)), job_type, before, size))
            if rows:
                yield rows
            if len(rows) < size:
                return
            before, left = int(rows[-1][0] or 0), left - len(rows)

    def count_jobs(self, org: str, job_type: str, states: Sequence[str]) -> int:
        """Number of jobs of a type that are in one of the states."""
        return int(self._rows(*schema.count_query(org, job_type, states))[0][0] or 0)

    def tasks(self, number: int, *, elements: bool = False) -> list[Row]:
        """Task rows of one job in order of position."""
        return self._rows(schema.TASKS_OF_JOB if elements else schema.PLAIN_TASKS_OF_JOB, (number,))

    def checkpoints(self, number: int) -> list[Row]:
        """What the tasks of a job have left for their next attempts."""
        return self._rows(schema.CHECKPOINTS_OF_JOB, (number,))

    def element_states(self, number: int) -> list[tuple[int, str, int]]:
        """How many elements each task that fans out has in each state."""
        rows = self._rows(schema.ELEMENT_STATES, (number,))
        return [(int(position or 0), str(state), int(count or 0)) for position, state, count in rows]

    def elements(
        self, number: int, position: int, *, after: int = -1, limit: int = 100, states: Sequence[str] = ()
    ) -> list[Row]:
        """A page of the elements of a task."""
        return self._rows(*schema.elements_query(number, position, after, limit, states))

    def definition(self, definition_id: str) -> Row | None:
        """One definition row."""
        return self._one(schema.DEFINITION_BY_ID, (definition_id,))

    def latest_definition(self, org: str, job_type: str) -> Row | None:
        """The newest version of a job type."""
        return self._one(schema.LATEST_DEFINITION, (org, job_type))

    def definitions_of_all(self, job_type: str) -> list[Row]:
        """The versions of a job type that may be public, and the newest of each organisation."""
        return self._rows(schema.DEFINITIONS_OF_ALL, (job_type, schema.MAY_BE_PUBLIC))

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
        return self._rows(*schema.definitions_query(org, job_type, after, limit, with_source=with_source))

    def counts(self) -> dict[str, int]:
        """Number of jobs by state."""
        return {str(row[0]): int(row[1] or 0) for row in self._rows(schema.COUNT_STATES)}

    def schedules(self) -> list[Row]:
        """Every schedule in order of organisation, job type and name."""
        return self._rows(schema.SCHEDULES_BY_NAME)

    def triggers(self) -> list[Row]:
        """Every event trigger in order of organisation, job type and name."""
        return self._rows(schema.TRIGGERS_BY_NAME)

    def letters(self, org: str, job_type: str, limit: int) -> list[Row]:
        """Events that could start no job, newest first."""
        return self._rows(*schema.letters_query(org, job_type, limit))

    def purge_letters(self, before: float, limit: int) -> int:
        """Removes at most `limit` of the oldest letters. Raises StoreUnavailable."""
        text = schema.PURGE_LETTERS.replace("?", "%s").encode()
        return self._write(lambda writer: writer.execute(text, (before, limit)).rowcount)

    def approvals(
        self, org: str, *, job: int = 0, after: tuple[int, int, int] = (0, -1, 0), limit: int = 100
    ) -> list[Row]:
        """A page of questions to people."""
        return self._rows(*schema.approvals_query(org, job, after, limit))

    def votes(self, jobs: Sequence[int]) -> list[Row]:
        """Votes on all questions of these jobs, oldest first."""
        text = schema.VOTES_OF_JOB.replace("job = ?", "job = ANY(?)")
        return self._rows(text, (ARRAYS[int](list(jobs)),)) if jobs else []

    def dead_letters(self, query: DeadLetterQuery, limit: int) -> list[Row]:
        """A page of dead letters in order of job and execution."""
        return self._rows(*schema.dead_letters_query(query, limit))

    def redriven(self, org: str, key: str) -> list[Row]:
        """The dead letters that the call with this idempotency key has redriven."""
        return self._rows(schema.REDRIVEN, (org, key))

    def dead_letter_counts(self) -> dict[str, tuple[int, int]]:
        """Number of dead letters by queue, and of those that somebody is to be told of."""
        return {str(row[0]): (int(row[1] or 0), int(row[2] or 0)) for row in self._rows(schema.COUNT_DEAD_LETTERS)}

    def states(self, kind: str) -> list[Row]:
        """What a part of the engine remembers, by key."""
        return self._rows(schema.STATES_OF_KIND, (kind,))

    def due_notices(self, limit: int) -> list[Row]:
        """Notices that are pending, those that are due first in front."""
        return self._rows(schema.DUE_NOTICES, (limit,))

    def notices(
        self, org: str, *, job_id: str = "", state: str = "", after: tuple[float, str] = (1e12, ""), limit: int = 100
    ) -> list[Row]:
        """A page of notices, newest first."""
        return self._rows(*schema.notices_query(org, job_id, state, after, limit))

    def notice(self, org: str, notice_id: str) -> Row | None:
        """One notice."""
        found = self._rows(schema.NOTICE, (notice_id, org)) if len(_storable((notice_id, org))) == 2 else []
        return found[0] if found else None

    def tokens(self) -> list[Row]:
        """Every token in order of creation."""
        return self._rows(schema.TOKENS)

    def add_token(self, row: Row) -> None:
        """Stores a token. Raises RowRefused, StoreUnavailable."""
        self._write(lambda writer: writer.execute(schema.ADD_TOKEN.replace("?", "%s").encode(), row))

    def revoke_token(self, token_id: str, at: float) -> bool:
        """Marks a token as revoked; False where there is none that is not."""
        text = schema.REVOKE_TOKEN.replace("?", "%s").encode()
        return self._write(lambda writer: writer.execute(text, (at, token_id)).rowcount) > 0

    def configs(self) -> list[Row]:
        """Every configuration, in no order."""
        return self._rows(schema.ALL_CONFIGS)

    def put_config(self, row: Row) -> None:
        """Stores a configuration. Raises RowRefused, StoreUnavailable."""
        self._write(lambda writer: writer.execute(schema.PUT_CONFIG.replace("?", "%s").encode(), row))

    def remove_config(self, scope: str, org: str, owner: str, name: str) -> bool:
        """Removes a configuration; False where there is none."""
        text, key = schema.REMOVE_CONFIG.replace("?", "%s").encode(), (scope, org, owner, name)
        return len(_storable(key)) == 4 and self._write(lambda writer: writer.execute(text, key).rowcount) > 0

    def error_codes(self) -> list[Row]:
        """Every rule that names failures, in no order."""
        return self._rows(schema.ALL_ERROR_CODES)

    def put_error_code(self, row: Row) -> None:
        """Stores a rule. Raises RowRefused, StoreUnavailable."""
        self._write(lambda writer: writer.execute(schema.PUT_ERROR_CODE.replace("?", "%s").encode(), row))

    def remove_error_code(self, org: str, name: str) -> bool:
        """Removes a rule; False where there is none."""
        text, key = schema.REMOVE_ERROR_CODE.replace("?", "%s").encode(), (org, name)
        return len(_storable(key)) == 2 and self._write(lambda writer: writer.execute(text, key).rowcount) > 0

    def add_audit(self, rows: Sequence[Row]) -> None:
        """Appends records in one transaction. Raises StoreUnavailable."""

        def append(writer: Connection) -> None:
            with writer.transaction():
                for text, values in schema.audit_inserts(rows):
                    writer.execute(text.replace("?", "%s").encode(), values)

        self._write(append)

    def audit(self, query: AuditQuery, limit: int) -> list[Row]:
        """At most `limit` records, newest first."""
        names = [query.org, query.principal, query.method, query.resource, query.code]
        return self._rows(*schema.audit_query(query, limit)) if len(_storable(names)) == len(names) else []

    def purge_audit(self, before: float, limit: int) -> int:
        """Removes at most `limit` of the oldest records. Raises StoreUnavailable."""
        text = schema.PURGE_AUDIT.replace("?", "%s").encode()
        return self._write(lambda writer: writer.execute(text, (before, limit)).rowcount)

    def add_artifact(self, row: Row) -> None:
        """Stores what is known of a file. Raises RowRefused, StoreUnavailable."""
        clean = schema.cleaned([row], nul=True)[0]
        self._write(lambda writer: writer.execute(schema.ADD_ARTIFACT.replace("?", "%s").encode(), clean))

    def artifacts(self, org: str, job_id: str) -> list[Row]:
        """The artifacts of a job that can be seen."""
        return self._rows(schema.ARTIFACTS, (job_id, org)) if _storable([job_id, org])[1:] else []

    def artifact(self, artifact_id: str) -> Row | None:
        """One artifact that can be seen, or one entry of the cache."""
        return self._one(schema.ARTIFACT, (artifact_id,)) if _storable([artifact_id]) else None

    def cached(self, org: str, job_type: str, cache_key: str, now: float) -> Row | None:
        """The oldest entry of the cache under a key that has not expired."""
        found = _storable([cache_key, job_type, org])[2:]
        return self._one(schema.CACHED, (cache_key, job_type, org, now)) if found else None

    def artifact_bytes(self, org: str) -> int:
        """Size of an organisation's files."""
        return int(self._rows(schema.ARTIFACT_BYTES, (org,))[0][0] or 0)

    def removable_artifacts(self, now: float, left_before: float, limit: int) -> list[str]:
        """Ids of files that nobody can want any more."""
        return [str(row[0]) for row in self._rows(schema.REMOVABLE_ARTIFACTS, (now, left_before, limit))]

    def remove_artifacts(self, ids: Sequence[str]) -> int:
        """Removes the rows of these ids. Raises StoreUnavailable."""
        text = schema.REMOVE_ARTIFACT.replace("id = ?", "id = ANY(%s)").encode()
        return self._write(lambda writer: writer.execute(text, (_storable(ids),)).rowcount)

    def upload(self, org: str, name: str) -> Row | None:
        """The row of an upload that is not complete, by its id or its place."""
        return self._one(schema.UPLOAD, (name, name, org)) if _storable([name, org])[1:] else None

    def upload_count(self, org: str) -> int:
        """How many uploads of an organisation are not complete."""
        return int(self._rows(schema.UPLOAD_COUNT, (org,))[0][0] or 0)

    def complete_upload(self, row: Row) -> bool:
        """Puts an artifact in the place of its upload. Raises RowRefused, StoreUnavailable."""
        clean = schema.cleaned([row], nul=True)[0]

        def complete(writer: Connection) -> bool:
            with writer.transaction():
                if writer.execute(schema.REMOVE_UPLOAD.replace("?", "%s").encode(), (row[0],)).rowcount != 1:
                    return False
                writer.execute(schema.ADD_ARTIFACT.replace("?", "%s").encode(), clean)
                return True

        return self._write(complete)

    def ended_jobs(self, after: int, limit: int) -> list[Row]:
        """Jobs that have ended, in order of number."""
        return self._rows(schema.ENDED_JOBS, (after, limit))

    def remove_jobs(self, epoch: int, numbers: Sequence[int]) -> int:
        """Removes jobs that have ended, with all that belongs to them. Raises Fenced, StoreUnavailable."""

        def remove(writer: Connection) -> int:
            with writer.transaction():
                if writer.execute(schema.HOLD_COLONY.replace("?", "%s").encode(), (epoch,)).rowcount != 1:
                    raise Fenced(f"Another queen has taken over the schema {self.schema} at {shown(self.url)}.")
                removed = 0
                for text in schema.REMOVE_JOBS:
                    one = text.replace("IN (?)", "= ANY(%s)").encode()
                    removed = writer.execute(one, (list(numbers),)).rowcount
                return removed

        return self._write(remove)

    def remove_keys(self, after: tuple[str, str], limit: int) -> tuple[int, tuple[str, str] | None]:
        """Removes keys whose job is gone. Raises StoreUnavailable."""
        found = self._rows(schema.NEXT_KEYS, (*after, limit))
        gone = [(str(row[0]), str(row[1])) for row in found if not row[2]]
        text = schema.REMOVE_KEY.replace("?", "%s").encode()

        def remove(writer: Connection) -> int:
            with writer.transaction():
                return sum(writer.execute(text, pair).rowcount for pair in gone)

        removed = self._write(remove) if gone else 0
        return removed, (str(found[-1][0]), str(found[-1][1])) if found else None


_TABLES: Final = (
    *(schema.DEFINITIONS, schema.JOBS, schema.PARAMS, schema.TASKS, schema.KEYS),
    *(schema.SCHEDULES, schema.TRIGGERS, schema.LETTERS),
    *(schema.APPROVALS, schema.VOTES, schema.DEAD_LETTERS, schema.STATES, schema.NOTICES),
    schema.CHECKPOINTS,
)


def _upsert(table: Table) -> bytes:
    """The statement that writes any number of rows of a table."""
    arrays = ", ".join(f"%b::{_TYPE_NAMES[kind]}[]" for kind in table.types)
    return (
        f"INSERT INTO {table.name} ({', '.join(table.columns)}) SELECT * FROM unnest({arrays}) {table.on_conflict}"
    ).encode()


def _put(writer: Connection, fence: tuple[int, int, int, int], statements: Sequence[Statement]) -> None:
    """Sends a whole transaction in one pipeline; any failing statement fails it all."""
    with writer.pipeline():
        writer.execute("BEGIN", prepare=True)
        writer.execute(_FENCE.encode(), fence, prepare=True)
        for text, values in statements:
            writer.execute(text, values, prepare=True)
        writer.execute("COMMIT", prepare=True)


def _load(reader: Connection) -> Snapshot:
    def rows(text: str) -> list[Row]:
        return reader.execute(text.encode(), binary=True).fetchall()

    with reader.transaction():
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        epoch, last_number, last_order = reader.execute(schema.LOAD_COLONY.encode()).fetchall()[0]
        return Snapshot(
            epoch=epoch,
            last_number=last_number,
            last_order=last_order,
            definitions=rows(schema.LOAD_DEFINITIONS),
            jobs=rows(schema.LOAD_JOBS),
            tasks=rows(schema.LOAD_TASKS),
            params=_params(rows(schema.LOAD_PARAMS)),
            approvals=rows(schema.LOAD_APPROVALS),
            votes=rows(schema.LOAD_VOTES),
            states=rows(schema.LOAD_STATES),
            checkpoints=rows(schema.LOAD_CHECKPOINTS),
        )


def _params(rows: Sequence[Row]) -> dict[int, tuple[bytes, bytes | None]]:
    return {row[0]: row[1:] for row in rows}  # type: ignore[misc]  # types by COLUMN_TYPES


def _storable(names: Sequence[str]) -> list[str]:
    """The names that can exist at all: a text with NUL or a lone surrogate cannot, and must not break the query."""
    return [name for name in names if "\0" not in name and schema.cleaned([(name,)], nul=False)[0][0] == name]
