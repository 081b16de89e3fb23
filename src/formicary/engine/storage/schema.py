"""The tables of a store as data, and the queries that read the same in every SQL dialect.

The migrations create the tables; this module says which columns the adapters bind and how one row replaces another.
Queries use ``?`` for a parameter; an adapter whose driver wants another mark replaces it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from formicary.engine.jobs.fan_out import STRIDE, element_position
from formicary.engine.storage.column_types import COLUMN_TYPES
from formicary.engine.storage.port import (
    APPROVAL_COLUMNS,
    ARTIFACT_COLUMNS,
    AUDIT_COLUMNS,
    CHECKPOINT_COLUMNS,
    CONFIG_COLUMNS,
    DEAD_LETTER_COLUMNS,
    DEFINITION_COLUMNS,
    ERROR_CODE_COLUMNS,
    JOB_COLUMNS,
    KEY_COLUMNS,
    LETTER_COLUMNS,
    LIVE_JOB_STATES,
    NOTICE_COLUMNS,
    PARAMS_COLUMNS,
    SCHEDULE_COLUMNS,
    STATE_COLUMNS,
    TASK_COLUMNS,
    TOKEN_COLUMNS,
    TRIGGER_COLUMNS,
    VOTE_COLUMNS,
    AuditQuery,
    Changes,
    DeadLetterQuery,
    Row,
    Scalar,
)


@dataclass(frozen=True, slots=True)
class Table:
    """One table as the adapters write it."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    fixed: tuple[str, ...] = ()
    """Columns that never change for a key; an upsert leaves them alone (and their indexes too)."""

    @property
    def on_conflict(self) -> str:
        """The upsert clause: every column that may change takes the value of the new image."""
        kept = {*self.key, *self.fixed}
        assignments = ", ".join(f"{column} = excluded.{column}" for column in self.columns if column not in kept)
        return f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {assignments}"

    @property
    def types(self) -> tuple[type, ...]:
        """Type of each column."""
        return tuple(COLUMN_TYPES.get(column, str) for column in self.columns)


DEFINITIONS: Final = Table("definitions", DEFINITION_COLUMNS, ("id",))
JOBS: Final = Table("jobs", JOB_COLUMNS, ("number",), fixed=("id",))
PARAMS: Final = Table("params", PARAMS_COLUMNS, ("number",))
TASKS: Final = Table("tasks", TASK_COLUMNS, ("job", "position"))
SCHEDULES: Final = Table("schedules", SCHEDULE_COLUMNS, ("org", "job_type", "name"))
TRIGGERS: Final = Table("triggers", TRIGGER_COLUMNS, ("org", "job_type", "name"))
LETTERS: Final = Table("trigger_letters", LETTER_COLUMNS, ("id",))
CONFIGS: Final = Table("configs", CONFIG_COLUMNS, ("scope", "org", "owner", "name"))
ERROR_CODES: Final = Table("error_codes", ERROR_CODE_COLUMNS, ("org", "name"))
APPROVALS: Final = Table("approvals", APPROVAL_COLUMNS, ("job", "position", "attempt"))
VOTES: Final = Table("votes", VOTE_COLUMNS, ("job", "position", "attempt", "voter"))
DEAD_LETTERS: Final = Table("dead_letters", DEAD_LETTER_COLUMNS, ("job", "execution"))
STATES: Final = Table("states", STATE_COLUMNS, ("kind", "org", "name"))
NOTICES: Final = Table("notices", NOTICE_COLUMNS, ("id",))
CHECKPOINTS: Final = Table("checkpoints", CHECKPOINT_COLUMNS, ("job", "position"))
KEYS: Final = Table("idempotency_keys", KEY_COLUMNS, ("org", "key"))

LETTER_STATES: Final = ("DEAD", "REDRIVEN", "PURGED")

_LIVE = "state IN ({})".format(", ".join(f"'{state}'" for state in LIVE_JOB_STATES))
_JOB = ", ".join(JOB_COLUMNS)
_TASK = ", ".join(TASK_COLUMNS)
_DEFINITION = ", ".join(DEFINITION_COLUMNS)

