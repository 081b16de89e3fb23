"""Gangs: members gather until all are ready, start in one decision, and start again together when one comes back.

A member that is ready waits here, not in a queue. When every member that has not ended is ready, the gang is a
candidate; the decision grants all of them in one commit. A member that comes back (its ant was lost, it is retried, it
was given back) asks those that still run to stop, so that all begin again together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core.records import Ant, Job, TaskRun
from formicary.engine.scheduling.demand import Lock

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

VOID = "VOID"


class GangRun:
    """Members of one job that wait to start together."""

    __slots__ = ("job", "least", "members", "runs", "started", "waited")

    def __init__(self, job: Job, runs: Sequence[TaskRun], least: int) -> None:
        self.job = job
        self.runs = tuple(runs)
        self.members = tuple(run.demand for run in runs)
        """What each needs."""
        self.least = least
        self.started = False
        self.waited = False
        """It did not fit when its turn came."""

    @property
    def locks(self) -> tuple[Lock, ...]:
        """Virtual resources of all members together."""
        found: dict[tuple[str, str], float] = {}
        for org, name, amount in (lock for member in self.members for lock in member.locks):
            found[org, name] = found.get((org, name), 0.0) + amount
        return tuple((*key, amount) for key, amount in sorted(found.items()))

    @property
    def state(self) -> str:
        """READY as long as all of them are and nothing has taken its place."""
        execution = self.job.run
        if self.started or execution is None or execution.gang is not self:
            return VOID
        return life.READY if all(run.state == life.READY for run in self.runs) else VOID

    @property
    def waiting_since(self) -> float:
        """As its job."""
        return self.job.waiting_since


class Gangs:
    """The gangs of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def holds(self, run: TaskRun) -> bool:
        """Whether the task is a member of a gang that has not been started without it."""
        gang = run.job.definition.gang
        return gang is not None and run.position in gang.members and not run.alone

    def gather(self, run: TaskRun) -> None:
        """A member is ready."""
        core, job, execution = self.core, run.job, run.job.run
        gang = job.definition.gang
        assert gang is not None and execution is not None, "only members of gangs are gathered"
        members = [execution.runs.get(position) for position in sorted(gang.members)]
        running = [one for one in members if one is not None and one.state in (life.DISPATCHED, life.EXECUTING)]
        if running and not all(one.preempting for one in running):
            core.stats.gangs_restarted += 1
        for one in running:
            self.preempt(one)
        open_ones = [one for one in members if one is None or one.state not in life.TASK_ENDED]
        ready = [one for one in open_ones if one is not None and one.state == life.READY]
        if len(ready) < len(open_ones):
            return
        found = execution.gang = GangRun(job, ready, min(gang.least, len(ready)))
        core.waiting.queue_gang(found)

    def _devices(self, gang: GangRun, ants: Sequence[Ant]) -> dict[TaskRun, tuple[str, ...]]:
        """Devices of members, chosen together for each ant: none takes what only another could use."""
        asking: dict[str, list[tuple[TaskRun, str]]] = {}
        for run, demand, ant in zip(gang.runs, gang.members, ants, strict=False):
            if demand.devices:
                asking.setdefault(ant.key, []).append((run, demand.devices))
        book, found = self.core.leases.devices, dict[TaskRun, tuple[str, ...]]()
        for process, runs in asking.items():
            chosen = book.plan(process, [text for _, text in runs])
            found.update(zip((run for run, _ in runs), chosen, strict=True))
        return found

    def preempt(self, run: TaskRun, *, at_once: bool = False) -> None:
        """Asks the ant to end the attempt, which then takes its turn again; `at_once` leaves it no grace."""
        core = self.core
        if not (run.preempting or run.cancelling):
            run.preempting = True
            core.backups.drop(run)
            core.stats.preempted += 1
            if run.holder is not None and run.holder.session:
                out = core.batch.to(run.holder.session)
                out.cancelled.append(run.token)
                out.leave(run.token, 0.0 if at_once else core.grace_of(run))

    def ended(self, run: TaskRun) -> None:
        """A member has ended, though it may have been asked to stop: those that wait for it alone begin without it."""
        execution, gang = run.job.run, run.job.definition.gang
        if gang is None or execution is None or run.job.verdict is not None:
            return
        for position in sorted(gang.members):
            other = execution.runs.get(position)
            if other is not None and other.state == life.READY and self.holds(other):
                self.gather(other)
                return

    def start(self, gang: GangRun, ants: Sequence[Ant]) -> None:
        """The decision: as many members as there are ants start now; the others follow one by one."""
        gang.started = True
        devices = self._devices(gang, ants)
        for run, ant in zip(gang.runs, ants, strict=False):
            self.core.grant(run, ant, devices.get(run, ()))
        for run in gang.runs[len(ants) :]:
            run.alone = True
            self.core.waiting.queue_task(run, run.demand)
