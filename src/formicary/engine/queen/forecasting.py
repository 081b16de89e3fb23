"""Estimates over a queen: when would a job start, when would it end, would it keep a deadline?

Theory of operation. The core says what stands before the job; the plays run on a reader thread, so that the loop is
not held up. Run times are those of jobs that ended since the queen began; where a job type has none yet, those of its
newest ended jobs are read from the store once. Every few seconds the newest job that waits is estimated unasked, so
that the forecasts are scored even where nobody asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core import asking
from formicary.engine.queen.core.asking import Wanted
from formicary.engine.queen.core.records import Definition
from formicary.engine.queen.fitting import never_starts, unfit
from formicary.engine.scheduling.estimate_book import Answer, kind_of
from formicary.engine.scheduling.estimating import Question, forecast, in_time
from formicary.engine.scheduling.policies.gang import Gang, place
from formicary.problems import Problem

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core
    from formicary.engine.queen.runtime import Queen

log = logging.getLogger("formicary.queen")
SETTLED_AT_ONCE = 2000
"""Ends and arrivals that a turn of the loop works in."""
SAMPLED_S = 5.0
MOST_LIVE = 5000
"""With more live jobs nothing is estimated unasked: each estimate looks at all that wait."""
READ_JOBS = 50
MOST_READ = 1000
"""Job types whose history has been looked for."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """Whether all tasks of a definition would find an ant at the same time now; nothing is reserved.

    Attributes:
        fits: True where they would.
        places: Ant by task; empty where they do not fit.
        lacks: Sentences of what is missing.
        never: Those of them that hold though nothing else ran on the ants.
    """

    fits: bool
    places: Mapping[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """The ants that offer the same tags, and when a job would start if it went to them.

    Attributes:
        tags: Which they offer, sorted.
        ants: How many they are.
        slots: All of theirs.
        busy: Slots in which something runs.
        ahead: Jobs and tasks whose turn comes before.
        serves: The job may go there as it is; else its tags would have to be others.
        starts_at: The estimate, seconds since the epoch.
        wait_s: From now to it.
    """

    tags: tuple[str, ...]
    ants: int
    slots: int
    busy: int
    ahead: int
    serves: bool
    starts_at: float
    wait_s: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """An answer. Times are seconds since the epoch.

    Attributes:
        job_type: Of the job.
        reason: Why there is no estimate; empty where there is one.
        starts_at: The estimate.
        earliest_at: Lower end of the interval.
        latest_at: Upper end.
        wait_s: From now to the estimate.
        article_wait_s: The article's formula.
        run_s: How long jobs of this type have run on average; None where none has ended.
        ahead: Jobs and tasks whose turn comes before.
        slots: Slots of the ants that serve it.
        limited_by: `max_concurrency`, or the limit or hours of its queue or tenant that decide; empty = the ants do.
        in_time: How likely it ends by the deadline, None where none was given.
        dry_run: Where asked for.
        pools: Of a job that is not submitted, where ants offer different tags: the least congested first.
    """

    job_type: str
    reason: str = ""
    starts_at: float = 0.0
    earliest_at: float = 0.0
    latest_at: float = 0.0
    wait_s: float = 0.0
    article_wait_s: float = 0.0
    run_s: float | None = None
    ahead: int = 0
    slots: int = 0
    limited_by: str = ""
    in_time: float | None = None
    dry_run: DryRun | None = None
    pools: tuple[Pool, ...] = ()


class Forecasting:
    """Answers questions about waits."""

    def __init__(self, queen: Queen) -> None:
        self._queen = queen
        self._rng = Random()
        self._read: set[str] = set()
        self._sampler: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins the samples."""
        self._sampler = asyncio.create_task(self._sample(), name="estimates")

    async def stop(self) -> None:
        """Ends them."""
        if self._sampler is not None:
            self._sampler.cancel()
            await asyncio.wait([self._sampler])

    async def of_job(self, job_id: str, deadline_at: float = 0.0) -> Estimate | None:
        """The estimate of a live job; None where it does not wait for its first task. It will be scored."""
        core = self._queen.pump.now()
        wanted = asking.submitted(core, core.jobs[job_id])
        return None if wanted is None else await self._estimate(wanted, deadline_at, keep=job_id)

    async def of_definition(
        self,
        definition: Definition,
        org: str,
        priority: int | None,
        starts_at: float,
        deadline_at: float,
        dry_run: bool,
    ) -> Estimate:
        """The estimate of a job that is not submitted."""
        core = self._queen.pump.now()
        level = definition.model.priority if priority is None else priority
        starts_at = starts_at or definition.model.scheduled_at or 0.0
        wanted = asking.not_submitted(core, definition, org, level, starts_at)
        found = await self._estimate(wanted, deadline_at)
        found = replace(found, pools=await self._pools(wanted))
        if not dry_run:
            return found
        return replace(found, dry_run=try_all(self._queen.pump.now(), definition))

    async def _estimate(self, wanted: Wanted, deadline_at: float, keep: str = "") -> Estimate:
        pump = self._queen.pump
        job_type = wanted.job.definition.job_type
        await self._history(wanted.job.org, job_type)
        while not pump.core.book.settle(SETTLED_AT_ONCE):
            await asyncio.sleep(0)  # others have their turn
        core = pump.now()
        book, now = core.book, core.wall
        if (gate := wanted.demand.gate) is not None and not core.breaking.permits(gate):
            return Estimate(job_type, "its circuit breaker is open")
        later = ""
        if core.queueing is not None and (wait_s := core.queueing.deciding.opens_in(wanted.demand, now)):
            later = f"the hours of the queue {wanted.demand.queue}"
            wanted = replace(wanted, starts_at=max(wanted.starts_at, now + wait_s))
        if (payer := wanted.demand.payer) is not None and core.queueing is not None:
            over = core.queueing.quotas.refusal(payer, now, soft=False)
            if over is not None and over.until is not None:  # until its tenant's day, week or month begins anew
                later = over.message
                wanted = replace(wanted, starts_at=max(wanted.starts_at, over.until))
        asked = asking.questions(core, wanted)
        if not asked[0].slots:
            return Estimate(job_type, "no ant that is connected could run its first task", ahead=len(asked[0].ahead))
        if never := never_starts(core, wanted.job.definition, wanted.job.submitted_by or ""):
            return Estimate(job_type, never, ahead=len(asked[0].ahead))
        kinds = {kind for question in asked for kind in question.kinds}
        known = book.durations.only(kinds)
        plays = await pump.read(lambda: [forecast(one, known, self._rng) for one in asked])
        best: tuple[Question, Answer] | None = None
        for question, raw in zip(asked, plays, strict=True):
            answer = None if raw is None else book.answer(question, raw, now)
            if answer is not None and (best is None or answer.told.wait_s > best[1].told.wait_s):
                best = (question, answer)
        if best is None:
            return Estimate(job_type, "no ant has as many slots as it needs")
        question, answer = best
        if keep and book.durations:  # before anything has ended a forecast is a guess, and teaches nothing
            book.keep(keep, answer)
        kind, told = question.kind, answer.told
        likely = in_time(told, kind, deadline_at - now, book.durations, self._rng) if deadline_at else None
        return Estimate(
            job_type,
            starts_at=now + told.wait_s,
            earliest_at=now + told.low_s,
            latest_at=now + told.high_s,
            wait_s=told.wait_s,
            article_wait_s=answer.article_s,
            run_s=book.durations.mean_s(kind) if kind in book.durations else None,
            ahead=question.before(told.wait_s),
            slots=asked[0].slots,
            limited_by=later if question is asked[0] else question.limited_by,
            in_time=likely,
        )

    async def _pools(self, wanted: Wanted) -> tuple[Pool, ...]:
        """When the job would start with each pool of ants, by their wait."""
        core = self._queen.pump.now()
        asked, book, now = asking.pools(core, wanted), core.book, core.wall
        known = book.durations.only({kind for pool in asked for kind in pool.question.kinds})
        plays = await self._queen.pump.read(lambda: [forecast(pool.question, known, self._rng) for pool in asked])
        found = []
        for pool, raw in zip(asked, plays, strict=True):
            if raw is not None:
                question, wait_s = pool.question, book.answer(pool.question, raw, now).told.wait_s
                busy, ahead = len(question.running), question.before(wait_s)
                numbers = (pool.ants, question.slots, busy, ahead)
                found.append(Pool(tuple(sorted(pool.tags)), *numbers, pool.serves, now + wait_s, wait_s))
        return tuple(sorted(found, key=lambda pool: (pool.wait_s, pool.ahead, pool.busy / pool.slots, pool.tags)))

    async def _history(self, org: str, job_type: str) -> None:
        """Reads the run times of the newest ended jobs of a type, the first time somebody asks for it."""
        kind, pump, store = kind_of(org, job_type), self._queen.pump, self._queen.store
        if kind in pump.core.book.durations or kind in self._read or len(self._read) >= MOST_READ:
            return
        self._read.add(kind)
        pages = store.jobs(org, states=[life.COMPLETED], job_type=job_type, limit=READ_JOBS, page=READ_JOBS, before=0)
        for row in reversed(await pump.read(lambda: next(pages, []))):
            if row[9] is not None and row[10] is not None:
                pump.core.book.durations.add(kind, max(0.0, float(row[10]) - float(row[9])))

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLED_S)
            try:
                core = self._queen.pump.now()
                newest = next(reversed(core.jobs.values()), None)
                if newest is not None and newest.id not in core.book.open and len(core.jobs) <= MOST_LIVE:
                    await self.of_job(newest.id)
            except Problem as problem:
                log.debug("no estimate is sampled: %s", problem)