LOAD_COLONY: Final = "SELECT epoch, last_number, last_order FROM colony"
LOAD_JOBS: Final = f"SELECT {_JOB} FROM jobs WHERE {_LIVE} ORDER BY number"
LOAD_DEFINITIONS: Final = (
    f"SELECT {_DEFINITION} FROM definitions WHERE id IN (SELECT definition_id FROM jobs WHERE {_LIVE}) ORDER BY id"
)
# A pending job that never ran has no task worth reading: leaving it out saves one look-up per pending job.
LOAD_TASKS: Final = (
    f"SELECT {', '.join('tasks.' + column for column in TASK_COLUMNS)} FROM jobs JOIN tasks ON tasks.job = jobs.number "
    f"WHERE jobs.{_LIVE} AND (jobs.state <> 'PENDING' OR jobs.execution > 0) ORDER BY tasks.job, tasks.position"
)
LOAD_PARAMS: Final = (
    "SELECT params.number, params.params, params.variables FROM jobs JOIN params ON params.number = jobs.number "
    f"WHERE jobs.{_LIVE} AND jobs.state <> 'PENDING'"
)
_APPROVAL = ", ".join(APPROVAL_COLUMNS)
LOAD_APPROVALS: Final = f"SELECT {_APPROVAL} FROM approvals WHERE state = 'OPEN' ORDER BY job, position, attempt"
LOAD_VOTES: Final = (
    f"SELECT {', '.join('votes.' + column for column in VOTE_COLUMNS)} FROM approvals JOIN votes ON "
    "votes.job = approvals.job AND votes.position = approvals.position AND votes.attempt = approvals.attempt "
    "WHERE approvals.state = 'OPEN' ORDER BY votes.voted_at, votes.voter"
)
LOAD_CHECKPOINTS: Final = (
    f"SELECT {', '.join('checkpoints.' + column for column in CHECKPOINT_COLUMNS)} FROM checkpoints "
    f"JOIN jobs ON jobs.number = checkpoints.job WHERE checkpoints.value IS NOT NULL AND jobs.{_LIVE} "
    "ORDER BY checkpoints.job, checkpoints.position"
)
CHECKPOINTS_OF_JOB: Final = (
    f"SELECT {', '.join(CHECKPOINT_COLUMNS)} FROM checkpoints WHERE job = ? AND value IS NOT NULL ORDER BY position"
)
_NOTICE = ", ".join(NOTICE_COLUMNS)
DUE_NOTICES: Final = f"SELECT {_NOTICE} FROM notices WHERE state = 'PENDING' ORDER BY next_at, id LIMIT ?"
NOTICE: Final = f"SELECT {_NOTICE} FROM notices WHERE id = ? AND org = ?"
VOTES_OF_JOB: Final = f"SELECT {', '.join(VOTE_COLUMNS)} FROM votes WHERE job = ? ORDER BY voted_at, voter"

_DEAD_LETTER = ", ".join(DEAD_LETTER_COLUMNS)
REDRIVEN: Final = f"SELECT {_DEAD_LETTER} FROM dead_letters WHERE org = ? AND redrive_key = ? ORDER BY job, execution"
COUNT_DEAD_LETTERS: Final = "SELECT queue, count(*), sum(alert) FROM dead_letters WHERE state = 'DEAD' GROUP BY queue"
LOAD_STATES: Final = f"SELECT {', '.join(STATE_COLUMNS)} FROM states WHERE value IS NOT NULL ORDER BY kind, org, name"
STATES_OF_KIND: Final = (
    f"SELECT {', '.join(STATE_COLUMNS)} FROM states WHERE kind = ? AND value IS NOT NULL ORDER BY org, name"
)

