"""What becomes of deadlines when more waits than can be done: no domino, but some given up, by value.

Under `edf` and `llf` with `overload` the waiting jobs whose deadline and run time are known are looked at before a
round, as if the slots were one server that is so much faster. What cannot be kept is cancelled (`shed`) or goes behind
all that can be kept, to those that have no deadline (`demote`), least value per second of work first (it is 1 +
priority); or it is not taken in (`reject`).
"""

from __future__ import annotations

import heapq
from math import inf
from typing import TYPE_CHECKING

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.gang import deadline_of
from formicary.engine.queen.core.lines import job_of
from formicary.engine.queen.core.records import Definition, Job
from formicary.engine.scheduling.candidates import CandidateQueue, Entry
from formicary.engine.scheduling.policies.deadline_fairness import counts
from formicary.engine.scheduling.policies.edf_admission import REJECT_NEW, SHED, Urgent, admit
from formicary.engine.scheduling.queues.ledger import SLOTS

if TYPE_CHECKING:
    from formicary.engine.queen.core.queueing import Queueing

MOST = 100
"""Waiting jobs of one queue that are looked at; those with the nearest deadlines."""
LATE_S = 0.001
"""After which a deadline has passed."""
NEW = ""
"""Id of the job that asks to be taken in."""


class Overload:
    """Behaviour under overload of one configuration."""

    def __init__(self, queueing: Queueing) -> None:
        self._queueing = queueing
        self._core = queueing.core
        config = queueing.config
        rules = {queue.name: config.within(queue.name) for queue in config.leaves()}
        self._modes = {name: rule.overload for name, rule in rules.items() if rule.overload != "continue"}
        self.demoted: set[Job] = set()
        """Jobs that go behind all others."""
        self._fair = {name for name, rule in rules.items() if rule.fair_by}
        self._lost: set[Job] = set()
        """Live jobs whose deadlines count as missed already, where those of users are compared."""

    def before_round(self) -> None:
        """Gives up what cannot be kept."""
        for name, mode in self._modes.items():
            if mode != REJECT_NEW:
                self._look(name, mode)

        if self._fair:
            self._put_late_ones_behind()

    def refusal(self, definition: Definition, user: str, priority: int) -> str | None:
        """Why a job that comes now is not taken in; None where it is."""
        model, wall = definition.model, self._core.wall
        due = deadline_of(model.deadline, wall)
        probe = Job(0, NEW, str(definition.row[1]), definition, priority, wall)
        probe.submitted_by = user or None
        name = self._queueing.leaf(probe)
        if due is None or self._modes.get(name) != REJECT_NEW:
            return None
        runtime = self._queueing.estimate_s(probe, 0)
        if runtime == inf:
            return None
        slots, waiting = self._slots(), [one for one, _, _ in self._waiting(name)]
        if not slots:
            return None
        mine = Urgent(NEW, runtime / slots, due, 1.0 + priority)
        _, given_up = admit([*waiting, mine], wall, busy_until=self._busy_until(slots), overload=REJECT_NEW)
        if wall + runtime <= due and mine not in given_up:
            return None
        return (
            f"The deadline cannot be kept: {runtime:.1f} s of work are due in {due - wall:.1f} s, {len(waiting)} jobs "
            f"with deadlines wait for {slots:g} slots (overload: reject)"
        )

    # --- fair deadlines ---------------------------------------------------------------------------------------------

    def _put_late_ones_behind(self) -> None:
        """What cannot be kept any more counts as missed, and goes behind all that can."""
        for demand, queue in self._core.queues.items():
            while demand.queue in self._fair and (entry := queue.head()) is not None:
                job, due = job_of(entry[4]), entry[0]
                if due == inf or self._core.wall + self._runtime(job) <= due:
                    break
                queue.pop()
                self.demoted.add(job)
                if job not in self._lost:
                    self._lost.add(job)
                    self._record(job, due, missed=True)
                queue.push((inf, *entry[1:3]), entry[4])

    def next_look(self) -> float | None:
        """When the next that waits cannot be kept any more, in seconds since the epoch; None = nobody is looked at."""
        times = []
        for demand, queue in self._core.queues.items() if self._fair else ():
            entry = queue.head() if demand.queue in self._fair else None
            if entry is not None and entry[0] < inf:
                times.append(entry[0] - self._runtime(job_of(entry[4])) + LATE_S)
        return min(times, default=None)

    def ended(self, job: Job) -> None:
        """A job has ended: in time, or not."""
        due = deadline_of(job.definition.model.deadline, job.submitted_at)
        if not self._fair or due is None or self._queueing.leaf(job) not in self._fair:
            return
        if job in self._lost:
            self._lost.discard(job)
        elif job.state == life.COMPLETED:
            self._record(job, due, missed=self._core.wall > due)

    def _record(self, job: Job, due: float, *, missed: bool) -> None:
        if counts(job.submitted_at, due, self._runtime(job)):
            self._queueing.deciding.misses.record(self._queueing.user(job), missed=missed)

    def _runtime(self, job: Job) -> float:
        runtime = self._queueing.estimate_s(job, 0)
        return runtime if runtime < inf else 0.0

    # --- what is given up -------------------------------------------------------------------------------------------

    def _look(self, name: str, mode: str) -> None:
        slots = self._slots()
        waiting = self._waiting(name) if slots else []
        if not waiting:
            return
        wall = self._core.wall
        _, given_up = admit([one for one, _, _ in waiting], wall, busy_until=self._busy_until(slots), overload=mode)
        lost = {one.id for one in given_up}
        for urgent, queue, entry in waiting:
            if urgent.id in lost or wall + urgent.runtime * slots > urgent.deadline:
                job = self._core.jobs[urgent.id]
                if mode == SHED:
                    self._core.cancel(job.id, "given up: its deadline cannot be kept (overload: shed)")
                    continue
                self.demoted.add(job)
                queue.ready.remove(entry)
                heapq.heapify(queue.ready)
                queue.push(self._queueing.key(job, 0), job)

    def _waiting(self, name: str) -> list[tuple[Urgent, CandidateQueue, Entry]]:
        """Jobs of a queue that have not begun and whose deadline and run time are known."""
        found, slots = [], self._slots() or 1.0
        for demand, queue in self._core.queues.items():
            if demand.gang or (self._queueing.config.apart and demand.queue != name):
                continue
            for entry in heapq.nsmallest(MOST, queue.ready):
                job = entry[4]
                if not isinstance(job, Job) or job.state != life.PENDING or job in self.demoted:
                    continue
                due = deadline_of(job.definition.model.deadline, job.submitted_at)
                runtime = self._queueing.estimate_s(job, 0)
                if due is not None and runtime < inf:
                    found.append((Urgent(job.id, max(1e-6, runtime / slots), due, 1.0 + job.priority), queue, entry))
        found.sort(key=lambda one: one[0].deadline)
        return sorted(found[:MOST], key=lambda one: one[2][1])

    def _slots(self) -> float:
        return self._queueing.totals().get(SLOTS, 0.0)

    def _busy_until(self, slots: float) -> float:
        """When what runs will have ended, if the slots were one server."""
        wall, left = self._core.wall, 0.0
        for run in self._core.leases.tokens.values():
            runtime = self._queueing.estimate_s(run.job, run.position)
            left += max(0.0, runtime - (wall - run.granted_at)) if runtime < inf else 0.0
        return wall + left / slots