def try_all(core: Core, definition: Definition) -> DryRun:
    """Looks for places for all tasks at once, as a gang would need them; nothing is reserved."""
    tasks = [
        (task.task_type, demand)
        for task, demand in zip(definition.model.tasks, definition.demands, strict=True)
        if demand is not None  # what the others need is known once they are rendered
    ]
    free: dict[str, dict[str, float]] = {}
    for ant in core.leases.ants.values():
        if ant.connected and not ant.draining:
            room = {name: amount - ant.used.get(name, 0.0) for name, amount in ant.resources.items()}
            able = {f"task {name}": 1.0 for name, demand in tasks if demand.fits(ant)}
            free[ant.id] = room | able | {"slots": float(max(0, ant.slots - len(ant.held)))}
    names = [name for name, _ in tasks]
    members = [dict(demand.needs) | {f"task {name}": 1.0, "slots": 1.0} for name, demand in tasks]
    lacks = unfit(core, definition) if free else ["no ant is connected"]
    if lacks:
        return DryRun(False, lacks=tuple(lacks), never=tuple(lacks) if free else ())
    found = place(Gang("", tuple(members)), free)
    if found is None:
        slots = int(sum(have["slots"] for have in free.values()))
        text = f"{len(members)} tasks need their slots and resources at the same time; {slots} slots are free"
        return DryRun(False, lacks=(text,))
    return DryRun(True, dict(zip(names, found, strict=True)))
