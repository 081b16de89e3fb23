"""The store in memory: for the simulation and for tests, with the port's contract and faults on order.

What `commit` has taken stays when a queen "crashes": the object outlives the queens that use it, and :meth:`clone` is
a copy of the disk at one moment. A commit is a few dictionary updates; everything a reader needs beyond primary keys
is brought up to date by the next read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from threading import Lock
from typing import Final, Literal

from formicary.engine.jobs.approval import APPROVAL_STATES
from formicary.engine.jobs.fan_out import STRIDE, definition_position, element_position, is_element
from formicary.engine.jobs.lifecycle import JOB_ENDED, JOB_STATES, TASK_STATES
from formicary.engine.jobs.notices import NOTICE_STATES
from formicary.engine.storage import schema
from formicary.engine.storage.column_types import COLUMN_TYPES
from formicary.engine.storage.memory_artifacts import ArtifactTable
from formicary.engine.storage.port import (
    AUDIT_COLUMNS,
    DEAD_LETTER_COLUMNS,
    JOB_COLUMNS,
    LIVE_JOB_STATES,
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

Fault = Literal["before", "unknown"]
"""`before`: nothing is written; `unknown`: everything is written, and the writer is told that it failed."""

_ID: Final = JOB_COLUMNS.index("id")
_ORG: Final = JOB_COLUMNS.index("org")
_DEFINITION: Final = JOB_COLUMNS.index("definition_id")
_TYPE: Final = JOB_COLUMNS.index("job_type")
_STATE: Final = JOB_COLUMNS.index("state")
_SUBMITTED: Final = JOB_COLUMNS.index("submitted_at")
_ENDED_AT: Final = JOB_COLUMNS.index("ended_at")
_EXECUTION: Final = JOB_COLUMNS.index("execution")
_MARK: Final = JOB_COLUMNS.index("dead_letter")
_STATES: Final = {
    "jobs": JOB_STATES,
    "tasks": TASK_STATES,
    "approvals": APPROVAL_STATES,
    "dead_letters": schema.LETTER_STATES,
    "notices": NOTICE_STATES,
}
_LIVE: Final = frozenset(LIVE_JOB_STATES)


class MemoryStore:
    """A colony's data in dictionaries.

    Args:
        strict: check the types, states and ids of every batch, so that a test finds what the databases would refuse.
    """

    capabilities = Capabilities(name="memory", durable=False, several_queens=True)

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._lock = Lock()
        self._epoch = 0
        self._last_number = 0
        self._last_order = 0
        self._tables = Changes()
        self._tokens: dict[str, Row] = {}
        self._configs: dict[Row, Row] = {}
        self._error_codes: dict[Row, Row] = {}
        self._audit: list[Row] = []
        self._audited = 0
        self._artifacts = ArtifactTable(lambda job, position: self._tables.tasks.get((job, position)))
        self._numbers: dict[str, int] = {}
        self._positions: dict[int, set[int]] = {}
        self._new_jobs: list[list[int]] = []
        self._new_tasks: list[list[tuple[int, int]]] = []
        self._faults: list[Fault] = []
        self.commits = 0
        """Commits that wrote something, for tests that count them."""

    def fail_next(self, kind: Fault) -> None:
        """The next commit raises StoreUnavailable; several calls queue up."""
        self._faults.append(kind)

    def clone(self) -> MemoryStore:
        """An independent store with the same committed data and no faults queued."""
        copy = MemoryStore(strict=self._strict)
        with self._lock:
            self._index()
            copy._epoch, copy._last_number, copy._last_order = self._epoch, self._last_number, self._last_order
            mine, theirs = self._tables, copy._tables
            theirs.definitions, theirs.jobs, theirs.params = dict(mine.definitions), dict(mine.jobs), dict(mine.params)
            theirs.tasks, theirs.keys, theirs.counter = dict(mine.tasks), dict(mine.keys), mine.counter
            theirs.schedules, theirs.triggers = dict(mine.schedules), dict(mine.triggers)
            theirs.letters = dict(mine.letters)
            copy._tokens, copy._configs = dict(self._tokens), dict(self._configs)
            copy._error_codes = dict(self._error_codes)
            theirs.approvals, theirs.votes = dict(mine.approvals), dict(mine.votes)
            theirs.dead_letters, theirs.states = dict(mine.dead_letters), dict(mine.states)
            theirs.notices, theirs.checkpoints = dict(mine.notices), dict(mine.checkpoints)
            copy._artifacts.rows = dict(self._artifacts.rows)
            copy._audit, copy._audited = list(self._audit), self._audited
            copy._numbers = dict(self._numbers)
            copy._positions = {job: set(positions) for job, positions in self._positions.items()}
        return copy

    def open(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to release; the data stays for the next queen."""

    def acquire(self, holder: str) -> int:
        """Takes the colony: raises the epoch by one and returns it."""
        with self._lock:
            self._epoch += 1
            self._tables.counter = 0
            return self._epoch

    def commit(self, epoch: int, changes: Changes) -> None:
        """Writes one batch. Raises Fenced, RowRefused (when strict), StoreUnavailable (when ordered)."""
        with self._lock:
            fault = self._faults.pop(0) if self._faults else None
            if fault == "before":
                raise StoreUnavailable("A failure on order: nothing was written.")
            if epoch != self._epoch:
                raise Fenced(f"Another queen has taken over: epoch {epoch} is not the latest any more.")
            if self._strict:
                _check(changes)
                self._index()
                for number, row in changes.jobs.items():
                    if self._numbers.get(str(row[_ID]), number) != number:
                        raise RowRefused(f"Job {number} has the id {row[_ID]!r} of another one")
            tables = self._tables
            tables.definitions.update(changes.definitions)
            tables.jobs.update(changes.jobs)
            tables.params.update(changes.params)
            tables.tasks.update(changes.tasks)
            tables.keys.update(changes.keys)
            tables.schedules.update(changes.schedules)
            tables.triggers.update(changes.triggers)
            tables.letters.update(changes.letters)
            tables.approvals.update(changes.approvals)
            tables.votes.update(changes.votes)
            tables.dead_letters.update(changes.dead_letters)
            tables.states.update(changes.states)
            tables.notices.update(changes.notices)
            tables.checkpoints.update(changes.checkpoints)
            tables.counter = max(tables.counter, changes.counter)
            if changes.jobs:
                self._new_jobs.append(list(changes.jobs))
            if changes.tasks:
                self._new_tasks.append(list(changes.tasks))
            self.commits += 1
            if fault == "unknown":
                raise StoreUnavailable("A failure on order: the outcome is unknown.")

    def _index(self) -> None:
        """Brings the secondary indexes up to date with what was committed since the last read."""
        jobs, tasks = self._tables.jobs, self._tables.tasks
        for numbers in self._new_jobs:
            self._last_number = max(self._last_number, *numbers)
            for number in numbers:
                self._numbers[str(jobs[number][_ID])] = number
        for keys in self._new_tasks:
            for key in keys:
                self._positions.setdefault(key[0], set()).add(key[1])
                order = tasks[key][-1]
                if isinstance(order, int) and order > self._last_order:
                    self._last_order = order
        self._new_jobs.clear()
        self._new_tasks.clear()

    def load(self) -> Snapshot:
        """Reads what a starting queen needs."""
        with self._lock:
            self._index()
            tables = self._tables
            live = [tables.jobs[number] for number in sorted(tables.jobs) if tables.jobs[number][_STATE] in _LIVE]
            used = {str(row[_DEFINITION]) for row in live}
            begun = [row for row in live if row[_STATE] != "PENDING" or row[_EXECUTION]]
            return Snapshot(
                epoch=self._epoch,
                last_number=self._last_number,
                last_order=self._last_order,
                definitions=[tables.definitions[name] for name in sorted(used) if name in tables.definitions],
                jobs=live,
                tasks=[row for job in begun for row in self._tasks_of(_number(job))],
                params=self._params_of([_number(row) for row in begun if row[_STATE] != "PENDING"]),
                approvals=(asked := [row for _, row in sorted(tables.approvals.items()) if _is_open(row)]),
                votes=sorted(
                    (row for row in tables.votes.values() if row[:3] in {one[:3] for one in asked}), key=_by_time
                ),
                states=[row for _, row in sorted(tables.states.items()) if row[3] is not None],
                checkpoints=self._checkpoints_of({_number(row) for row in live}),
            )

    def _tasks_of(self, number: int) -> list[Row]:
        return [self._tables.tasks[number, position] for position in sorted(self._positions.get(number, ()))]

    def _checkpoints_of(self, numbers: Container[int]) -> list[Row]:
        kept = self._tables.checkpoints
        return [kept[key] for key in sorted(key for key in kept if key[0] in numbers) if kept[key][3] is not None]

    def checkpoints(self, number: int) -> list[Row]:
        """What the tasks of a job have left for their next attempts."""
        with self._lock:
            return self._checkpoints_of({number})

    def _params_of(self, numbers: Sequence[int]) -> dict[int, tuple[bytes, bytes | None]]:
        rows = self._tables.params
        return {number: rows[number][1:] for number in numbers if number in rows}  # type: ignore[misc]  # by COLUMN_TYPES

    def params(self, numbers: Sequence[int]) -> dict[int, tuple[bytes, bytes | None]]:
        """Parameters and rendered variables of these jobs; unknown numbers are absent."""
        with self._lock:
            return self._params_of(numbers)

    def find_ids(self, ids: Sequence[str]) -> dict[str, int]:
        """Numbers of those ids that exist."""
        with self._lock:
            self._index()
            return {name: self._numbers[name] for name in ids if name in self._numbers}

    def find_keys(self, org: str, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """For the keys that exist: (fingerprint, job id)."""
        with self._lock:
            rows = self._tables.keys
            return {key: (str(rows[org, key][2]), str(rows[org, key][4])) for key in keys if (org, key) in rows}

    def job(self, org: str, job_id: str) -> Row | None:
        """The job's row, or None."""
        with self._lock:
            self._index()
            row = self._tables.jobs.get(self._numbers.get(job_id, -1))
            return row if row is not None and row[_ORG] == org else None

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
        """Pages of job rows, newest first, from below the number `before` (0 = from the newest); limit 0 = all."""
        wanted = frozenset(states)
        with self._lock:
            numbers = sorted((n for n in self._tables.jobs if not before or n < before), reverse=True)
        found: list[Row] = []
        sent = 0
        for number in numbers:
            row = self._tables.jobs[number]
            if row[_ORG] == org and (not wanted or row[_STATE] in wanted) and job_type in ("", row[_TYPE]):
                found.append(row)
                sent += 1
                if len(found) == page or sent == limit:
                    yield found
                    found = []
                    if sent == limit:
                        return
        if found:
            yield found

    def count_jobs(self, org: str, job_type: str, states: Sequence[str]) -> int:
        """Number of jobs of a type that are in one of the states."""
        with self._lock:
            rows = self._tables.jobs.values()
            return sum(row[_ORG] == org and row[_TYPE] == job_type and row[_STATE] in states for row in rows)

    def tasks(self, number: int, *, elements: bool = False) -> list[Row]:
        """Task rows of one job in order of position."""
        with self._lock:
            self._index()
            return [row for row in self._tasks_of(number) if elements or not is_element(int(row[1] or 0))]

    def element_states(self, number: int) -> list[tuple[int, str, int]]:
        """How many elements each task that fans out has in each state."""
        rows = [row for row in self.tasks(number, elements=True) if is_element(int(row[1] or 0))]
        found = Counter((definition_position(int(row[1] or 0)), str(row[2])) for row in rows)
        return [(position, state, count) for (position, state), count in sorted(found.items())]

    def elements(
        self, number: int, position: int, *, after: int = -1, limit: int = 100, states: Sequence[str] = ()
    ) -> list[Row]:
        """A page of the elements of a task."""
        first = element_position(position, 0)
        found = [
            row
            for row in self.tasks(number, elements=True)
            if first + max(after, -1) < int(row[1] or 0) < first + STRIDE and (not states or row[2] in states)
        ]
        return found[:limit]

    def definition(self, definition_id: str) -> Row | None:
        """One definition row."""
        with self._lock:
            return self._tables.definitions.get(definition_id)

    def latest_definition(self, org: str, job_type: str) -> Row | None:
        """The newest version of a job type."""
        with self._lock:
            rows = [row for row in self._tables.definitions.values() if row[1] == org and row[2] == job_type]
        rows = [row for row in rows if int(row[3] or 0) > 0]
        return max(rows, key=lambda row: int(row[3] or 0), default=None)

    def definitions_of_all(self, job_type: str) -> list[Row]:
        """The versions of a job type that may be public, and the newest of each organisation."""
        with self._lock:
            rows = [row for row in self._tables.definitions.values() if row[2] == job_type and int(row[3] or 0) > 0]
        newest: dict[str, int] = {}
        for row in rows:
            newest[str(row[1])] = max(newest.get(str(row[1]), 0), int(row[3] or 0))
        found = [row for row in rows if "public_plugin" in str(row[4]) or row[3] == newest[str(row[1])]]
        return sorted(found, key=lambda row: (str(row[1]), -int(row[3] or 0)))

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
        with self._lock:
            known = [row for row in self._tables.definitions.values() if row[1] == org and int(row[3] or 0) > 0]
        placed = sorted(((str(row[2]), -int(row[3] or 0)), row) for row in known if job_type in ("", row[2]))
        start = (after[0], -after[1])
        found = [row for place, row in placed if place > start or not after[0]][:limit]
        return found if with_source else [(*row[:4], "", *row[5:]) for row in found]

    def counts(self) -> dict[str, int]:
        """Number of jobs by state."""
        with self._lock:
            return dict(Counter(str(row[_STATE]) for row in self._tables.jobs.values()))

    def schedules(self) -> list[Row]:
        """Every schedule in order of organisation, job type and name."""
        with self._lock:
            return [row for _, row in sorted(self._tables.schedules.items())]

    def triggers(self) -> list[Row]:
        """Every event trigger in order of organisation, job type and name."""
        with self._lock:
            return [row for _, row in sorted(self._tables.triggers.items())]

    def letters(self, org: str, job_type: str, limit: int) -> list[Row]:
        """Events that could start no job, newest first."""
        with self._lock:
            rows = [row for row in self._tables.letters.values() if row[1] == org and job_type in ("", row[2])]
        return sorted(rows, key=lambda row: (float(row[-1] or 0), str(row[0])), reverse=True)[:limit]

    def purge_letters(self, before: float, limit: int) -> int:
        """Removes at most `limit` of the oldest letters."""
        with self._lock:
            rows = sorted(self._tables.letters.values(), key=lambda row: (float(row[-1] or 0), str(row[0])))
            gone = [str(row[0]) for row in rows if float(row[-1] or 0) < before][:limit]
            for name in gone:
                del self._tables.letters[name]
            return len(gone)

    def approvals(
        self, org: str, *, job: int = 0, after: tuple[int, int, int] = (0, -1, 0), limit: int = 100
    ) -> list[Row]:
        """A page of questions to people."""
        with self._lock:
            rows = sorted(self._tables.approvals.items())
        wanted = [
            row for key, row in rows if key > after and row[3] == org and (key[0] == job if job else _is_open(row))
        ]
        return wanted[:limit]

    def votes(self, jobs: Sequence[int]) -> list[Row]:
        """Votes on all questions of these jobs, oldest first."""
        with self._lock:
            rows = [row for row in self._tables.votes.values() if row[0] in jobs]
        return sorted(rows, key=_by_time)

    def dead_letters(self, query: DeadLetterQuery, limit: int) -> list[Row]:
        """A page of dead letters in order of job and execution."""
        with self._lock:
            rows = sorted(self._tables.dead_letters.items(), reverse=query.newest_first)
        found = []
        for key, row in rows:
            one = dict(zip(DEAD_LETTER_COLUMNS, row, strict=True))
            behind = query.after == (0, 0) or (key < query.after if query.newest_first else key > query.after)
            wanted = all(
                getattr(query, name) in ("", 0, one[name]) for name in ("job", "job_type", "queue", "reason")
            ) and (one["state"], one["org"]) == (query.state, query.org)
            if wanted and behind and float(one["dead_at"] or 0) < query.before:
                found.append(row)
        return found[:limit]

    def redriven(self, org: str, key: str) -> list[Row]:
        """The dead letters that the call with this idempotency key has redriven."""
        at = DEAD_LETTER_COLUMNS.index("redrive_key")
        with self._lock:
            return [row for _, row in sorted(self._tables.dead_letters.items()) if row[2] == org and row[at] == key]

    def dead_letter_counts(self) -> dict[str, tuple[int, int]]:
        """Number of dead letters by queue, and of those that somebody is to be told of."""
        queue, state, alert = (DEAD_LETTER_COLUMNS.index(name) for name in ("queue", "state", "alert"))
        found: dict[str, tuple[int, int]] = {}
        with self._lock:
            for row in self._tables.dead_letters.values():
                if row[state] == "DEAD":
                    dead, told = found.get(str(row[queue]), (0, 0))
                    found[str(row[queue])] = (dead + 1, told + int(row[alert] or 0))
        return found

    def states(self, kind: str) -> list[Row]:
        """What a part of the engine remembers, by key."""
        with self._lock:
            return [row for key, row in sorted(self._tables.states.items()) if key[0] == kind and row[3] is not None]

    def due_notices(self, limit: int) -> list[Row]:
        """Notices that are pending, those that are due first in front."""
        with self._lock:
            rows = [row for row in self._tables.notices.values() if row[9] == "PENDING"]
        return sorted(rows, key=lambda row: (float(row[11] or 0), str(row[0])))[:limit]

    def notices(
        self, org: str, *, job_id: str = "", state: str = "", after: tuple[float, str] = (1e12, ""), limit: int = 100
    ) -> list[Row]:
        """A page of notices, newest first."""
        with self._lock:
            rows = [row for row in self._tables.notices.values() if row[2] == org]
        wanted = [row for row in rows if job_id in ("", row[3]) and state in ("", row[9])]
        wanted.sort(key=_by_creation, reverse=True)
        return [row for row in wanted if _by_creation(row) < after][:limit]

    def notice(self, org: str, notice_id: str) -> Row | None:
        """One notice."""
        with self._lock:
            row = self._tables.notices.get(notice_id)
        return row if row is not None and row[2] == org else None

    def tokens(self) -> list[Row]:
        """Every token in order of creation."""
        with self._lock:
            return sorted(self._tokens.values(), key=lambda row: (float(row[6] or 0), str(row[0])))

    def add_token(self, row: Row) -> None:
        """Stores a token. Raises RowRefused where there is one of that id."""
        with self._lock:
            if str(row[0]) in self._tokens:
                raise RowRefused(f"There is a token {row[0]!r} already")
            self._tokens[str(row[0])] = row

    def revoke_token(self, token_id: str, at: float) -> bool:
        """Marks a token as revoked; False where there is none that is not."""
        with self._lock:
            row = self._tokens.get(token_id)
            if row is None or row[-1] is not None:
                return False
            self._tokens[token_id] = (*row[:-1], at)
            return True

    def configs(self) -> list[Row]:
        """Every configuration, in no order."""
        with self._lock:
            return list(self._configs.values())

    def put_config(self, row: Row) -> None:
        """Stores a configuration."""
        with self._lock:
            self._configs[row[:4]] = row

    def remove_config(self, scope: str, org: str, owner: str, name: str) -> bool:
        """Removes a configuration; False where there is none."""
        with self._lock:
            return self._configs.pop((scope, org, owner, name), None) is not None

    def error_codes(self) -> list[Row]:
        """Every rule that names failures, in no order."""
        with self._lock:
            return list(self._error_codes.values())

    def put_error_code(self, row: Row) -> None:
        """Stores a rule."""
        with self._lock:
            self._error_codes[row[:2]] = row

    def remove_error_code(self, org: str, name: str) -> bool:
        """Removes a rule; False where there is none."""
        with self._lock:
            return self._error_codes.pop((org, name), None) is not None

    def add_audit(self, rows: Sequence[Row]) -> None:
        """Appends records."""
        with self._lock:
            for row in schema.cleaned(rows, nul=True):
                self._audited += 1
                self._audit.append((self._audited, *row))

    def audit(self, query: AuditQuery, limit: int) -> list[Row]:
        """At most `limit` records, newest first."""
        wanted = {at: value for at, name in enumerate(AUDIT_COLUMNS) if (value := getattr(query, name, ""))}
        with self._lock:
            rows = [
                row
                for row in self._audit
                if _number(row) < query.before
                and query.since <= float(row[1] or 0) < query.until
                and all(row[at] == value for at, value in wanted.items())
            ]
        return rows[::-1][:limit]

    def purge_audit(self, before: float, limit: int) -> int:
        """Removes at most `limit` of the oldest records."""
        with self._lock:
            old = {_number(row) for row in self._audit if float(row[1] or 0) < before}
            gone = set(sorted(old)[:limit])
            self._audit = [row for row in self._audit if _number(row) not in gone]
            return len(gone)

    def add_artifact(self, row: Row) -> None:
        """Stores what is known of a file. Raises RowRefused where there is one of that id."""
        with self._lock:
            self._artifacts.add(row)

    def artifacts(self, org: str, job_id: str) -> list[Row]:
        """The artifacts of a job that can be seen."""
        with self._lock:
            return self._artifacts.of_job(org, job_id)

    def artifact(self, artifact_id: str) -> Row | None:
        """One artifact that can be seen, or one entry of the cache."""
        with self._lock:
            return self._artifacts.find(artifact_id)

    def cached(self, org: str, job_type: str, cache_key: str, now: float) -> Row | None:
        """The oldest entry of the cache under a key that has not expired."""
        with self._lock:
            return self._artifacts.cached(org, job_type, cache_key, now)

    def artifact_bytes(self, org: str) -> int:
        """Size of an organisation's files."""
        with self._lock:
            return self._artifacts.size_of(org)

    def removable_artifacts(self, now: float, left_before: float, limit: int) -> list[str]:
        """Ids of files that nobody can want any more."""
        with self._lock:
            return self._artifacts.removable(now, left_before, limit)

    def remove_artifacts(self, ids: Sequence[str]) -> int:
        """Removes the rows of these ids."""
        with self._lock:
            return self._artifacts.remove(ids)

    def upload(self, org: str, name: str) -> Row | None:
        """The row of an upload that is not complete, by its id or its place."""
        with self._lock:
            return self._artifacts.upload(org, name)

    def upload_count(self, org: str) -> int:
        """How many uploads of an organisation are not complete."""
        with self._lock:
            return len(self._artifacts.uploads(org))

    def complete_upload(self, row: Row) -> bool:
        """Puts an artifact in the place of its upload."""
        with self._lock:
            return self._artifacts.complete(row)

    def ended_jobs(self, after: int, limit: int) -> list[Row]:
        """Jobs that have ended, in order of number."""
        with self._lock:
            self._index()
            rows = [self._tables.jobs[number] for number in sorted(self._tables.jobs) if number > after]
            ended = [row for row in rows if row[_ENDED_AT] is not None][:limit]
            places = (_ID, _DEFINITION, _STATE, _SUBMITTED, _ENDED_AT)
            return [
                (
                    row[0],
                    *(row[place] for place in places),
                    len(self._positions.get(_number(row), ())),
                    *(row[2], row[4], row[_MARK]),
                )
                for row in ended
            ]

    def remove_jobs(self, epoch: int, numbers: Sequence[int]) -> int:
        """Removes jobs that have ended, with all that belongs to them. Raises Fenced."""
        with self._lock:
            if epoch != self._epoch:
                raise Fenced(f"Another queen has taken over: epoch {epoch} is not the latest any more.")
            self._index()
            tables = self._tables
            gone = [number for number in numbers if tables.jobs.get(number, (None,) * 6)[_STATE] in JOB_ENDED]
            for asked in [key for key in tables.approvals if key[0] in gone]:
                del tables.approvals[asked]
            for voted in [key for key in tables.votes if key[0] in gone]:
                del tables.votes[voted]
            for dead in [key for key in tables.dead_letters if key[0] in gone]:
                del tables.dead_letters[dead]
            for left in [key for key in tables.checkpoints if key[0] in gone]:
                del tables.checkpoints[left]
            for told in [key for key, row in tables.notices.items() if row[1] in gone]:
                del tables.notices[told]
            for number in gone:
                self._numbers.pop(str(tables.jobs.pop(number)[_ID]), None)
                tables.params.pop(number, None)
                for position in self._positions.pop(number, ()):
                    del tables.tasks[number, position]
            return len(gone)

    def remove_keys(self, after: tuple[str, str], limit: int) -> tuple[int, tuple[str, str] | None]:
        """Removes keys whose job is gone."""
        with self._lock:
            looked_at = [pair for pair in sorted(self._tables.keys) if pair > after][:limit]
            gone = [pair for pair in looked_at if self._tables.keys[pair][3] not in self._tables.jobs]
            for pair in gone:
                del self._tables.keys[pair]
            return len(gone), looked_at[-1] if looked_at else None


def _is_open(row: Row) -> bool:
    """Whether a question to people is open."""
    return row[8] == "OPEN"


def _by_creation(row: Row) -> tuple[float, str]:
    return float(row[12] or 0), str(row[0])


def _by_time(vote: Row) -> tuple[float, str]:
    """Where a vote stands in their order."""
    return float(vote[7] or 0.0), str(vote[3])


def _number(row: Row) -> int:
    """The job number at the head of a row."""
    return int(row[0] or 0)


def _check(changes: Changes) -> None:
    """Raises RowRefused for a row whose length or types are not the schema's."""
    for table, rows in schema.batches(changes):
        for row in rows:
            if len(row) != len(table.columns):
                raise RowRefused(f"A row of {table.name} has {len(row)} values, not {len(table.columns)}: {row!r}")
            for column, value in zip(table.columns, row, strict=True):
                kind = COLUMN_TYPES.get(column, str)
                if column == "state" and value not in _STATES.get(table.name, ()):
                    raise RowRefused(f"{table.name}.state cannot be {value!r}")
                if value is not None and not isinstance(value, (int, float) if kind is float else kind):
                    raise RowRefused(f"{table.name}.{column} holds {kind.__name__}, not {value!r}")
