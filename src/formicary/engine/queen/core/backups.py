"""Second copies of tasks that lag behind: when they begin, and that exactly one of the two counts.

Theory of operation. A copy is a lease of its own with a token of its own; the task's row holds the token of the attempt
that counts. The first to report an end wins. Where that is the copy, both change places first: the task takes over the
copy's token, and the other attempt is the copy from then on. Whoever lost is asked to stop; its token is out of the
task's row, so nothing it sends can change anything, and what it holds of its ant is given back when it answers. A copy
that fails, or is lost with its ant, is forgotten; a task whose own attempt is lost goes on as its copy. After a restart
of the queen only the attempt in the row is known: a copy's ant is told to kill it.

Which tasks get a copy, and when, is for `policies.speculative` to say; it is asked at intervals while such tasks run.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core.outcome import COMPLETED, Outcome
from formicary.engine.queen.core.records import Ant, Job, TaskRun
from formicary.engine.queen.core.timers import Alarm, Timer
from formicary.engine.scheduling.placing import has_room
from formicary.engine.scheduling.policies.speculative import Attempt, Limits, backups

if TYPE_CHECKING:
    from formicary.engine.jobs.model import TaskDefinition
    from formicary.engine.queen.core.core import Core

LOOK_S = 0.25
"""Seconds between looks at the tasks that may have a copy."""
REMEMBERED = 200
"""Run times that are kept of each kind of task."""
_OVER = (life.DISPATCHED, life.EXECUTING)


class Backup(TaskRun):
    """The attempt of a task that does not count, or not yet: it holds a lease and nothing else."""

    __slots__ = ("of",)

    def __init__(self, job: Job, position: int, task: TaskDefinition, of: TaskRun) -> None:
        super().__init__(job, position, task)
        self.of = of
        """The task, until one of the two has won."""


class Backups:
    """The copies of one core's tasks."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.watched: dict[TaskRun, None] = {}
        """Tasks out on ants that may have a copy."""
        self.copies: dict[TaskRun, Backup] = {}
        """The copy of each task that has one."""
        self.history: dict[str, deque[float]] = {}
        """Seconds that tasks of a kind took."""
        self.work_s = self.copied_s = 0.0
        """Slot-seconds of all such tasks, and of the copies among them."""
        self._alarm: Timer | None = None

    def watch(self, run: TaskRun) -> None:
        """A task that may have a copy is out on an ant."""
        self.watched[run] = None
        if self._alarm is None or self._alarm.what is None:
            self._alarm = self.core.timers.set(self.core.mono + LOOK_S, Alarm(self._look))

    # --- who wins ---------------------------------------------------------------------------------------------------

    def ended(self, run: TaskRun, outcome: Outcome) -> TaskRun | None:
        """An attempt has reported its end and is about to be released.

        Returns:
            The task that goes on with this end, whose attempt it is now; None where the end counts for nothing.
        """
        if isinstance(run, Backup):
            wins = outcome.outcome == COMPLETED and not run.cancelling and self.copies.get(run.of) is run
            self._count(run, copied=True)
            if not wins:
                self._forget(run)
                return None
            task = run.of
            self._change_places(task, run)
            run = task
        self._count(run, copied=False)
        if outcome.outcome == COMPLETED and outcome.started_at and outcome.ended_at:
            known = self.history.setdefault(_kind(run), deque(maxlen=REMEMBERED))
            known.append(max(0.0, outcome.ended_at - outcome.started_at))
        self.drop(run)
        self.watched.pop(run, None)
        return run

    def left(self, run: TaskRun) -> bool:
        """An attempt is gone with its ant, or was given back. True where nothing of the task is lost by that."""
        if isinstance(run, Backup):
            self._forget(run)
            return True
        copy = self.copies.get(run)
        if copy is None or run.cancelling or run.preempting:
            self.drop(run)
            self.watched.pop(run, None)
            return False
        self._change_places(run, copy)
        self._forget(copy)
        return True

    def drop(self, run: TaskRun) -> None:
        """The copy of a task, if there is one, is not wanted any more."""
        copy = self.copies.pop(run, None)
        if copy is not None:
            self.core.cancel_attempt(copy)

    def _forget(self, copy: Backup) -> None:
        """The copy's attempt is over."""
        self.core.leases.release(copy)
        if self.copies.get(copy.of) is copy:
            del self.copies[copy.of]

    def _change_places(self, run: TaskRun, copy: Backup) -> None:
        """The task goes on as its copy, and the copy as what the task was."""
        self.core.stats.backups_won += 1
        for name in ("token", "ant", "holder", "needs", "charge", "granted_at", "fraction"):
            mine, theirs = getattr(run, name), getattr(copy, name)
            setattr(run, name, theirs)
            setattr(copy, name, mine)
        for one in (run, copy):
            self.core.leases.tokens[one.token] = one
            if one.holder is not None:
                one.holder.held[one.token] = one
        self.core.dirty_tasks[run] = None

    def _count(self, run: TaskRun, *, copied: bool) -> None:
        seconds = max(0.0, self.core.wall - run.granted_at)
        self.work_s += seconds
        self.copied_s += seconds if copied else 0.0

    # --- who gets one -----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """The alarm: asks the policy, kind by kind."""
        core = self.core
        kinds: dict[str, list[TaskRun]] = {}
        for run in list(self.watched):
            if run.state not in _OVER:
                del self.watched[run]
            elif run.job.verdict is None and not (run.cancelling or run.preempting):
                kinds.setdefault(_kind(run), []).append(run)
        ants = [ant for ant in core.leases.ants.values() if ant.connected and not ant.draining]
        slots = sum(ant.slots for ant in ants)
        for kind, runs in kinds.items():
            by_id = {str(run.token): run for run in runs}
            attempts = [
                Attempt(name, kind, run.granted_at, run.fraction, has_backup=run in self.copies, ant=run.ant or "")
                for name, run in by_id.items()
            ]
            free = sum(max(0, ant.slots - len(ant.held)) for ant in ants)
            for found in backups(
                attempts,
                {kind: self.history.get(kind, ())},
                core.wall,
                slots=slots,
                free=free,
                work_done=self.work_s,
                work_of_copies=self.copied_s,
                limits=_limits(runs[0]),
            ):
                self._start(by_id[found.attempt])
        if self.watched:
            self._alarm = core.timers.set(core.mono + LOOK_S, Alarm(self._look))

    def _start(self, run: TaskRun) -> None:
        """Grants a copy to an ant that is not the task's own, where one has room."""
        core = self.core
        demand = core.neighbouring.of_task(run, run.demand)
        able = [
            ant for ant in core.leases.ants_for(demand) if ant is not run.holder and has_room(ant, demand, ant.slots)
        ]
        if not able:
            return
        ant: Ant = min(able, key=lambda one: len(one.held) / one.slots)
        copy = Backup(run.job, run.position, run.task, run)
        copy.rendered, copy.element = run.rendered, run.element
        run.attempts += 1
        copy.attempts = run.attempts
        copy.state = life.DISPATCHED
        self.copies[run] = copy
        core.stats.backups += 1
        core.dirty_tasks[run] = None
        core.lease(copy, ant)


def _kind(run: TaskRun) -> str:
    return f"{run.job.org}/{run.job.definition.job_type}/{run.task.task_type}"


def _limits(run: TaskRun) -> Limits:
    """As the task says; what it does not say has the policy's default."""
    given = run.task.speculative_backup
    if not isinstance(given, dict):
        return Limits()
    return replace(Limits(), **{name: value for name, value in given.items() if name != "enabled"})
