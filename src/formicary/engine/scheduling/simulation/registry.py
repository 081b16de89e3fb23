"""The policies by name with their parameters: what `--policy NAME --set KEY=VALUE` means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from formicary.engine.scheduling.policies import capacity_tree
from formicary.engine.scheduling.policies.speculative import Limits
from formicary.engine.scheduling.simulation.backfill import Backfill, Conservative
from formicary.engine.scheduling.simulation.deadlines import FairDeadlines
from formicary.engine.scheduling.simulation.delaying import Delayed
from formicary.engine.scheduling.simulation.gangs import Gangs
from formicary.engine.scheduling.simulation.groups import Matchmaking
from formicary.engine.scheduling.simulation.inheriting import Inheriting
from formicary.engine.scheduling.simulation.levels import Feedback, Turns
from formicary.engine.scheduling.simulation.policy import Policy
from formicary.engine.scheduling.simulation.queueing import (
    INFINITY,
    Aging,
    Degrading,
    Ordered,
    Rank,
    seconds_left,
)
from formicary.engine.scheduling.simulation.sharing import By, Capacity, DeficitRounds, Lottery, MaxMin
from formicary.engine.scheduling.simulation.speculating import Speculating
from formicary.engine.scheduling.simulation.state import Entry
from formicary.engine.scheduling.simulation.workload import Cluster, Job, Queue

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key of `--set`: its kind, default and meaning.

    A kind is `number`, `numbers`, `flag`, `text`, `weights` or a choice of words.
    """

    kind: str | tuple[str, ...]
    default: object
    meaning: str


@dataclass(frozen=True, slots=True)
class Known:
    """A policy that can be named."""

    meaning: str
    make: Callable[[Values, Cluster, Sequence[Job]], Policy]
    parameters: Mapping[str, Parameter]


def submitted(entry: Entry, now: float) -> float:
    """First come, first served: the submission, which is the tie-break of every rank."""
    return 0.0


def by_priority(entry: Entry, now: float) -> float:
    """Higher priority first."""
    return -entry.job.priority


def shortest(entry: Entry, now: float) -> float:
    """Least time left first. Source: Smith, "Various optimizers for single-stage production", 1956."""
    return seconds_left(entry, now)


def earliest_deadline(entry: Entry, now: float) -> float:
    """Earliest deadline first; no deadline comes last. Source: Liu and Layland, JACM 20(1), 1973."""
    return INFINITY if entry.job.deadline is None else entry.job.deadline


def least_laxity(entry: Entry, now: float) -> float:
    """Deadline minus time left: the laxity but for `now`, which all share. Source: Mok, MIT/LCS/TR-297, 1983."""
    return INFINITY if entry.job.deadline is None else entry.job.deadline - seconds_left(entry, now)


_PREEMPTIVE = Parameter("flag", False, "a job that comes takes the place of running ones behind it in the order")
_BLOCKING = Parameter("flag", True, "a job that finds no place keeps later ones off the ants it could use")
_BY = Parameter(
    ("auto", "user", "queue"), "auto", "who shares; auto is the user where any job names one, else the queue"
)
_WEIGHTS = Parameter(
    "weights", {}, "claims as NAME:WEIGHT,NAME:WEIGHT; else the weight of the queue of that name, else 1"
)
_SHED = Parameter(("continue", "shed"), "continue", "shed gives up jobs that cannot end by their deadline any more")
_ASIDE = Parameter(
    ("head", "end"),
    "head",
    "where who is pushed aside in his slice waits: first with the rest of it, or last with a new one",
)
_QUEUE_ORDER = Parameter(("fcfs", "priority"), "fcfs", "order of the queue")
_DEPTH = Parameter("number", 1000, "how many waiting jobs or gangs a round looks at")


