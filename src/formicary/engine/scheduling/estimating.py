"""When will a waiting job start? A forecast with an interval, its score, and the article's formula as the baseline.

The forecast plays the queue forward many times: what runs ends after a time drawn from what runs of its kind had left
at its age, what waits ahead takes the places that become free in order, each for a time drawn from its kind, and
scheduled jobs join when their time comes. Those that wait at a limit take no more places than it has, and others pass
them by. The median of the plays is the estimate. Source: Downey, "Predicting Queue
Times on Space-Sharing Parallel Computers", IPPS 1997; Smith, Taylor, Foster, "Using Run-Time Predictions to Estimate
Queue Wait Times", JSSPP 1999.

Work of higher priority that is still to come delays a job by 1 / (1 - its share of the places). Source: Cobham,
"Priority Assignment in Waiting Line Problems", Operations Research 2, 1954.

The interval is calibrated by what happened: the width that would have held the wanted share of the latest waits,
corrected after each miss. Source: Gibbs and Candès, "Adaptive Conformal Inference Under Distribution Shift", NeurIPS
2021.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf
from random import Random

from formicary.engine.scheduling.durations import Durations

PLAYS = 40
MOST_PLAYED = 256
"""Jobs ahead that are played one by one; those before them count by the mean of their kind."""
EXECUTING_SHARE = 0.7
"""Part of a run that is still ahead of what runs, as the article has it."""
COVERAGE = 0.9
"""Wanted share of waits inside the interval."""
MOST_OVERTAKING = 0.9
KEPT, FEWEST = 400, 20
"""Scored waits that the calibration looks at, and the fewest of them that it goes by."""
STEP = 0.02
"""How far one miss moves the calibration."""
FLOOR_S = 0.05
"""Spread of a forecast that all plays agree on."""


Limit = tuple[str, ...]
"""Name of a limit; empty = none."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """A job whose turn comes before.

    Attributes:
        kind: Its job type.
        ready_in_s: Seconds until it may start; 0 = now.
        places: Places that it takes at once.
        share: How likely it takes them from those that the asked job needs, 0 to 1.
        limit: That lets only so many such jobs run.
    """

    kind: str
    ready_in_s: float = 0.0
    places: int = 1
    share: float = 1.0
    limit: Limit = ()


@dataclass(frozen=True, slots=True)
class Busy:
    """A job that runs: for how long already, on how many places, and under which limits."""

    kind: str
    age_s: float
    places: int = 1
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Limited:
    """How many jobs a limit lets run, and those that run elsewhere."""

    places: int
    elsewhere: tuple[Busy, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """All that is known when somebody asks.

    Attributes:
        kind: Job type of the asked job.
        slots: Places of the ants that could run it.
        running: What holds them.
        ahead: Whose turn comes before, in order.
        ready_in_s: Seconds until its own scheduled start.
        places: Places that it takes at once.
        overtaking: Share of the places that later, more urgent jobs take, 0 to 1.
        limits: Those that hold for jobs ahead.
        limited_by: What the places are, where they are not those of ants, in words.
    """

    kind: str
    slots: int
    running: tuple[Busy, ...] = ()
    ahead: tuple[Ahead, ...] = ()
    ready_in_s: float = 0.0
    places: int = 1
    overtaking: float = 0.0
    limits: Mapping[Limit, Limited] = field(default_factory=dict)
    limited_by: str = ""

    @property
    def kinds(self) -> set[str]:
        """All job types that it speaks of."""
        elsewhere = (busy.kind for limited in self.limits.values() for busy in limited.elsewhere)
        return {self.kind, *(one.kind for one in self.running), *(one.kind for one in self.ahead), *elsewhere}

    def before(self, wait_s: float) -> int:
        """How many of those ahead go before a job that starts after so long: not more than their limits let run."""
        counts = Counter(one.limit for one in self.ahead if one.ready_in_s <= wait_s)
        found = 0
        for name, count in counts.items():
            limited = self.limits.get(name)
            if limited is not None:
                running = len(limited.elsewhere) + sum(name in busy.limits for busy in self.running)
                count = min(count, max(0, limited.places - running))
            found += count
        return found

    @property
    def at_once(self) -> bool:
        """True where nothing stands in its way."""
        taken = sum(one.places for one in self.running)
        return not self.ahead and not self.ready_in_s and taken + self.places <= self.slots


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds from now until the start.

    Attributes:
        wait_s: The estimate.
        low_s: Lower end of the interval.
        high_s: Upper end.
        plays: Starts of all plays, in order; what the interval would be without calibration.
    """

    wait_s: float
    low_s: float
    high_s: float
    plays: tuple[float, ...] = ()

    def holds(self, wait_s: float) -> bool:
        """True where this wait is inside the interval."""
        return self.low_s <= wait_s <= self.high_s

    @property
    def spread_s(self) -> float:
        """Half the distance between the plays' 5 % and 95 %, never nothing."""
        if not self.plays:
            return FLOOR_S
        return max(FLOOR_S, (_at(self.plays, 0.95) - _at(self.plays, 0.05)) / 2, 0.02 * self.wait_s)


