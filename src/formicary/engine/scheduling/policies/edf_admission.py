"""Admission for deadlines, and what happens when more comes than can be done.

Recurring jobs with the deadline at the end of their period meet every deadline under EDF on one server exactly while
the sum of runtime over period is at most 1; with shorter deadlines the demand bound is asked instead. Under overload
EDF alone fails in a domino of missed deadlines; here what does least for the work it takes is shed, or demoted behind
all that keep their deadlines.

Source: Liu and Layland, "Scheduling Algorithms for Multiprogramming in a Hard-Real-Time Environment", JACM 20(1), 1973
(theorem 7); Baruah, Rosier, Howell, "Algorithms and Complexity Concerning the Preemptive Scheduling of Periodic
Real-Time Tasks on One Processor", Real-Time Systems 2, 1990 (processor demand); Goossens, Funk, Baruah, Real-Time
Systems 25, 2003 (several servers).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EPSILON = 1e-9
SHED = "shed"
DEMOTE = "demote"
REJECT_NEW = "reject"
OVERLOAD = (SHED, DEMOTE, REJECT_NEW)


@dataclass(frozen=True, slots=True)
class Recurring:
    """A job that comes back.

    Args:
        id: Unique.
        runtime: Worst case, seconds; above zero.
        period: Seconds; above zero.
        deadline: Seconds after its release; None = the period.
    """

    id: str
    runtime: float
    period: float
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Urgent:
    """A single job with an absolute deadline. `value` is what meeting it is worth."""

    id: str
    runtime: float
    deadline: float
    value: float = 1.0


def utilisation(jobs: Iterable[Recurring]) -> float:
    """Sum of runtime over period."""
    return sum(job.runtime / job.period for job in jobs)


def refusal(jobs: Sequence[Recurring], servers: int = 1) -> str | None:
    """Why the jobs together may miss deadlines, with the figures; None where they meet all.

    On one server the answer is exact for deadlines at the end of the period and, by the demand bound, for shorter ones.
    On several the sufficient bound `U <= m - (m - 1) x Umax` is used.
    """
    load = utilisation(jobs)
    if load > servers + EPSILON:
        return f"utilisation {load:.3f} is over {servers}"
    if servers > 1:
        largest = max((job.runtime / min(job.deadline or job.period, job.period) for job in jobs), default=0.0)
        dense = sum(job.runtime / min(job.deadline or job.period, job.period) for job in jobs)
        bound = servers - (servers - 1) * largest
        if dense > bound + EPSILON:
            return f"density {dense:.3f} is over {bound:.3f}, the bound for {servers} servers"
        return None
    if all(job.deadline is None or job.deadline >= job.period for job in jobs):
        return None
    for at in _points(jobs, load):
        demand = demand_bound(jobs, at)
        if demand > at + EPSILON:
            return f"within {at:g} s work of {demand:g} s is due"
    return None


def demand_bound(jobs: Iterable[Recurring], length: float) -> float:
    """Work that is both released and due in any interval of this length, at worst."""
    total = 0.0
    for job in jobs:
        deadline = job.deadline if job.deadline is not None else job.period
        total += max(0, int((length - deadline) / job.period + EPSILON) + 1 if length >= deadline else 0) * job.runtime
    return total


def _points(jobs: Sequence[Recurring], load: float) -> list[float]:
    """Deadlines at which the demand has to be asked: up to the bound of the paper, or the first idle moment."""
    slack = max((job.period - (job.deadline or job.period) for job in jobs), default=0.0)
    end = load / (1 - load) * slack if load < 1 - EPSILON else 0.0
    busy, last = sum(job.runtime for job in jobs), 0.0
    for _ in range(10_000):
        if busy <= last + EPSILON:
            break
        last, busy = busy, sum(-(-busy // job.period) * job.runtime for job in jobs)
    end = min(end, busy) if end else busy
    points = set()
    for job in jobs:
        at = job.deadline if job.deadline is not None else job.period
        while at <= end + EPSILON:
            points.add(at)
            at += job.period
    return sorted(points)


def admit(
    jobs: Sequence[Urgent], now: float, *, busy_until: float = 0.0, overload: str = SHED
) -> tuple[list[Urgent], list[Urgent]]:
    """Which jobs keep their deadlines on one server under EDF, and which do not.

    Args:
        jobs: In order of arrival.
        now: Seconds, as the deadlines.
        busy_until: The server is taken until then.
        overload: `shed` and `demote` give up the job that is worth least per second of work, among those due up to the
            first miss; `reject` gives up the one that came last among them.

    Returns:
        Kept, by deadline, all of which are met; and given up, in the order of arrival, to be dropped (`shed`,
        `reject`) or to run behind the others (`demote`). Ties go to the id that sorts last.

    Raises:
        ValueError: Unknown behaviour.
    """
    if overload not in OVERLOAD:
        raise ValueError(f"overload must be one of {', '.join(OVERLOAD)}, not {overload!r}")
    arrival = {job.id: at for at, job in enumerate(jobs)}
    kept: list[Urgent] = []
    for job in sorted(jobs, key=lambda one: (one.deadline, one.id)):
        kept.append(job)
        while job in kept and max(now, busy_until) + sum(one.runtime for one in kept) > job.deadline + EPSILON:
            kept.remove(
                max(kept, key=lambda one: (arrival[one.id], one.id))
                if overload == REJECT_NEW
                else max(kept, key=lambda one: (-one.value / one.runtime, one.id))
            )
    names = {job.id for job in kept}
    return kept, [job for job in jobs if job.id not in names]
