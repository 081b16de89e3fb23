"""The pipeline: gates (may it start now?) -> order (who first?) -> place (where?), over a read-only view.

`decide` is a generator over a :class:`View` that the core keeps incrementally. It yields one decision at a time and the
core applies it before the next is drawn, so the view is always current; the core stops drawing after a slice. Nothing
is kept between slices but the view's own indexes, so events may arrive in between. A slice begins with a look at each
distinct demand that waits and each ant that fits; after that a decision costs the logarithm of their numbers. Jobs that
cannot run cost nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Protocol, TypeVar

import msgspec

from formicary.engine.scheduling.affinity import Neighbours
from formicary.engine.scheduling.candidates import Candidate, CandidateQueue, Entry, OrderKey
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.devices import Devices


class AntView(Protocol):
    """What placement may know of an ant."""

    slots: int
    window: int
    draining: bool
    connected: bool

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def key(self) -> str:
        """Name of this very process."""
        ...

    @property
    def is_known(self) -> bool:
        """It has said what it offers."""
        ...

    @property
    def devices(self) -> Devices:
        """Those of the whole colony."""
        ...

    @property
    def neighbours(self) -> Neighbours:
        """Which tasks are where, in the whole colony."""
        ...

    @property
    def held(self) -> Mapping[int, object]:
        """Tasks granted to the ant and not ended."""
        ...

    @property
    def methods(self) -> frozenset[str]:
        """Methods that it runs."""
        ...

    @property
    def tags(self) -> frozenset[str]:
        """Names that it carries."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Values by name."""
        ...

    @property
    def resources(self) -> Mapping[str, float]:
        """All that it has."""
        ...

    @property
    def used(self) -> Mapping[str, float]:
        """What its tasks hold of it."""
        ...


A = TypeVar("A", bound=AntView)


class View(Protocol[A]):
    """The state that decisions are made of."""

    @property
    def queues(self) -> Mapping[Demand, CandidateQueue]:
        """Candidates by demand; empty queues may be missing."""
        ...

    @property
    def fresh(self) -> dict[Demand, None]:
        """Demands whose queue somebody has joined; `decide` takes them out."""
        ...

    def ants_for(self, demand: Demand) -> list[A]:
        """Ants that serve the demand, in order of arrival, whatever their load; one list for all of the same ants."""
        ...

    def running_of(self, gate: tuple[str, str]) -> int:
        """Running executions of an organisation's job type."""
        ...

    def limit_of(self, gate: tuple[str, str]) -> int:
        """The job type's `max_concurrency`."""
        ...

    def permits(self, gate: tuple[str, str]) -> bool:
        """Whether the job type's circuit breaker lets another job begin."""
        ...


class Place(Protocol):
    """The placement of one slice."""

    @property
    def looked(self) -> int:
        """Ants that were looked at one by one."""
        ...

    def __call__(self, ants: list[AntView], demand: Demand) -> AntView | None:
        """The ant to use for a demand, or None where all are full."""
        ...


LOOKS = 20
"""Ants that can be looked at in the time of a decision."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The modules of one queue's pipeline."""

    gates: tuple[Callable[[View[AntView], Demand], bool], ...]
    """True where candidates of the demand may start now."""
    order: Callable[[int, int, int], OrderKey]
    """(priority, job number, position) -> order key."""
    place: Callable[[], Place]
    """Makes the placement of one slice."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Start this candidate on this ant."""

    candidate: Candidate
    ant: AntView
    cost: int = 1
    """How many plain decisions could have been made in the time."""


Head = tuple[float, int, int, int, Demand, CandidateQueue]
"""Order key of a queue's first candidate, a number that no other has, the demand, the queue."""


