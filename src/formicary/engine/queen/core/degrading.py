"""Priorities that fall while jobs wait (`degrade`): what waits is put in order anew as time goes by.

The priority of a job falls at fixed times after it began to wait (`policies.degrade`). Those of all that wait are
looked at when the first of them falls: in slices, as with many jobs this takes some microseconds each. Between two
looks is a second, and more where very many wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, cast

from formicary.engine.queen.core.gangs import GangRun
from formicary.engine.queen.core.records import Job, TaskRun
from formicary.engine.scheduling.candidates import Candidate, OrderKey
from formicary.engine.scheduling.policies.degrade import STEP_S, attempt_at, attempts

if TYPE_CHECKING:
    from formicary.engine.queen.core.queueing import Queueing

LEAST_S = 1.0
"""Between the end of a look and the next one."""
MANY = 20_000
"""Jobs; so many more make it so much longer."""
LOOK = "degrade"
"""Name of the look among the work that goes on in slices."""


class Degrading:
    """Falling priorities of one configuration."""

    def __init__(self, queueing: Queueing) -> None:
        self._queueing = queueing
        config = queueing.config
        self._queues = {queue.name for queue in config.leaves() if config.within(queue.name).degrade != "none"}
        self._look_at = queueing.core.wall + STEP_S
        self._soonest = inf
        """When the next priority falls, of those that a look has seen."""
        queueing.core.slices.drop(LOOK)

    def before_round(self) -> None:
        """Begins to put what waits in order anew where somebody's priority has fallen."""
        core = self._queueing.core
        if self._queues and core.wall >= self._look_at:
            self._look_at = inf  # until the end
            core.slices.drive(LOOK, self._look())

    def _look(self) -> Iterator[None]:
        core, looked = self._queueing.core, 0
        self._soonest = core.wall + STEP_S  # the first fall of who comes now
        for demand, queue in list(core.queues.items()):
            if demand.queue in self._queues and queue:
                for _ in queue.put_in_order(self._key):
                    looked += 1
                    yield
        self._look_at = max(self._soonest, core.wall + LEAST_S * (1 + looked / MANY))

    def next_look(self) -> float | None:
        """When to look again though nothing happens, in seconds since the epoch; None = no look is due."""
        return self._look_at if self._queues and self._queueing.core.queues and self._look_at < inf else None

    def _key(self, candidate: Candidate) -> OrderKey:
        wall = self._queueing.core.wall
        waited_s = max(0.0, wall - candidate.waiting_since)
        self._soonest = min(self._soonest, wall + attempt_at(attempts(waited_s) + 1) - waited_s)
        if isinstance(candidate, Job):
            return self._queueing.key(candidate, 0)
        if isinstance(candidate, GangRun):
            return self._queueing.key(candidate.job, candidate.runs[0].position)
        run = cast(TaskRun, candidate)
        return self._queueing.key(run.job, run.position)