def _rank(rank: Rank, drift: float = 0.0) -> Callable[[Values, Cluster, Sequence[Job]], Policy]:
    def make(values: Values, cluster: Cluster, jobs: Sequence[Job]) -> Policy:
        preemptive = bool(values.get("preemptive", False))
        return Ordered(
            rank,
            blocking=bool(values["blocking"]),
            preemptive=preemptive,
            look_every=_number(values, "quantum") if preemptive and "quantum" in values else INFINITY,
            drift=drift,
            shed=values.get("overload") == "shed",
        )

    return make


def _number(values: Values, name: str) -> float:
    value = values[name]
    return float(value) if isinstance(value, int | float) else INFINITY


def _edf(values: Values, cluster: Cluster, jobs: Sequence[Job]) -> Policy:
    if values["fair_by"] == "none":
        if values["weights"]:
            raise ValueError("weights are for fair_by: say who is to miss alike many deadlines")
        return _rank(earliest_deadline)(values, cluster, jobs)
    if values["preemptive"] or values["overload"] != "continue":
        raise ValueError("fair_by goes neither with preemptive nor with overload: leave one of them out")
    named = {**values, "by": values["fair_by"]}
    return FairDeadlines(_by(named, jobs), _claims(named, cluster, jobs))


def _priority(values: Values, cluster: Cluster, jobs: Sequence[Job]) -> Policy:
    aging, how, preemptive = _number(values, "aging"), str(values["degrade"]), bool(values["preemptive"])
    floor, blocking = _number(values, "floor"), bool(values["blocking"])
    if how != "none" and (aging > 0 or preemptive or floor > 0):
        raise ValueError("degrade goes neither with aging or floor, its opposites, nor with preemptive: leave it out")
    if not 0 <= floor <= 50:
        raise ValueError(f"floor is per cent of the starts, 0 to 50, not {floor:g}")
    if floor > 0 and preemptive:
        raise ValueError("what floor starts, preemptive would take off again at once: leave one of them out")
    if quantum := _number(values, "quantum"):
        if how != "none" or aging > 0 or floor > 0 or any(job.locks for job in jobs):
            raise ValueError("quantum goes with none of aging, degrade, floor and jobs that hold locks: leave it out")
        levels = {priority: level for level, priority in enumerate(sorted({-job.priority for job in jobs}))}
        return Turns(
            lambda entry: levels[-entry.job.priority],
            [quantum] * len(levels),
            keeps=values["aside"] == "head",
            preemptive=preemptive,
            blocking=blocking,
        )
    if any(job.locks for job in jobs):
        if how != "none" or aging > 0 or floor > 0:
            raise ValueError("jobs hold locks, for which there is neither degrade nor aging nor floor: leave it out")
        return Inheriting(inherits=bool(values["inherit"]), blocking=blocking, preemptive=preemptive)
    if how != "none":
        return Degrading(how, blocking=blocking)
    if aging > 0:
        return Aging(aging, _number(values, "cap"), blocking=blocking, preemptive=preemptive, floor=floor)
    return Ordered(by_priority, blocking=blocking, preemptive=preemptive, floor=floor)


def _fitting(fit: float) -> Callable[[Values, Cluster, Sequence[Job]], Policy]:
    return lambda values, cluster, jobs: Ordered(submitted, fit=fit, blocking=bool(values["blocking"]))


def _is_by_user(values: Values, jobs: Sequence[Job]) -> bool:
    named = values.get("by", "auto")
    return named == "user" or (named == "auto" and any(job.user for job in jobs))


def _by(values: Values, jobs: Sequence[Job]) -> By:
    if _is_by_user(values, jobs):
        return lambda entry: entry.job.user
    return lambda entry: entry.job.queue


def _weights(values: Values, cluster: Cluster, claimants: set[str]) -> dict[str, float]:
    """Claims by name. Raises ValueError for one that is nobody's: a slip of the pen would share alike, unseen."""
    given = values.get("weights")
    found = {str(name): float(weight) for name, weight in given.items()} if isinstance(given, Mapping) else {}
    unknown = sorted(found.keys() - claimants - {queue.name for queue in cluster.queues})
    if unknown:
        some = ", ".join(sorted(claimants - {""})[:8]) or "not named by any job"
        raise ValueError(f"weights: nobody is called {', '.join(unknown)}; those who share are {some}")
    return {queue.name: queue.weight for queue in cluster.queues} | found


