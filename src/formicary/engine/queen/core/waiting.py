"""Where candidates wait: by priority and submission, or as the configured queues say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from formicary.engine.queen.core.gangs import GangRun
from formicary.engine.queen.core.queueing import PLAIN, asks_for_queues, follow
from formicary.engine.queen.core.quotas import AccountKey, used_before
from formicary.engine.queen.core.records import Ant, Definition, Job, TaskRun
from formicary.engine.queen.core.timers import Alarm, Timer
from formicary.engine.queen.core.type_limits import TypeLimits
from formicary.engine.scheduling.candidates import CandidateQueue, OrderKey
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.fcfs import fcfs_within_priority
from formicary.engine.scheduling.queues.model import Queues
from formicary.engine.scheduling.queues.reading import read_queues
from formicary.engine.storage.port import Row

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

QUEUES = "queues"
"""Kind of their state in the store."""


class Given(msgspec.Struct, frozen=True):
    """A configuration as somebody has given it."""

    source: str
    updated_at: float
    by: str


class Waiting:
    """What waits in one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.given: Given | None = None
        """The configuration as it was given; None = none was."""
        self.limits = TypeLimits()
        self.used: dict[AccountKey, dict[str, Any]] = {}
        """What tenants have used, as it was read or as earlier limits have left it."""
        self._alarm: Timer | None = None

    def take(self, source: str, config: Queues, by: str) -> None:
        """Takes over a configuration of queues; it is in the next commit."""
        self.given = Given(source, self.core.wall, by)
        value = msgspec.json.encode({"source": source, "by": by})
        self.core.batch.changes.states[QUEUES, "", ""] = (QUEUES, "", "", value, self.core.wall)
        self.follow(config)

    def admit(self, definition: Definition) -> None:
        """A definition has come: what only queues can do begins with it, and limits of its type hold from now on."""
        is_other = self.limits.admit(definition)
        if is_other:
            key, row = self.limits.row(definition, self.core.wall)
            self.core.batch.changes.states[key] = row
        if self.core.queueing is None:
            if self.limits.holds_for(definition) or asks_for_queues(definition):
                self.follow(PLAIN)
        elif is_other:
            self.core.queueing.limit_anew()

    def follow(self, config: Queues) -> None:
        """Decides by other queues from now on: what waits is put where it belongs, what runs is charged anew."""
        follow(self.core, config)

    def recover(self, rows: Sequence[Row]) -> None:
        """The configuration as it is stored, and what tenants have used."""
        self.used.update(used_before(rows))
        self.limits.recover(rows)
        for row in rows:
            if row[0] == QUEUES:
                value = msgspec.json.decode(cast(bytes, row[3]))
                self.given = Given(value["source"], float(row[4] or 0.0), value["by"])
                found = read_queues(self.given.source)
                if found.queues is not None:  # what an older version took and this one does not changes no order
                    self.follow(found.queues)

    def pending_demand(self, job: Job) -> Demand:
        """What a pending job waits for."""
        demand = self.core.neighbouring.of_job(job, job.definition.demand)
        return demand if self.core.queueing is None else self.core.queueing.demand(job, demand, begins=True)

    def ready_demand(self, run: TaskRun) -> Demand:
        """What a ready task waits for."""
        demand = self.core.neighbouring.of_task(run, run.demand)
        return demand if self.core.queueing is None else self.core.queueing.demand(run.job, demand)

    def order_key(self, job: Job, position: int) -> OrderKey:
        """Where a job or a task of it stands among those of its demand."""
        if self.core.queueing is None:
            return fcfs_within_priority(job.priority, job.number, position)
        return self.core.queueing.key(job, position)

    def places(self, ant: Ant) -> int:
        """Tasks that an ant may hold; with queues no more than run at once: what it holds is in no order any more."""
        return ant.window if self.core.queueing is None else ant.slots

    def queue_job(self, job: Job, *, is_cold: bool) -> None:
        """Puts a pending job where it waits."""
        demand = self.pending_demand(job)
        self.queue_of(demand).push(self.order_key(job, 0), job, cold=is_cold)
        self.core.fresh[demand] = None
        if self.core.queueing is not None and demand.gate is not None:
            self.core.queueing.waits_at(demand.gate, job.priority)
        if demand.locks:
            self.core.locking.waits(demand.locks, job.priority)

    def coming(self, candidate: Job | TaskRun, asks: bool) -> None:
        """A task, or a job with its first one, is being rendered and will be queued; `asks`: it names amounts."""
        if asks and self.core.queueing is not None and self.core.queueing.config.quality_of_service:
            self.core.queueing.coming[candidate] = None

    def queue_of(self, demand: Demand) -> CandidateQueue:
        """The queue of a demand."""
        found = self.core.queues.get(demand)
        if found is None:
            found = self.core.queues[demand] = CandidateQueue()
        return found

    def queue_task(self, run: TaskRun, demand: Demand) -> None:
        """Queues a ready task."""
        if demand.locks and self.core.queueing is None:  # its text has asked for them only when it was rendered
            self.follow(PLAIN)
        demand = self.core.neighbouring.of_task(run, demand)
        if self.core.queueing is not None:
            demand = self.core.queueing.demand(run.job, demand)
        self.queue_of(demand).push(self.order_key(run.job, run.position), run)
        self.core.fresh[demand] = None
        if demand.locks and self.core.queueing is not None:
            self.core.locking.waits(demand.locks, self.core.queueing.priority(run.job))

    def gang_demand(self, gang: GangRun) -> Demand:
        """What a gang waits for, beside what its members need."""
        alike = frozenset({f"{gang.job.definition.id}/{hash((gang.members, gang.least))}"})
        best = not any(member.needs for member in gang.members)
        demand = Demand("", alike, gang=True, locks=gang.locks, best_effort=best)
        return demand if self.core.queueing is None else self.core.queueing.demand(gang.job, demand)

    def queue_gang(self, gang: GangRun) -> None:
        """Queues members that start together."""
        gang.members = self.core.neighbouring.of_members(gang.runs)
        demand = self.gang_demand(gang)
        self.queue_of(demand).push(self.order_key(gang.job, gang.runs[0].position), gang)
        self.core.fresh[demand] = None
        if demand.locks:
            self.core.locking.waits(demand.locks, gang.job.priority)

    def fetch(self) -> None:
        """Asks for the parameters of jobs whose turn comes soon; forgets queues in which nobody waits."""
        core = self.core
        for demand, queue in list(core.queues.items()):
            if not queue:
                del core.queues[demand]
            elif queue.has_cold and core.leases.ants_for(demand):
                for number in queue.fetch(core.config.prefetch):
                    core.wanted[number] = queue
                    core.batch.load.append(number)

    def wake(self, wall: float | None) -> None:
        """Another round at this time though nothing may happen until then."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if wall is not None:
            self._alarm = self.core.timers.set(self.core.mono + max(0.001, wall - self.core.wall), Alarm(_nothing))


def _nothing() -> None:
    """The alarm alone makes another round."""