JOB_BY_ID: Final = f"SELECT {_JOB} FROM jobs WHERE id = ? AND org = ?"
TASKS_OF_JOB: Final = f"SELECT {_TASK} FROM tasks WHERE job = ? ORDER BY position"
PLAIN_TASKS_OF_JOB: Final = f"SELECT {_TASK} FROM tasks WHERE job = ? AND position < {STRIDE} ORDER BY position"
ELEMENT_STATES: Final = (
    f"SELECT position / {STRIDE} - 1 AS task, state, COUNT(*) FROM tasks WHERE job = ? AND position >= {STRIDE} "
    "GROUP BY 1, 2 ORDER BY 1, 2"
)
DEFINITION_BY_ID: Final = f"SELECT {_DEFINITION} FROM definitions WHERE id = ?"
LATEST_DEFINITION: Final = (
    f"SELECT {_DEFINITION} FROM definitions WHERE org = ? AND job_type = ? AND version > 0 "
    "ORDER BY version DESC LIMIT 1"
)
DEFINITIONS_OF_ALL: Final = (
    f"SELECT {_DEFINITION} FROM definitions WHERE job_type = ? AND version > 0 AND (source LIKE ? OR version = "
    "(SELECT max(version) FROM definitions AS other WHERE other.org = definitions.org "
    "AND other.job_type = definitions.job_type AND other.version > 0)) ORDER BY org, version DESC"
)
MAY_BE_PUBLIC: Final = "%public_plugin%"
"""What the texts of public jobs are like."""
ADD_TOKEN: Final = f"INSERT INTO tokens ({', '.join(TOKEN_COLUMNS)}) VALUES ({', '.join('?' * len(TOKEN_COLUMNS))})"
REVOKE_TOKEN: Final = "UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
SCHEDULES_BY_NAME: Final = f"SELECT {', '.join(SCHEDULE_COLUMNS)} FROM schedules ORDER BY org, job_type, name"
TRIGGERS_BY_NAME: Final = f"SELECT {', '.join(TRIGGER_COLUMNS)} FROM triggers ORDER BY org, job_type, name"
PURGE_LETTERS: Final = (
    "DELETE FROM trigger_letters WHERE id IN "
    "(SELECT id FROM trigger_letters WHERE created_at < ? ORDER BY created_at, id LIMIT ?)"
)
ALL_CONFIGS: Final = f"SELECT {', '.join(CONFIG_COLUMNS)} FROM configs"
PUT_CONFIG: Final = (
    f"INSERT INTO configs ({', '.join(CONFIG_COLUMNS)}) VALUES ({', '.join('?' * len(CONFIG_COLUMNS))}) "
    + CONFIGS.on_conflict
)
REMOVE_CONFIG: Final = "DELETE FROM configs WHERE scope = ? AND org = ? AND owner = ? AND name = ?"
ALL_ERROR_CODES: Final = f"SELECT {', '.join(ERROR_CODE_COLUMNS)} FROM error_codes"
PUT_ERROR_CODE: Final = (
    f"INSERT INTO error_codes ({', '.join(ERROR_CODE_COLUMNS)}) VALUES ({', '.join('?' * len(ERROR_CODE_COLUMNS))}) "
    + ERROR_CODES.on_conflict
)
REMOVE_ERROR_CODE: Final = "DELETE FROM error_codes WHERE org = ? AND name = ?"
TOKENS: Final = f"SELECT {', '.join(TOKEN_COLUMNS)} FROM tokens ORDER BY created_at, id"
ADD_AUDIT: Final = f"INSERT INTO audit ({', '.join(AUDIT_COLUMNS[1:])}) VALUES "
AUDIT_ROW: Final = f"({', '.join('?' * (len(AUDIT_COLUMNS) - 1))})"
AUDIT_CHUNK: Final = 100
"""Records of one statement."""
PURGE_AUDIT: Final = (
    "DELETE FROM audit WHERE number IN (SELECT number FROM audit WHERE time < ? ORDER BY number LIMIT ?)"
)
_ARTIFACT = ", ".join(f"artifacts.{column}" for column in ARTIFACT_COLUMNS)
_ITS_TASK = "FROM tasks WHERE tasks.job = artifacts.job AND tasks.position = artifacts.position"
_SEEN = (
    f"EXISTS (SELECT 1 {_ITS_TASK} AND tasks.token = artifacts.token AND tasks.state IN ('COMPLETED', 'FAILED') "
    "AND (tasks.error_code IS NULL OR tasks.error_code <> 'ERR_POISON'))"
)
ADD_ARTIFACT: Final = (
    f"INSERT INTO artifacts ({', '.join(ARTIFACT_COLUMNS)}) VALUES ({', '.join('?' * len(ARTIFACT_COLUMNS))})"
)
ARTIFACTS: Final = (
    f"SELECT {_ARTIFACT} FROM artifacts WHERE job_id = ? AND org = ? AND cache_key = '' AND {_SEEN} "
    "ORDER BY position, name, id"
)
ARTIFACT: Final = f"SELECT {_ARTIFACT} FROM artifacts WHERE id = ? AND (cache_key <> '' OR {_SEEN})"
CACHED: Final = (
    f"SELECT {_ARTIFACT} FROM artifacts WHERE cache_key = ? AND job_type = ? AND org = ? AND expires_at > ? "
    "ORDER BY created_at, id LIMIT 1"
)
REMOVABLE_ARTIFACTS: Final = (
    "SELECT id FROM artifacts WHERE expires_at <= ? OR (created_at < ? AND cache_key = '' AND NOT EXISTS "
    f"(SELECT 1 {_ITS_TASK} AND tasks.token = artifacts.token)) ORDER BY expires_at, id LIMIT ?"
)
ARTIFACT_BYTES: Final = "SELECT COALESCE(SUM(size), 0) FROM artifacts WHERE org = ?"
REMOVE_ARTIFACT: Final = "DELETE FROM artifacts WHERE id = ?"
_UPLOAD = "artifacts.job = 0 AND artifacts.cache_key = ''"
UPLOAD: Final = f"SELECT {_ARTIFACT} FROM artifacts WHERE (id = ? OR job_id = ?) AND org = ? AND {_UPLOAD} LIMIT 1"
UPLOAD_COUNT: Final = f"SELECT count(*) FROM artifacts WHERE org = ? AND {_UPLOAD}"
REMOVE_UPLOAD: Final = f"DELETE FROM artifacts WHERE id = ? AND {_UPLOAD}"
ENDED_JOBS: Final = (
    "SELECT number, id, definition_id, state, submitted_at, ended_at, "
    "(SELECT count(*) FROM tasks WHERE tasks.job = jobs.number), org, job_type, dead_letter FROM jobs "
    "WHERE number > ? AND ended_at IS NOT NULL ORDER BY number LIMIT ?"
)
HOLD_COLONY: Final = "UPDATE colony SET seq = seq + 1 WHERE epoch = ?"
_ENDED = "('COMPLETED', 'FAILED', 'CANCELLED')"
REMOVE_JOBS: Final = (
    *(
        f"DELETE FROM {table} WHERE {column} IN (SELECT number FROM jobs WHERE number IN (?) AND state IN {_ENDED})"
        for table, column in (
            ("votes", "job"),
            ("approvals", "job"),
            ("dead_letters", "job"),
            ("notices", "job"),
            ("checkpoints", "job"),
            ("tasks", "job"),
            ("params", "number"),
        )
    ),
    f"DELETE FROM jobs WHERE number IN (?) AND state IN {_ENDED}",
)
"""In this order: what belongs to the jobs first. `IN (?)` stands for a list, in each dialect's own way."""
NEXT_KEYS: Final = (
    "SELECT org, key, EXISTS (SELECT 1 FROM jobs WHERE jobs.number = idempotency_keys.job) FROM idempotency_keys "
    "WHERE (org, key) > (?, ?) ORDER BY org, key LIMIT ?"
)
REMOVE_KEY: Final = (
    "DELETE FROM idempotency_keys WHERE org = ? AND key = ? "
    "AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.number = idempotency_keys.job)"
)
COUNT_STATES: Final = "SELECT state, count(*) FROM jobs GROUP BY state"


