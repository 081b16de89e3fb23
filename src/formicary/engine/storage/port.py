"""The storage port: what the journal, the API and recovery need from a store.

Theory of operation. One queen writes. Everything that one commit holds is a :class:`Changes`: row images keyed by
primary key, so that a row that changed five times in a batch is written once. ``commit`` is one transaction and its
first statement raises the colony's sequence *where the epoch is ours*; no row hit means that another queen has taken
over, and nothing of the batch is written (:class:`Fenced`). Reads see committed state only and run on other threads
than the writer.

Row images are plain tuples in the order of the column tuples below: they are made millions of times, and the adapters
bind them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Scalar = str | int | float | bytes | None
Row = tuple[Scalar, ...]

DEFINITION_COLUMNS = ("id", "org", "job_type", "version", "source", "methods", "path", "filename", "created_at")
"""`version` -n: made by the template of version n for one job. `methods` is JSON, `created_at` seconds since the epoch
(UTC) like every other time."""

JOB_COLUMNS = (
    "number",  # position in the colony's order of submission; primary key
    "id",
    "org",
    "definition_id",
    "job_type",
    "state",
    "priority",
    "submitted_at",
    "scheduled_at",  # earliest start, null = at once
    "started_at",
    "ended_at",
    "execution",  # number of the execution, from 1 once started
    "retries",  # executions begun because an earlier one failed
    "pauses",  # times the job was resumed after PAUSE_JOB
    "timer_at",  # when a waiting job goes on by itself (retry delay, end of a pause)
    "deadline_at",  # when the job's time-out strikes; null while it is not running
    "clock_left_s",  # what is left of the time-out of a paused job
    "verdict",  # how it will end (or RESTART), once decided, while siblings and the final phase still run
    "error_code",
    "error_message",
    "dead_letter",  # 1 = in the dead-letter queue
    "submitted_by",  # id of the principal, null where nobody is known
)

PARAMS_COLUMNS = ("number", "params", "variables")
"""`params`: JSON object of the request; `variables`: JSON object of its rendered variables, null until rendered."""

TASK_COLUMNS = (
    "job",  # number of the job; with `position` the primary key
    "position",  # of the task in its definition, from 0
    "state",
    "attempts",
    "failures",
    "lost",
    "polls",
    "token",  # lease token of the present or last attempt
    "ant",
    "timer_at",  # when a WAITING task goes on
    "started_at",
    "ended_at",
    "exit_code",
    "signal",
    "outputs",  # JSON object
    "error_code",
    "error_message",
    "traceback",
    "rendered",  # JSON of the task as rendered for this attempt, null for a task without templates
    "skipped",  # 1 = left out by `except`
    "routed_to",  # position of the task it led to, null = none
    "ended_order",  # the colony's order of ends: later outputs win
)

_LAST = ("org", "job_type", "dead_letter")
ENDED_COLUMNS = ("number", "id", "definition_id", "state", "submitted_at", "ended_at", "tasks", *_LAST)
"""What decides whether an ended job is removed; `tasks` is the number of their rows."""

KEY_COLUMNS = ("org", "key", "fingerprint", "job", "job_id", "created_at")

SCHEDULE_COLUMNS = (
    "org",  # with `job_type` and `name` the primary key
    "job_type",
    "name",
    "definition_id",  # what is started
    "version",  # of that definition
    "spec",  # JSON of the cron expression and its policies; null = no version that has one
    "next_at",  # planned time of the next run, null = none
    "paused",  # 1 = nothing starts by itself
    "last_at",  # planned time of the last run that was due
    "last_job",  # id of the last job that was started
    "waiting",  # JSON list of planned times that wait for that job's end
)
"""Jobs that start by themselves."""

TRIGGER_COLUMNS = (
    "org",  # with `job_type` and `name` the primary key
    "job_type",
    "name",
    "definition_id",  # what is started
    "version",  # of that definition
    "spec",  # JSON of the trigger; null = no version that has it
    "paused",  # 1 = no event counts
    "generation",  # grows by one with each reset
    "mark",  # JSON of how far its source has come
    "fired",  # jobs that it has started
    "last_at",  # time of the last of them
    "last_job",  # its id
    "window_at",  # begin of the present window of its rate limit
    "window_count",  # jobs of that window
)
"""Jobs that events start."""

LETTER_COLUMNS = ("id", "org", "job_type", "name", "event", "reason", "content", "created_at")
"""Events that can start no job: `event` is where it comes from, `content` its first bytes."""

TOKEN_COLUMNS = ("id", "org", "role", "name", "hash", "last4", "created_at", "expires_at", "revoked_at")
"""`hash` is the SHA-256 of the whole token in hexadecimal; `expires_at` and `revoked_at` null = never."""

AUDIT_COLUMNS = (
    "number",  # counts up; given by the store
    "time",
    "org",
    "principal",
    "method",
    "resource",
    "code",
    "trace_id",
    "remote",
    "protocol",
    "suppressed",  # refusals before this one that have no row
)

ARTIFACT_COLUMNS = (
    "id",
    "org",
    "job",  # number of the job
    "position",  # of the task
    "job_id",
    "job_type",
    "task_type",
    "attempt",
    "token",  # lease token of the attempt: it is seen once the task has ended with this very attempt
    "cache_key",  # empty = an artifact; else an entry of the cache of this job type, seen at once
    "name",
    "form",  # file, tar
    "size",  # bytes
    "sha256",
    "created_at",
    "expires_at",
)

CONFIG_COLUMNS = (
    "scope",  # system, org, user, job; with `org`, `owner` and `name` the primary key
    "org",  # empty for the system
    "owner",  # who, or which job type; empty for system and org
    "name",
    "id",
    "type",  # string, int, float, bool, json
    "secret",  # 1 = `value` is encrypted
    "value",  # JSON; of a secret: nonce and ciphertext
    "key_id",  # of the key that it is encrypted with, empty = it is not
    "created_at",
    "updated_at",
    "updated_by",
)
"""Configurations that jobs see as variables."""

ERROR_CODE_COLUMNS = (
    "org",  # empty for the system; with `name` the primary key
    "name",
    "job_type",  # empty = of all, as the two after it
    "task_type",
    "platform",
    "exit_code",  # null = any
    "pattern",  # regular expression of RE2, empty = none
    "code",
    "message",
    "action",  # empty, RETRY_TASK, RETRY_JOB, HARD_FAILURE
    "retry",
    "created_at",
    "updated_at",
    "updated_by",
)
"""Rules that name failures."""

APPROVAL_COLUMNS = (
    "job",  # number of the job; with `position` and `attempt` the primary key
    "position",
    "attempt",  # of the task, which people were asked at
    "org",
    "job_id",
    "job_type",
    "task_type",
    "policy",  # JSON of the policy as it was when they were asked
    "state",  # OPEN, APPROVED, REJECTED, WITHDRAWN
    "asked_at",
    "deadline_at",  # when the policy's timeout_action happens; null = never, or it has happened
    "escalated_at",
    "decided_at",
    "decided_by",  # votes, deadline; null = not decided
)
"""Questions to people: who has to approve what."""

NOTICE_COLUMNS = (
    "id",  # of the job, its execution and the channel: the same for every attempt to deliver it; primary key
    "job",  # number of the job
    "org",
    "job_id",
    "job_type",
    "kind",  # email, slack, webhook
    "event",  # like job.failed
    "target",  # JSON of the channel
    "payload",  # JSON of what is told
    "state",  # PENDING, SENT, DEAD
    "attempts",
    "next_at",  # when it is tried next
    "created_at",
    "sent_at",
    "error",  # why it was not delivered, empty = no reason yet
)
"""What somebody is to be told."""

VOTE_COLUMNS = (
    "job",  # with `position`, `attempt` and `voter` the primary key
    "position",
    "attempt",
    "voter",
    "approves",  # 1 = for it, 0 = against
    "comment",
    "key",  # idempotency key of the call, empty = none
    "voted_at",
)

DEAD_LETTER_COLUMNS = (
    "job",  # number of the job; with `execution` the primary key
    "execution",  # the one that ended so
    "org",
    "job_id",
    "job_type",
    "queue",  # of `error_handling.dead_letter_queue`
    "reason",  # POISON, RETRIES_EXHAUSTED, FATAL, TIMED_OUT
    "task_type",  # the task that failed, empty = none
    "error_code",
    "error_message",
    "attempts",  # of all its tasks, up to then
    "alert",  # 1 = somebody is to be told
    "dead_at",
    "state",  # DEAD, REDRIVEN, PURGED
    "changed_at",  # when it was redriven or purged
    "redrive_key",  # idempotency key of the call that redrove it, empty = none
    "fingerprint",  # of that call
)
"""Jobs that no retry will help."""

CHECKPOINT_COLUMNS = ("job", "position", "attempt", "value", "written_at")
"""What the attempts of a task leave for the next one, the last of them; `value` null = dropped, else UTF-8 text."""

STATE_COLUMNS = ("kind", "org", "name", "value", "updated_at")
"""What parts of the engine remember beside the jobs; `value` null = forgotten."""

LIVE_JOB_STATES = ("PENDING", "EXECUTING", "PAUSED", "MANUAL_APPROVAL_REQUIRED")


@dataclass(slots=True)
class Changes:
    """Row images of one commit, keyed by primary key; a later image replaces an earlier one."""

    definitions: dict[str, Row] = field(default_factory=dict)
    jobs: dict[int, Row] = field(default_factory=dict)
    params: dict[int, Row] = field(default_factory=dict)
    tasks: dict[tuple[int, int], Row] = field(default_factory=dict)
    keys: dict[tuple[str, str], Row] = field(default_factory=dict)
    schedules: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    triggers: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    letters: dict[str, Row] = field(default_factory=dict)
    approvals: dict[tuple[int, int, int], Row] = field(default_factory=dict)
    votes: dict[tuple[int, int, int, str], Row] = field(default_factory=dict)
    dead_letters: dict[tuple[int, int], Row] = field(default_factory=dict)
    states: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    notices: dict[str, Row] = field(default_factory=dict)
    checkpoints: dict[tuple[int, int], Row] = field(default_factory=dict)
    counter: int = 0
    """Highest token counter used so far in this epoch, stored with the colony row."""

    def __bool__(self) -> bool:
        """True where there is anything to write."""
        others = self.keys or self.schedules or self.triggers or self.letters or self.approvals or self.votes
        more = self.dead_letters or self.states or self.notices or self.checkpoints
        return bool(self.jobs or self.tasks or self.params or self.definitions or others or more)

    def rows(self) -> int:
        """Number of row images."""
        others = len(self.keys) + len(self.schedules) + len(self.triggers) + len(self.letters)
        others += len(self.approvals) + len(self.votes) + len(self.dead_letters) + len(self.states) + len(self.notices)
        others += len(self.checkpoints)
        return len(self.definitions) + len(self.jobs) + len(self.params) + len(self.tasks) + others


class StoreError(Exception):
    """Root of the port's errors; the driver's own error is the cause."""


class StoreUnavailable(StoreError):
    """Nothing (or an unknown part) was written: disk full, read-only, locked, connection lost. Reload, then go on."""


class RowRefused(StoreError):
    """Nothing was written: a row breaks a rule of the schema (unknown state, an id used twice, a value of the wrong
    type or too large). The same batch would be refused again: a defect of the caller, not of the store.
    """


class Fenced(StoreError):
    """Another queen holds a later epoch: step down at once."""


class UnsupportedDataVersion(StoreError):
    """The data was written by a newer version of the product; the message says which one and the way out."""


class DataInUse(StoreError):
    """Another process serves this data; the message names it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a queen needs in memory at start: live jobs as index rows, and the tasks of jobs that have begun."""

    epoch: int
    last_number: int
    """Highest job number ever used."""
    last_order: int
    """Highest `ended_order` ever used."""
    definitions: Sequence[Row]
    """Every definition a live job names (rows of DEFINITION_COLUMNS)."""
    jobs: Iterable[Row]
    """Live jobs in order of number (rows of JOB_COLUMNS)."""
    tasks: Iterable[Row]
    """Tasks of live jobs (rows of TASK_COLUMNS), in order of job and position."""
    params: Mapping[int, tuple[bytes, bytes | None]]
    """Parameters and rendered variables of live jobs that have begun (state other than PENDING)."""
    approvals: Sequence[Row] = ()
    """Open questions (rows of APPROVAL_COLUMNS)."""
    votes: Sequence[Row] = ()
    """Votes on them (rows of VOTE_COLUMNS)."""
    states: Sequence[Row] = ()
    """What parts of the engine remember (rows of STATE_COLUMNS)."""
    checkpoints: Sequence[Row] = ()
    """What tasks of live jobs have left for their next attempts (rows of CHECKPOINT_COLUMNS)."""


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which records of the audit log are wanted; empty = all, times in seconds since the epoch."""

    org: str = ""
    principal: str = ""
    method: str = ""
    resource: str = ""
    code: str = ""
    since: float = 0.0
    until: float = 1e12
    before: int = 2**63 - 1
    """Only numbers below."""


