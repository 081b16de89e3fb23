"""Finds jobs that wait for themselves: each waits for a job it has forked, and the last one for a place of the first.

With ``max_concurrency: 1``, a job that forks itself over others and waits for them can never end: its last descendant
starts when there is a place, and the place is its ancestor's. That is certain where as many ancestors that wait, each
for the next one, hold a place as there are. Reads the core only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core.family import Family
from formicary.engine.queen.core.records import Job

if TYPE_CHECKING:
    from formicary.engine.queen.core.composing import Composing


MOST_LOOKED_AT = 10_000
"""So many jobs below one task are looked at; what is not found among them ends by the time-outs of its jobs."""


def stuck(composing: Composing, family: Family, fresh: Sequence[int]) -> tuple[Job, str] | None:
    """The first pending job below a family that can never start, and why; None = there is none.

    Args:
        composing: The families of the core.
        family: The jobs that a task waits for.
        fresh: Indexes of those of them that the task has not waited for before.
    """
    for job in islice(_below(composing, family, fresh), MOST_LOOKED_AT):
        gate = job.definition.gate
        if gate is None or job.state != life.PENDING or job.execution > 0:
            continue
        limit = composing.core.limit_of(gate)
        holders = []
        for ancestor in _waiting_ancestors(composing, job):
            if ancestor.definition.gate == gate:
                holders.append(ancestor.id)
            if len(holders) >= limit:
                places = f"the {limit} places" if limit > 1 else "the place"
                return job, (
                    f"the job {job.id} of the type {job.definition.job_type} could never start: {places} of its type "
                    f"(max_concurrency) {'are' if limit > 1 else 'is'} held by {', '.join(reversed(holders))}, "
                    f"which {'wait' if limit > 1 else 'waits'} for it. Jobs fork each other in a circle."
                )
    return None


def _below(composing: Composing, family: Family, indexes: Sequence[int]) -> Iterator[Job]:
    """The open jobs of a family, and those that they wait for in turn."""
    jobs, stack = composing.core.jobs, [(family, indexes)]
    while stack:
        family, indexes = stack.pop()
        for index in indexes:
            job = jobs.get(family.ids[index]) if index in family.open else None
            if job is None:
                continue
            yield job
            for run in job.run.runs.values() if job.run is not None else ():
                lower = composing.families.get(run)
                if lower is not None:
                    stack.append((lower, sorted(lower.open)))


def _waiting_ancestors(composing: Composing, job: Job) -> Iterator[Job]:
    """The job that has forked a job and waits for it, then the one that waits for that one, and so on."""
    child, parent = job.id, job.id.rpartition(".")[0]
    while parent and composing.awaits(parent, child):
        ancestor = composing.core.jobs.get(parent)
        if ancestor is None:
            return
        yield ancestor
        child, parent = parent, parent.rpartition(".")[0]
