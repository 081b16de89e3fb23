"""What a run comes to: waiting, turnaround, slowdown, use, fairness, deadlines, fragments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from formicary.engine.scheduling.simulation.engine import Outcome, Ran
from formicary.engine.scheduling.simulation.workload import SLOTS, Cluster

BOUND_S = 10.0
"""Shorter run times count as this in the bounded slowdown. Source: Feitelson and Rudolph, JSSPP 1998."""


def jain(shares: Sequence[float]) -> float | None:
    """Jain's fairness index: 1 for equal shares, 1/n where one has all. Source: Jain, Chiu, Hawe, DEC-TR-301, 1984."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else None


def quantile(ordered: Sequence[float], part: float) -> float | None:
    """The value below which a part of the values lies, by the nearest rank."""
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))] if ordered else None


def _figures(values: Iterable[float]) -> dict[str, float | None]:
    ordered = sorted(values)
    return {
        "mean": sum(ordered) / len(ordered) if ordered else None,
        "p50": quantile(ordered, 0.5),
        "p95": quantile(ordered, 0.95),
        "p99": quantile(ordered, 0.99),
        "max": ordered[-1] if ordered else None,
    }


def summarise(outcome: Outcome, cluster: Cluster) -> dict[str, object]:
    """All figures of a run as one JSON object.

    Waits count until the end only where there is one: all the time less run time, so that preempted time counts. They
    and slowdowns begin when the job could begin; the turnaround begins with the submission.
    """
    done = [ran for ran in outcome.jobs if ran.end is not None]
    waits = [_wait(ran) for ran in done]
    turnarounds = [(ran.end or 0.0) - ran.job.submit for ran in done]
    begin = min((ran.job.submit for ran in outcome.jobs), default=0.0)
    last = outcome.horizon
    if last is None:
        last = max((ran.end for ran in done if ran.end is not None), default=begin)
    with_deadline = [ran for ran in outcome.jobs if ran.job.deadline is not None]
    missed = sum(ran.missed_deadline for ran in with_deadline)
    use = _use(outcome, cluster, last - begin)
    return {
        "jobs": len(outcome.jobs),
        "completed": len(done),
        "not_started": sum(ran.start is None for ran in outcome.jobs),
        "makespan": last - begin,
        "mean_wait": _mean(waits),
        "mean_turnaround": _mean(turnarounds),
        "mean_response": _mean([(ran.start or 0.0) - ran.waits_from for ran in outcome.jobs if ran.start is not None]),
        "wait": _figures(waits),
        "turnaround": _figures(turnarounds),
        "slowdown": _figures(
            max(1.0, ((ran.end or 0.0) - ran.waits_from) / max(ran.job.runtime, BOUND_S)) for ran in done
        ),
        "utilization": use,
        "throughput": len(done) / (last - begin) if last > begin else None,
        "fairness_jain": jain(_slowdowns_by_user(done)),
        "deadlines": len(with_deadline),
        "deadline_misses": missed,
        "deadline_miss_rate": missed / len(with_deadline) if with_deadline else None,
        "availability": 1 - missed / len(with_deadline) if with_deadline else None,
        "preemptions": outcome.preemptions,
        "copies": outcome.copies,
        "extra_work": _extra_work(outcome.jobs),
        "locality": _locality(outcome.jobs, cluster),
        "fragmentation": _fragmentation(outcome, cluster),
        "ants_used": len({segment[2] for ran in outcome.jobs for segment in ran.segments}),
        "events": outcome.events,
    }


def flat(summary: object) -> dict[str, object]:
    """The figures with names such as `wait p95`, for tables."""
    found: dict[str, object] = {}
    for name, value in summary.items() if isinstance(summary, dict) else ():
        found.update(
            {f"{name} {part}": one for part, one in value.items()} if isinstance(value, dict) else {name: value}
        )
    return found


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _wait(ran: Ran) -> float:
    work = ran.job.runtime
    if ran.copied_s:  # whichever ended first, it ran since its start
        return (ran.start or 0.0) - ran.waits_from
    if ran.job.remote_runtime is not None:  # what the run took where it was
        work = sum(end - start for start, end, _ in ran.segments)
    return max(0.0, round((ran.end or 0.0) - ran.waits_from - work, 9))