@dataclass(frozen=True, slots=True)
class DeadLetterQuery:
    """Which dead letters are wanted; empty = all, times in seconds since the epoch."""

    org: str
    state: str = "DEAD"
    job: int = 0
    """Number of the job, 0 = any."""
    job_type: str = ""
    queue: str = ""
    reason: str = ""
    before: float = 1e12
    """Only those that died before."""
    after: tuple[int, int] = (0, 0)
    """Only those behind this job and execution, oldest first."""
    newest_first: bool = False
    """Turns the order: `after` is then what comes before the page, (0, 0) = the newest."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do beyond the port's minimum."""

    name: str
    durable: bool
    several_queens: bool
    """Other queens can stand by on the same data."""
    keeps_nul: bool = True
    """Text may contain U+0000; a store that cannot keep it gives U+FFFD back."""


class Store(Protocol):
    """One colony's data. All methods block; `commit` is called from one thread only, reads from any thread."""

    capabilities: Capabilities

    def open(self) -> None:
        """Connects and migrates. Raises UnsupportedDataVersion, StoreUnavailable."""
        ...

    def acquire(self, holder: str) -> int:
        """Takes the colony: raises the epoch by one and returns it. `holder` is shown to whoever is refused."""
        ...

    def commit(self, epoch: int, changes: Changes) -> None:
        """Writes one batch in one transaction. Raises Fenced, StoreUnavailable (outcome unknown: reload)."""
        ...

    def load(self) -> Snapshot:
        """Reads what a starting queen needs."""
        ...

    def params(self, numbers: Sequence[int]) -> dict[int, tuple[bytes, bytes | None]]:
        """Parameters and rendered variables of these jobs; unknown numbers are absent."""
        ...

    def find_ids(self, ids: Sequence[str]) -> dict[str, int]:
        """Numbers of those ids that exist."""
        ...

    def find_keys(self, org: str, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """For the keys that exist: (fingerprint, job id)."""
        ...

    def job(self, org: str, job_id: str) -> Row | None:
        """The job's row, or None."""
        ...

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
        ...

    def count_jobs(self, org: str, job_type: str, states: Sequence[str]) -> int:
        """Number of jobs of a type that are in one of the states."""
        ...

    def tasks(self, number: int, *, elements: bool = False) -> list[Row]:
        """Task rows of one job in order of position; those of elements (`jobs/fan_out.py`) only where asked for."""
        ...

    def checkpoints(self, number: int) -> list[Row]:
        """What the tasks of a job have left for their next attempts (rows of CHECKPOINT_COLUMNS), by position."""
        ...

    def element_states(self, number: int) -> list[tuple[int, str, int]]:
        """How many elements each task of a job that fans out has in each state: (position of the task, state, count),
        in order of position and state.
        """
        ...

    def elements(
        self, number: int, position: int, *, after: int = -1, limit: int = 100, states: Sequence[str] = ()
    ) -> list[Row]:
        """At most `limit` task rows of elements of the task at a position, in order of index, from above the index
        `after`; only those in `states` where some are given.
        """
        ...

    def definition(self, definition_id: str) -> Row | None:
        """One definition row."""
        ...

    def latest_definition(self, org: str, job_type: str) -> Row | None:
        """The newest version of a job type."""
        ...

    def definitions_of_all(self, job_type: str) -> list[Row]:
        """The versions of a job type that say `public_plugin` anywhere, by organisation, newest first, and those that
        are the newest of their organisation.
        """
        ...

    def definitions(
        self,
        org: str,
        *,
        job_type: str = "",
        after: tuple[str, int] = ("", 0),
        limit: int = 100,
        with_source: bool = False,
    ) -> list[Row]:
        """Definitions by job type, newest version first, from behind the job type and version `after`; of one type
        where `job_type` is given. Their sources are empty unless asked for.
        """
        ...

    def counts(self) -> dict[str, int]:
        """Number of jobs by state."""
        ...

    def schedules(self) -> list[Row]:
        """Every schedule (rows of SCHEDULE_COLUMNS) in order of organisation, job type and name."""
        ...

    def triggers(self) -> list[Row]:
        """Every event trigger (rows of TRIGGER_COLUMNS) in order of organisation, job type and name."""
        ...

    def letters(self, org: str, job_type: str, limit: int) -> list[Row]:
        """At most `limit` events that could start no job (rows of LETTER_COLUMNS), newest first; `job_type` empty = of
        all.
        """
        ...

    def purge_letters(self, before: float, limit: int) -> int:
        """Removes at most `limit` of the oldest letters, none of this time or later; returns how many. Raises
        StoreUnavailable.
        """
        ...

    def approvals(
        self, org: str, *, job: int = 0, after: tuple[int, int, int] = (0, -1, 0), limit: int = 100
    ) -> list[Row]:
        """Questions to people in order of job, position and attempt: all of one job where `job` is its number, else
        the open ones; at most `limit`, from behind the key `after`.
        """
        ...

    def votes(self, jobs: Sequence[int]) -> list[Row]:
        """Votes on all questions of these jobs (rows of VOTE_COLUMNS), oldest first."""
        ...

    def dead_letters(self, query: DeadLetterQuery, limit: int) -> list[Row]:
        """At most `limit` dead letters (rows of DEAD_LETTER_COLUMNS) in order of job and execution."""
        ...

    def redriven(self, org: str, key: str) -> list[Row]:
        """The dead letters that the call with this idempotency key has redriven, in order of job and execution."""
        ...

    def dead_letter_counts(self) -> dict[str, tuple[int, int]]:
        """Number of dead letters by queue, and of those among them that somebody is to be told of; those redriven or
        purged left out.
        """
        ...

    def states(self, kind: str) -> list[Row]:
        """What a part of the engine remembers (rows of STATE_COLUMNS), without what it has forgotten, by key."""
        ...

    def due_notices(self, limit: int) -> list[Row]:
        """At most `limit` notices (rows of NOTICE_COLUMNS) that are PENDING, those that are due first in front."""
        ...

    def notices(
        self, org: str, *, job_id: str = "", state: str = "", after: tuple[float, str] = (1e12, ""), limit: int = 100
    ) -> list[Row]:
        """At most `limit` notices, newest first, from behind the time of creation and id `after`."""
        ...

    def notice(self, org: str, notice_id: str) -> Row | None:
        """One notice."""
        ...

    def tokens(self) -> list[Row]:
        """Every token (rows of TOKEN_COLUMNS) in order of creation."""
        ...

    def add_token(self, row: Row) -> None:
        """Stores a token; from any thread and whoever holds the colony. Raises RowRefused, StoreUnavailable."""
        ...

    def revoke_token(self, token_id: str, at: float) -> bool:
        """Marks a token as revoked at a time; False where there is none that is not. As for `add_token`."""
        ...

    def configs(self) -> list[Row]:
        """Every configuration (rows of CONFIG_COLUMNS), in no order."""
        ...

    def put_config(self, row: Row) -> None:
        """Stores a configuration, instead of the one of its key; from any thread and whoever holds the colony. Raises
        RowRefused, StoreUnavailable.
        """
        ...

    def remove_config(self, scope: str, org: str, owner: str, name: str) -> bool:
        """Removes a configuration; False where there is none. As for `put_config`."""
        ...

    def error_codes(self) -> list[Row]:
        """Every rule that names failures (rows of ERROR_CODE_COLUMNS), in no order."""
        ...

    def put_error_code(self, row: Row) -> None:
        """Stores a rule, instead of the one of its key; as for `put_config`."""
        ...

    def remove_error_code(self, org: str, name: str) -> bool:
        """Removes a rule; False where there is none. As for `put_config`."""
        ...

    def add_audit(self, rows: Sequence[Row]) -> None:
        """Appends records (rows of AUDIT_COLUMNS without the number), one or more, in one transaction; from any thread.
        Raises StoreUnavailable.
        """
        ...

    def audit(self, query: AuditQuery, limit: int) -> list[Row]:
        """At most `limit` records (rows of AUDIT_COLUMNS), newest first."""
        ...

    def purge_audit(self, before: float, limit: int) -> int:
        """Removes at most `limit` of the oldest records before this time; how many. Raises StoreUnavailable."""
        ...

    def add_artifact(self, row: Row) -> None:
        """Stores a file's row (ARTIFACT_COLUMNS); from any thread. Raises RowRefused, StoreUnavailable."""
        ...

    def artifacts(self, org: str, job_id: str) -> list[Row]:
        """The artifacts of a job whose task has ended with the attempt that left them, in order of task and name."""
        ...

    def artifact(self, artifact_id: str) -> Row | None:
        """One artifact that can be seen, or one entry of the cache."""
        ...

    def cached(self, org: str, job_type: str, cache_key: str, now: float) -> Row | None:
        """The oldest entry of the cache under a key that has not expired."""
        ...

    def artifact_bytes(self, org: str) -> int:
        """Size of all artifacts and entries of the cache of an organisation."""
        ...

    def removable_artifacts(self, now: float, left_before: float, limit: int) -> list[str]:
        """At most `limit` ids of files that have expired, or that were stored before `left_before` by an attempt that
        is not its task's last.
        """
        ...

    def remove_artifacts(self, ids: Sequence[str]) -> int:
        """Removes the rows of these ids; returns how many there were. Raises StoreUnavailable."""
        ...

    def upload(self, org: str, name: str) -> Row | None:
        """An upload of an organisation that is not complete, by its id or its place: a row of ARTIFACT_COLUMNS without
        job and cache key, which nobody sees; its place is in `job_id`, and becomes the cache key once it is complete.
        """
        ...

    def upload_count(self, org: str) -> int:
        """How many uploads of an organisation are not complete."""
        ...

    def complete_upload(self, row: Row) -> bool:
        """Puts an artifact's row in the place of its upload's; False, and nothing has happened, where there is none.
        Raises RowRefused, StoreUnavailable.
        """
        ...

    def ended_jobs(self, after: int, limit: int) -> list[Row]:
        """At most `limit` ended jobs (rows of ENDED_COLUMNS) with numbers above `after`, in order of number."""
        ...

    def remove_jobs(self, epoch: int, numbers: Sequence[int]) -> int:
        """Removes those of these jobs that have ended, their parameters, tasks and votes, in one transaction; returns
        how many jobs. Raises Fenced, StoreUnavailable.
        """
        ...

    def remove_keys(self, after: tuple[str, str], limit: int) -> tuple[int, tuple[str, str] | None]:
        """Looks at the next `limit` idempotency keys behind the organisation and key `after`, and removes those whose
        job is gone; returns how many, and the last one looked at (None = there are no more). Raises StoreUnavailable.
        """
        ...

    def close(self) -> None:
        """Releases connections; idempotent."""
        ...