def article(question: Question, durations: Durations) -> float:
    """The article's formula: place among its own kind, 0.7 for each that runs, through the ants, times the mean run."""
    place = 1 + sum(one.kind == question.kind for one in question.ahead)
    executing = sum(one.kind == question.kind for one in question.running)
    return (place + EXECUTING_SHARE * executing) / max(1, question.slots) * durations.article_s(question.kind)


def forecast(question: Question, durations: Durations, rng: Random, plays: int = PLAYS) -> Forecast | None:
    """When the job will start; None where no place could ever take it.

    Returns:
        An interval that the plays alone say; see :class:`Calibration`.
    """
    if question.places > question.slots:
        return None
    if question.at_once:
        return Forecast(0.0, 0.0, 0.0, (0.0,))
    surplus = question.ahead[:-MOST_PLAYED] if len(question.ahead) > MOST_PLAYED else ()
    narrow = {name for name, limited in question.limits.items() if limited.places < question.slots}
    work = sum(one.share * one.places * durations.mean_s(one.kind) for one in surplus if one.limit not in narrow)
    slower = 1.0 / (1.0 - min(MOST_OVERTAKING, max(0.0, question.overtaking)))
    nearest = question.ahead[len(surplus) :]
    starts = sorted(
        max(question.ready_in_s, (work / question.slots + _play(question, nearest, durations, rng)) * slower)
        for _ in range(plays)
    )
    return Forecast(_at(starts, 0.5), _at(starts, 0.05), _at(starts, 0.95), tuple(starts))


def _at(ordered: Sequence[float], part: float) -> float:
    """The quantile between the two nearest values."""
    position = part * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def _play(question: Question, ahead: Sequence[Ahead], durations: Durations, rng: Random) -> float:
    """One way that it could go: when the job starts."""
    free: list[float] = []
    ends: dict[Limit, list[float]] = {name: [] for name in question.limits}
    for busy in question.running:
        left = durations.left_s(busy.kind, busy.age_s, rng)
        free += [left] * busy.places
        for name in busy.limits:
            if name in ends:
                ends[name].append(left)
    enough = len(free) + sum(one.places for one in ahead) + question.places  # of more, none would be taken
    slots = min(question.slots, enough)
    free = free[:slots] + [0.0] * (slots - len(free))
    heapq.heapify(free)
    rooms = {name: _room(limited, ends[name], durations, rng, len(ahead)) for name, limited in question.limits.items()}
    mine = [one for one in ahead if one.share >= 1.0 or rng.random() < one.share]
    now = 0.0
    if not rooms and all(one.ready_in_s <= 0 for one in mine):  # nobody is passed by
        for one in mine:
            now = _run(free, one, max(now, free[0]), durations, rng, None)
        return max(now, question.ready_in_s, _free_at(free, question.places))
    line = _Line(mine, rooms)
    while True:
        now = max(now, free[0])
        first = line.take(now)
        if first is None:
            joins = line.joins_at()
            if joins > question.ready_in_s or question.ready_in_s <= now:
                return max(now, question.ready_in_s, _free_at(free, question.places))
            now = max(now, joins)
            continue
        now = _run(free, first, now, durations, rng, rooms.get(first.limit))


