"""A queue's own past as a workload for the simulator: what was submitted, how long it ran, on which ants.

A job is taken as one piece of work: from its submission, or its scheduled start if that was later, as long as its
tasks ran together, with the tags and resources of its first task. Its slot is free while nothing of it
runs, so a job that waited for people does not hold one.

The ants are those that the tasks ran on; ants of one name that followed each other are one. Each has as many slots as
it was seen to use at once and the tags of the tasks it ran: what it could have done beyond that is not in the past.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.parse import parse_source
from formicary.engine.queen.core.records import demand_of
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.simulation.engine import Outcome, Ran
from formicary.engine.scheduling.simulation.workload import SLOTS, Ant, Cluster, Job
from formicary.engine.storage.port import Row, Store

_INCARNATION = re.compile(r"-[0-9a-f]{8}$")
RECORDED = "as it was"
"""Name of what really happened, beside policies."""
_methods = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(frozen=True, slots=True)
class History:
    """What the store remembers.

    Attributes:
        jobs: In order of submission; times from the first submission on.
        cluster: The ants that were seen.
        outcome: How it went.
        left_out: Ended jobs of which nothing ran.
    """

    jobs: tuple[Job, ...]
    cluster: Cluster
    outcome: Outcome
    left_out: int


@dataclass(slots=True)
class _Piece:
    """One task that ran."""

    ant: str
    start: float
    end: float
    tags: frozenset[str]


def read_history(store: Store, org: str, since: float, *, resources: bool = False) -> History:
    """All ended jobs of an organisation.

    Args:
        store: Where they are.
        org: The organisation.
        since: Submitted at or after this, seconds since the epoch.
        resources: Jobs hold the resources of their first task, too; the ants that were seen have none to give.
    """
    demands: dict[str, Demand] = {}
    found: list[tuple[Row, Demand, list[_Piece]]] = []
    left_out = 0
    for row in _ended(store, org, since):
        key = str(row[3])
        if key not in demands:
            demands[key] = _demand(store, key)
        pieces = sorted(_pieces(store.tasks(int(row[0] or 0)), demands[key].tags), key=lambda one: one.start)
        if pieces:
            found.append((row, demands[key], pieces))
        else:
            left_out += 1
    found.sort(key=lambda one: int(one[0][0] or 0))
    first = min((_ready(row) for row, _, _ in found), default=0.0)
    jobs, ran = [], []
    for row, demand, pieces in found:
        job = _job(row, demand if resources else Demand("", demand.tags), pieces, first)
        segments = tuple((one.start - first, one.end - first, one.ant) for one in pieces)
        jobs.append(job)
        ran.append(Ran(job, segments[0][0], max(end for _, end, _ in segments), segments[-1][2], segments))
    cluster = Cluster(tuple(_ants(piece for _, _, pieces in found for piece in pieces)))
    return History(tuple(jobs), cluster, Outcome(tuple(ran), 2 * len(ran), 0), left_out)


def with_more(cluster: Cluster, more: int) -> Cluster:
    """The same with so many more ants, each like the largest and with every tag."""
    if not cluster.ants:
        return cluster
    model = max(cluster.ants, key=lambda ant: (ant.capacity.get(SLOTS, float("inf")), ant.id))
    tags = frozenset(tag for ant in cluster.ants for tag in ant.tags)
    extra = tuple(replace(model, id=f"more-{number}", tags=tags) for number in range(1, more + 1))
    return replace(cluster, ants=cluster.ants + extra)


def _ended(store: Store, org: str, since: float) -> Iterator[Row]:
    for page in store.jobs(org, states=sorted(life.JOB_ENDED)):
        for row in page:
            if float(row[7] or 0.0) < since:
                return
            yield row


def _ready(row: Row) -> float:
    return max(float(row[7] or 0.0), float(row[8] or 0.0))


def _demand(store: Store, key: str) -> Demand:
    """What the first task of a definition needs; nothing where this version cannot read it."""
    row = store.definition(key)
    if row is None:
        return Demand("", frozenset())
    methods = row[5].decode() if isinstance(row[5], bytes) else str(row[5] or "{}")
    parsed = parse_source(str(row[4]), methods=_methods(methods))
    model = parsed[-1].definition if parsed else None
    return demand_of(model.tasks[0]) if model is not None and model.tasks else Demand("", frozenset())


def _pieces(rows: Iterable[Row], tags: frozenset[str]) -> Iterator[_Piece]:
    for row in rows:
        if row[8] and row[10] is not None and row[11] is not None:
            start = float(row[10])
            yield _Piece(_INCARNATION.sub("", str(row[8])), start, max(start, float(row[11])), tags)


def _job(row: Row, demand: Demand, pieces: Sequence[_Piece], first: float) -> Job:
    return Job(
        id=str(row[1]),
        submit=_ready(row) - first,
        runtime=max(1e-3, sum(one.end - one.start for one in pieces)),
        demand=dict(demand.needs),
        user=str(row[21] or ""),
        queue=str(row[4]),
        priority=int(row[6] or 0),
        tags=demand.tags,
    )


def _ants(pieces: Iterable[_Piece]) -> Iterator[Ant]:
    """Each ant with the most tasks that it ran at once."""
    steps: dict[str, list[tuple[float, int]]] = {}
    tags: dict[str, set[str]] = {}
    for one in pieces:
        steps.setdefault(one.ant, []).extend([(one.start, 1), (one.end, -1)])
        tags.setdefault(one.ant, set()).update(one.tags)
    for name in sorted(steps):
        running = most = 0
        for _, change in sorted(steps[name]):
            running += change
            most = max(most, running)
        yield Ant(name, {SLOTS: float(max(1, most))}, frozenset(tags[name]))
