"""Virtual resources in one core: what is configured, who holds what, whose priority a holder inherits.

What is configured is a row; who holds what is not: it follows from the leases and the running jobs, so a queen that is
killed finds it as it was when it has read them. A job holds its own from its start to its end, through pauses and
questions to people too; a task holds its own while an attempt is out on an ant, and not between two attempts.

Inversion: while somebody waits for a name, the jobs that hold it have the waiting one's priority, and so in turn have
those that hold what these wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import msgspec

from formicary.engine.queen.core.records import Ant, Job, TaskRun
from formicary.engine.scheduling.demand import Demand, Lock
from formicary.engine.scheduling.locks import LockBook, Name
from formicary.engine.scheduling.placing import has_room
from formicary.engine.storage.port import Row

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

KIND = "lock"
"""Of their rows in the store."""
WHOLE_JOB = -1
"""Position of a holder that is a job."""


class Configured(msgspec.Struct, frozen=True):
    """What somebody has said of a name."""

    capacity: float
    description: str = ""
    by: str = ""
    updated_at: float = 0.0


class Holder(msgspec.Struct, frozen=True):
    """Who holds some of it."""

    job_id: str
    job_type: str
    task_type: str
    """Empty: the job as a whole."""
    amount: float


class State(msgspec.Struct, frozen=True):
    """One name now."""

    name: str
    capacity: float
    held: float
    waiting: int
    configured: Configured | None
    holders: tuple[Holder, ...]


class Locking:
    """The virtual resources of one core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.book: LockBook = core.leases.locks
        self.configured: dict[Name, Configured] = {}

    # --- configuration ----------------------------------------------------------------------------------------------

    def put(self, key: Name, capacity: float, description: str, by: str) -> Configured:
        """Says how much there is; what is held beyond it is held until its holders end."""
        found = self.configured[key] = Configured(capacity, description, by, self._core.wall)
        self.book.capacities[key] = capacity
        self._keep(key, msgspec.json.encode(found))
        return found

    def remove(self, key: Name) -> None:
        """The name is a plain lock again. Raises KeyError."""
        del self.configured[key]
        del self.book.capacities[key]
        self._keep(key, None)

    def _keep(self, key: Name, value: bytes | None) -> None:
        self._core.batch.changes.states[KIND, *key] = (KIND, *key, value, self._core.wall)
        self._core.leases.version += 1  # there may be more to decide

    def recover(self, rows: Iterable[Row]) -> None:
        """What the store holds."""
        for kind, org, name, value, _ in rows:
            if kind == KIND and isinstance(value, bytes):
                found = self.configured[str(org), str(name)] = msgspec.json.decode(value, type=Configured)
                self.book.capacities[str(org), str(name)] = found.capacity

    # --- who holds what ---------------------------------------------------------------------------------------------

    def count(self, job: Job, change: int) -> None:
        """A job begins or ends an execution."""
        if locks := job.definition.own_locks:
            if change > 0:
                self.book.take((job, WHOLE_JOB), locks)
            elif self.book.give((job, WHOLE_JOB)):
                self._core.leases.version += 1

    def admits(self, run: TaskRun, ant: Ant, demand: Demand) -> bool:
        """Whether the task may begin at once on an ant that was chosen for its job."""
        fits = demand.fits(ant) and has_room(ant, demand, self._core.waiting.places(ant))
        return fits and not self.book.lacking(demand.locks)

    def shown(self, org: str) -> Iterator[State]:
        """All of an organisation that are configured, held or waited for, by name."""
        waiting: dict[Name, int] = {}
        for demand, queue in self._core.queues.items():
            for lock in demand.locks:
                waiting[lock[:2]] = waiting.get(lock[:2], 0) + queue.count_at_most(1 << 62)
        names = {key for key in (*self.configured, *self.book.used, *waiting) if key[0] == org}
        for key in sorted(names):
            yield self.state(key, waiting.get(key, 0))

    def state(self, key: Name, waiting: int = 0) -> State:
        """One name now."""
        given = self.configured.get(key)
        holders = [
            Holder(job.id, job.definition.job_type, _name(job, position), amount)
            for (job, position), amount in cast("Iterable[tuple[tuple[Job, int], float]]", self._holders(key))
        ]
        capacity, used = given.capacity if given is not None else 1.0, self.book.used.get(key, 0.0)
        return State(key[1], capacity, used, waiting, given, tuple(holders))

    def _holders(self, key: Name) -> Iterable[object]:
        return self.book.holders.get(key, {}).items()

    # --- inversion --------------------------------------------------------------------------------------------------

    def waits(self, locks: tuple[Lock, ...], priority: int) -> None:
        """Somebody of this priority waits for these: the jobs that hold what is missing inherit it."""
        queueing = self._core.queueing
        if queueing is None:
            return
        for org, name, _ in self.book.lacking(locks):
            for job, _position in cast("Iterable[tuple[Job, int]]", tuple(self.book.holders.get((org, name), ()))):
                queueing.inherit(job, priority)


def _name(job: Job, position: int) -> str:
    run = job.run.at(position) if job.run is not None and position != WHOLE_JOB else None
    return run.name if run is not None else ""
