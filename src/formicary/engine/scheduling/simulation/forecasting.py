"""Estimates of waits over a recorded workload, each made at a job's submission of what was known then, and scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from formicary.engine.scheduling.durations import Durations
from formicary.engine.scheduling.estimating import (
    Ahead,
    Busy,
    Calibration,
    Forecast,
    Load,
    Question,
    Score,
    article,
    forecast,
)
from formicary.engine.scheduling.simulation.engine import Outcome
from formicary.engine.scheduling.simulation.workload import SLOTS, Cluster


@dataclass(frozen=True, slots=True)
class Recorded:
    """One job as it went.

    Attributes:
        kind: Its job type.
        submit: Seconds.
        start: Seconds.
        end: Seconds.
        places: Slots that it took.
        rank: Smaller went first; equal ones by submission.
    """

    kind: str
    submit: float
    start: float
    end: float
    places: int = 1
    rank: float = 0.0


def read_record(text: str) -> tuple[list[Recorded], int]:
    """A trace in the Standard Workload Format with the waits that there were.

    The queue is the job type, the partition the priority. Jobs that did not run are left out.

    Returns:
        The jobs and the number of places.

    Raises:
        ValueError: A line has fewer than 18 numbers, or the header names no `MaxProcs`.
    """
    jobs: list[Recorded] = []
    slots = 0
    for at, line in enumerate(text.splitlines(), 1):
        if line.startswith(";"):
            name, _, value = line[1:].partition(":")
            slots = int(value) if name.strip() == "MaxProcs" else slots
        elif line.strip():
            values = [float(part) for part in line.split()]
            if len(values) < 18:
                raise ValueError(f"line {at} has {len(values)} numbers, a trace has 18")
            submit, wait, run, places = values[1:5]
            if run > 0 and places > 0:
                start = submit + max(0.0, wait)
                jobs.append(Recorded(f"{values[14]:g}", submit, start, start + run, int(places), -max(0.0, values[15])))
    if not slots:
        raise ValueError("the header has no MaxProcs: how many places there were")
    return jobs, slots


def replay(
    jobs: Sequence[Recorded], slots: int, rng: Random, each: Callable[[Forecast, float], None] | None = None
) -> Score:
    """Goes through a record in order of time and estimates every wait that was one.

    A job that found room at once is not counted: there was nothing to estimate.

    Args:
        jobs: What happened.
        slots: Places that there were.
        rng: For the plays.
        each: Told each forecast with the wait that followed.
    """
    durations, calibration, score = Durations(), Calibration(), Score()
    load = Load()
    events: list[tuple[float, int, int]] = []
    for number, job in enumerate(jobs):
        events += [(job.end, 0, number), (job.submit, 1, number), (job.start, 2, number)]
    waiting: dict[int, tuple[float, float, int]] = {}
    running: set[int] = set()
    asked: dict[int, tuple[Forecast, Forecast, float]] = {}
    for now, what, number in sorted(events):
        job = jobs[number]
        if what == 0:
            running.discard(number)
            durations.add(job.kind, job.end - job.start)
        elif what == 2:
            waiting.pop(number, None)
            running.add(number)
            if number in asked:
                raw, told, formula = asked.pop(number)
                score.add(told, formula, now - job.submit)
                calibration.learn(raw, told, now - job.submit)
                if each is not None:
                    each(told, now - job.submit)
        else:
            key = (job.rank, job.submit, number)
            ahead = [one for one in sorted((other, at) for at, other in waiting.items()) if one[0] < key]
            question = Question(
                job.kind,
                slots,
                tuple(Busy(jobs[at].kind, now - jobs[at].start, jobs[at].places) for at in sorted(running)),
                tuple(Ahead(jobs[at].kind, places=jobs[at].places) for _, at in ahead),
                places=job.places,
                overtaking=load.before(job.rank, slots, now),
            )
            waiting[number] = key
            load.submitted(job.rank, job.places * durations.mean_s(job.kind), now)
            found = None if question.at_once else forecast(question, durations, rng)
            if found is not None:
                asked[number] = (found, calibration.apply(found), article(question, durations))
    return score


def score_of(outcome: Outcome, cluster: Cluster, rng: Random, *, by_priority: bool) -> Score:
    """How well the waits of a simulated run could have been told beforehand.

    Places are units of cpu where ants have it, else slots; the job type is the queue, or the user where none is named.

    Args:
        outcome: The run.
        cluster: Its ants.
        rng: For the plays.
        by_priority: Higher priority went first.
    """
    name = next((one for one in ("cpu", SLOTS) if all(one in ant.capacity for ant in cluster.ants)), "")
    slots = int(sum(ant.capacity.get(name, 0.0) for ant in cluster.ants))
    jobs = [
        Recorded(
            ran.job.queue or ran.job.user,
            ran.waits_from,
            ran.start,
            ran.end,
            max(1, round(ran.job.demand.get(name, 1.0))),
            -ran.job.priority if by_priority else 0.0,
        )
        for ran in outcome.jobs
        if ran.start is not None and ran.end is not None and ran.end > ran.start
    ]
    return replay(jobs, slots, rng)