def _extra_work(jobs: Sequence[Ran]) -> float | None:
    """Part of all the time that jobs ran which was that of second copies; None where there was none."""
    copied = sum(ran.copied_s for ran in jobs)
    return copied / sum(end - start for ran in jobs for start, end, _ in ran.segments) if copied else None


def _locality(jobs: Sequence[Ran], cluster: Cluster) -> float | None:
    """Part of the runs of jobs with data that were on an ant that holds it; None where no such job ran."""
    names = {
        ant.id: {ant.id, *ant.tags, *ant.labels, *(f"{key}={value}" for key, value in ant.labels.items())}
        for ant in cluster.ants
    }
    near = [not names[ran.ant].isdisjoint(ran.job.data) for ran in jobs if ran.job.data and ran.ant in names]
    return sum(near) / len(near) if near else None


def _needs(ran: Ran) -> dict[str, float]:
    return {SLOTS: 1.0, **ran.job.demand}


def _use(outcome: Outcome, cluster: Cluster, span: float) -> dict[str, float]:
    """Part of each bounded resource that was held on average from the first submission to the last end."""
    totals: dict[str, float] = {}
    for name in {name for ant in cluster.ants for name in ant.capacity}:
        if name != SLOTS or all(SLOTS in ant.capacity for ant in cluster.ants):
            totals[name] = sum(ant.capacity.get(name, 0.0) for ant in cluster.ants)
    held = dict.fromkeys(totals, 0.0)
    for ran in outcome.jobs:
        seconds = sum(end - start for start, end, _ in ran.segments)
        for name, amount in _needs(ran).items():
            if name in held:
                held[name] += amount * seconds
    return {name: held[name] / (totals[name] * span) for name in sorted(totals) if totals[name] * span > 0}


def _slowdowns_by_user(done: Sequence[Ran]) -> list[float]:
    """Mean turnaround per second of run time, by user (by queue where nobody is named)."""
    sums: dict[str, list[float]] = {}
    for ran in done:
        pair = sums.setdefault(ran.job.user or ran.job.queue, [0.0, 0.0])
        pair[0] += (ran.end or 0.0) - ran.job.submit
        pair[1] += ran.job.runtime
    return [turnaround / runtime for turnaround, runtime in sums.values() if runtime > 0]


def _fragmentation(outcome: Outcome, cluster: Cluster) -> float | None:
    """1 - largest free piece / all that is free, averaged over time while a job waits; of the first bounded resource.

    0 where what is free lies on one ant, near 1 where it is in crumbs.
    """
    names = [name for name in ("cpu", SLOTS) if all(name in ant.capacity for ant in cluster.ants)]
    if not names or len(cluster.ants) > 256:
        return None
    name = names[0]
    free = {ant.id: float(ant.capacity[name]) for ant in cluster.ants}
    steps: list[tuple[float, str, float, int]] = []
    for ran in outcome.jobs:
        amount = _needs(ran).get(name, 0.0)
        if ran.start is not None and ran.start > ran.waits_from:
            steps += [(ran.waits_from, "", 0.0, 1), (ran.start, "", 0.0, -1)]
        for start, end, ant in ran.segments:
            steps += [(start, ant, -amount, 0), (end, ant, amount, 0)]
    steps.sort(key=lambda step: step[0])
    waiting, before, seconds, area = 0, 0.0, 0.0, 0.0
    for at, ant, amount, change in steps:
        if at > before and waiting > 0:
            total = sum(free.values())
            seconds += at - before
            area += (at - before) * (1.0 - max(free.values()) / total if total > 1e-9 else 0.0)
        before = at
        waiting += change
        if ant:
            free[ant] += amount
    return area / seconds if seconds else 0.0
