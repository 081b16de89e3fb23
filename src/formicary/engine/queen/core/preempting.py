"""Who is asked to give way: best-effort tasks, those behind others in the order, and who has borrowed from a queue.

Theory of operation. After a round that leaves somebody waiting, the first of those that wait are compared with what
runs on ants that would suit them. An attempt gives way only to what is before it under the same rule, the last in order
first, and only where that makes room; what already gives way counts as room, so nobody is asked twice for one place. A
preempted task takes its turn again from its beginning; neither `retry` nor the count of lost attempts knows of it.
What it would need from there counts for its laxity: else it would be before who took its place as soon as it waits, and
neither of two alike would ever end.
Members of gangs and copies are left alone, unless they are best-effort: with quality of service these give way to all
that ask for amounts, whatever the order says. Nobody makes room for what could not start in it: for more than limits
let start, or for what waits for a virtual resource.
"""

from __future__ import annotations

from heapq import nsmallest
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, cast

from formicary.engine.jobs.amounts import Needs
from formicary.engine.jobs.fan_out import definition_position
from formicary.engine.jobs.gang import deadline_of
from formicary.engine.queen.core.backups import Backup
from formicary.engine.queen.core.claims import Claims
from formicary.engine.queen.core.gangs import GangRun
from formicary.engine.queen.core.records import Ant, Job, TaskRun
from formicary.engine.scheduling.candidates import Entry
from formicary.engine.scheduling.demand import EPSILON, Demand
from formicary.engine.scheduling.locks import Name
from formicary.engine.scheduling.policies.capacity_tree import Running
from formicary.engine.scheduling.queues.groups import WHOLE
from formicary.engine.scheduling.queues.ledger import SLOTS
from formicary.engine.scheduling.queues.model import Rule

if TYPE_CHECKING:
    from formicary.engine.queen.core.queueing import Queueing
    from formicary.engine.scheduling.pipeline import AntView
    from formicary.engine.scheduling.queues.deciding import QueueView

MOST = 16
"""Of those that wait, how many a round makes room for."""
LEAST_S = 1.0
"""By how much a remaining time or a laxity has to be smaller: else two tasks would take turns without an end."""
Rank = tuple[float, float]
"""Of the queue and within it; smaller goes first."""
NEVER = (-inf, -inf)
"""Rank of what gives way to no order."""