def _claims(values: Values, cluster: Cluster, jobs: Sequence[Job]) -> dict[str, float]:
    """See `_weights`: of whoever shares by `by`."""
    return _weights(values, cluster, {job.user if _is_by_user(values, jobs) else job.queue for job in jobs})


def _multilevel(values: Values, cluster: Cluster, jobs: Sequence[Job]) -> Policy:
    if values["mode"] == "feedback":
        given = values["quanta"]
        quanta = [_number(values, "quantum") * 2**level for level in range(int(_number(values, "levels")))]
        if isinstance(given, tuple):
            quanta = [*given, *([INFINITY] if values["last"] == "fcfs" else [])]
        elif len(quanta) > 1 and values["last"] == "fcfs":
            quanta[-1] = INFINITY
        return Feedback(quanta, _number(values, "boost") or INFINITY, keeps=values["aside"] == "head")
    if values["mode"] == "weighted":
        cost = (lambda entry: 1.0) if values["cost"] == "jobs" else (lambda entry: float(entry.job.expected))
        weights = _weights(values, cluster, {job.queue for job in jobs})
        return DeficitRounds(lambda entry: entry.job.queue, weights, cost)
    ranks = {queue.name: queue.priority for queue in cluster.queues}
    blocking, preemptive = bool(values["blocking"]), bool(values["preemptive"])
    if any(queue.quantum for queue in cluster.queues):
        return _in_turns(values, cluster, jobs)
    return Ordered(lambda entry, now: -ranks.get(entry.job.queue, 0.0), blocking=blocking, preemptive=preemptive)


def _in_turns(values: Values, cluster: Cluster, jobs: Sequence[Job]) -> Policy:
    """Strict between queues of which some have slices; of equal priority, the first of the file goes first."""
    named = {queue.name for queue in cluster.queues}
    others = [Queue(name) for name in sorted({job.queue for job in jobs} - named)]
    queues = sorted([*cluster.queues, *others], key=lambda queue: -queue.priority)
    levels = {queue.name: level for level, queue in enumerate(queues)}
    return Turns(
        lambda entry: levels[entry.job.queue],
        [queue.quantum or INFINITY for queue in queues],
        keeps=values["aside"] == "head",
        preemptive=bool(values["preemptive"]),
        blocking=bool(values["blocking"]),
    )


def _fair(values: Values, cluster: Cluster, jobs: Sequence[Job]) -> Policy:
    resource = str(values["resource"])
    bounded = {name for ant in cluster.ants for name in ant.capacity}
    if resource not in ("", "jobs", *bounded):
        raise ValueError(
            f"resource: no ant has {resource!r}; they have {', '.join(sorted(bounded)) or 'none'}, or `jobs`"
        )
    if not resource:
        resource = next((name for name in ("slots", "cpu", *sorted(bounded)) if name in bounded), "")
    return MaxMin(_by(values, jobs), _claims(values, cluster, jobs), "" if resource == "jobs" else resource)


def _capacity(values: Values, cluster: Cluster, jobs: Sequence[Job]) -> Policy:
    queues = capacity_queues(cluster)
    known = {queue.name for queue in queues}
    above = {queue.parent for queue in queues}
    inner = next((job for job in jobs if job.queue and job.queue in above), None)
    if inner is not None:
        below = " or ".join(queue.name for queue in queues if queue.parent == inner.queue)
        raise ValueError(f"job {inner.id!r} names the queue {inner.queue!r}, which is parted: it must name {below}")
    queues += [
        capacity_tree.Queue(name) for name in sorted({job.queue for job in jobs} - known)
    ]  # a queue that the cluster does not name has no guarantee and borrows
    return Capacity(capacity_tree.CapacityTree(queues), lambda entry: entry.job.queue, str(values["reclaim"]))


