"""What the core knows about the wait of one job, as a question for the estimate. Read only.

The wait ends when the job's first task runs. Ants may hold tasks ahead of time: what they hold beyond their slots
waits before all others. A job whose first task is not rendered yet may have any ant. Where queues are configured,
their lines are merged as they share (`lines`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.tenants import JOBS
from formicary.engine.queen.core.holding import is_under, limited
from formicary.engine.queen.core.lines import ahead, job_of, shared
from formicary.engine.queen.core.quotas import begins
from formicary.engine.queen.core.records import Job
from formicary.engine.scheduling.concurrency import UNLIMITED
from formicary.engine.scheduling.estimate_book import kind_of
from formicary.engine.scheduling.estimating import Ahead, Busy, Limit, Question

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core
    from formicary.engine.queen.core.records import Ant, Definition
    from formicary.engine.scheduling.candidates import Entry, OrderKey
    from formicary.engine.scheduling.demand import Demand

MOST_SORTED = 5000
"""Jobs ahead that are put in order; of more, the order counts little."""
MOST_SCHEDULED = 256
"""Later starts that are looked at, the next ones."""
MOST_POOLS = 8
"""Pools of ants that are looked at, the largest ones."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job that waits, or that somebody thinks of submitting.

    Attributes:
        job: The job; its number is its place in the order of submission.
        demand: What an ant must have for its next task.
        key: Its place in the order.
        starts_at: Its scheduled start, seconds since the epoch; 0 = at once.
    """

    job: Job
    demand: Demand
    key: OrderKey
    starts_at: float = 0.0

    @property
    def places(self) -> int:
        """Places that its first tasks take at once: as many as a gang of them has to have."""
        definition = self.job.definition
        starts = definition.plan.starts or definition.plan.finals
        gang = definition.gang
        return gang.least if gang is not None and gang.members & set(starts) else 1


@dataclass(frozen=True, slots=True)
class PoolAsked:
    """The question of a job's wait, were it to be run by the ants that offer certain tags.

    Attributes:
        tags: Which all of these ants offer.
        ants: How many they are.
        serves: The job may go there as it is.
        question: What its wait there depends on.
    """

    tags: frozenset[str]
    ants: int
    serves: bool
    question: Question


def not_submitted(core: Core, definition: Definition, org: str, priority: int, starts_at: float) -> Wanted:
    """The job that would be made of this definition now."""
    job = Job(core.number + 1, "", org, definition, priority, core.wall)
    return Wanted(job, core.waiting.pending_demand(job), core.waiting.order_key(job, 0), starts_at)


def submitted(core: Core, job: Job) -> Wanted | None:
    """A live job that waits for its first task to run; None where it does not: it runs, pauses or asks people."""
    waiting = core.waiting
    if job.state == life.PENDING:
        due = job.timer_at if job.timer_at is not None else job.scheduled_at
        starts_at = due if job.timer is not None and due is not None else 0.0
        return Wanted(job, waiting.pending_demand(job), waiting.order_key(job, 0), starts_at)
    if job.state != life.EXECUTING or job.run is None or job.id in core.book.begun:
        return None
    if job.run.preparing:
        return Wanted(job, waiting.pending_demand(job), waiting.order_key(job, 0))
    for run in job.run.runs.values():
        if run.state in (life.READY, life.DISPATCHED) or run.rendering:
            return Wanted(job, waiting.ready_demand(run), waiting.order_key(job, run.position))
    return None


def questions(core: Core, asked: Wanted) -> list[Question]:
    """What its wait depends on: the ants that serve its task, and the limits of its type, queue and tenant, if any."""
    question = _question(core, asked, [ant for ant in core.ants_for(asked.demand) if not ant.draining])
    gate = asked.demand.gate  # one with a circuit breaker may have no limit
    is_limited = gate is not None and core.limit_of(gate) < UNLIMITED
    limits = [_limit(core, asked, question)] if is_limited else []
    return [question, *limits, *_queue(core, asked, question), *_tenants(core, asked, question)]


def pools(core: Core, asked: Wanted) -> list[PoolAsked]:
    """The same for each group of ants that offer the same tags and have all else that the task needs; empty where all
    ants offer the same.
    """
    groups: dict[frozenset[str], list[Ant]] = {}
    anywhere = replace(asked.demand, tags=frozenset())
    for ant in core.leases.ants.values():
        if ant.connected and not ant.draining and anywhere.fits(ant):
            groups.setdefault(ant.tags, []).append(ant)
    if len(groups) < 2:
        return []
    largest = heapq.nlargest(MOST_POOLS, groups.items(), key=lambda group: sum(ant.slots for ant in group[1]))
    return [
        PoolAsked(tags, len(ants), asked.demand.fits(ants[0]), _question(core, asked, ants)) for tags, ants in largest
    ]


def _question(core: Core, asked: Wanted, ants: list[Ant]) -> Question:
    slots = sum(ant.slots for ant in ants)
    limits: dict[Limit, int] = {}
    before = ahead(core, asked, ants, limits)
    busy, held = _held(core, ants, asked, list(limits))
    waiting = [*held, *before, *_scheduled(core, asked, ants)]
    return Question(
        kind_of(asked.job.org, asked.job.definition.job_type),
        slots,
        tuple(busy),
        tuple(waiting),
        ready_in_s=max(0.0, asked.starts_at - core.wall),
        places=asked.places,
        overtaking=core.book.load.before(-asked.job.priority, slots, core.wall),
        limits={name: limited(core, name, places, ants) for name, places in limits.items()},
    )


def _held(core: Core, ants: Iterable[Ant], asked: Wanted, limits: Sequence[Limit]) -> tuple[list[Busy], list[Ahead]]:
    """What runs on these ants, and what they hold beyond their slots; without the asked job."""
    busy: list[Busy] = []
    beyond: list[Ahead] = []
    for ant in ants:
        runs = sorted(ant.held.values(), key=lambda run: (run.started_at or core.wall, run.token))
        if core.queueing is not None and not asked.demand.best_effort:  # those give way
            runs = [run for run in runs if not core.queueing.is_best_effort(run)]
        for at, run in enumerate(runs):
            kind = kind_of(run.job.org, run.job.definition.job_type)
            if run.job is asked.job:
                continue
            if at < ant.slots:
                names = tuple(name for name in limits if is_under(core, name, run))
                busy.append(Busy(kind, max(0.0, core.wall - (run.started_at or core.wall)), limits=names))
            else:
                beyond.append(Ahead(kind))
    return busy, beyond


def _before(entry: Entry, demand: Demand, asked: Wanted) -> bool:
    """True where a candidate goes before the asked job."""
    if entry[4].state != entry[5]:
        return False
    return entry[:3] < asked.key if demand.queue == asked.demand.queue else entry[1] < asked.job.number


def _scheduled(core: Core, asked: Wanted, ants: list[Ant]) -> Iterator[Ahead]:
    """Jobs with a later start that go before this one once their time has come."""
    own = {ant.key for ant in ants}
    soon: list[tuple[float, int, Job]] = []
    for job in core.jobs.values():
        if job.state == life.PENDING and job.timer is not None and job is not asked.job:
            due = job.timer_at if job.timer_at is not None else job.scheduled_at
            if due is not None and core.waiting.order_key(job, 0) < asked.key:
                soon.append((due, job.number, job))
    for due, _, job in heapq.nsmallest(MOST_SCHEDULED, soon):
        share = shared(core, core.waiting.pending_demand(job), own)
        if share:
            yield Ahead(kind_of(job.org, job.definition.job_type), max(1e-3, due - core.wall), share=share)


def _tenants(core: Core, asked: Wanted, question: Question) -> Iterator[Question]:
    """The same for the concurrent jobs of its organisation and its user, where they are limited."""
    payer = asked.demand.payer
    if payer is None or core.queueing is None:
        return
    for account in core.queueing.quotas.of(payer.org, payer.user, payer.job_type):
        limit = account.limits.get(JOBS) if begins(payer, account) else None
        if limit is None or limit.hard >= UNLIMITED:
            continue
        running = [
            Busy(kind_of(job.org, job.definition.job_type), max(0.0, core.wall - (job.started_at or core.wall)))
            for job in core.jobs.values()
            if job.state not in (life.PENDING, *life.JOB_ENDED)
            and account.holds_for(job.org, job.submitted_by or "", (job.definition.org, job.definition.job_type))
        ]
        ahead = [
            Ahead(kind_of(entry[4].org, entry[4].definition.job_type))
            for demand, queue in core.queues.items()
            if demand.payer is not None
            and account.holds_for(demand.payer.org, demand.payer.user, demand.payer.job_type)
            for entry in queue.entries()
            if isinstance(entry[4], Job) and _before(entry, demand, asked)
        ]
        slots = int(limit.hard)
        own, before = tuple(running[:slots]), tuple(ahead)
        by = f"{limit.hard:g} concurrent jobs of {account.who} ({account.told(JOBS)})"
        one = replace(question, slots=slots, running=own, ahead=before, places=1, overtaking=0.0, limits={})
        yield replace(one, limited_by=by)


def _queue(core: Core, asked: Wanted, question: Question) -> Iterator[Question]:
    """The same for the tasks of its queue, where they are limited."""
    name, queueing = asked.demand.queue, core.queueing
    limit = queueing.config.named(name).limit if queueing is not None else None
    if queueing is None or limit is None:
        return
    running = [
        Busy(kind_of(run.job.org, run.job.definition.job_type), max(0.0, core.wall - (run.started_at or core.wall)))
        for ant in core.leases.ants.values()
        for run in ant.held.values()
        if run.job is not asked.job and queueing.leaf(run.job) == name
    ]
    found = []
    for demand, queue in core.queues.items():
        if demand.queue == name:
            for entry in queue.entries():
                job = job_of(entry[4])
                if _before(entry, demand, asked) and job is not asked.job:
                    found.append((entry[:3], Ahead(kind_of(job.org, job.definition.job_type))))
    ahead = tuple(one for _, one in sorted(found, key=lambda pair: pair[0]))
    by = f"{limit} tasks at a time of the queue {name} (limit)"
    one = replace(question, slots=limit, running=tuple(running[:limit]), ahead=ahead, overtaking=0.0, limits={})
    yield replace(one, limited_by=by)


def _limit(core: Core, asked: Wanted, question: Question) -> Question:
    """The same for `max_concurrency`: its places are those that the limit leaves, and only its own kind waits."""
    gate = asked.job.definition.gate
    running = [
        Busy(question.kind, max(0.0, core.wall - (job.started_at or core.wall)))
        for job in core.jobs.values()
        if job.definition.gate == gate and job.state not in (life.PENDING, *life.JOB_ENDED)
    ]
    ahead = [
        Ahead(question.kind)
        for demand, queue in core.queues.items()
        if demand.gate == gate
        for entry in queue.entries()
        if _before(entry, demand, asked) and isinstance(entry[4], Job)
    ]
    limit = core.limit_of(gate) if gate is not None else 0
    found = tuple(running[:limit])
    by = f"{limit} executions at a time (max_concurrency)"
    one = replace(question, slots=limit, running=found, ahead=tuple(ahead), places=1, overtaking=0.0, limits={})
    return replace(one, limited_by=by)