def decide(view: View[AntView], policy: Policy) -> Iterator[Decision]:
    """Yields decisions until nothing more can be placed. Source: one sorted queue per demand, merged by their heads.

    A demand that cannot be placed is closed for the slice: room only shrinks while decisions are made. So one that no
    ant had room for at the beginning needs no second look; what is queued meanwhile joins. One that has to be near to
    others is opened again when such a one was granted.
    """
    closed: set[Demand] = set()
    place = policy.place()
    numbers = count()
    apart = _Apart()
    looked = 0
    heads = _heads(view, place, numbers)
    while heads:
        first, second, third, number, demand, queue = heads[0]
        head = queue.head()
        if head is None or head[1] != second or head[0] != first or head[2] != third:  # withdrawn meanwhile
            _replace(heads, head, number, demand, queue)
            continue
        ant = None
        for gate in policy.gates:
            if not gate(view, demand):
                break
        else:
            ant = place(view.ants_for(demand), demand)
        if ant is None:
            closed.add(demand)
            if demand.affinity:
                apart.close(demand, view.ants_for(demand))
            heapq.heappop(heads)
            continue
        queue.pop()
        _replace(heads, queue.head(), number, demand, queue)
        if demand.is_plain:
            yield Decision(head[4], ant)
        else:
            looked, before = place.looked, looked
            yield Decision(head[4], ant, 1 + bool(demand.affinity) + (looked - before) // LOOKS)
        if apart.closed:
            apart.open(closed, view)
        _join(view, closed, heads, numbers)


class _Apart:
    """Demands that are closed, and that grants may open."""

    __slots__ = ("_opened", "_stamps", "closed")

    def __init__(self) -> None:
        self.closed: dict[Demand, Neighbours] = {}
        self._stamps: dict[Demand, int] = {}
        self._opened = -1

    def close(self, demand: Demand, ants: list[AntView]) -> None:
        """No ant suits it now."""
        if ants:
            book = self.closed[demand] = ants[0].neighbours
            self._stamps[demand] = book.stamp(demand.affinity)
            self._opened = book.opened

    def open(self, closed: set[Demand], view: View[AntView]) -> None:
        """A decision has been carried out: takes out of `closed` what may be placed because of it."""
        if next(iter(self.closed.values())).opened == self._opened:
            return
        for demand, book in list(self.closed.items()):
            self._opened = book.opened
            if book.stamp(demand.affinity) != self._stamps[demand]:
                del self.closed[demand]
                closed.discard(demand)
                view.fresh[demand] = None


def _heads(view: View[AntView], place: Place, numbers: Iterator[int]) -> list[Head]:
    """The first candidate of each queue that some ant has room for, as a heap."""
    view.fresh.clear()
    has_room: dict[int, bool] = {}  # by identity of the list of ants, which the view keeps
    heads: list[Head] = []
    for demand, queue in view.queues.items():
        ants = view.ants_for(demand)
        known = has_room.get(id(ants)) if demand.is_plain else True  # what holds resources is asked at its turn
        if known is None:
            known = has_room[id(ants)] = place(ants, demand) is not None
        head = queue.head() if known else None
        if head is not None:
            heads.append((head[0], head[1], head[2], next(numbers), demand, queue))
    heapq.heapify(heads)
    return heads


def _join(view: View[AntView], closed: set[Demand], heads: list[Head], numbers: Iterator[int]) -> None:
    """Takes in what has been queued while the last decision was carried out: it may go before all that was known."""
    while view.fresh:
        demand, _ = view.fresh.popitem()
        queue = view.queues.get(demand)
        head = queue.head() if queue is not None and demand not in closed else None
        if head is not None and queue is not None:
            heapq.heappush(heads, (head[0], head[1], head[2], next(numbers), demand, queue))


def _replace(heads: list[Head], head: Entry | None, number: int, demand: Demand, queue: CandidateQueue) -> None:
    """The queue at the top of the heap has another first candidate, or none."""
    if head is None:
        heapq.heappop(heads)
    else:
        heapq.heapreplace(heads, (head[0], head[1], head[2], number, demand, queue))
