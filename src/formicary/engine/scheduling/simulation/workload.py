"""What a simulation is given: jobs, ants and queues as frozen values.

Times are seconds from the beginning of the simulation; resources are plain numbers in whatever unit the workload and
the cluster share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SLOTS = "slots"
"""The resource of which each job takes one unless its demand says otherwise; an ant that does not name it has no end
of them. Of any other resource that it does not name an ant has none."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job, or one instance of a recurring one.

    Attributes:
        id: Unique name; the instances of a recurring job are `id#0`, `id#1`, ...
        submit: When it is submitted, in seconds.
        runtime: How long it runs, in seconds, on any ant.
        demand: Resources it holds while it runs.
        user: Whom its usage counts for; fair sharing is between users.
        queue: The queue of the cluster that it goes to.
        priority: Higher goes first where the policy looks at it.
        deadline: Absolute, in seconds; None for none.
        period: Seconds between the instances of a recurring job.
        tags: What an ant must have to run it.
        gang: Members of one gang start together or not at all (policy `gang`).
        estimate: What schedulers believe of `runtime` (backfill, shortest job first); the truth where it is None.
        prefer: Weight by tag or `label=value` of an ant (policy `matchmaking`).
        locks: What it holds alone from its first start to its end, preempted or not (policy `priority`).
        after: Ids of jobs that have to have ended before it can start.
        not_before: It cannot start earlier, in seconds.
        data: Ids, tags, labels or `label=value` of the ants that hold its data; empty = it has none, or all do.
        remote_runtime: How long it runs on another ant, in seconds; None = as long.
        copy_runtime: How long a second copy of it runs, in seconds (`speculate`); None = as long.
    """

    id: str
    submit: float
    runtime: float
    demand: Mapping[str, float] = field(default_factory=dict)
    user: str = ""
    queue: str = ""
    priority: float = 0
    deadline: float | None = None
    period: float | None = None
    tags: frozenset[str] = frozenset()
    gang: str = ""
    estimate: float | None = None
    prefer: Mapping[str, float] = field(default_factory=dict)
    locks: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    not_before: float = 0.0
    data: frozenset[str] = frozenset()
    remote_runtime: float | None = None
    copy_runtime: float | None = None

    @property
    def expected(self) -> float:
        """What a scheduler believes of its run time."""
        return self.runtime if self.estimate is None else self.estimate


@dataclass(frozen=True, slots=True)
class Ant:
    """One worker and what it has."""

    id: str
    capacity: Mapping[str, float] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue of the cluster.

    Attributes:
        name: What jobs name.
        weight: Share beside its siblings (`multilevel`, `fair`, `lottery`).
        priority: Higher queues go first (`multilevel` in strict mode).
        parent: The queue above it, empty for the root (`capacity`).
        guaranteed: Part of its parent, 0 to 1, that it has whenever it asks for it; None = what its siblings leave.
        maximum: Part of its parent, 0 to 1, that it may never exceed.
        quantum: Slice in seconds of its jobs, which take turns (`multilevel` in strict mode); None = they do not.
    """

    name: str
    weight: float = 1.0
    priority: float = 0.0
    parent: str = ""
    guaranteed: float | None = None
    maximum: float = 1.0
    quantum: float | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """Ants in the order of the file, which is the order of first fit, and queues."""

    ants: tuple[Ant, ...]
    queues: tuple[Queue, ...] = ()
