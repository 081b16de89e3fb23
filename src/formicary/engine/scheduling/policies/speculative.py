"""Speculative execution: a second copy of a task that lags behind; the first result wins.

A task is a straggler when it has run longer than a percentile of its kind's history, or when its rate of progress is
far below its siblings'. Of the stragglers the one that is expected to end last is backed up first, and only where a
fresh copy is expected to end before it. Extra work is capped: running copies, and the share of all work that copies
have taken.

Source: Dean and Ghemawat, "MapReduce", OSDI 2004 (backup tasks); Zaharia, Konwinski, Joseph, Katz, Stoica, "Improving
MapReduce Performance in Heterogeneous Environments", OSDI 2008 (LATE: progress rate, longest approximate time to end,
cap).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, inf


@dataclass(frozen=True, slots=True)
class Attempt:
    """A running attempt of a task.

    Args:
        id: Unique.
        kind: Tasks of one kind are comparable.
        started: Seconds.
        progress: Part done, 0-1; None where it does not tell.
        allowed: The task permits a second copy (`speculative_backup`).
        has_backup: It has one already.
        ant: Where it runs; a copy goes elsewhere.
    """

    id: str
    kind: str
    started: float
    progress: float | None = None
    allowed: bool = True
    has_backup: bool = False
    ant: str = ""


@dataclass(frozen=True, slots=True)
class Backup:
    """Start a second copy of this attempt, not on its ant."""

    attempt: str
    not_on: str
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """When to back up and how much.

    Args:
        percentile: Of the history's runtimes; longer is suspect. 0-100.
        delay_threshold: Multiple of that percentile that must have passed.
        slow_rate: Percentile of the siblings' progress rates below which a task is suspect (LATE: 25).
        least_history: Runtimes needed before the percentile means anything.
        resource_threshold: Part of the slots that must be free for any copy.
        cap: Copies that run at a time, as a part of all slots (LATE: 10 %).
        extra_work: Most work of copies as a part of all work done.
    """

    percentile: float = 95.0
    delay_threshold: float = 1.0
    slow_rate: float = 25.0
    least_history: int = 5
    resource_threshold: float = 0.0
    cap: float = 0.1
    extra_work: float = 0.05


def percentile(values: Iterable[float], per_cent: float) -> float:
    """The nearest-rank percentile; infinity of nothing."""
    ordered = sorted(values)
    if not ordered:
        return inf
    return ordered[min(len(ordered), max(1, ceil(per_cent / 100 * len(ordered)))) - 1]


def backups(
    running: Sequence[Attempt],
    history: dict[str, Sequence[float]],
    now: float,
    *,
    slots: int,
    free: int,
    work_done: float = 0.0,
    work_of_copies: float = 0.0,
    limits: Limits | None = None,
) -> list[Backup]:
    """Copies to start now, the attempt that is expected to end last first; ties by id.

    Args:
        running: Attempts that are no copies.
        history: Runtimes of ended tasks by kind, seconds.
        now: Seconds.
        slots: In the cluster.
        free: Of them.
        work_done: Slot-seconds of all work so far.
        work_of_copies: Slot-seconds that copies have taken, running ones included.
        limits: Thresholds and caps.
    """
    rules = limits or Limits()
    copies = sum(one.has_backup for one in running)
    room = min(free, max(1, int(slots * rules.cap)) - copies)
    if room <= 0 or free < rules.resource_threshold * slots:
        return []
    rates: dict[str, list[float]] = {}
    for one in running:
        if one.progress is not None and now > one.started:
            rates.setdefault(one.kind, []).append(one.progress / (now - one.started))
    slow = {kind: percentile(known, rules.slow_rate) for kind, known in rates.items() if len(known) >= 3}
    suspects = []
    for one in running:
        reason = (
            _suspect(one, history.get(one.kind, ()), slow, now, rules) if one.allowed and not one.has_backup else ""
        )
        if reason:
            suspects.append((-_left(one, now), one.id, one, reason))
    found: list[Backup] = []
    for _, _, one, reason in sorted(suspects, key=lambda entry: entry[:2]):
        fresh = percentile(history.get(one.kind, ()), 50)
        cost = fresh if fresh != inf else 0.0
        if len(found) >= room or work_of_copies + cost > rules.extra_work * (work_done + cost):
            break
        if fresh == inf or _left(one, now) > fresh:
            work_of_copies += cost
            found.append(Backup(one.id, one.ant, reason))
    return found


def _left(one: Attempt, now: float) -> float:
    """Seconds that the attempt is expected to need still; infinity where it does not tell its progress."""
    if one.progress is None or one.progress <= 0:
        return inf
    return (1 - one.progress) * (now - one.started) / one.progress


def _suspect(one: Attempt, known: Sequence[float], slow: dict[str, float], now: float, rules: Limits) -> str:
    age = now - one.started
    if len(known) >= rules.least_history:
        bound = percentile(known, rules.percentile) * rules.delay_threshold
        if age > bound:
            return f"has run {age:g} s, p{rules.percentile:g} of its kind is {bound:g} s"
    if one.progress is not None and one.kind in slow and age > 0 and one.progress / age < slow[one.kind]:
        return f"progress of {one.progress / age:.3g}/s is below the siblings' p{rules.slow_rate:g}"
    return ""
