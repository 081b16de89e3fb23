"""Queues as they are configured: which jobs go where, who goes first between queues and within each, and on which ant.

One order (`fcfs`, `priority`, `sjf`, `edf`, `llf`) or one sharing (`fair`, `drf`, `lottery`) may hold for all jobs, or
queues stand beside each other (`multilevel`, `capacity`, or a sharing `by: queue`) and each has an order of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from formicary.engine.jobs.amounts import Needs
from formicary.engine.jobs.tenants import Tenants
from formicary.engine.scheduling.policies.capacity_tree import CapacityTree
from formicary.engine.scheduling.policies.capacity_tree import Queue as Node
from formicary.engine.scheduling.policies.reservation import Observed

DEFAULT = "default"
"""Queue of the jobs that nothing sends elsewhere, where the configuration names no other."""
ORDERS = ("fcfs", "priority", "sjf", "edf", "llf")
SHARES = ("fair", "drf", "lottery")
BETWEEN = (*ORDERS, "multilevel", "capacity", *SHARES)
PLACEMENTS = ("least_loaded", "first_fit", "best_fit", "worst_fit", "optimal")


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy with its parameters.

    Attributes:
        policy: Its name.
        aging: Of `priority`: gained for each second of waiting; 0 = none.
        cap: Of `priority`: the most that aging leads to.
        floor: Of `priority`: per cent of the starts that go to who waits longest, whatever the priority; 0 = none.
        degrade: Of `priority`: how it falls while a job waits: none, log or step.
        fair_by: Of `edf`: user or org, who miss alike many of their deadlines; empty = nobody is looked at.
        mode: Of `multilevel`: strict, weighted or feedback.
        reclaim: Of `capacity`: none, graceful or aggressive.
        by: Of a sharing: user, org or queue.
        weights: Of a sharing, of `edf` with `fair_by` or of weighted `multilevel`, by name; 1 where missing.
        resource: Of `fair`: what is shared.
        preemptive: Of an order or of strict `multilevel`: running tasks give way to what is before them.
        overload: Of `edf` and `llf`: what becomes of deadlines that cannot be kept.
        quantum: Of `multilevel` with feedback: seconds of the first level, doubled on each next one.
        levels: Of it: how many levels there are.
        boost: Of it: seconds after which all go to the first level; 0 = never.
    """

    policy: str
    aging: float = 0.0
    cap: float = 10.0
    floor: float = 0.0
    degrade: str = "none"
    fair_by: str = ""
    mode: str = "strict"
    reclaim: str = "none"
    by: str = "user"
    weights: Mapping[str, float] = field(default_factory=dict)
    resource: str = "slots"
    preemptive: bool = False
    overload: str = "continue"
    quantum: float = 8.0
    levels: int = 3
    boost: float = 0.0


PRIORITY = Rule("priority")


