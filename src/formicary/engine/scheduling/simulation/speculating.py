"""Speculative execution around any policy that preempts nobody: stragglers get a second copy, the first result counts.

While nobody waits, a job that lags behind those of its queue is run a second time on another ant; whichever ends first
is the end of the job, and the other is stopped. Who lags, and how much copies may run in all, is for
`policies.speculative` to say. A copy takes `copy_runtime` of the job: what slows a straggler need not slow its copy.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from random import Random

from formicary.engine.scheduling.policies.speculative import Attempt, Limits, backups, percentile
from formicary.engine.scheduling.simulation.policy import Copy, Decision, Drop, Policy, Start
from formicary.engine.scheduling.simulation.state import INFINITY, AntState, ClusterState, Entry

REMEMBERED = 200
"""Run times of each queue that make up its history."""
MOMENT_S = 1e-6
"""A job lags only after its bound has passed."""


class _Kind:
    """Jobs of one queue."""

    __slots__ = ("bound", "ended", "running")

    def __init__(self) -> None:
        self.ended: deque[float] = deque(maxlen=REMEMBERED)
        """The last run times."""
        self.running: list[tuple[float, int, Entry]] = []
        """What runs without a copy, the longest first."""
        self.bound = INFINITY
        """What runs longer lags behind, in seconds."""


class Speculating:
    """A policy, and copies of what lags behind.

    Args:
        policy: Decides about jobs.
        limits: Who lags, and how much may run twice.
        by_progress: Jobs tell their progress, too.
    """

    def __init__(self, policy: Policy, limits: Limits, *, by_progress: bool) -> None:
        self.policy = policy
        self.limits = limits
        self.by_progress = by_progress
        self._kinds: dict[str, _Kind] = {}
        self._waiting = 0
        self._copies: dict[int, Entry] = {}
        """Jobs of which a copy runs, by their number."""
        self._work = self._copied = self._last = 0.0
        """Seconds that all have run together, and copies of them, until then."""
        self._running = 0

    def bind(self, state: ClusterState, rng: Random) -> None:
        """See Policy."""
        self.state = state
        self.policy.bind(state, rng)
        places = [total for total in state.total if 0 < total < INFINITY]
        self._slots = int(places[0]) if places else len(state.ants)

    def _pass_time(self, now: float) -> None:
        self._work += self._running * (now - self._last)
        self._copied += len(self._copies) * (now - self._last)
        self._last = now

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        self._waiting += 1
        self.policy.queued(entry, now)

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        self._pass_time(now)
        self._running += 1
        self.policy.started(entry, now)
        kind = self._kind(entry)
        if entry.original is None:
            insort(kind.running, (now, entry.number, entry))
        else:
            first = entry.original
            self._copies[first.number] = first
            del kind.running[bisect_left(kind.running, (first.since, first.number))]

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy."""
        self._pass_time(now)
        self._running -= 1
        self.policy.stopped(entry, now)
        kind, first = self._kind(entry), entry.original or entry
        if self._copies.pop(first.number, None) is None and entry.original is None:
            at = bisect_left(kind.running, (entry.since, entry.number))
            if at < len(kind.running) and kind.running[at][1] == entry.number:
                del kind.running[at]
        if not entry.lost:
            kind.ended.append(now - entry.since)
            few = len(kind.ended) < self.limits.least_history
            kind.bound = INFINITY if few else self._bound(kind)

    def _bound(self, kind: _Kind) -> float:
        return percentile(kind.ended, self.limits.percentile) * self.limits.delay_threshold

    def _kind(self, entry: Entry) -> _Kind:
        found = self._kinds.get(entry.job.queue)
        if found is None:
            found = self._kinds[entry.job.queue] = _Kind()
        return found

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        for decision in self.policy.decide(now):
            if isinstance(decision, Start | Drop):
                self._waiting -= 1
            yield decision
        if not self._waiting:
            yield from self._second(now)

    def _second(self, now: float) -> Iterator[Decision]:
        """Copies of those that lag."""
        self._pass_time(now)
        suspects = [one for kind in self._kinds.values() for one in self._lagging(kind, now)]
        if not suspects:
            return
        running = [self._attempt(one, now) for one in suspects]
        running += [Attempt(str(number), "", one.since, has_backup=True) for number, one in self._copies.items()]
        found = backups(
            running,
            {name: list(kind.ended) for name, kind in self._kinds.items()},
            now,
            slots=self._slots,
            free=self._slots,
            work_done=self._work,
            work_of_copies=self._copied,
            limits=self.limits,
        )
        entries = {str(one.number): one for one in suspects}
        for backup in found:
            entry = entries[backup.attempt]
            ant = self._elsewhere(entry)
            if ant is not None:
                yield Copy(entry, ant)

    def _lagging(self, kind: _Kind, now: float) -> Iterator[Entry]:
        for since, _, entry in kind.running:
            if not self.by_progress and now - since <= kind.bound:
                return
            yield entry

    def _attempt(self, entry: Entry, now: float) -> Attempt:
        whole = entry.remaining * entry.pace
        progress = min(1.0, (now - entry.since) / whole) if self.by_progress and whole > 0 else None
        where = "" if entry.ant is None else entry.ant.id
        return Attempt(str(entry.number), entry.job.queue, entry.since, progress, ant=where)

    def _elsewhere(self, entry: Entry) -> AntState | None:
        """The first other ant with room."""
        able = (ant for ant in entry.shape.eligible if ant is not entry.ant and ant.fits(entry.need))
        return next(able, None)

    def time_slice(self, entry: Entry) -> float:
        """See Policy."""
        return self.policy.time_slice(entry)

    def expired(self, entry: Entry, now: float) -> bool:
        """See Policy."""
        return self.policy.expired(entry, now)

    def next_look(self, now: float) -> float:
        """See Policy: when the next one begins to lag, too."""
        look = self.policy.next_look(now)
        for kind in self._kinds.values() if not self._waiting else ():
            at = bisect_left(kind.running, (now - kind.bound,))  # those before lag already
            if at < len(kind.running):
                look = min(look, max(now, kind.running[at][0] + kind.bound) + MOMENT_S)
        return look
