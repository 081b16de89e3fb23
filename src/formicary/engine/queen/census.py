"""How many live jobs there are of each state, priority, organisation and user, counted when somebody asks.

Counting at each change would cost every job something; counting on request costs 0.1 µs per live job and gives the loop
back between slices, so that a scrape over a million jobs delays nobody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

from formicary.engine.queen.core.records import Job, TaskRun
from formicary.engine.scheduling.candidates import CandidateQueue
from formicary.engine.scheduling.demand import Demand

SLICE = 5000

Census = Counter[tuple[str, int, str, str]]
"""(state, priority, organisation, user) -> jobs."""


async def take_census(jobs: Iterable[Job]) -> Census:
    """Counts jobs; those that begin or end meanwhile may be counted in either state."""
    found: Census = Counter()
    present = list(jobs)
    for at in range(0, len(present), SLICE):
        found.update((job.state, job.priority, job.org, job.submitted_by or "") for job in present[at : at + SLICE])
        await asyncio.sleep(0)
    return found


Backlog = Counter[tuple[str, frozenset[str]]]
"""(method, tags) -> jobs and tasks that wait for an ant; the method is empty where it is not known yet."""


def running_of(runs: Iterable[TaskRun]) -> Backlog:
    """What ants hold, by method and tags."""
    return Counter((run.task.method, run.task.tags) for run in runs)


async def take_backlog(queues: Mapping[Demand, CandidateQueue]) -> Backlog:
    """Counts pending jobs and ready tasks by what they need; a job counts for its first task."""
    found: Backlog = Counter()
    for demand, queue in list(queues.items()):
        entries = list(queue.entries())
        waiting: set[int] = set()
        for at in range(0, len(entries), SLICE):
            waiting.update(id(one[4]) for one in entries[at : at + SLICE] if one[4].state == one[5])
            await asyncio.sleep(0)
        if waiting:
            found[demand.method, demand.tags] += len(waiting)
    return found