def definitions_query(
    org: str, job_type: str, after: tuple[str, int], limit: int, *, with_source: bool
) -> tuple[str, tuple[Scalar, ...]]:
    """One page of definitions in order of job type, newest version first, that come behind `after`."""
    columns = _DEFINITION if with_source else _DEFINITION.replace("source", "'' AS source")
    typed = " AND job_type = ?" if job_type else ""
    text = (
        f"SELECT {columns} FROM definitions WHERE org = ?{typed} AND version > 0 "
        "AND (job_type > ? OR (job_type = ? AND version < ?)) ORDER BY job_type, version DESC LIMIT ?"
    )
    return text, (org, *([job_type] if job_type else []), after[0], *after, limit)


def page_query(
    org: str, states: Sequence[str], job_type: str, before: int, limit: int
) -> tuple[str, tuple[Scalar, ...]]:
    """One page of jobs, newest first, that come before the number `before`.

    Several states are one index range each, merged by number: a single range over all of them would be sorted anew for
    every page. Without states, or with a rare `job_type`, the scan goes down the primary key.
    """
    typed = " AND job_type = ?" if job_type else ""
    tail: tuple[Scalar, ...] = (job_type,) if job_type else ()
    select = f"SELECT {_JOB} FROM jobs WHERE number < ? AND org = ?{typed}"
    order = " ORDER BY number DESC LIMIT ?"
    if not states:
        return select + order, (before, org, *tail, limit)
    one = f"SELECT * FROM ({select} AND state = ?{order}) AS page"
    text = " UNION ALL ".join([one] * len(states)) + (order if len(states) > 1 else "")
    values: list[Scalar] = []
    for state in states:
        values += [before, org, *tail, state, limit]
    return text, (*values, limit) if len(states) > 1 else tuple(values)


