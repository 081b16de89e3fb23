"""The event loop: submissions, ends and slices in order of time, and a round of decisions after each moment."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from random import Random

from formicary.engine.scheduling.simulation.policy import Copy, Drop, Policy, Preempt, Renew, Start
from formicary.engine.scheduling.simulation.precedence import Precedence
from formicary.engine.scheduling.simulation.state import INFINITY, TINY, ClusterState, Entry
from formicary.engine.scheduling.simulation.workload import Cluster, Job

_END, _SLICE = 0, 1
LONG_S, ROUNDING = 1e6, 1e-15
NO_ANT = "no ant of the cluster can ever run it"


def rounding(at: float) -> float:
    """Times that differ by no more from this one, in seconds, are the same: sums of fractions are off by so much."""
    return TINY if at < LONG_S else at * ROUNDING


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of one job.

    Attributes:
        job: The job, or the instance of a recurring one.
        start: First start in seconds, None if it never started.
        end: When it ended, None if it did not.
        ant: Where it ran last, None if it never started.
        segments: Start, end and ant of each uninterrupted stretch.
        reason: Why it never started, where that is known.
    """

    job: Job
    start: float | None
    end: float | None
    ant: str | None
    segments: tuple[tuple[float, float, str], ...]
    reason: str = ""
    horizon: float | None = None
    ready: float | None = None
    """Since when nothing but room kept it from starting; None = since its submission."""
    copied_s: float = 0.0
    """How long a second copy of it ran, in seconds."""

    @property
    def waits_from(self) -> float:
        """When its wait begins: its submission, its `not_before` or the last end of those that it comes after."""
        return self.job.submit if self.ready is None else self.ready

    @property
    def stands_aside(self) -> bool:
        """True where it was taken off an ant and did not run again until the horizon."""
        return bool(self.segments) and self.end is None and self.segments[-1][1] != self.horizon

    @property
    def missed_deadline(self) -> bool:
        """True where it has a deadline and did not end by it; one after the horizon is not missed yet."""
        deadline = self.job.deadline
        if deadline is None:
            return False
        if self.end is None:
            return self.horizon is None or deadline <= self.horizon + TINY
        return self.end > deadline + rounding(deadline)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All jobs in the order of the workload, and how many events it took."""

    jobs: tuple[Ran, ...]
    events: int
    preemptions: int
    horizon: float | None = None
    copies: int = 0


class Simulation:
    """One run of one workload on one cluster under one policy."""

    def __init__(
        self, cluster: Cluster, jobs: Sequence[Job], policy: Policy, *, seed: int = 0, until: float | None = None
    ) -> None:
        self._state = ClusterState.of(cluster, jobs)
        self._entries = [Entry(number, job, self._state.shape_of(job)) for number, job in enumerate(jobs)]
        self._policy = policy
        self._until = until
        self._events: list[tuple[float, int, int, Entry, int]] = []
        self._serial = count()
        self._handled = 0
        self._preempted = 0
        self._copies = 0
        self._look = INFINITY
        self._precedence = Precedence(self._entries)
        policy.bind(self._state, Random(seed))

    def run(self) -> Outcome:
        """Runs to the end, or to the horizon: what runs then has no end."""
        arrivals = sorted(self._entries, key=lambda entry: (entry.ready, entry.number))
        at, events, policy = 0, self._events, self._policy
        limit = INFINITY if self._until is None else self._until
        while True:
            self._forget_void()
            if at == len(arrivals) and not events and self._look == INFINITY:
                break
            now = min(events[0][0] if events else INFINITY, self._look)
            if at < len(arrivals):
                now = min(now, arrivals[at].ready)
            if now > limit:
                break
            soon = now + rounding(now)
            first = at
            while at < len(arrivals) and arrivals[at].ready <= soon:
                at += 1
            if at > first:  # these times were given, those of ends are sums
                now = arrivals[at - 1].ready
            if self._look <= soon:
                self._handled += 1
            expired = self._due(now, soon)
            for entry in arrivals[first:at]:
                self._submit(entry, now)
            for entry in expired:
                self._take_off(entry, now)
            self._decide(now)
            self._look = policy.next_look(now)
        return self._outcome()

    def _forget_void(self) -> None:
        """The end of a run that was cut short is no event."""
        events = self._events
        while events and (events[0][3].run != events[0][4] or events[0][3].ant is None):
            heapq.heappop(events)

    def _due(self, now: float, soon: float) -> list[Entry]:
        """Handles the events of this moment; returns jobs whose slice is over and who have to make room."""
        expired: list[Entry] = []
        events = self._events
        while events and events[0][0] <= soon:
            _, kind, _, entry, _ = heapq.heappop(events)
            self._handled += 1
            if kind == _END:
                self._end(entry, now)
            elif self._policy.expired(entry, now):
                expired.append(entry)
            else:
                self._schedule(entry, now)
            if events and events[0][0] <= soon:
                self._forget_void()
        return expired

    def _end(self, entry: Entry, now: float) -> None:
        self._stop(entry, now)
        first = entry.original or entry
        other = first.copy if first is entry else first
        if other is not None:  # one of the two is the job's end, the other is stopped
            other.lost = True
            self._stop(other, now)
            first.segments = [*other.segments, *entry.segments]
        first.end = now
        first.remaining = 0.0
        for behind in self._precedence.ended(first):
            behind.ready = behind.arrived = now
            self._policy.queued(behind, now)

    def _copy(self, copy: Copy, now: float) -> None:
        job = copy.entry.job
        length = job.runtime if job.copy_runtime is None else job.copy_runtime
        again = replace(job, runtime=length, estimate=job.expected, remote_runtime=None, deadline=None)
        entry = Entry(len(self._entries) + self._copies, again, copy.entry.shape)
        entry.original, copy.entry.copy = copy.entry, entry
        self._copies += 1
        self._start(Start(entry, copy.ant), now)

    def _submit(self, entry: Entry, now: float) -> None:
        self._handled += 1
        if not entry.shape.eligible:
            self._drop(entry, f"{NO_ANT}: {self._state.lacking(entry.job)}")
        elif self._precedence.may_begin(entry):
            self._policy.queued(entry, now)

    def _drop(self, entry: Entry, reason: str) -> None:
        """It will never run, nor what comes after it."""
        entry.dropped = reason
        self._precedence.dropped(entry)

    def _decide(self, now: float) -> None:
        for decision in self._policy.decide(now):
            if isinstance(decision, Start):
                self._start(decision, now)
            elif isinstance(decision, Preempt):
                self._preempted += now > decision.entry.since  # else it had not even begun
                self._handled += 1
                self._take_off(decision.entry, now, keep=decision.keep)
            elif isinstance(decision, Renew):
                self._renew(decision.entry, now)
            elif isinstance(decision, Drop):
                self._drop(decision.entry, decision.reason)
            elif isinstance(decision, Copy):
                self._copy(decision, now)

    def _start(self, start: Start, now: float) -> None:
        entry = start.entry
        self._state.take(entry, start.ant)
        if entry.start is None:
            entry.start = now
        entry.since = now
        entry.run += 1
        slow = entry.job.remote_runtime
        if slow is not None:
            entry.pace = 1.0 if start.ant.holds(entry.job.data) else slow / entry.job.runtime
        self._schedule(entry, now)
        self._policy.started(entry, now)

    def _schedule(self, entry: Entry, now: float) -> None:
        """The next event of a running job: its end, or the end of its slice if that is earlier."""
        left = entry.remaining * entry.pace - (now - entry.since)
        slice_s = self._policy.time_slice(entry)
        kind, after = (_SLICE, slice_s) if slice_s + TINY < left else (_END, left)
        heapq.heappush(self._events, (now + after, kind, next(self._serial), entry, entry.run))

    def _stop(self, entry: Entry, now: float) -> None:
        self._state.give_back(entry)
        ant = entry.ant
        if ant is not None:
            last = entry.segments[-1] if entry.segments else None
            if last is not None and last[2] == ant.id and abs(last[1] - entry.since) <= TINY:
                entry.segments[-1] = (last[0], now, ant.id)
            elif now > entry.since or entry.remaining <= 0:
                entry.segments.append((entry.since, now, ant.id))
        self._policy.stopped(entry, now)
        entry.ant = None

    def _renew(self, entry: Entry, now: float) -> None:
        ant = entry.ant
        if ant is not None:
            self._pause(entry, now)
            self._start(Start(entry, ant), now)

    def _take_off(self, entry: Entry, now: float, *, keep: bool = True) -> None:
        self._pause(entry, now, keep=keep)
        if not entry.segments:  # it was taken off in the moment of its start
            entry.start = None
        entry.run += 1
        entry.arrived = now
        self._policy.queued(entry, now)

    def _pause(self, entry: Entry, now: float, *, keep: bool = True) -> None:
        done = (now - entry.since) / entry.pace
        self._stop(entry, now)
        if keep:
            entry.remaining = max(0.0, entry.remaining - done)
            entry.expected_left = max(0.0, entry.expected_left - done)
        else:
            entry.remaining, entry.expected_left = entry.job.runtime, entry.job.expected

    def _outcome(self) -> Outcome:
        jobs = []
        for entry in self._entries:
            segments = entry.segments
            if entry.ant is not None and self._until is not None:
                segments = [*segments, (entry.since, self._until, entry.ant.id)]
            ant = segments[-1][2] if segments else None
            twin = entry.copy
            copied = 0.0 if twin is None else sum(end - start for start, end, _ in twin.segments)
            ran = Ran(entry.job, entry.start, entry.end, ant, tuple(segments), entry.dropped, self._until, entry.ready)
            jobs.append(replace(ran, copied_s=copied) if copied else ran)
        return Outcome(tuple(jobs), self._handled, self._preempted, self._until, self._copies)
