"""How the core follows configured queues: where each candidate waits, who is charged, who is asked to give way.

Without a configuration the core decides by priority and submission alone (`scheduling.pipeline`); this module is there
once queues are configured, or once a definition asks for what only it can do (a gang, waiting for a preferred ant).

Theory of operation. A job's queue follows from its definition and its submitter and is looked up once for each pair.
What waits is moved to other queues only when the configuration changes. Each attempt is charged to a queue and a tenant
when it is granted and credited when its lease is released, whatever the reason; so the books are right after a reload
too, where leases are adopted. Inversion: while a job waits at its type's `max_concurrency`, those that hold a place
there have its priority.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, cast

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.fan_out import definition_position
from formicary.engine.jobs.gang import deadline_of
from formicary.engine.jobs.locks import locks_of
from formicary.engine.jobs.quality import holds
from formicary.engine.queen.core.degrading import Degrading
from formicary.engine.queen.core.gangs import GangRun
from formicary.engine.queen.core.overload import Overload
from formicary.engine.queen.core.preempting import Feedback, Preempting, amount
from formicary.engine.queen.core.quotas import Quotas
from formicary.engine.queen.core.records import Ant, Definition, Job, Place, TaskRun
from formicary.engine.scheduling.candidates import OrderKey
from formicary.engine.scheduling.demand import Demand, Gate, Payer
from formicary.engine.scheduling.policies.degrade import degraded
from formicary.engine.scheduling.policies.drf import dominant_share
from formicary.engine.scheduling.queues.deciding import Deciding, GangDecision, QueueView
from formicary.engine.scheduling.queues.groups import WHOLE
from formicary.engine.scheduling.queues.ledger import Charge, Ledger
from formicary.engine.scheduling.queues.model import SHARES, Queue, Queues, Rule, Subject
from formicary.engine.scheduling.requirements import patience_s

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core
    from formicary.engine.scheduling.pipeline import AntView, Decision

PLAIN = Queues(Rule("priority"), "least_loaded", (Queue("default"),))
"""Priority, then submission, as without queues."""
REMEMBERED = 64
"""Run times that are kept of each task of a definition."""
MOST_DEMANDS = 65_536
"""That are kept at hand."""


def asks_for_queues(definition: Definition) -> bool:
    """Whether its jobs need what only queues can do."""
    waits = any(demand is not None and demand.match and patience_s(demand.match) for demand in definition.demands)
    locks = definition.locks or any(locks_of(task.resources) for task in definition.model.tasks)
    return definition.gang is not None or waits or bool(locks)


class Queueing:
    """Candidates of one core under one configuration."""

    def __init__(self, core: Core, config: Queues) -> None:
        self.core = core
        self.config = config
        self.ledger = Ledger()
        self.promised = Ledger() if config.quality_of_service else self.ledger
        """The same without best-effort tasks."""
        self.quotas = Quotas(core, config.tenants)
        self.deciding = Deciding(config, self.ledger, self.quotas, core.leases.locks, self.promised, self._expected)
        self.inherited: dict[Job, int] = {}
        """Priority that a running job has from one that waits for its place."""
        self.history: dict[tuple[str, str, int], deque[float]] = {}
        """Run times in seconds by (organisation, job type, position)."""
        self.coming: dict[TaskRun | Job, None] = {}
        """Tasks and jobs that name amounts and are being rendered, and maybe some that are not any more."""
        self._round: Iterator[Decision | GangDecision | None] | None = None
        """The round that goes on with the next slice, as long as ants have only been given more."""
        self._round_of = -1
        self._leaves: dict[tuple[str, str], str] = {}
        self._demands: dict[tuple[Demand, str, str, int, Payer | None, bool], Demand] = {}
        self._groups = config.apart
        self.feedback = Feedback(config.rule)
        self.preempting = Preempting(self)
        self.overload = Overload(self)
        self._boost_at = core.wall + config.rule.boost
        self.degrading = Degrading(self)

    # --- where a candidate waits ------------------------------------------------------------------------------------

    def leaf(self, job: Job) -> str:
        """The queue of a job."""
        key = (job.definition.id, job.submitted_by or "")
        found = self._leaves.get(key)
        if found is None:
            found = self._leaves[key] = self.config.leaf_of(_subject(job))
        return found

    def demand(self, job: Job, demand: Demand, *, begins: bool = False) -> Demand:
        """The demand of a job or a task of it, with its queue and, where the policy asks for them, tenant and level."""
        leaf = self.leaf(job)
        rule = self.config.within(leaf)
        tenant = ""
        if rule.policy in SHARES:
            tenant = self.leaf(job) if rule.by == "queue" else _tenant(job, rule.by)
        elif rule.fair_by:
            tenant = _tenant(job, rule.fair_by)
        level = self.priority(job) if rule.policy == "priority" and (rule.aging or rule.floor) else 0
        payer = self.quotas.payer(job, begins=begins)
        best = self.config.quality_of_service and _is_best_effort(job, demand)
        key = (demand, leaf, tenant, level, payer, best)
        found = self._demands.get(key)
        if found is None:
            if len(self._demands) > MOST_DEMANDS:
                self._demands.clear()
            found = self._demands[key] = replace(
                demand, queue=leaf, tenant=tenant, level=level, payer=payer, best_effort=best
            )
        return found

    def key(self, job: Job, position: int) -> OrderKey:
        """Where a candidate stands among those of its demand."""
        rule = self.config.within(self.leaf(job))
        policy = rule.policy
        if policy == "fcfs" or (
            policy == "priority" and (rule.aging or rule.floor)
        ):  # those of one level have waited in this order
            return 0, job.number, position
        if rule.mode == "feedback":
            return self.feedback.level(job), job.number, position
        if policy in ("edf", "sjf", "llf"):
            if job in self.overload.demoted:
                return inf, job.number, position
            due = deadline_of(job.definition.model.deadline, job.submitted_at)
            deadline = inf if due is None else due
            runtime = self.estimate_s(job, position)
            first = {"edf": deadline, "sjf": runtime, "llf": deadline - (runtime if runtime < inf else 0.0)}[policy]
            return first, job.number, position
        priority = float(self.priority(job))
        if rule.degrade != "none":
            priority = degraded(priority, max(0.0, self.core.wall - job.waiting_since), rule.degrade)
        return -priority, job.number, position

    def user(self, job: Job) -> tuple[str, str]:
        """Under which order and for whom the deadlines of a job count."""
        leaf = self.leaf(job)
        return leaf if self.config.apart else "", _tenant(job, self.config.within(leaf).fair_by)

    def priority(self, job: Job) -> int:
        """Its own or what it has inherited."""
        return max(job.priority, self.inherited.get(job, job.priority))

    def estimate_s(self, job: Job, position: int) -> float:
        """How long a task is expected to run: as it says, or as it was on average; infinity where nobody knows."""
        model, position = job.definition.model, definition_position(position)  # elements of one task are alike
        task = model.tasks[position] if position < len(model.tasks) else None
        given = (task.estimated_runtime_s if task is not None else None) or model.estimated_runtime_s
        if given is not None:
            return given
        known = self.history.get((job.org, model.job_type, position))
        return sum(known) / len(known) if known else inf

    # --- who holds what ---------------------------------------------------------------------------------------------

    def charge(self, run: TaskRun | Place) -> Charge:
        """Whom an attempt is charged to."""
        demand = self.demand(run.job, Demand("", frozenset()))
        needs = run.needs if isinstance(run, Place) else holds(run.task)
        return demand.queue, demand.queue if self._groups else "", demand.tenant, needs

    def take(self, run: TaskRun | Place) -> None:
        """An ant holds an attempt, or keeps room for it, from now on."""
        run.charge = self.charge(run)
        self.ledger.take(run.charge)
        if self.promised is not self.ledger and not self.is_best_effort(run):
            self.promised.take(run.charge)
        self.quotas.take(run, run.charge[3])

    def give(self, run: TaskRun | Place) -> None:
        """It holds it no more."""
        assert run.charge is not None, "only what was charged is credited"
        self.ledger.give(run.charge)
        if self.promised is not self.ledger and not self.is_best_effort(run):
            self.promised.give(run.charge)
        self.quotas.give(run, run.charge[3])
        if self.config.rule.mode == "feedback" and isinstance(run, TaskRun):
            held_s = self.core.wall - run.granted_at  # as its slice was counted
            self.feedback.ran(run.job, max(run.ran_s or 0.0, held_s))
        run.ran_s = None
        if run.holder is not None:
            self.deciding.given_back(run.holder)

    def is_best_effort(self, run: TaskRun | Place) -> bool:
        """Whether an attempt has asked for no amounts, and so gives way to what has; never without the option."""
        return self.config.quality_of_service and run.charge is not None and not run.charge[3]

    def _expected(self) -> int:
        """Tasks that go before best-effort ones as soon as they are rendered."""
        for one in [one for one in self.coming if not _is_being_rendered(one, self.core)]:
            del self.coming[one]
        return sum(one not in self.core.leases.places for one in self.coming)  # the others have their room

    def counted(self, job: Job, change: int) -> None:
        """A job has begun, or an execution of it has ended."""
        self.quotas.count(job, change)
        self.overload.demoted.discard(job)
        if change < 0:
            self.feedback.forget(job)

    def ran(self, run: TaskRun, seconds: float, *, completed: bool) -> None:
        """An attempt is about to be released; the run times of those that completed are remembered."""
        run.ran_s = seconds
        if not completed:
            return
        key = (run.job.org, run.job.definition.job_type, definition_position(run.position))
        known = self.history.get(key)
        if known is None:
            known = self.history[key] = deque(maxlen=REMEMBERED)
        known.append(max(0.0, seconds))

    # --- decisions --------------------------------------------------------------------------------------------------

    def schedule(self, most: int) -> bool:
        """One slice of decisions; True where there may be more to decide at once."""
        core = self.core
        if self._round is None:
            self._before_round()
        if self._round is None or self._round_of != core.versions[0]:
            self._round = self.deciding.decide(cast("QueueView[AntView]", core), core.wall, core.rng)
            self._round_of = core.versions[0]
        for decision in self._round:
            if decision is None:  # a pause
                pass
            elif isinstance(decision, GangDecision):
                core.gangs.start(cast(GangRun, decision.candidate), cast(Sequence[Ant], decision.ants))
            else:
                self._carry_out(decision)
            most -= 1
            if not most or core.leases.neighbours.news:
                return True
        self._round = None
        core.stats.gangs_waited, self.deciding.gangs_waited = core.stats.gangs_waited + self.deciding.gangs_waited, 0
        core.waiting.wake(
            min((at for at in (self.deciding.wake_at, self._after_round()) if at is not None), default=None)
        )
        return False

    def drop_round(self) -> None:
        """What waits has another place: decisions begin anew."""
        self._round = None

    def _before_round(self) -> None:
        if self.config.rule.boost and self.core.wall >= self._boost_at:
            self._boost_at = self.core.wall + self.config.rule.boost
            self.feedback.boost()
            requeue(self.core)
        self.degrading.before_round()
        self.overload.before_round()

    def _after_round(self) -> float | None:
        """When another round is due though nothing happens; None = no such time."""
        boost_at = self._boost_at if self.config.rule.boost and self.core.queues else None
        times = [self.preempting.after_round(), boost_at, self.degrading.next_look(), self.overload.next_look()]
        return min((at for at in times if at is not None), default=None)

    def limit_anew(self) -> None:
        """A job type has other limits: what runs is counted by them, what waits is put where it belongs."""
        earlier, self.quotas = self.quotas, Quotas(self.core, self.config.tenants)
        self.deciding.accounts = self.quotas
        self.quotas.follow(earlier)
        held: Iterable[TaskRun | Place] = (*self.core.leases.tokens.values(), *self.core.leases.places.values())
        for run in held:
            if run.charge is not None:
                self.quotas.take(run, run.charge[3])
        self._demands.clear()
        requeue(self.core)

    def _carry_out(self, decision: Decision) -> None:
        core, candidate, ant = self.core, decision.candidate, cast(Ant, decision.ant)
        if isinstance(candidate, Job):
            core.begin(candidate, ant)
        else:
            core.grant(cast(TaskRun, candidate), ant)

    def refusal(self, demand: Demand, tasks: int = 1) -> tuple[str, str] | None:
        """The gate of its queue that holds a demand up, and why; None where so many tasks of it may start now."""
        view = cast("QueueView[AntView]", self.core)
        found = self.deciding.refusal(view, demand, self.core.wall, tasks=tasks)
        if found is not None or self.config.rule.policy != "capacity":
            return found
        totals = self.totals()
        books = self.ledger if demand.best_effort else self.promised
        used = {name: WHOLE * dominant_share(held, totals) for name, held in books.queues.items() if held}
        why = self.deciding.tree.refusal(demand.queue, WHOLE, used, amount(demand, totals))
        return None if why is None else ("capacity", f"{why} (per cent of the colony)")

    def totals(self) -> dict[str, float]:
        """What all ants that take work have together."""
        return self.deciding.totals(cast("QueueView[AntView]", self.core))

    # --- inversion --------------------------------------------------------------------------------------------------

    def waits_at(self, gate: Gate, priority: int) -> None:
        """A job of this priority waits at a limit: those that hold a place there inherit it."""
        if self.core.running_of(gate) < self.core.limit_of(gate):
            return
        for holder in self.core.holders.get(gate, ()):
            self.inherit(holder, priority)

    def inherit(self, holder: Job, priority: int) -> None:
        """A job has at least this priority until it ends; what waits of it takes its new place in the order."""
        if self.priority(holder) >= priority:
            return
        self.inherited[holder] = priority
        execution = holder.run
        for run in (*execution.runs.values(), *execution.elements.values()) if execution is not None else ():
            if run.state == life.READY and not self.core.gangs.holds(run):
                self.core.waiting.queue_task(run, run.demand)


def _is_best_effort(job: Job, demand: Demand) -> bool:
    """Whether a task asks for no amounts; one that is not rendered yet: whether its definition names none."""
    if demand.gang:
        return demand.best_effort
    return not demand.needs and (bool(demand.method) or not job.definition.asks)


def _is_being_rendered(one: TaskRun | Job, core: Core) -> bool:
    """Whether the rendering goes on."""
    if isinstance(one, Job):
        return one.id in core.jobs and one.run is not None and one.run.preparing
    return one.job.id in core.jobs and one.rendering


def _tenant(job: Job, by: str) -> str:
    return job.org if by == "org" or not job.submitted_by else job.submitted_by


def _subject(job: Job) -> Subject:
    model = job.definition.model
    most: dict[str, float] = {}
    for task in model.tasks:
        for name, held in holds(task):
            most[name] = max(most.get(name, 0.0), held)
    return Subject(
        model.job_type,
        job.submitted_by or "",
        model.queue or "",
        frozenset(tag for task in model.tasks[:1] for tag in task.tags),
        model.labels,
        model.estimated_runtime_s,
        most,
    )


def follow(core: Core, config: Queues) -> None:
    """Puts what waits where it belongs under this configuration, and charges what runs anew."""
    earlier, core.queueing = core.queueing, Queueing(core, config)
    queueing = core.queueing
    if earlier is not None:
        queueing.history = earlier.history
        queueing.deciding.misses = earlier.deciding.misses
    core.leases.credit = queueing.give
    core.leases.less = queueing.deciding.given_back
    core.leases.give_out(config.overcommit)
    core.observing.follow(config.observed)
    queueing.quotas.follow(earlier.quotas if earlier is not None else None)
    for run in core.leases.tokens.values():
        queueing.take(run)
    for place in core.leases.places.values():
        queueing.take(place)
    requeue(core)


def requeue(core: Core) -> None:
    """Puts what waits where it belongs now; a round that goes on begins anew."""
    if core.queueing is not None:
        core.queueing.drop_round()
    waiting, core.queues = core.queues, {}
    core.wanted.clear()
    core.fresh.clear()
    for queue in waiting.values():
        for candidate, is_cold in queue.drained():
            if isinstance(candidate, Job):
                core.waiting.queue_job(candidate, is_cold=is_cold)
            elif isinstance(candidate, GangRun):
                core.waiting.queue_gang(candidate)
            else:
                run = cast(TaskRun, candidate)
                core.waiting.queue_task(run, run.demand)