def count_query(org: str, job_type: str, states: Sequence[str]) -> tuple[str, tuple[Scalar, ...]]:
    """Number of jobs of a type that are in one of the states."""
    marks = ", ".join("?" * len(states)) or "''"
    text = f"SELECT COUNT(*) FROM jobs WHERE org = ? AND job_type = ? AND state IN ({marks})"
    return text, (org, job_type, *states)


def letters_query(org: str, job_type: str, limit: int) -> tuple[str, tuple[Scalar, ...]]:
    """Events that could start no job, newest first."""
    typed = " AND job_type = ?" if job_type else ""
    text = (
        f"SELECT {', '.join(LETTER_COLUMNS)} FROM trigger_letters WHERE org = ?{typed} "
        "ORDER BY created_at DESC, id DESC LIMIT ?"
    )
    return text, (org, *([job_type] if job_type else []), limit)


def elements_query(
    number: int, position: int, after: int, limit: int, states: Sequence[str]
) -> tuple[str, tuple[Scalar, ...]]:
    """A page of the elements of a task that fans out."""
    among = f" AND state IN ({', '.join('?' * len(states))})" if states else ""
    text = f"SELECT {_TASK} FROM tasks WHERE job = ? AND position > ? AND position < ?{among} ORDER BY position LIMIT ?"
    first = element_position(position, 0)
    return text, (number, first + max(after, -1), first + STRIDE, *states, limit)


def approvals_query(org: str, job: int, after: tuple[int, int, int], limit: int) -> tuple[str, tuple[Scalar, ...]]:
    """A page of questions to people: of one job, or the open ones."""
    which, values = ("job = ?", (job,)) if job else ("state = 'OPEN'", ())
    text = (
        f"SELECT {_APPROVAL} FROM approvals WHERE org = ? AND {which} AND (job > ? OR (job = ? AND (position > ? "
        "OR (position = ? AND attempt > ?)))) ORDER BY job, position, attempt LIMIT ?"
    )
    number, position, attempt = after
    return text, (org, *values, number, number, position, position, attempt, limit)


def dead_letters_query(query: DeadLetterQuery, limit: int) -> tuple[str, tuple[Scalar, ...]]:
    """A page of dead letters in order of job and execution."""
    text = f"SELECT {_DEAD_LETTER} FROM dead_letters WHERE state = ? AND org = ? AND dead_at < ?"
    values: list[Scalar] = [query.state, query.org, query.before]
    for column in ("job", "job_type", "queue", "reason"):
        if value := getattr(query, column):
            text += f" AND {column} = ?"
            values.append(value)
    if query.after != (0, 0):
        sign = "<" if query.newest_first else ">"
        text += f" AND (job {sign} ? OR (job = ? AND execution {sign} ?))"
        values += [query.after[0], *query.after]
    order = "job DESC, execution DESC" if query.newest_first else "job, execution"
    return f"{text} ORDER BY {order} LIMIT ?", (*values, limit)


