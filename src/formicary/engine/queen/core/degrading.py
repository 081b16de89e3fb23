"""Priorities that fall while jobs wait (`degrade`): what waits is put in order anew as time goes by.

The priority of a job falls at fixed times after it began to wait (`policies.degrade`). Those of all that wait are
looked at when the first of them falls, at most once a second: with many jobs this costs about a microsecond each, on
the loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from formicary.engine.queen.core.gangs import GangRun
from formicary.engine.queen.core.records import Job, TaskRun
from formicary.engine.scheduling.candidates import Candidate, OrderKey
from formicary.engine.scheduling.policies.degrade import STEP_S, attempt_at, attempts

if TYPE_CHECKING:
    from formicary.engine.queen.core.queueing import Queueing

LEAST_S = 1.0
"""Between two looks."""


class Degrading:
    """Falling priorities of one configuration."""

    def __init__(self, queueing: Queueing) -> None:
        self._queueing = queueing
        config = queueing.config
        self._queues = {queue.name for queue in config.leaves() if config.within(queue.name).degrade != "none"}
        self._look_at = queueing.core.wall + STEP_S

    def before_round(self) -> None:
        """Puts what waits in order anew where somebody's priority has fallen."""
        core = self._queueing.core
        if not self._queues or core.wall < self._look_at:
            return
        soonest = core.wall + STEP_S  # the first fall of who comes now
        for demand, queue in core.queues.items():
            if demand.queue in self._queues and queue:
                queue.put_in_order(self._key)
                soonest = min(soonest, core.wall + queue.shortest_wait(self._falls_in))
        self._look_at = max(soonest, core.wall + LEAST_S)

    def next_look(self) -> float | None:
        """When to look again though nothing happens, in seconds since the epoch; None = nobody waits."""
        return self._look_at if self._queues and self._queueing.core.queues else None

    def _key(self, candidate: Candidate) -> OrderKey:
        if isinstance(candidate, Job):
            return self._queueing.key(candidate, 0)
        if isinstance(candidate, GangRun):
            return self._queueing.key(candidate.job, candidate.runs[0].position)
        run = cast(TaskRun, candidate)
        return self._queueing.key(run.job, run.position)

    def _falls_in(self, candidate: Candidate) -> float:
        """Seconds until the next attempt of who waits."""
        waited_s = max(0.0, self._queueing.core.wall - candidate.waiting_since)
        return attempt_at(attempts(waited_s) + 1) - waited_s