@dataclass(frozen=True, slots=True)
class Hours:
    """Times of day, UTC, in minutes after midnight; from 1320 to 360 is over midnight."""

    begin: int
    end: int

    def opens_in(self, wall: float) -> float:
        """Seconds until jobs may start; 0 = they may now."""
        now = datetime.fromtimestamp(wall, UTC)
        minute = now.hour * 60 + now.minute
        is_open = self.begin <= minute < self.end if self.begin < self.end else not self.end <= minute < self.begin
        if is_open:
            return 0.0
        at = now.replace(hour=self.begin // 60, minute=self.begin % 60, second=0, microsecond=0)
        return ((at if at > now else at + timedelta(days=1)) - now).total_seconds()


@dataclass(frozen=True, slots=True)
class Match:
    """Which jobs go to a queue by themselves: those that meet all that is given.

    Attributes:
        job_types: Patterns with `*` and `?`; one of them.
        users: Who submits; one of them.
        tags: The first tasks ask for all of them.
        labels: The definition has all of them.
        shorter_than_s: `estimated_runtime` is below it.
        longer_than_s: It is this or more.
        resources: Some task holds this much of each.
    """

    job_types: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    shorter_than_s: float | None = None
    longer_than_s: float | None = None
    resources: Needs = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """What classification looks at."""

    job_type: str
    user: str = ""
    queue: str = ""
    tags: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    runtime_s: float | None = None
    most: Mapping[str, float] = field(default_factory=dict)
    """The largest amount that a task holds, by resource."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue.

    Attributes:
        name: What jobs and other queues call it.
        parent: The queue that it is part of; None = the root.
        weight: Beside its siblings, where turns or shares are weighted.
        priority: Higher goes first in strict `multilevel`.
        guaranteed: Per cent of its parent that is always its own (`capacity`).
        maximum: Per cent of its parent that it can hold at most (`capacity`).
        limit: Tasks at a time at most; None = no limit.
        rule: Who goes first within it.
        match: Jobs that come here by themselves; None = those that name it.
        hours: When its jobs may start; None = always.
        grace_s: Seconds that a task of it is left to end by itself when it has to make room; None = as its parent.
    """

    name: str
    parent: str | None = None
    weight: float = 1.0
    priority: float = 0.0
    guaranteed: float = 0.0
    maximum: float = 100.0
    limit: int | None = None
    rule: Rule = PRIORITY
    match: Match | None = None
    hours: Hours | None = None
    grace_s: float | None = None

    def takes(self, job: Subject) -> bool:
        """Whether a job that names no queue comes here."""
        rule = self.match
        if rule is None:
            return False
        if rule.job_types and not any(fnmatchcase(job.job_type, pattern) for pattern in rule.job_types):
            return False
        if (rule.users and job.user not in rule.users) or not rule.tags <= job.tags:
            return False
        if any(job.labels.get(name) != value for name, value in rule.labels.items()):
            return False
        runtime = job.runtime_s
        if rule.shorter_than_s is not None and (runtime is None or runtime >= rule.shorter_than_s):
            return False
        if rule.longer_than_s is not None and (runtime is None or runtime < rule.longer_than_s):
            return False
        return all(job.most.get(name, 0.0) >= amount for name, amount in rule.resources)


@dataclass(frozen=True, slots=True)
class Queues:
    """A whole configuration, checked.

    Attributes:
        rule: Between queues, or for all jobs.
        placement: How ants are compared.
        queues: In the order of the file, the one of all others last if the file does not name it.
        default: The queue of jobs that nothing sends elsewhere.
        tenants: Limits of organisations and their users.
        grace_s: Seconds of tasks of queues that say nothing of it; None = as each ant is configured.
        overcommit: How often the amount of a resource that an ant has is given out; once where missing.
        observed: Resources of which as much is given out as is not really used.
        quality_of_service: Best-effort tasks take what others leave, and give way to them.
    """

    rule: Rule
    placement: str
    queues: tuple[Queue, ...]
    default: str = DEFAULT
    tenants: Tenants = field(default_factory=dict)
    grace_s: float | None = None
    overcommit: Mapping[str, float] = field(default_factory=dict)
    quality_of_service: bool = False
    observed: Mapping[str, Observed] = field(default_factory=dict)

    @property
    def apart(self) -> bool:
        """Whether queues stand beside each other, each with an order of its own."""
        rule = self.rule
        by_queue = rule.policy == "multilevel" and rule.mode != "feedback"
        return by_queue or rule.policy == "capacity" or (rule.policy in SHARES and rule.by == "queue")

    def leaves(self) -> list[Queue]:
        """Queues that hold jobs."""
        parents = {queue.parent for queue in self.queues}
        return [queue for queue in self.queues if queue.name not in parents]

    def named(self, name: str) -> Queue:
        """The queue of that name. Raises KeyError."""
        for queue in self.queues:
            if queue.name == name:
                return queue
        raise KeyError(name)

    def leaf_of(self, job: Subject) -> str:
        """The queue of a job: the one that it names, the first whose `match` it meets, or the default."""
        leaves = self.leaves()
        if job.queue and any(queue.name == job.queue for queue in leaves):
            return job.queue
        return next((queue.name for queue in leaves if queue.takes(job)), self.default)

    def grace_of(self, name: str) -> float | None:
        """Seconds that a task of a queue is left when it has to make room; None = as its ant is configured."""
        queues = {queue.name: queue for queue in self.queues}
        queue = queues.get(name)
        while queue is not None and queue.grace_s is None:
            queue = queues.get(queue.parent or "")
        return self.grace_s if queue is None else queue.grace_s

    def within(self, name: str) -> Rule:
        """The order of a queue."""
        return self.named(name).rule if self.apart else self.rule

    def tree(self) -> CapacityTree:
        """The tree of guaranteed and maximum shares."""
        return CapacityTree(Node(queue.name, queue.parent, queue.guaranteed, queue.maximum) for queue in self.queues)