def notices_query(
    org: str, job_id: str, state: str, after: tuple[float, str], limit: int
) -> tuple[str, tuple[Scalar, ...]]:
    """A page of notices, newest first."""
    text = f"SELECT {_NOTICE} FROM notices WHERE org = ?"
    values: list[Scalar] = [org]
    for column, value in (("job_id", job_id), ("state", state)):
        if value:
            text += f" AND {column} = ?"
            values.append(value)
    text += " AND (created_at < ? OR (created_at = ? AND id < ?)) ORDER BY created_at DESC, id DESC LIMIT ?"
    return text, (*values, after[0], after[0], after[1], limit)


def audit_query(query: AuditQuery, limit: int) -> tuple[str, tuple[Scalar, ...]]:
    """Records that a query wants, newest first."""
    text = f"SELECT {', '.join(AUDIT_COLUMNS)} FROM audit WHERE number < ? AND time >= ? AND time < ?"
    values: list[Scalar] = [query.before, query.since, query.until]
    for column in ("org", "principal", "method", "resource", "code"):
        if value := getattr(query, column):
            text += f" AND {column} = ?"
            values.append(value)
    return text + " ORDER BY number DESC LIMIT ?", (*values, limit)


def audit_inserts(rows: Sequence[Row]) -> list[tuple[str, tuple[Scalar, ...]]]:
    """The statements that append records; characters that no store keeps are replaced."""
    found: list[tuple[str, tuple[Scalar, ...]]] = []
    kept = cleaned(rows, nul=True)
    for start in range(0, len(kept), AUDIT_CHUNK):
        chunk = kept[start : start + AUDIT_CHUNK]
        text = ADD_AUDIT + ", ".join([AUDIT_ROW] * len(chunk))
        found.append((text, tuple(value for row in chunk for value in row)))
    return found


def batches(changes: Changes) -> list[tuple[Table, Sequence[Row]]]:
    """The tables that a commit touches and their row images, in the order in which they are written."""
    found: list[tuple[Table, Sequence[Row]]] = []
    if changes.definitions:
        found.append((DEFINITIONS, list(changes.definitions.values())))
    if changes.jobs:
        found.append((JOBS, list(changes.jobs.values())))
    if changes.params:
        found.append((PARAMS, list(changes.params.values())))
    if changes.tasks:
        found.append((TASKS, list(changes.tasks.values())))
    if changes.keys:
        found.append((KEYS, list(changes.keys.values())))
    if changes.schedules:
        found.append((SCHEDULES, list(changes.schedules.values())))
    if changes.triggers:
        found.append((TRIGGERS, list(changes.triggers.values())))
    if changes.letters:
        found.append((LETTERS, list(changes.letters.values())))
    if changes.approvals:
        found.append((APPROVALS, list(changes.approvals.values())))
    if changes.votes:
        found.append((VOTES, list(changes.votes.values())))
    if changes.dead_letters:
        found.append((DEAD_LETTERS, list(changes.dead_letters.values())))
    if changes.states:
        found.append((STATES, list(changes.states.values())))
    if changes.notices:
        found.append((NOTICES, list(changes.notices.values())))
    if changes.checkpoints:
        found.append((CHECKPOINTS, list(changes.checkpoints.values())))
    return found


def marks(changes: Changes) -> tuple[int, int]:
    """Highest job number and highest `ended_order` of a batch; 0 where there is none."""
    number = max(changes.jobs, default=0)
    orders = [row[-1] for row in changes.tasks.values()]
    return number, max((order for order in orders if isinstance(order, int)), default=0)


def cleaned(rows: Sequence[Row], *, nul: bool) -> list[Row]:
    """The rows with characters replaced by U+FFFD that a store cannot keep: lone surrogates and, if `nul`, U+0000.

    Such text comes from the output and the exceptions of tasks. Refusing it would make a result impossible to store,
    and its ant would send it for ever.
    """

    def clean(value: Scalar) -> Scalar:
        if not isinstance(value, str):
            return value
        text = value.replace("\0", "\ufffd") if nul else value
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    return [tuple(clean(value) for value in row) for row in rows]
