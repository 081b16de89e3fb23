"""Removes jobs whose retention is over.

Theory of operation. Once an hour the ended jobs are walked through in order of number, on a reading connection and a
page at a time; the walk ends at the first page that was submitted within a day, since no retention is shorter. So
nothing needs an index on the time of the end, and the commits of running jobs pay nothing. What is to go is removed in
small transactions of their own between the journal's, each for so many rows that the writer is held for a few
milliseconds. Logs go first and the rows last: what a crash leaves behind is found again by the next walk. Artifacts of
jobs that are gone are removed by their own purge, idempotency keys by a walk at the end.

A job of a tree that still runs is kept: its parent may ask for its outputs. Nobody can revive a job while it is removed
(`Queen.reviving`), and a queen that leads no longer is refused by the store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from formicary.engine.jobs.model import JobDefinition
from formicary.engine.jobs.retention import DAY_S, kept_until
from formicary.engine.queen.core.family import root_of
from formicary.engine.queen.pump import unavailable
from formicary.engine.storage.port import Row, StoreError
from formicary.problems import Problem

if TYPE_CHECKING:
    from formicary.engine.queen.runtime import Queen

log = logging.getLogger("formicary.queen")
PAGE = 500
BATCH_ROWS = 200
"""Rows of jobs and tasks that one transaction removes; a job with more tasks has one of its own."""
FIRST_AFTER_S = 60.0
EVERY_S = 3600.0


Group = tuple[str, str, str]
"""(organisation, job type, state)."""


@dataclass(slots=True)
class Purged:
    """Jobs of one group: how many, and when the first of them ended (seconds since the epoch)."""

    jobs: int
    oldest: float


@dataclass(frozen=True, slots=True)
class _Ended:
    number: int
    id: str
    tasks: int
    group: Group
    ended_at: float


class Retention:
    """The walk through ended jobs."""

    def __init__(self, queen: Queen, wall: Callable[[], float] = time.time) -> None:
        self._queen = queen
        self._wall = wall
        self._walker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins the hourly walk."""
        self._walker = asyncio.create_task(self._hourly(), name="job purge")

    async def stop(self) -> None:
        """Ends the hourly walk."""
        if self._walker is not None:
            self._walker.cancel()
            await asyncio.wait([self._walker])

    async def purge(self, *, dry_run: bool = False, groups: dict[Group, Purged] | None = None) -> int:
        """Removes the jobs whose retention is over; with `dry_run` it only counts them.

        Args:
            dry_run: Remove nothing.
            groups: Gets what was (or would be) removed, by organisation, job type and state.

        Returns:
            How many jobs were (or would be) removed.

        Raises:
            Problem: UNAVAILABLE.
        """
        queen, removed, after, now = self._queen, 0, 0, self._wall()
        models: dict[str, JobDefinition | None] = {}
        try:
            while rows := await queen.pump.read(partial(queen.store.ended_jobs, after, PAGE)):
                after = int(rows[-1][0] or 0)
                over = [one async for one in self._over(rows, models, now)]
                running = _running_trees(queen.pump.now().jobs, over)
                for batch in _batches(over):
                    gone = self._removable(batch, running) if dry_run else await self._remove(batch, running)
                    removed += len(gone)
                    if groups is not None:
                        _count(groups, gone)
                if float(rows[0][4] or 0.0) > now - DAY_S:
                    break
            if not dry_run:
                await self._forget_keys()
        except StoreError as error:
            raise unavailable(error) from error
        return removed

    async def _over(
        self, rows: Sequence[Row], models: dict[str, JobDefinition | None], now: float
    ) -> AsyncIterator[_Ended]:
        for number, job_id, definition_id, state, _, ended_at, tasks, org, job_type, dead in rows:
            key, ended = str(definition_id), float(ended_at or 0.0)
            if key not in models:
                models[key] = await self._model(key)
            if kept_until(models[key], str(state), ended, is_dead=bool(dead)) <= now:
                yield _Ended(
                    int(number or 0), str(job_id), int(tasks or 0), (str(org), str(job_type), str(state)), ended
                )

    async def _model(self, definition_id: str) -> JobDefinition | None:
        pump, store = self._queen.pump, self._queen.store

        def read() -> JobDefinition | None:
            row = store.definition(definition_id)
            return pump.definitions.model(row) if row is not None else None

        try:
            return await pump.read(read)
        except Problem:
            return None  # this version cannot read it any more: the defaults hold

    def _removable(self, batch: Sequence[_Ended], running: set[str]) -> list[_Ended]:
        live = self._queen.pump.now().jobs
        return [one for one in batch if one.id not in live and root_of(one.id) not in running]

    async def _remove(self, batch: Sequence[_Ended], running: set[str]) -> list[_Ended]:
        queen = self._queen
        async with queen.reviving:
            await queen.pump.settle()
            gone = self._removable(batch, running)
            if gone:
                await asyncio.to_thread(queen.logs.remove, [one.id for one in gone])
                await asyncio.to_thread(queen.store.remove_jobs, queen.epoch, [one.number for one in gone])
            return gone

    async def _forget_keys(self) -> None:
        after: tuple[str, str] | None = ("", "")
        while after is not None:
            _, after = await asyncio.to_thread(self._queen.store.remove_keys, after, PAGE)

    async def _hourly(self) -> None:
        await asyncio.sleep(FIRST_AFTER_S)
        while True:
            try:
                if removed := await self.purge():
                    log.info("%d jobs whose retention is over are removed", removed)
            except Problem as error:
                log.warning("jobs whose retention is over are removed an hour later: %s", error.detail)
            await asyncio.sleep(EVERY_S)


def _count(groups: dict[Group, Purged], gone: Iterable[_Ended]) -> None:
    for one in gone:
        found = groups.get(one.group)
        if found is None:
            groups[one.group] = Purged(1, one.ended_at)
        else:
            found.jobs += 1
            found.oldest = min(found.oldest, one.ended_at)


def _running_trees(live: Iterable[str], ended: Sequence[_Ended]) -> set[str]:
    """Roots of the trees in which a job lives; empty where no ended job has been forked."""
    if not any("." in one.id for one in ended):
        return set()
    return {root_of(job_id) for job_id in live}


def _batches(over: Sequence[_Ended]) -> Iterator[list[_Ended]]:
    batch: list[_Ended] = []
    rows = 0
    for one in over:
        if batch and rows + one.tasks + 2 > BATCH_ROWS:
            yield batch
            batch, rows = [], 0
        batch.append(one)
        rows += one.tasks + 2
    if batch:
        yield batch