def capacity_queues(cluster: Cluster) -> list[capacity_tree.Queue]:
    """The queues of a cluster as the capacity tree wants them, in per cent; no guarantee given = what is left."""
    found = []
    for queue in cluster.queues:
        siblings = [other for other in cluster.queues if other.parent == queue.parent]
        open_ones = sum(other.guaranteed is None for other in siblings)
        rest = max(0.0, 1.0 - sum(other.guaranteed or 0.0 for other in siblings))
        share = rest / open_ones if queue.guaranteed is None else queue.guaranteed
        share = min(share, queue.maximum) if queue.guaranteed is None else share
        found.append(capacity_tree.Queue(queue.name, queue.parent or None, share * 100, queue.maximum * 100))
    return found


_SHARED = {"by": _BY, "weights": _WEIGHTS}
_ORDER = {"blocking": _BLOCKING, "preemptive": _PREEMPTIVE}
_DEADLINE = {**_ORDER, "overload": _SHED}
_FIT = {"blocking": Parameter("flag", False, _BLOCKING.meaning)}

POLICIES: dict[str, Known] = {
    "fcfs": Known("First come, first served.", _rank(submitted), {"blocking": _BLOCKING}),
    "priority": Known(
        "Higher priority first, then first come, first served.",
        _priority,
        {
            **_ORDER,
            "aging": Parameter("number", 0.0, "priority gained for each second of waiting; 0 is none"),
            "cap": Parameter("number", 10.0, "the most that aging leads to"),
            "floor": Parameter("number", 0.0, "per cent of the starts that go to who was submitted first; 0 is none"),
            "degrade": Parameter(
                ("none", "log", "step"), "none", "priority falls with each attempt to start; it starves"
            ),
            "quantum": Parameter(
                "number", 0.0, "slice in seconds of those of equal priority, who take turns; 0 is none"
            ),
            "aside": _ASIDE,
            "inherit": Parameter("flag", True, "who holds a lock has the priority of those that wait for it"),
        },
    ),
    "multilevel": Known(
        "Several queues: strict by the priority of the queue, weighted (deficit round robin), or with feedback.",
        _multilevel,
        {
            "mode": Parameter(("strict", "weighted", "feedback"), "strict", "what goes on between queues"),
            **_ORDER,
            "weights": _WEIGHTS,
            "cost": Parameter(("time", "jobs"), "time", "what a turn costs: expected seconds, or 1 for each job"),
            "quantum": Parameter("number", 8.0, "slice of the first level in seconds; doubled on each next one"),
            "levels": Parameter("number", 3, "levels of feedback; 1 is round robin"),
            "quanta": Parameter(
                "numbers",
                None,
                "slices of the levels, such as 8,16, for `quantum` and `levels`; one that is `last` follows",
            ),
            "last": Parameter(("fcfs", "slices"), "fcfs", "the last of several levels runs to the end, or in slices"),
            "aside": _ASIDE,
            "boost": Parameter("number", 0.0, "after every so many seconds all go to the top; 0 is never"),
        },
    ),
    "first_fit": Known(
        "In order of submission, on the first ant with room; what does not fit is passed.", _fitting(0), _FIT
    ),
    "best_fit": Known("The same, on the ant that has least left over.", _fitting(1), _FIT),
    "worst_fit": Known("The same, on the ant that has most left over.", _fitting(-1), _FIT),
    "matchmaking": Known(
        "The first jobs, as many as there are places, are assigned to them at once, at the best sum of preferences.",
        lambda values, cluster, jobs: Matchmaking(int(_number(values, "width")), best=values["choose"] == "best"),
        {
            "width": Parameter("number", 200, "most jobs of one assignment"),
            "choose": Parameter(
                ("first", "best"), "first", "of more jobs than places: the first in order, or the best sum; it starves"
            ),
        },
    ),
    "delay": Known(
        "First come, first served, but a job lets places pass for a while to run where its data is.",
        lambda values, cluster, jobs: Delayed(_number(values, "max_wait")),
        {"max_wait": Parameter("number", 5.0, "seconds, or what running at the data saves if that is less")},
    ),
    "capacity": Known(
        "Hierarchical queues with guaranteed and maximum shares; what is unused is lent.",
        _capacity,
        {"reclaim": Parameter(("none", "graceful", "aggressive"), "none", "whether running borrowers are preempted")},
    ),
    "fair": Known(
        "Weighted max-min sharing of one resource.",
        _fair,
        {
            **_SHARED,
            "resource": Parameter(
                "text", "", "what is shared; `jobs` counts jobs; empty: slots, else cpu, else another"
            ),
        },
    ),
    "drf": Known(
        "Dominant resource fairness.",
        lambda values, cluster, jobs: MaxMin(_by(values, jobs), _claims(values, cluster, jobs), None),
        _SHARED,
    ),
    "lottery": Known(
        "Each decision draws one of the tickets (weights) of those that wait.",
        lambda values, cluster, jobs: Lottery(_by(values, jobs), _claims(values, cluster, jobs)),
        _SHARED,
    ),
    "edf": Known(
        "Earliest deadline first.",
        _edf,
        {
            **_DEADLINE,
            "fair_by": Parameter(
                ("none", "user", "queue"), "none", "who are to miss alike many deadlines; then nothing blocks"
            ),
            "weights": Parameter("weights", {}, "with fair_by: weight 2 may miss half as many, as NAME:WEIGHT"),
        },
    ),
    "sjf": Known("Shortest job first; preemptive, shortest remaining time.", _rank(shortest, drift=-1.0), _ORDER),
    "llf": Known(
        "Least laxity first.",
        _rank(least_laxity, drift=1.0),
        {**_DEADLINE, "quantum": Parameter("number", 1.0, "seconds between comparisons with what runs, if preemptive")},
    ),
    "gang": Known(
        "Jobs of one gang start together or not at all; the first that waits has a reservation.",
        lambda values, cluster, jobs: Gangs(
            jobs,
            backfill=bool(values["backfill"]),
            depth=int(_number(values, "depth")),
            by_priority=values["order"] == "priority",
        ),
        {
            "order": _QUEUE_ORDER,
            "backfill": Parameter("flag", True, "later ones may start where they delay nobody"),
            "depth": _DEPTH,
        },
    ),
    "backfill": Known(
        "EASY backfill: a reservation for the first that waits, others may start where they do not delay it.",
        lambda values, cluster, jobs: (Conservative if values["reservations"] == "all" else Backfill)(
            by_priority if values["order"] == "priority" else submitted, int(_number(values, "depth"))
        ),
        {
            "order": _QUEUE_ORDER,
            "reservations": Parameter(("first", "all"), "first", "who has one; `all` is conservative backfill"),
            "depth": _DEPTH,
        },
    ),
}
"""Name -> policy."""

