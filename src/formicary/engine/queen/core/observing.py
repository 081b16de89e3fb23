"""Overcommit by observed use in one core: ants say what their tasks use, and what is set aside for these follows.

Theory of operation. `Ant.used` is what counts as taken of an ant. Without a rule for a resource it is the sum of the
requests of what the ant holds. With one it is the sum of what is set aside (`policies.reservation`), made anew from all
that the ant holds with each grant, end and word of the ant. Guaranteed tasks count in full, and so does a task of which
its ant says nothing: of an older version, on another system, of a method whose processes are not the ant's own. Nothing
of this is stored: after a restart of the queen all count in full again, and sink anew.

With quality of service a burstable task that has its place only because others were idle gives it back when they are
not: while the guarantees of an ant and the use of its other tasks are more than it has, the one that began last is
asked to make room, and before it those that use more than they have asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from formicary.engine.jobs.amounts import Needs
from formicary.engine.jobs.quality import GUARANTEED, quality_of
from formicary.engine.queen.core.backups import Backup
from formicary.engine.queen.core.records import Ant, Place, TaskRun
from formicary.engine.scheduling.demand import EPSILON
from formicary.engine.scheduling.policies.reservation import CPU, MEMORY, Observed, counted, set_aside

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core


@dataclass(slots=True)
class Seen:
    """What is known of one attempt.

    Attributes:
        token: Its own.
        at: When its ant spoke last, on the core's monotonic clock.
        is_guaranteed: It counts in full.
        used: By resource.
        aside: What is set aside, by resource; what is missing counts as it was asked for.
    """

    token: int
    at: float
    is_guaranteed: bool
    used: dict[str, float] = field(default_factory=dict)
    aside: dict[str, float] = field(default_factory=dict)


class Observing:
    """What the attempts of one core use."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.rules: Mapping[str, Observed] = {}
        self._seen: dict[TaskRun, Seen] = {}

    def follow(self, rules: Mapping[str, Observed]) -> None:
        """Other rules hold from now on; ants are told whether to look."""
        if rules == self.rules:
            return
        core, was_on, self.rules = self._core, bool(self.rules), rules
        self._seen.clear()
        core.leases.counts = self.count if rules else None
        for ant in core.leases.ants.values():
            self._sum_up(ant)
            self.count(ant)
            if ant.session and was_on != bool(rules):
                core.batch.to(ant.session).observe = bool(rules)
        core.leases.version += 1

    def _sum_up(self, ant: Ant) -> None:
        """What is taken of the ant as it was asked for."""
        ant.used.clear()
        for run in ant.held.values():
            for name, amount in run.needs:
                ant.used[name] = ant.used.get(name, 0.0) + amount

    def count(self, ant: Ant) -> None:
        """Makes the sums of an ant anew."""
        for name, rule in self.rules.items():
            requests = aside = 0.0
            for run in ant.held.values():
                asked = next((amount for other, amount in run.needs if other == name), 0.0)
                requests += asked
                aside += self.aside(run, name, asked)
            taken = counted(requests, aside, ant.resources.get(name, 0.0), rule) if requests else 0.0
            if taken > EPSILON:
                ant.used[name] = taken
            else:
                ant.used.pop(name, None)

    def aside(self, run: TaskRun | Place, name: str, asked: float) -> float:
        """What is set aside of a resource for what an ant holds."""
        seen = self._seen.get(run) if isinstance(run, TaskRun) else None
        if seen is None or seen.token != run.token or seen.is_guaranteed or name not in self.rules:
            return asked
        return seen.aside.get(name, asked)

    def held(self, run: TaskRun | Place) -> Needs:
        """What counts as taken for an attempt."""
        if not self.rules:
            return run.needs
        return tuple((name, self.aside(run, name, asked)) for name, asked in run.needs)

    def used(self, name: str) -> float:
        """What all attempts of which that is known use of a resource."""
        seen = self._seen.items()
        return sum(one.used.get(name, 0.0) for run, one in seen if one.token in self._core.leases.tokens)

    def take(self, session: int, uses: Iterable[tuple[int, float, float]]) -> None:
        """An ant says what attempts use: token, processors, bytes of memory."""
        core = self._core
        ant = core.leases.sessions.get(session)
        if not self.rules or ant is None:
            return
        for token, cpu, memory in uses:
            run = core.leases.held_by(session, token)
            if run is not None:
                self._take(run, {CPU: cpu, MEMORY: memory})
        for run in [run for run, seen in self._seen.items() if seen.token not in core.leases.tokens]:
            del self._seen[run]
        before = dict(ant.used)
        self.count(ant)
        if any(amount > ant.used.get(name, 0.0) for name, amount in before.items()):
            core.leases.has_less(ant)
        if core.queueing is not None and core.queueing.config.quality_of_service:
            self._keep_guarantees(ant)

    def _take(self, run: TaskRun, used: dict[str, float]) -> None:
        core, seen = self._core, self._seen.get(run)
        if seen is None or seen.token != run.token:
            seen = self._seen[run] = Seen(run.token, core.mono, quality_of(run.task) == GUARANTEED)
        passed_s, seen.at, seen.used = core.mono - seen.at, core.mono, used
        for name, asked in run.needs:
            rule = self.rules.get(name)
            if rule is not None and not seen.is_guaranteed:
                seen.aside[name] = set_aside(asked, seen.aside.get(name, asked), used[name], passed_s, rule)

    def _keep_guarantees(self, ant: Ant) -> None:
        """Asks one task to make room where guarantees and the use of the others are more than there is."""
        for name in self.rules:
            promised = other = requests = 0.0
            able: list[TaskRun] = []
            for run in ant.held.values():
                asked = dict(run.needs).get(name, 0.0)
                requests += asked
                if isinstance(run, Place):
                    other += asked
                    continue
                seen = self._seen.get(run)
                if asked and quality_of(run.task) == GUARANTEED:
                    promised += asked
                elif asked and not (run.preempting or run.cancelling):
                    other += seen.used.get(name, 0.0) if seen is not None and seen.token == run.token else asked
                    able += [] if isinstance(run, Backup) or run.job.verdict is not None else [run]
            has = ant.resources.get(name, 0.0)
            if promised and able and requests > has + EPSILON and promised + other > has + EPSILON:
                self._core.gangs.preempt(max(able, key=lambda run: (self._is_above(run, name), run.token)))
                return

    def _is_above(self, run: TaskRun, name: str) -> bool:
        """Whether an attempt uses more of a resource than it has asked for."""
        seen = self._seen.get(run)
        return seen is not None and seen.used.get(name, 0.0) > dict(run.needs).get(name, 0.0)