class _Line:
    """Those ahead in one play. Who has to wait for his limit or his time is passed by, and then goes before others."""

    __slots__ = ("_at", "_behind", "_due", "_joined", "_later", "_ready", "_rooms")

    def __init__(self, ahead: Sequence[Ahead], rooms: Mapping[Limit, list[float]]) -> None:
        self._ready = [(at, one) for at, one in enumerate(ahead) if one.ready_in_s <= 0]
        self._later = sorted((one.ready_in_s, at, one) for at, one in enumerate(ahead) if one.ready_in_s > 0)
        self._at = self._due = 0
        self._joined: list[tuple[int, Ahead]] = []
        """Whose time has come, by place."""
        self._behind: dict[Limit, list[tuple[int, Ahead]]] = {}
        """By limit, those that wait for it, by place."""
        self._rooms = rooms

    def take(self, now: float) -> Ahead | None:
        """Who goes next at this time; None where nobody may."""
        while self._due < len(self._later) and self._later[self._due][0] <= now:
            heapq.heappush(self._joined, self._later[self._due][1:])
            self._due += 1
        while True:
            able = ((line[0][0], name) for name, line in self._behind.items() if self._rooms[name][0] <= now)
            best = min(able, default=None)
            first = self._first()
            if first is None or (best is not None and best[0] < first[0]):
                if best is None:
                    return None
                line = self._behind[best[1]]
                found = heapq.heappop(line)[1]
                if not line:
                    del self._behind[best[1]]
                return found
            self._drop_first(first)
            limit = first[1].limit
            room = self._rooms.get(limit)
            if room is None or (limit not in self._behind and room[0] <= now):
                return first[1]
            heapq.heappush(self._behind.setdefault(limit, []), first)

    def _first(self) -> tuple[int, Ahead] | None:
        ready = self._ready[self._at] if self._at < len(self._ready) else None
        joined = self._joined[0] if self._joined else None
        if ready is None or (joined is not None and joined[0] < ready[0]):
            return joined
        return ready

    def _drop_first(self, first: tuple[int, Ahead]) -> None:
        if self._joined and self._joined[0] is first:
            heapq.heappop(self._joined)
        else:
            self._at += 1

    def joins_at(self) -> float:
        """When the next of those that wait for their limit or their time may go."""
        soonest = min((self._rooms[name][0] for name in self._behind), default=inf)
        return min(soonest, self._later[self._due][0]) if self._due < len(self._later) else soonest


def _room(limited: Limited, ends: list[float], durations: Durations, rng: Random, most: int) -> list[float]:
    """When each place under a limit becomes free, as a heap; no more than could be taken."""
    ends = ends + [durations.left_s(busy.kind, busy.age_s, rng) for busy in limited.elsewhere]
    places = min(limited.places, len(ends) + most)
    found = heapq.nlargest(places, ends)
    found += [0.0] * (places - len(found))
    heapq.heapify(found)
    return found or [inf]


def _run(
    free: list[float], job: Ahead, earliest: float, durations: Durations, rng: Random, room: list[float] | None
) -> float:
    """The job takes the places that are free first, and one under its limit; returns when it starts."""
    places = min(job.places, len(free))
    if places == 1:
        start = max(free[0], earliest)
        end = start + durations.draw_s(job.kind, rng)
        heapq.heapreplace(free, end)
    else:
        taken = [heapq.heappop(free) for _ in range(places)]
        start = max(taken[-1], earliest)
        end = start + durations.draw_s(job.kind, rng)
        for _ in taken:
            heapq.heappush(free, end)
    if room is not None:
        heapq.heapreplace(room, end)
    return start


def _free_at(free: list[float], places: int) -> float:
    return free[0] if places == 1 else heapq.nsmallest(places, free)[-1]


