"""How the core tells who is where, and which of what waits has to know of it (`scheduling.affinity`).

A task with terms waits for a demand that carries them. One without waits for a plain demand, until some task with
required anti-affinity is granted whose term selects its labels: from then on it waits for a demand with its labels.
Such a term is rarely new; what waits is looked through once when it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from formicary.engine.jobs.model import QUEEN_METHODS
from formicary.engine.queen.core.queueing import requeue
from formicary.engine.queen.core.records import Ant, Job, Place, TaskRun, labels_of
from formicary.engine.scheduling.affinity import (
    JOB_LABEL,
    JOB_MARK,
    Held,
    Neighbours,
    before_its_job,
    labels_text,
    of_job,
    selects,
)

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core
    from formicary.engine.queen.core.records import Definition
    from formicary.engine.scheduling.affinity import Selector
    from formicary.engine.scheduling.demand import Demand


class Neighbouring:
    """Affinity between the tasks of one core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.book: Neighbours = core.leases.neighbours
        core.leases.find, core.leases.as_held = partial(held, core), as_held

    # --- what a candidate waits for ---------------------------------------------------------------------------------

    def of_job(self, job: Job, demand: Demand) -> Demand:
        """The demand of a job that has not begun, with its neighbours.

        Of several tasks that begin with it, one may have to be near another: each is asked about at its own turn.
        """
        starts, gang = job.definition.plan.starts or job.definition.plan.finals, job.definition.gang
        if demand.affinity and (len(starts) > 1 or (gang is not None and starts[0] in gang.members)):
            return demand.beside("")
        if demand.affinity:
            found = demand.affinity
            return demand.beside(before_its_job(found)) if JOB_MARK in found else demand
        if not demand.method or not self.book.is_used:
            return demand
        return self._selected(job, demand, labels_of(job.definition.model, job.definition.model.tasks[starts[0]]))

    def of_task(self, run: TaskRun, demand: Demand) -> Demand:
        """The demand of a task that is ready, with its neighbours."""
        if demand.affinity:
            return demand.beside(of_job(demand.affinity, run.job.id)) if JOB_MARK in demand.affinity else demand
        if not self.book.is_used:
            return demand
        return self._selected(run.job, demand, _labels(run))

    def of_members(self, runs: Sequence[TaskRun]) -> tuple[Demand, ...]:
        """Demands of tasks that start together; where one has terms, all have to be known by their labels."""
        found = tuple(self.of_task(run, run.demand) for run in runs)
        if not any(demand.affinity for demand in found):
            return found
        return tuple(
            demand if demand.affinity else demand.beside(labels_text(run.job.org, _labels(run)))
            for run, demand in zip(runs, found, strict=True)
        )

    def _selected(self, job: Job, demand: Demand, labels: Mapping[str, str]) -> Demand:
        """Terms of others that may select it have to be asked."""
        org = job.org
        return demand.beside(labels_text(org, labels)) if self.book.repels(org, labels) else demand

    # --- what is granted --------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Before decisions: what waits is put in its place anew where terms that are new may select it."""
        news, self.book.news = self.book.news, []
        if any(self._concerns(org, selector) for org, selector in news):
            requeue(self._core)

    def prune(self) -> None:
        """Forgets what nobody needs any more."""
        self.book.prune(lambda: {demand.affinity for demand in self._core.queues})

    def _concerns(self, org: str, selector: Selector) -> bool:
        """Whether tasks without terms may be selected."""
        return any(
            _may_be_selected(definition, selector)
            for definition in self._core.definitions.values()
            if definition.org == org
        )


def _may_be_selected(definition: Definition, selector: Selector) -> bool:
    for task, demand in zip(definition.model.tasks, definition.demands, strict=True):
        if task.method in QUEEN_METHODS or (demand is not None and demand.affinity):
            continue
        if demand is None or selects(selector, labels_of(definition.model, task)):
            return True
    return False


def _labels(run: TaskRun) -> dict[str, str]:
    return labels_of(run.job.definition.model, run.task)


def held(core: Core, org: str, job_id: str) -> Iterator[Held]:
    """What is granted of an organisation, or of one of its jobs."""
    job = core.jobs.get(job_id)
    runs: Iterable[TaskRun] = core.leases.tokens.values()
    if job_id:
        execution = job.run if job is not None else None
        runs = [run for run in runs if run.job is job] if execution is not None else ()
    for run in runs:
        if run.job.org == org and run.holder is not None:
            yield as_held(run, run.holder)


def as_held(run: TaskRun | Place, ant: Ant) -> Held:
    """An attempt as the book takes it, or one that room is kept for."""
    job = run.job
    if isinstance(run, Place):
        model, demand = job.definition.model, job.definition.first
        labels = labels_of(model, model.tasks[job.definition.start])
    else:
        labels, demand = _labels(run), run.demand
    return Held(run.token, job.org, {**labels, JOB_LABEL: job.id}, of_job(demand.affinity, job.id), ant)
