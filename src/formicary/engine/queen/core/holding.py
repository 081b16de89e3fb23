"""What holds up the demands that go before a job, for its estimate: limits that let only so many run. Read only.

Of those that wait at a limit no more count than it lets run: the others stay behind it, whatever their place in the
order is. The limits are those of a queue, of a job type (`max_concurrency`), of the jobs of a tenant, and virtual
resources; of several that hold for a demand the one with the least room counts. Hours of a queue, and what a tenant has
used up until its day, week or month begins anew, are later starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, cast

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.tenants import ANY_TYPE, JOBS
from formicary.engine.queen.core.locking import WHOLE_JOB
from formicary.engine.queen.core.quotas import begins
from formicary.engine.queen.core.records import Ant, Job, Place, TaskRun
from formicary.engine.scheduling.concurrency import UNLIMITED
from formicary.engine.scheduling.demand import EPSILON, Demand
from formicary.engine.scheduling.estimate_book import kind_of
from formicary.engine.scheduling.estimating import Busy, Limit, Limited

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

QUEUE, GATE, TENANT, LOCK = "queue", "gate", "tenant", "lock"


@dataclass(frozen=True, slots=True)
class Held:
    """What holds a demand up.

    Attributes:
        limit: Name of the limit; empty = none.
        places: That it lets run.
        ready_in_s: Seconds until anything of the demand may start; infinity = nobody knows.
    """

    limit: Limit = ()
    places: int = 0
    ready_in_s: float = 0.0


FREE = Held()


def held(core: Core, demand: Demand) -> Held:
    """What holds a demand up, be it now or once more of it runs."""
    queueing, gate, found = core.queueing, demand.gate, list[tuple[Limit, int]]()
    if gate is not None:
        if not core.permits(gate):
            return Held(ready_in_s=inf)
        if core.limit_of(gate) < UNLIMITED:
            found.append(((GATE, *gate), core.limit_of(gate)))
    if queueing is None:
        return _tightest(core, found, 0.0)
    ready_in_s = queueing.deciding.opens_in(demand, core.wall)
    limit = queueing.config.named(demand.queue).limit
    if limit is not None:
        found.append(((QUEUE, demand.queue), limit))
    if demand.payer is not None:
        over = queueing.quotas.refusal(demand.payer, core.wall, soft=False)
        if over is not None and over.until is not None:
            ready_in_s = max(ready_in_s, over.until - core.wall)
        for account in queueing.quotas.of(demand.payer.org, demand.payer.user, demand.payer.job_type):
            most = account.limits.get(JOBS) if begins(demand.payer, account) else None
            if most is not None and most.hard < UNLIMITED:
                found.append(((TENANT, account.org, account.user, *account.job_type), int(most.hard)))
    for org, name, amount in demand.locks:
        capacity = core.leases.locks.capacities.get((org, name), max(1.0, amount))
        if capacity + EPSILON < amount:
            return Held(ready_in_s=inf)
        found.append(((LOCK, org, name), int((capacity + EPSILON) / amount)))
    return _tightest(core, found, ready_in_s)


def _tightest(core: Core, found: Sequence[tuple[Limit, int]], ready_in_s: float) -> Held:
    if not found:
        return Held(ready_in_s=ready_in_s) if ready_in_s else FREE
    limit, places = min(found, key=lambda one: (one[1] - _count(core, one[0]), one[0]))
    return Held(limit, places, ready_in_s)


def _count(core: Core, limit: Limit) -> int:
    """How many have their place under a limit."""
    if limit[0] == GATE:
        return core.running_of((limit[1], limit[2]))
    if limit[0] == LOCK:
        return len(core.leases.locks.holders.get((limit[1], limit[2]), ()))
    queueing = core.queueing
    if queueing is None:
        return 0
    if limit[0] == QUEUE:
        return queueing.ledger.running.get(limit[1], 0)
    account = queueing.quotas.accounts.get((limit[1], limit[2], (limit[3], limit[4])))
    return account.jobs if account is not None else 0


def is_under(core: Core, limit: Limit, run: TaskRun | Place) -> bool:
    """Whether an attempt, or the room that is kept for one, has its place under a limit."""
    if limit[0] == QUEUE:
        return run.charge is not None and run.charge[0] == limit[1]
    if limit[0] == LOCK:
        holders = core.leases.locks.holders.get((limit[1], limit[2]), {})
        own = isinstance(run, TaskRun) and (run.job, run.position) in holders
        return own or (run.job, WHOLE_JOB) in holders
    return _is_job_under(limit, run.job)


def _is_job_under(limit: Limit, job: Job) -> bool:
    if limit[0] == GATE:
        return job.definition.gate == limit[1:]
    if (limit[3], limit[4]) not in (ANY_TYPE, (job.definition.org, job.definition.job_type)):
        return False
    return job.org == limit[1] and limit[2] in ("", job.submitted_by or "")


def limited(core: Core, limit: Limit, places: int, ants: Sequence[Ant]) -> Limited:
    """A limit with what has its place under it and does not run on these ants."""
    own = set(ants)
    here = {run.job for ant in ants for run in ant.held.values()}
    if limit[0] == QUEUE:
        runs = core.leases.tokens.values()
        others: Iterator[tuple[Job, float]] = (
            (run.job, run.granted_at) for run in runs if run.holder not in own and is_under(core, limit, run)
        )
    elif limit[0] == LOCK:
        holders = cast("dict[tuple[Job, int], float]", core.leases.locks.holders.get((limit[1], limit[2]), {}))
        others = ((job, job.started_at or core.wall) for job, _ in holders if job not in here)
    else:
        begun = (job for job in core.jobs.values() if job.state not in (life.PENDING, *life.JOB_ENDED))
        others = ((job, job.started_at or core.wall) for job in begun if job not in here and _is_job_under(limit, job))
    busy = tuple(Busy(kind_of(job.org, job.definition.job_type), max(0.0, core.wall - at)) for job, at in others)
    return Limited(places, busy)
