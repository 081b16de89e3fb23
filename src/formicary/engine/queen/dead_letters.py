"""The dead-letter queue as the API shows it: list, redrive, purge.

Theory of operation. A letter stands in the store since the commit that ended its job. To redrive it is one commit: the
job is PENDING again and its letter REDRIVEN; of a call with an idempotency key each of its letters remembers the key. A
server that is killed before that commit has redriven nothing, and the repeated call does; one that is killed after it
finds the key, and answers as before. A rate is kept by timers: the n-th job of a call begins n / rate seconds after the
first, and a timer is a row like every other, which outlives the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from formicary.engine.queen.core.core import Core
from formicary.engine.queen.core.dead_letters import PURGED, REDRIVEN, changed, unmark
from formicary.engine.queen.core.records import Definition
from formicary.engine.storage.port import DEAD_LETTER_COLUMNS, JOB_COLUMNS, DeadLetterQuery, Row
from formicary.problems import problem

if TYPE_CHECKING:
    from formicary.engine.queen.runtime import Queen

_AT = {name: position for position, name in enumerate(DEAD_LETTER_COLUMNS)}
_JOB_ID, _STATE, _FINGERPRINT = _AT["job_id"], _AT["state"], _AT["fingerprint"]
_MARK = JOB_COLUMNS.index("dead_letter")


@dataclass(frozen=True, slots=True)
class Redrive:
    """How letters are redriven.

    Attributes:
        rate_per_s: Jobs that begin in a second, 0 = all at once.
        start_at: When the first begins, in seconds since the epoch; None = now.
        hard: Completed tasks run again as well.
        key: Idempotency key of the call, empty = none.
    """

    rate_per_s: float = 0.0
    start_at: float | None = None
    hard: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True)
class Redriven:
    """What a call has redriven.

    Attributes:
        ids: Of the jobs, oldest first.
        next_start_at: When the next job could begin at this rate, in seconds since the epoch.
        more: There are more that the filter takes.
        repeated: An earlier call with this key has done it.
    """

    ids: Sequence[str]
    next_start_at: float
    more: bool
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class _Dead:
    """A letter with all that its job needs to run again."""

    letter: Row
    definition: Definition
    row: Row
    tasks: Sequence[Row]
    checkpoints: Sequence[Row]


class DeadLetters:
    """The dead letters of one queen.

    Args:
        queen: Whose jobs they are.
    """

    def __init__(self, queen: Queen) -> None:
        self._queen = queen

    async def page(self, query: DeadLetterQuery, size: int) -> list[Row]:
        """At most `size` letters (rows of DEAD_LETTER_COLUMNS)."""
        store = self._queen.store
        return await self._queen.pump.read(lambda: store.dead_letters(query, size))

    async def last(self, org: str, job_id: str) -> Row:
        """The last letter of a job. Raises Problem NOT_FOUND."""
        row = await self._queen.row(job_id, org=org)
        store, number = self._queen.store, int(row[0] or 0)
        queries = [DeadLetterQuery(org, state, job=number, newest_first=True) for state in ("DEAD", REDRIVEN, PURGED)]
        found = await self._queen.pump.read(lambda: [one for query in queries for one in store.dead_letters(query, 1)])
        if not found:
            raise problem(
                "NOT_FOUND", f"job {job_id[:40]} never was a dead letter; `formicary deadletters list` shows those."
            )
        return max(found)

    async def counts(self) -> dict[str, tuple[int, int]]:
        """Number of dead letters by queue, and of those that somebody is to be told of, of all organisations."""
        return await self._queen.pump.read(self._queen.store.dead_letter_counts)

    async def redrive(self, query: DeadLetterQuery, job_id: str, limit: int, how: Redrive) -> Redriven:
        """Runs dead jobs again, oldest first, in one commit; answers after it.

        Args:
            query: Which ones.
            job_id: Only this job; empty = all that `query` takes.
            limit: Most of them.
            how: At which rate, and how.

        Raises:
            Problem: NOT_FOUND, FAILED_PRECONDITION (the named job is no dead letter now), IDEMPOTENCY_KEY_REUSED,
                UNAVAILABLE.
        """
        queen = self._queen
        asked = _fingerprint(query, job_id, how)
        async with queen.reviving:
            await queen.pump.settle()
            if how.key and (earlier := await self._repeated(query.org, how.key, asked)) is not None:
                return earlier
            dead, more = await self._read(query, job_id, limit)
            core = queen.pump.now()
            start = max(core.wall, how.start_at or 0.0)
            gap_s = 1 / how.rate_per_s if how.rate_per_s else 0.0
            for at, one in enumerate(dead):
                core.retry(
                    one.definition,
                    one.row,
                    one.tasks,
                    hard=how.hard,
                    start_at=start + at * gap_s,
                    checkpoints=one.checkpoints,
                )
                _change(core, one.letter, REDRIVEN, how.key, asked if how.key else "")
            await queen.pump.commit()
            return Redriven([str(one.letter[_JOB_ID]) for one in dead], start + len(dead) * gap_s, more)

    async def purge(self, query: DeadLetterQuery, job_id: str, limit: int) -> tuple[list[str], bool]:
        """Takes letters out of the queue; returns the ids of their jobs, and whether there are more. Raises Problem."""
        queen = self._queen
        async with queen.reviving:
            await queen.pump.settle()
            dead, more = await self._read(query, job_id, limit)
            core = queen.pump.now()
            for one in dead:
                unmark(core, one.definition, one.row)
                _change(core, one.letter, PURGED)
            await queen.pump.commit()
            return [str(one.letter[_JOB_ID]) for one in dead], more

    async def retried(self, row: Row) -> list[Row]:
        """The letters that a retry of this job takes out of the queue; called by whoever retries, before it does."""
        if not row[_MARK]:
            return []
        query = DeadLetterQuery(str(row[2]), job=int(row[0] or 0))
        return await self._queen.pump.read(lambda: self._queen.store.dead_letters(query, 1))

    def revive(self, core: Core, letters: Sequence[Row]) -> None:
        """The jobs of these letters run again in this very event."""
        for letter in letters:
            _change(core, letter, REDRIVEN)

    async def _repeated(self, org: str, key: str, asked: str) -> Redriven | None:
        """The answer to an earlier call with this key. Raises Problem IDEMPOTENCY_KEY_REUSED."""
        store = self._queen.store
        found = await self._queen.pump.read(lambda: store.redriven(org, key))
        if not found:
            return None
        if any(row[_FINGERPRINT] != asked for row in found):
            raise problem(
                "IDEMPOTENCY_KEY_REUSED", f"the idempotency key {key!r} was used for another request; take a new key"
            )
        return Redriven([str(row[_JOB_ID]) for row in found], self._queen.pump.now().wall, more=True, repeated=True)

    async def _read(self, query: DeadLetterQuery, job_id: str, limit: int) -> tuple[list[_Dead], bool]:
        queen, store = self._queen, self._queen.store
        if job_id:
            last = await self.last(query.org, job_id)
            if last[_STATE] != "DEAD":
                raise problem(
                    "FAILED_PRECONDITION",
                    f"job {job_id} is no dead letter any more: it was {str(last[_STATE]).lower()}",
                )
            query = DeadLetterQuery(query.org, job=int(last[0] or 0))
        letters = await queen.pump.read(lambda: store.dead_letters(query, limit + 1))
        kept = letters[:limit]

        def read() -> list[tuple[Row | None, list[Row], list[Row]]]:
            numbers = [int(row[0] or 0) for row in kept]
            return [
                (store.job(query.org, str(row[_JOB_ID])), store.tasks(number), store.checkpoints(number))
                for row, number in zip(kept, numbers, strict=True)
            ]

        dead = []
        for letter, (row, tasks, checkpoints) in zip(kept, await queen.pump.read(read), strict=True):
            if row is not None and row[_MARK]:
                dead.append(_Dead(letter, await queen.submitting.definition(str(row[3])), row, tasks, checkpoints))
        return dead, len(letters) > limit


def _change(core: Core, letter: Row, state: str, key: str = "", fingerprint: str = "") -> None:
    place = (int(letter[0] or 0), int(letter[1] or 0))
    core.batch.changes.dead_letters[place] = changed(letter, state, core.wall, key=key, fingerprint=fingerprint)


def _fingerprint(query: DeadLetterQuery, job_id: str, how: Redrive) -> str:
    """Of what a call asks for; times that a client sets anew when it repeats a call are left out."""
    asked = (job_id, query.job_type, query.queue, query.reason, how.rate_per_s, how.hard)
    return sha256(repr(asked).encode()).hexdigest()