class Preempting:
    """Preemption under one configuration."""

    def __init__(self, queueing: Queueing) -> None:
        self._queueing = queueing
        self._core = queueing.core
        config = queueing.config
        self.orders = any(rule.preemptive for rule in (config.rule, *(queue.rule for queue in config.queues)))
        """Some order preempts."""
        self._has_classes = config.quality_of_service
        self._priorities = {queue.name: queue.priority for queue in config.queues}

    def after_round(self) -> float | None:
        """Asks whom it has to; returns when to look again though nothing happens, in seconds since the epoch."""
        if self._queueing.config.rule.reclaim != "none":
            self.reclaim(at_once=self._queueing.config.rule.reclaim == "aggressive")
        if self._has_classes:
            self._make_room_for_gang()
        return self._make_room() if self.orders or self._has_classes else None

    # --- orders -----------------------------------------------------------------------------------------------------

    def _make_room(self) -> float | None:
        waiting = self._waiting()
        if not waiting:
            return None
        running, claims, held = self._running(), Claims(self._queueing), self._core.observing.held
        room = {ant: self._free(ant) for ant in self._core.leases.ants.values() if ant.connected and not ant.draining}
        for rank, _, demand in waiting:
            if not claims.allows(demand):
                continue
            ants = [ant for ant in self._core.leases.ants_for(demand) if ant in room and _admits(ant, demand)]
            needs = {SLOTS: 1.0, **dict(demand.needs)}
            ant = next((ant for ant in ants if _holds(room[ant], needs) and _has_devices(ant, demand, [])), None)
            if ant is None:
                found = self._victims(rank, demand, needs, ants, room, running)
                if found is None:
                    continue
                ant, runs = found
                for run in runs:
                    _add(room[ant], held(run), +1)
                    running[ant].remove(next(one for one in running[ant] if one[1] is run))
                    self._stop(run)
            claims.take(demand)
            for name, amount in needs.items():
                room[ant][name] = room[ant].get(name, 0.0) - amount
        return self._next_level()

    def _waiting(self) -> list[tuple[Rank, int, Demand]]:
        """The first that wait and may start, in order."""
        found: list[tuple[Rank, int, Demand]] = []
        awaited: dict[Name, Rank] = {}
        """Virtual resources that somebody waits for, and the first of those: nobody behind takes of them."""
        for demand, queue in self._core.queues.items():
            rule = self._rule(demand.queue)
            makes_room = rule.preemptive or (self._has_classes and not demand.best_effort)
            if demand.gang or not makes_room or not queue.has_ready or queue.head() is None:
                continue
            refusal = self._queueing.refusal(demand)
            for entry in nsmallest(MOST, chain(*queue.heaps())) if refusal is None or refusal[0] == "lock" else ():
                if entry[4].state != entry[5]:
                    continue
                rank = self._rank(demand.queue, rule, self._of_waiting(entry, demand, rule))
                if refusal is None:
                    found.append((rank, entry[1], demand))
                elif not any(map(self._core.leases.locks.is_hopeless, demand.locks)):
                    awaited.update({lock[:2]: min(rank, awaited.get(lock[:2], rank)) for lock in demand.locks})
        found = [one for one in found if all(one[0] <= awaited.get(lock[:2], one[0]) for lock in one[2].locks)]
        return nsmallest(MOST, found, key=lambda one: (one[2].best_effort, *one[:2]))

    def _running(self) -> dict[Ant, list[tuple[Rank, TaskRun]]]:
        """What may be asked to give way, by ant: best-effort ones, then the last in order first."""
        found: dict[Ant, list[tuple[Rank, TaskRun]]] = {ant: [] for ant in self._core.leases.ants.values()}
        for run in self._core.leases.tokens.values():
            if run.charge is None or run.holder is None or run.holder not in found:
                continue
            rule, is_best = self._rule(run.charge[0]), self._queueing.is_best_effort(run)
            if rule.preemptive and _may_give_way(run):
                found[run.holder].append((self._rank(run.charge[0], rule, self._of_running(run, rule)), run))
            elif is_best and _may_be_stopped(run):
                found[run.holder].append((NEVER, run))
        for runs in found.values():
            runs.sort(key=self._gives_way_first, reverse=True)
        return found

    def _gives_way_first(self, one: tuple[Rank, TaskRun]) -> tuple[bool, bool, Rank, int]:
        """Copies among the best-effort ones before all, and gangs, of which each one stops the others, last of them."""
        rank, run = one
        is_best = self._queueing.is_best_effort(run)
        return is_best, is_best and not _is_in_gang(run), rank, run.job.number

    def _free(self, ant: Ant) -> dict[str, float]:
        """What an ant has left, with what gives way already."""
        found = {SLOTS: float(ant.slots)}
        found |= {name: amount - ant.used.get(name, 0.0) for name, amount in ant.resources.items()}
        for run in ant.held.values():
            if run.preempting or run.cancelling:
                for name, amount in self._core.observing.held(run):
                    found[name] = found.get(name, 0.0) + amount
            else:
                found[SLOTS] -= 1.0
        return found

    def _stop(self, run: TaskRun) -> None:
        if isinstance(run, Backup):
            self._core.backups.drop(run.of)
        else:
            self._core.gangs.preempt(run)

    def _victims(
        self,
        rank: Rank,
        demand: Demand,
        needs: dict[str, float],
        ants: list[Ant],
        room: dict[Ant, dict[str, float]],
        running: dict[Ant, list[tuple[Rank, TaskRun]]],
    ) -> tuple[Ant, list[TaskRun]] | None:
        """The ant on which fewest have to give way, then those that are last in order; None where none does."""
        margin = LEAST_S if self._rule(demand.queue).policy in ("sjf", "llf") else 0.0
        held = self._core.observing.held
        best: tuple[int, int, float, float, Ant, list[TaskRun]] | None = None
        for ant in ants:
            would, taken = dict(room[ant]), []
            for theirs, run in running[ant]:
                if not self._comes_before(rank, theirs, demand, run, margin):
                    continue
                _add(would, held(run), +1)
                taken.append(run)
                if _holds(would, needs) and _has_devices(ant, demand, taken):
                    if not demand.devices:
                        taken = _needed([(run, held(run)) for run in taken], would, needs)
                    promised = sum(not self._queueing.is_best_effort(one) for one in taken)
                    score = (promised, len(taken), -theirs[0], -theirs[1])
                    if best is None or score < best[:4]:
                        best = (*score, ant, taken)
                    break
        return None if best is None else best[4:]

    def _comes_before(self, mine: Rank, theirs: Rank, demand: Demand, run: TaskRun, margin: float) -> bool:
        """Whether what waits goes before what runs: by its class, or under a rule that holds for both."""
        assert run.charge is not None, "looked at before"
        queue = demand.queue
        if self._has_classes and demand.best_effort != self._queueing.is_best_effort(run):
            return not demand.best_effort
        if self._queueing.config.apart and queue != run.charge[0]:
            return self._queueing.config.rule.preemptive and mine[0] < theirs[0]
        return mine[0] == theirs[0] and mine[1] < theirs[1] - margin

    def _rule(self, queue: str) -> Rule:
        """What preempts in a queue: its own order, or the one between queues."""
        config = self._queueing.config
        own = config.within(queue)
        return config.rule if config.apart and not own.preemptive else own

    def _rank(self, queue: str, rule: Rule, within: float) -> Rank:
        apart = self._queueing.config.apart
        return (-self._priorities.get(queue, 0.0) if apart else 0.0), within

    def _of_waiting(self, entry: Entry, demand: Demand, rule: Rule) -> float:
        if rule.policy == "priority":
            return float(-demand.level) if rule.aging or rule.floor else entry[0]
        if rule.policy in ("edf", "sjf", "llf") or rule.mode == "feedback":
            return entry[0]
        return 0.0

    def _of_running(self, run: TaskRun, rule: Rule) -> float:
        """The same of what runs, as it is now; by `sjf` it has less left to do."""
        queueing, job = self._queueing, run.job
        ran_s = max(0.0, self._core.wall - run.granted_at)
        if rule.policy == "priority":
            return float(-queueing.priority(job))
        if rule.policy == "sjf":
            return max(0.0, queueing.estimate_s(job, run.position) - ran_s)
        if rule.policy in ("edf", "llf"):
            due = deadline_of(job.definition.model.deadline, job.submitted_at)
            runtime = queueing.estimate_s(job, run.position) if rule.policy == "llf" else 0.0
            return inf if due is None else due - (runtime if runtime < inf else 0.0)
        return queueing.feedback.level(job, ran_s) if rule.mode == "feedback" else 0.0

    def _next_level(self) -> float | None:
        """With feedback: when the next attempt that runs has used its slice up."""
        queueing, wall = self._queueing, self._core.wall
        if queueing.config.rule.mode != "feedback" or not queueing.config.rule.preemptive:
            return None
        ends = (
            queueing.feedback.sinks_in(run.job, max(0.0, wall - run.granted_at))
            for run in self._core.leases.tokens.values()
            if _may_give_way(run)
        )
        soonest = min(ends, default=inf)
        return wall + soonest if soonest < inf else None

    def _make_room_for_gang(self) -> None:
        """Best-effort tasks leave the ants that are kept for a gang which is not, as many as it has members."""
        deciding = self._queueing.deciding
        if deciding.reserved is None or not deciding.kept_for_promised:
            return
        kept = cast("frozenset[Ant]", deciding.kept)
        lacks = deciding.reserved.least - sum(int(self._free(ant)[SLOTS]) for ant in kept)
        running = [one for ant, runs in self._running().items() if ant in kept for one in runs]
        able = [run for _, run in sorted(running, key=self._gives_way_first, reverse=True)]
        for run in [run for run in able if self._queueing.is_best_effort(run)][: max(0, lacks)]:
            self._stop(run)

    # --- capacity ---------------------------------------------------------------------------------------------------

    def reclaim(self, *, at_once: bool) -> None:
        """Queues that wait get back what others have borrowed from their guarantee."""
        core, totals = self._core, self._queueing.totals()
        pending, sizes = self._pending_shares(totals)
        if not pending:
            return
        running = [
            Running(str(token), run.charge[0], self._share(run, totals), run.job.priority, run.granted_at, token)
            for token, run in core.leases.tokens.items()
            if run.charge is not None and not run.preempting and not isinstance(run, Backup)
            if not self._queueing.is_best_effort(run)  # these give way by their class
        ]
        for found in self._queueing.deciding.tree.reclaim(WHOLE, running, pending, sizes=sizes):
            run = core.leases.tokens[int(found.id)]
            if run.job.verdict is None and not run.cancelling:
                core.gangs.preempt(run, at_once=at_once)

    def _pending_shares(self, totals: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        """What waits, and the least of that which could start, by leaf, in per cent of the colony.

        No more than the whole of it matters.
        """
        core, found, claims = self._core, dict[str, float](), Claims(self._queueing)
        sizes: dict[str, float] = {}
        for demand, queue in core.queues.items():
            head = queue.head()
            if (
                head is None
                or demand.best_effort
                or self._queueing.deciding.refusal(cast("QueueView[AntView]", core), demand, core.wall)
            ):
                continue
            if demand.gang:
                each = sum(amount(member, totals) for member in cast(GangRun, head[4]).members)
            elif any(_admits(ant, demand) for ant in core.leases.ants_for(demand)):
                each = amount(demand, totals)
            else:
                continue
            most = found.get(demand.queue, 0.0)
            count = claims.take_most(demand, queue.count_at_most(int(WHOLE / each) + 1 if each else 1))
            found[demand.queue] = min(WHOLE, most + each * count)
            if count:
                sizes[demand.queue] = min(each, sizes.get(demand.queue, each))
        return found, sizes

    def _share(self, run: TaskRun, totals: dict[str, float]) -> float:
        assert run.charge is not None, "looked at before"
        return amount(Demand("", frozenset(), needs=run.charge[3]), totals)


class Feedback:
    """Levels of a multilevel feedback queue: a job sinks with the time that its attempts have used.

    Source: Corbató, Daggett, Daley, "An experimental time-sharing system", AFIPS 1962; the boost is Solaris' and that
    of Arpaci-Dusseau, "Operating Systems: Three Easy Pieces", chapter 8.

    Args:
        rule: With quantum (of the first level, doubled on each next one) and levels.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._used: dict[Job, float] = {}

    def ran(self, job: Job, seconds: float) -> None:
        """An attempt of the job has ended."""
        self._used[job] = self.used(job) + seconds

    def used(self, job: Job) -> float:
        """Seconds that ended attempts of the job have used since the last boost."""
        known = self._used.get(job)
        if known is None and job.run is not None:  # the queen was started again meanwhile
            known = self._used[job] = sum(_ran(run) for run in job.run.runs.values())
        return known or 0.0

    def level(self, job: Job, more_s: float = 0.0) -> float:
        """The level of a job, 0 is the first; `more_s` of an attempt that runs."""
        used, level = self.used(job) + more_s, 0
        while level < self._rule.levels - 1 and used >= self._end(level) - EPSILON:
            level += 1
        return float(level)

    def sinks_in(self, job: Job, more_s: float) -> float:
        """Seconds after which a job that runs sinks to its next level; infinite on the last one."""
        level = int(self.level(job, more_s))
        return inf if level >= self._rule.levels - 1 else max(0.01, self._end(level) - self.used(job) - more_s)

    def boost(self) -> None:
        """All are on the first level again."""
        self._used = dict.fromkeys(self._used, 0.0)

    def forget(self, job: Job) -> None:
        """The job has ended."""
        self._used.pop(job, None)

    def _end(self, level: int) -> float:
        return self._rule.quantum * float(2 ** (level + 1) - 1)


def amount(demand: Demand, totals: dict[str, float]) -> float:
    """Per cent of the colony that one task of it holds."""
    amounts = {SLOTS: 1.0, **dict(demand.needs)}
    return WHOLE * max(amount / totals[name] if totals.get(name) else 1.0 for name, amount in amounts.items())


def _may_give_way(run: TaskRun) -> bool:
    return _may_be_stopped(run) and not isinstance(run, Backup) and not _is_in_gang(run)


def _may_be_stopped(run: TaskRun) -> bool:
    return not (run.preempting or run.cancelling or run.job.verdict is not None)


def _is_in_gang(run: TaskRun) -> bool:
    gang = run.job.definition.gang
    return gang is not None and definition_position(run.position) in gang.members


def _has_devices(ant: Ant, demand: Demand, taken: list[TaskRun]) -> bool:
    """Whether its devices are free once these, and what gives way already, have ended."""
    if not demand.devices:
        return True
    leaving = {run.token for run in ant.attempts() if run.preempting or run.cancelling}
    return ant.devices.could(ant.key, (demand.devices,), leaving | {run.token for run in taken})


def _admits(ant: Ant, demand: Demand) -> bool:
    """Whether its neighbours let a task onto an ant: nobody gives way where that would not help."""
    return not demand.affinity or ant.neighbours.admits(demand.affinity, ant)


def _add(have: dict[str, float], held: Needs, sign: int) -> None:
    have[SLOTS] = have.get(SLOTS, 0.0) + sign
    for name, amount in held:
        have[name] = have.get(name, 0.0) + sign * amount


def _holds(have: dict[str, float], needs: dict[str, float]) -> bool:
    return all(have.get(name, 0.0) + EPSILON >= wanted for name, wanted in needs.items())


def _needed(taken: list[tuple[TaskRun, Needs]], would: dict[str, float], needs: dict[str, float]) -> list[TaskRun]:
    """Those without whom there would be no room, of what gives way; the last ones are let off first."""
    needed = [run for run, _ in taken]
    for run, held in reversed(taken):
        _add(would, held, -1)
        if _holds(would, needs):
            needed.remove(run)
        else:
            _add(would, held, +1)
    return needed


def _ran(run: TaskRun) -> float:
    return max(0.0, run.ended_at - run.started_at) if run.ended_at is not None and run.started_at is not None else 0.0
