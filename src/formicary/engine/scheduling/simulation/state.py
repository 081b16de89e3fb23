"""The state of a simulated cluster: what is free, what runs, what has been used by whom."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from formicary.engine.scheduling.simulation.workload import SLOTS, Cluster, Job

INFINITY = float("inf")
TINY = 1e-9
"""Sums of fractions are compared with this tolerance."""
Need = tuple[tuple[int, float], ...]
"""A demand as pairs of resource index and amount, without zeros."""
MOST_RELEASES = 4096
"""Releases that are remembered before ants are looked at from the first one on."""
_number = attrgetter("number")


class Shape:
    """All jobs that ask for the same: resources and tags, and the ants that could ever serve them."""

    __slots__ = ("dominant", "eligible", "first", "first_at", "need", "numbers")

    def __init__(self, need: Need, eligible: tuple[AntState, ...], dominant: float) -> None:
        self.need = need
        self.dominant = dominant
        """The largest part of any bounded resource that it is of the whole cluster."""
        self.eligible = eligible
        """Ants with the tags whose whole capacity would do, in order of the file."""
        self.numbers = frozenset(ant.number for ant in eligible)
        self.first = 0
        """No ant of `eligible` before this position can take one now (see `ClusterState.first_fit`)."""
        self.first_at = -1
        """How many releases of the state that takes into account."""


class AntState:
    """One ant: what it has free and what runs on it."""

    __slots__ = ("capacity", "free", "id", "labels", "number", "running", "tags")

    def __init__(self, number: int, name: str, capacity: list[float], tags: frozenset[str], labels: set[str]) -> None:
        self.number = number
        self.id = name
        self.capacity = capacity
        self.free = list(capacity)
        self.tags = tags
        self.labels = labels
        self.running: dict[int, Entry] = {}

    def fits(self, need: Need) -> bool:
        """True where the demand can start here now."""
        free = self.free
        for index, amount in need:  # noqa: SIM110  a generator costs half as much again, in the innermost loop
            if free[index] + TINY < amount:
                return False
        return True

    def holds(self, names: Iterable[str]) -> bool:
        """True where it is, or has, one of these: its id, a tag, a label or `label=value`."""
        return any(name == self.id or name in self.labels for name in names)

    def could(self, need: Need) -> bool:
        """True where the demand could start here were nothing running."""
        capacity = self.capacity
        return all(capacity[index] + TINY >= amount for index, amount in need)


class Entry:
    """One job in the simulation, from its submission to its end."""

    __slots__ = (
        "ant",
        "arrived",
        "copy",
        "dropped",
        "end",
        "expected_left",
        "job",
        "level",
        "lost",
        "number",
        "original",
        "pace",
        "ready",
        "remaining",
        "run",
        "segments",
        "shape",
        "since",
        "start",
        "used_slice",
    )

    def __init__(self, number: int, job: Job, shape: Shape) -> None:
        self.number = number
        """Position in the order of the file: the last tie-break."""
        self.job = job
        self.shape = shape
        self.remaining = job.runtime
        self.expected_left = job.expected
        self.ready = max(job.submit, job.not_before)
        """Since when nothing but room keeps it from starting."""
        self.arrived = self.ready
        """When it joined the queue for the last time."""
        self.level = 0
        """Level of a feedback queue."""
        self.used_slice = 0.0
        self.run = 0
        """Counts its starts: the end of an earlier run is void."""
        self.start: float | None = None
        self.since = 0.0
        """Start of the present run."""
        self.pace = 1.0
        """Seconds in which it does a second of its work, where it runs now."""
        self.end: float | None = None
        self.ant: AntState | None = None
        self.segments: list[tuple[float, float, str]] = []
        self.dropped = ""
        """Why it will never start; empty while it may."""
        self.original: Entry | None = None
        """Of what this is a second copy."""
        self.copy: Entry | None = None
        """A second copy of this one that was started."""
        self.lost = False
        """The other one ended first."""

    @property
    def need(self) -> Need:
        """Its demand."""
        return self.shape.need


@dataclass(slots=True)
class Usage:
    """What one group (a user, a queue) holds now and has had in all."""

    held: list[float]
    served: float = 0.0
    """Seconds of dominant resource share, or of slots where nothing is bounded."""
    running: int = 0
    waiting: int = 0


@dataclass(slots=True)
class ClusterState:
    """All ants; resources have an index so that vectors are lists."""

    resources: tuple[str, ...]
    ants: list[AntState]
    total: list[float]
    shapes: dict[tuple[Need, frozenset[str]], Shape] = field(default_factory=dict)
    releases: int = 0
    """Counts what has been given back: what did not fit before cannot fit while it stands still."""
    running: int = 0
    released: list[int] = field(default_factory=list)
    """Numbers of the ants where the last releases were, in order."""
    bounded: tuple[tuple[int, float], ...] = field(init=False)
    """Index and total of the resources of which there is some, but not without end."""

    def __post_init__(self) -> None:
        self.bounded = tuple((at, total) for at, total in enumerate(self.total) if 0 < total < INFINITY)

    @classmethod
    def of(cls, cluster: Cluster, jobs: Iterable[Job]) -> ClusterState:
        """The empty cluster, with an index for every resource that anybody names."""
        names = {SLOTS: 0}
        for ant in cluster.ants:
            for name in ant.capacity:
                names.setdefault(name, len(names))
        for job in jobs:
            for name in job.demand:
                names.setdefault(name, len(names))
        ants = []
        for number, ant in enumerate(cluster.ants):
            capacity = [float(ant.capacity.get(name, float("inf") if name == SLOTS else 0.0)) for name in names]
            labels = set(ant.tags) | set(ant.labels) | {f"{key}={value}" for key, value in ant.labels.items()}
            ants.append(AntState(number, ant.id, capacity, ant.tags, labels))
        total = [sum(ant.capacity[index] for ant in ants) for index in range(len(names))]
        return cls(tuple(names), ants, total)

    def shape_of(self, job: Job) -> Shape:
        """The shape of a job's demand and tags; equal ones are one object."""
        need: Need = tuple(
            (self.resources.index(name), float(amount))
            for name, amount in sorted({SLOTS: 1.0, **job.demand}.items())
            if amount > 0
        )
        key = (need, job.tags)
        found = self.shapes.get(key)
        if found is None:
            eligible = tuple(ant for ant in self.ants if job.tags <= ant.tags and ant.could(need))
            found = self.shapes[key] = Shape(need, eligible, self.dominant_of(need))
        return found

    def lacking(self, job: Job) -> str:
        """Why no ant could ever take the job, which is so."""
        tagged = [ant for ant in self.ants if job.tags <= ant.tags]
        if not tagged:
            return f"none has {'the tag' if len(job.tags) == 1 else 'all of the tags'} {', '.join(sorted(job.tags))}"
        found = []
        for name, amount in sorted({SLOTS: 1.0, **job.demand}.items()):
            most = max(ant.capacity[self.resources.index(name)] for ant in tagged)
            if amount > most + TINY:
                found.append(f"it asks for {name} {amount:g}, the most is {most:g}")
        return "; ".join(found) or "none has all that it asks for together"

    def first_fit(self, shape: Shape) -> AntState | None:
        """The first ant, in order of the file, that can take one of this shape now."""
        eligible, need = shape.eligible, shape.need
        if shape.first_at != self.releases:
            self._reopen(shape)
        size = len(eligible)
        if shape.first == size:
            return None
        for position in range(shape.first, size):
            ant = eligible[position]
            if ant.fits(need):
                shape.first = position
                return ant
        shape.first = size
        return None

    def _reopen(self, shape: Shape) -> None:
        """Room may have come where something was given back since the last look, and nowhere else."""
        eligible, released, since = shape.eligible, self.released, self.releases - shape.first_at
        shape.first_at = self.releases
        if since > len(released):
            shape.first = 0
        elif shape.first == len(eligible):  # there was none, so it is one of these or none
            if since == 1:
                numbers: Sequence[int] = (released[-1],)
            else:
                numbers = sorted({*released[-since:]})
            for number in numbers:
                if number in shape.numbers and self.ants[number].fits(shape.need):
                    shape.first = self._place_of(number, eligible)
                    return
        else:
            least = released[-1] if since == 1 else min(released[-since:])
            if least < eligible[shape.first].number:
                shape.first = self._place_of(least, eligible)

    def _place_of(self, number: int, eligible: Sequence[AntState]) -> int:
        """The position of the first of these ants that is this one or behind it."""
        return number if len(eligible) == len(self.ants) else bisect_left(eligible, number, key=_number)

    def dominant(self, held: Sequence[float]) -> float:
        """The largest part of any bounded resource that these amounts are of the whole cluster."""
        share = 0.0
        for index, total in self.bounded:
            if held[index] > 0 and (part := held[index] / total) > share:
                share = part
        return share

    def dominant_of(self, need: Need) -> float:
        """The same for one demand."""
        share = 0.0
        for index, amount in need:
            total = self.total[index]
            if 0 < total < INFINITY:
                share = max(share, amount / total)
        return share

    def take(self, entry: Entry, ant: AntState) -> None:
        """The job holds its demand on this ant."""
        free = ant.free
        for index, amount in entry.shape.need:
            free[index] -= amount
        ant.running[entry.number] = entry
        entry.ant = ant
        self.running += 1

    def give_back(self, entry: Entry) -> None:
        """The job holds nothing any more."""
        ant = entry.ant
        if ant is None:
            return
        free = ant.free
        for index, amount in entry.shape.need:
            free[index] += amount
        del ant.running[entry.number]
        if len(self.released) == MOST_RELEASES:
            self.released.clear()
        self.released.append(ant.number)
        self.releases += 1
        self.running -= 1
