"""The pipeline: gates (may it start now?) -> order (who first?) -> place (where?), over a read-only view.

`decide` is a generator over a :class:`View` that the core keeps incrementally. It yields one decision at a time and the
core applies it before the next is drawn, so the view is always current; the core stops drawing after a slice. Nothing
is kept between slices but the view's own indexes, so events may arrive in between. The cost of a decision depends on
the number of distinct demands that wait and of ants that fit, never on the number of jobs that cannot run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from formicary.engine.scheduling.candidates import Candidate, CandidateQueue, OrderKey
from formicary.engine.scheduling.demand import Demand


class AntView(Protocol):
    """What placement may know of an ant."""

    slots: int
    window: int
    draining: bool
    connected: bool

    @property
    def held(self) -> Mapping[int, object]:
        """Tasks granted to the ant and not ended."""
        ...


A = TypeVar("A", bound=AntView)


class View(Protocol[A]):
    """The state that decisions are made of."""

    @property
    def queues(self) -> Mapping[Demand, CandidateQueue]:
        """Candidates by demand; empty queues may be missing."""
        ...

    def ants_for(self, demand: Demand) -> list[A]:
        """Ants that serve the demand, whatever their load; in order of arrival."""
        ...

    def running_of(self, gate: tuple[str, str]) -> int:
        """Running executions of an organisation's job type."""
        ...

    def limit_of(self, gate: tuple[str, str]) -> int:
        """The job type's `max_concurrency`."""
        ...


@dataclass(frozen=True, slots=True)
class Policy:
    """The modules of one queue's pipeline."""

    gates: tuple[Callable[[View[AntView], Demand], bool], ...]
    """True where candidates of the demand may start now."""
    order: Callable[[int, int, int], OrderKey]
    """(priority, job number, position) -> order key."""
    place: Callable[[list[AntView]], AntView | None]
    """The ant to use, or None where all are full."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Start this candidate on this ant."""

    candidate: Candidate
    ant: AntView


def decide(view: View[AntView], policy: Policy) -> Iterator[Decision]:
    """Yields decisions until nothing more can be placed. Source: one sorted queue per demand, merged by their heads."""
    closed: set[Demand] = set()
    while True:
        first, queue, demand = None, None, None
        for other, candidates in view.queues.items():
            if other in closed:
                continue
            head = candidates.head()
            if head is not None and (first is None or head[:3] < first[:3]):
                first, queue, demand = head, candidates, other
        if first is None or queue is None or demand is None:
            return
        ant = None
        if all(gate(view, demand) for gate in policy.gates):
            ant = policy.place(view.ants_for(demand))
        if ant is None:
            closed.add(demand)
            continue
        queue.pop()
        yield Decision(first[4], ant)