class Calibration:
    """Learns from each wait how wide the interval has to be.

    Residuals are (wait - estimate) / spread, so that wide and narrow forecasts teach each other.
    """

    def __init__(self, coverage: float = COVERAGE) -> None:
        self.coverage = coverage
        self._miss = 1.0 - coverage
        self._recent: deque[float] = deque()
        self._ordered: list[float] = []

    def apply(self, found: Forecast) -> Forecast:
        """The forecast with an interval, and an estimate, as what happened so far suggests them."""
        if len(self._ordered) < FEWEST or found.plays == (0.0,):
            return found
        side = min(0.5, max(0.0, self._miss / 2))
        low, middle, high = (_at(self._ordered, part) for part in (side, 0.5, 1.0 - side))
        spread = found.spread_s
        wait = max(0.0, found.wait_s + middle * spread)
        return Forecast(
            wait, min(wait, max(0.0, found.wait_s + low * spread)), max(wait, found.wait_s + high * spread), found.plays
        )

    def learn(self, raw: Forecast, told: Forecast, wait_s: float) -> None:
        """A job has started: `raw` is what `forecast` said, `told` what `apply` made of it."""
        self._miss += STEP * ((1.0 - self.coverage) - (0.0 if told.holds(wait_s) else 1.0))
        self._miss = min(1.0, max(0.0, self._miss))
        residual = (wait_s - raw.wait_s) / raw.spread_s
        self._recent.append(residual)
        insort(self._ordered, residual)
        if len(self._recent) > KEPT:
            del self._ordered[bisect_left(self._ordered, self._recent.popleft())]


@dataclass(slots=True)
class Score:
    """How good the forecasts have been, beside the article's formula.

    Attributes:
        count: Waits that were compared.
        error_s: Sum of the absolute errors.
        article_error_s: The same of the article's formula.
        inside: Waits that were inside the interval.
    """

    count: int = 0
    error_s: float = 0.0
    article_error_s: float = 0.0
    inside: int = 0

    def add(self, told: Forecast, article_s: float, wait_s: float) -> None:
        """A job has started after `wait_s`."""
        self.count += 1
        self.error_s += abs(told.wait_s - wait_s)
        self.article_error_s += abs(article_s - wait_s)
        self.inside += told.holds(wait_s)

    @property
    def mean_error_s(self) -> float:
        """Mean absolute error in seconds."""
        return self.error_s / self.count if self.count else 0.0

    @property
    def article_mean_error_s(self) -> float:
        """That of the article's formula."""
        return self.article_error_s / self.count if self.count else 0.0

    @property
    def coverage(self) -> float:
        """Share inside the interval, 0 to 1."""
        return self.inside / self.count if self.count else 0.0


def in_time(found: Forecast, kind: str, left_s: float, durations: Durations, rng: Random) -> float:
    """How likely the job ends within `left_s` seconds, 0 to 1: over all plays with a run time drawn for each."""
    shift = found.wait_s - _at(found.plays, 0.5)
    ends = [max(0.0, start + shift) + durations.draw_s(kind, rng) for start in found.plays for _ in range(10)]
    return sum(end <= left_s for end in ends) / len(ends)


class Load:
    """Work per second that comes at each rank, with old arrivals forgotten.

    Args:
        memory_s: After this time an arrival counts 1/e.
    """

    def __init__(self, memory_s: float = 3600.0) -> None:
        self.memory_s = memory_s
        self._rates: dict[float, tuple[float, float]] = {}
        self._begun: float | None = None

    def submitted(self, rank: float, work_s: float, now: float) -> None:
        """A job of this rank (smaller goes first) has come with so many seconds of work."""
        self._begun = now if self._begun is None else self._begun
        self._rates[rank] = (self._worth(rank, now) + work_s, now)

    def _worth(self, rank: float, now: float) -> float:
        worth, at = self._rates.get(rank, (0.0, now))
        return worth * exp((at - now) / self.memory_s)

    def before(self, rank: float, slots: int, now: float) -> float:
        """Share of the places that jobs before this rank take as they come, 0 to 1."""
        if self._begun is None or now <= self._begun:
            return 0.0
        seen = self.memory_s * (1.0 - exp((self._begun - now) / self.memory_s))
        work = sum(self._worth(other, now) for other in self._rates if other < rank)
        return min(1.0, work / (seen * max(1, slots)))