SPECULATION = {
    "speculate": Parameter(
        ("none", "percentile", "progress"), "none", "second copies of what lags by its run time, or its progress, too"
    ),
    "percentile": Parameter("number", 95.0, "per cent of its queue's run times: what runs longer lags"),
    "extra_work": Parameter("number", 5.0, "per cent of all work that copies may take"),
    "copies": Parameter("number", 10.0, "per cent of all places on which copies may run at a time"),
}
"""Parameters of second copies."""
EVERYWHERE = {
    **SPECULATION,
    "until": Parameter("number", None, "end of the simulation in seconds, and of recurring jobs"),
    "seed": Parameter("number", 0, "seed of the draws"),
}
"""Parameters of every policy."""


def make_policy(name: str, values: Values, cluster: Cluster, jobs: Sequence[Job]) -> Policy:
    """A policy by its name, with second copies where they are asked for.

    Raises:
        ValueError: Parameters, jobs and cluster do not go together.
    """
    policy = POLICIES[name].make(values, cluster, jobs)
    how = values.get("speculate", "none")
    if how == "none":
        return policy
    for key, most in (("percentile", 100), ("extra_work", 100), ("copies", 100)):
        if _number(values, key) > most:
            raise ValueError(f"{key} is per cent, at most {most}, not {_number(values, key):g}")
    gives_way = values.get("preemptive") or values.get("mode") == "feedback" or values.get("reclaim", "none") != "none"
    if gives_way or values.get("reservations") == "all" or any(job.locks for job in jobs):
        raise ValueError("speculate goes neither with what preempts, nor with reservations=all, nor with locks")
    part = {key: _number(values, key) / 100 for key in ("extra_work", "copies")}
    limits = Limits(percentile=_number(values, "percentile"), cap=part["copies"], extra_work=part["extra_work"])
    return Speculating(policy, limits, by_progress=how == "progress")


