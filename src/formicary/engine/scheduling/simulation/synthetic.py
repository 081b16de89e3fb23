"""Workloads that are made, not recorded; the same seed gives the same jobs."""

from __future__ import annotations

from math import exp, log
from random import Random

from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job, Queue

DAY_S = 86_400.0
TIERS = (
    # name, part of the apps, shortest and longest run time, cores, weight of its queue
    ("quick", 0.80, 30.0, 120.0, 1.0, 3.0),
    ("standard", 0.19, 300.0, 3600.0, 2.0, 2.0),
    ("deep", 0.01, 3600.0, 28_800.0, 4.0, 1.0),
)
"""The tiers of the mobile-analysis case: 30 s to 2 min, 5 min to 1 h, 1 h to 8 h. How many apps go to which is not told
by the article and is our assumption."""


def mobile_analysis(rng: Random, apps: int = 100_000, days: float = 1.0) -> list[Job]:
    """The three-tier analysis of mobile apps.

    Apps come over the day as a Poisson process that is three times as busy at noon as at midnight. Run times are
    log-uniform within the tier. A quick app has ten minutes from its submission to its end, a standard one four
    hours, a deep one a day.

    Args:
        rng: The only source of chance.
        apps: Expected number in a day.
        days: Length.
    """
    jobs: list[Job] = []
    at, busiest = 0.0, 1.5 * apps / DAY_S
    while True:
        at += rng.expovariate(busiest)
        if at >= days * DAY_S:
            return jobs
        hour = (at % DAY_S) / DAY_S
        if rng.random() * 1.5 > 0.5 + 2.0 * (hour if hour < 0.5 else 1.0 - hour):
            continue
        draw = rng.random()
        tier = TIERS[-1]
        for tier in TIERS:
            draw -= tier[1]
            if draw < 0:
                break
        name, _, shortest, longest, cores, _ = tier
        runtime = round(exp(rng.uniform(log(shortest), log(longest))), 3)
        limit = {"quick": 600.0, "standard": 14_400.0}.get(name, DAY_S)
        jobs.append(
            Job(
                id=f"app-{len(jobs)}",
                submit=round(at, 3),
                runtime=runtime,
                demand={"cpu": cores},
                user=f"customer-{int(rng.paretovariate(1.2)) % 40}",
                queue=name,
                priority={"quick": 9, "standard": 5}.get(name, 1),
                deadline=round(at + limit, 3),
            )
        )


def analysis_cluster(ants: int = 84, cores: float = 16.0) -> Cluster:
    """Ants for the mobile-analysis case, and its three queues; all alike."""
    queues = tuple(
        Queue(name, weight, priority=weight, guaranteed=share)
        for (name, _, _, _, _, weight), share in zip(TIERS, (0.2, 0.5, 0.3), strict=True)
    )
    return Cluster(tuple(Ant(f"ant-{number}", {"cpu": cores}) for number in range(ants)), queues)


APPLICATIONS = (30.0, 150.0, 400.0, 900.0, 2000.0, 5000.0)
"""Median run times in seconds of the applications of `parallel_machine`."""


def parallel_machine(rng: Random, jobs: int = 2500, processors: int = 64) -> tuple[list[Job], Cluster]:
    """Parallel jobs on one machine: six applications, sizes mostly powers of two, by day and night.

    Run times are log-normal. The shape is that of Lublin and Feitelson, "The Workload on Parallel Supercomputers", JPDC
    63(11), 2003: a quarter of the jobs is serial, the rest asks for powers of two, days are busier than nights; the
    parameters are ours.
    """
    found: list[Job] = []
    at = 0.0
    for number in range(jobs):
        day = 8 <= (at / 3600) % 24 <= 19
        at += rng.gammavariate(0.6, 1.0) * (420 if day else 1100)
        size = 1 if rng.random() < 0.24 else min(processors, 2 ** int(rng.triangular(1, 6.99, 2.5)))
        app = rng.choices(range(len(APPLICATIONS)), (5, 4, 3, 2, 2, 1))[0]
        runtime = min(43_200.0, max(1.0, rng.lognormvariate(log(APPLICATIONS[app]), 0.5)))
        found.append(
            Job(f"job-{number}", round(at), round(runtime), {"cpu": size}, user=f"user-{number % 8}", queue=f"app{app}")
        )
    return found, Cluster((Ant("machine", {"cpu": float(processors)}),))
