"""Which jobs are watched, which have ended, and who waits for them.

An end that nobody has asked for yet is kept; there is a bound, beyond which the oldest is forgotten (a later wait for
it asks the server again). Waiting costs one dictionary entry per job, not a future or a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from formicary.problems import Problem
from formicary.v1 import jobs_pb2 as pb

MAX_KEPT = 200_000
"""Ends that nobody has collected."""


class _Waiter(Protocol):
    def take(self, end: pb.JobEnd) -> None: ...

    def fail(self, error: Problem) -> None: ...


class Gathering:
    """Waits for a set of jobs.

    Args:
        missing: how many have not ended yet.
    """

    __slots__ = ("done", "found", "missing")

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.found: dict[str, pb.JobEnd] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not missing:
            self.done.set_result(None)

    def take(self, end: pb.JobEnd) -> None:
        """One of them has ended."""
        self.found[end.id] = end
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Problem) -> None:
        """It will not be known how they end."""
        if not self.done.done():
            self.done.set_exception(error)


class _Both:
    """Two who wait for the same job."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: _Waiter, second: _Waiter) -> None:
        self._first, self._second = first, second

    def take(self, end: pb.JobEnd) -> None:
        self._first.take(end)
        self._second.take(end)

    def fail(self, error: Problem) -> None:
        self._first.fail(error)
        self._second.fail(error)


class Ends:
    """Watched jobs of one client."""

    def __init__(self) -> None:
        self.watched: set[str] = set()
        """Jobs whose end the server will push."""
        self._kept: dict[str, pb.JobEnd] = {}
        self._waiting: dict[str, _Waiter] = {}

    def watch(self, ids: Iterable[str]) -> None:
        """The server has been told to push the ends of these jobs."""
        kept = self._kept
        if kept:
            ids = [job_id for job_id in ids if job_id not in kept]
        self.watched.update(ids)

    def take(self, ended: Iterable[pb.JobEnd]) -> None:
        """Ends that the server has pushed."""
        watched, waiting, kept = self.watched, self._waiting, self._kept
        for end in ended:
            job_id = end.id
            watched.discard(job_id)
            waiter = waiting.pop(job_id, None) if waiting else None
            if waiter is None:
                kept[job_id] = end
            else:
                waiter.take(end)
        while len(kept) > MAX_KEPT:
            del kept[next(iter(kept))]

    def unknown(self, ids: Iterable[str]) -> list[str]:
        """Those that are neither watched nor ended."""
        watched, kept = self.watched, self._kept
        return [job_id for job_id in ids if job_id not in watched and job_id not in kept]

    def gather(self, ids: list[str]) -> Gathering:
        """Begins to wait for jobs that are watched or have ended; ends are handed out once."""
        kept, waiting = self._kept, self._waiting
        gathering = Gathering(len(set(ids)))
        for job_id in dict.fromkeys(ids):
            end = kept.pop(job_id, None)
            if end is not None:
                gathering.take(end)
            elif job_id in waiting:
                waiting[job_id] = _Both(waiting[job_id], gathering)
            else:
                waiting[job_id] = gathering
        return gathering

    def fail(self, error: Problem) -> None:
        """Nothing more will be known: everybody who waits is told."""
        waiting, self._waiting = self._waiting, {}
        self.watched.clear()
        for waiter in waiting.values():
            waiter.fail(error)

    @property
    def awaited(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)