WHOLE = {"levels": 64, "depth": 1_000_000, "width": 10_000}
"""Parameters that count something, with the most that they may be."""


def read_settings(policy: str, texts: Mapping[str, str]) -> tuple[dict[str, object], list[str]]:
    """Values of all parameters of a policy, and a sentence for each text that cannot be.

    Args:
        policy: A name of POLICIES.
        texts: What was given.
    """
    parameters = {**EVERYWHERE, **POLICIES[policy].parameters}
    values: dict[str, object] = {name: parameter.default for name, parameter in parameters.items()}
    wrong = []
    for name, text in texts.items():
        if name not in parameters:
            wrong.append(f"--set {name}: policy {policy} has no such parameter; it has {', '.join(parameters)}")
            continue
        try:
            values[name] = _read(parameters[name].kind, text)
        except ValueError as error:
            wrong.append(f"--set {name}={text}: {error}")
            continue
        value = values[name]
        if name in WHOLE and isinstance(value, float):
            if not 1 <= value <= WHOLE[name] or value != int(value):
                wrong.append(f"--set {name}={text}: must be a whole number from 1 to {WHOLE[name]}")
        elif name == "quantum" and isinstance(value, float) and value <= 0:
            wrong.append(f"--set {name}={text}: must be above zero")
        elif parameters[name].kind == "number" and isinstance(value, float) and value < 0:
            wrong.append(f"--set {name}={text}: must not be below zero")
    return values, wrong


def _read(kind: str | tuple[str, ...], text: str) -> object:
    if isinstance(kind, tuple):
        if text not in kind:
            raise ValueError(f"must be one of {', '.join(kind)}")
        return text
    if kind == "number":
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if number != number or number in (INFINITY, -INFINITY):
            raise ValueError("must be a number")
        return number
    if kind == "flag":
        if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
            raise ValueError("must be true or false")
        return text.lower() in ("true", "yes", "1")
    if kind == "numbers":
        return _read_slices(text)
    return _read_weights(text) if kind == "weights" else text


def _read_slices(text: str) -> tuple[float, ...]:
    found = []
    for part in text.split(",")[: WHOLE["levels"] + 1]:
        number = _read("number", part)
        if not isinstance(number, float) or number <= 0:
            raise ValueError("must be numbers above zero, with commas between")
        found.append(number)
    if len(found) > WHOLE["levels"]:
        raise ValueError(f"must be {WHOLE['levels']} numbers at most")
    return tuple(found)


def _read_weights(text: str) -> dict[str, float]:
    found = {}
    for part in text.split(","):
        name, colon, number = part.rpartition(":")
        weight = _read("number", number) if colon else None
        if not isinstance(weight, float) or weight <= 0:
            raise ValueError("must be NAME:WEIGHT,NAME:WEIGHT with weights above zero")
        found[name] = weight
    return found
