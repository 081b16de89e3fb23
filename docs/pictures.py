"""The pictures of docs/concepts/scheduling.md: each a small workload that the simulator has run, drawn as SVG.

`python -m docs.generate` writes those that are not current. What is about many jobs (waiting for data, backup copies)
is drawn as a curve of the policies' own functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from random import Random

from formicary.engine.scheduling.policies.delay import skips_for
from formicary.engine.scheduling.policies.speculative import Attempt, backups, percentile
from formicary.engine.scheduling.simulation.chart import COLOURS, draw
from formicary.engine.scheduling.simulation.engine import Outcome, Simulation
from formicary.engine.scheduling.simulation.registry import POLICIES, read_settings
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job, Queue

ONE = Cluster((Ant("ant", {"slots": 1.0}),))
Runs = Mapping[str, tuple[str, Mapping[str, str]]]
"""Label -> policy and its parameters."""


def picture(jobs: Sequence[Job], cluster: Cluster, runs: Runs) -> str:
    """The same jobs under several policies, one below the other."""
    found: dict[str, Outcome] = {}
    for label, (policy, settings) in runs.items():
        values, wrong = read_settings(policy, settings)
        assert not wrong, wrong
        found[label] = Simulation(cluster, jobs, POLICIES[policy].make(values, cluster, jobs)).run()
    return draw(found, cluster)


def curves(title: str, below: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Lines through points in one frame."""
    points = [point for line in lines.values() for point in line]
    right, top = max(x for x, _ in points), max(y for _, y in points)
    body = [f'<text x="60" y="20" font-weight="bold">{escape(title)}</text>']
    for part in range(5):
        x, y = 60 + 200 * part, 240 - 50 * part
        body.append(f'<text x="{x}" y="258" text-anchor="middle">{right * part / 4:.4g}</text>')
        body.append(f'<text x="54" y="{y + 4}" text-anchor="end">{top * part / 4:.4g}</text>')
    body.append('<path d="M60 40 V240 H860" fill="none" stroke="#333"/>')
    body.append(f'<text x="860" y="276" text-anchor="end">{escape(below)}</text>')
    for number, (name, line) in enumerate(lines.items()):
        way = " ".join(f"{60 + 800 * x / right:.1f},{240 - 200 * y / top:.1f}" for x, y in line)
        body.append(f'<polyline points="{way}" fill="none" stroke="{COLOURS[number]}" stroke-width="2"/>')
        body.append(f'<text x="700" y="{60 + 16 * number}" fill="{COLOURS[number]}">{escape(name)}</text>')
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 284" width="900" height="284"'
    rest = "\n".join(body)
    white = '<rect width="100%" height="100%" fill="white"/>'
    return f'{head} font-family="sans-serif" font-size="12">\n{white}\n{rest}\n</svg>\n'


def fcfs() -> str:
    """The convoy of Silberschatz, Galvin and Gagne, 5.3.1."""
    jobs = [Job("P1", 0, 24), Job("P2", 0, 3), Job("P3", 0, 3)]
    return picture(jobs, ONE, {"fcfs": ("fcfs", {}), "sjf": ("sjf", {})})


def priority() -> str:
    """A job of priority 0 under a stream of urgent ones, without and with aging."""
    jobs = [Job("low", 0, 2), *(Job(f"h{n}", 2.0 * n, 2, priority=6) for n in range(14))]
    return picture(
        jobs, ONE, {"priority": ("priority", {}), "priority, aging 0.5 a second": ("priority", {"aging": "0.5"})}
    )


def degradation() -> str:
    """An old job and a stream of new ones of its priority: its attempts cost it points, and the new ones pass."""
    jobs = [Job("first", 0, 120, priority=9), Job("old", 0, 20, priority=8)]
    jobs += [Job(f"n{n}", 100.0 + 20 * n, 20, priority=8) for n in range(8)]
    runs = {"priority": {}, "priority, aging": {"aging": "0.01"}, "priority, degrade step": {"degrade": "step"}}
    return picture(jobs, ONE, {label: ("priority", settings) for label, settings in runs.items()})


def multilevel() -> str:
    """Bursts of 24, 3 and 3 with feedback, slices of 4 and 8 and a last level to the end."""
    jobs = [Job("P1", 0, 24), Job("P2", 0, 3), Job("P3", 6, 3)]
    return picture(
        jobs, ONE, {"fcfs": ("fcfs", {}), "multilevel, feedback": ("multilevel", {"mode": "feedback", "quantum": "4"})}
    )


def resources() -> str:
    """Blocks and processes of an exercise of Silberschatz, Galvin and Gagne: only best fit places all four at once."""
    sizes = (100, 500, 200, 300, 600)
    cluster = Cluster(tuple(Ant(f"{size} KB", {"memory": float(size)}) for size in sizes))
    jobs = [Job(str(size), 0, 10, {"memory": size}) for size in (212, 417, 112, 426)]
    return picture(jobs, cluster, {name: (name, {}) for name in ("first_fit", "best_fit", "worst_fit")})


def matchmaking() -> str:
    """Each job likes x best; the assignment takes the best sum, the first fit what comes."""
    cluster = Cluster(tuple(Ant(name, {"slots": 1.0}) for name in "xyz"))
    likes = {"p": {"x": 9.0, "y": 8.0}, "q": {"x": 9.0, "z": 1.0}, "r": {"x": 8.0, "z": 7.0}}
    jobs = [Job(name, 0, 10, prefer=prefer) for name, prefer in likes.items()]
    return picture(jobs, cluster, {"first_fit": ("first_fit", {}), "matchmaking": ("matchmaking", {})})


def capacity() -> str:
    """Two queues with half of the ant each: what is idle is lent, and taken back where the policy reclaims."""
    queues = (Queue("a", guaranteed=0.5), Queue("b", guaranteed=0.5))
    cluster = Cluster((Ant("ant", {"slots": 4.0}),), queues)
    jobs = [Job(f"a{n}", 0, 20, queue="a") for n in range(6)] + [Job(f"b{n}", 5, 10, queue="b") for n in range(3)]
    return picture(
        jobs, cluster, {f"capacity, reclaim {how}": ("capacity", {"reclaim": how}) for how in ("none", "aggressive")}
    )


def fair() -> str:
    """One user with eight jobs, one with two who comes later."""
    jobs = [Job(f"u{n}", 0, 5, user="u") for n in range(8)] + [Job(f"v{n}", 1, 5, user="v") for n in range(2)]
    cluster = Cluster((Ant("ant", {"slots": 2.0}),))
    return picture(jobs, cluster, {"fcfs": ("fcfs", {}), "fair": ("fair", {})})


def drf() -> str:
    """The example of Ghodsi et al., NSDI 2011: 9 CPU, 18 GB, tasks of (1, 4) and (3, 1)."""
    cluster = Cluster((Ant("9 CPU, 18 GB", {"cpu": 9.0, "memory": 18.0}),))
    jobs = [Job(f"A{n}", 0, 10, {"cpu": 1, "memory": 4}, user="A") for n in range(6)]
    jobs += [Job(f"B{n}", 0, 10, {"cpu": 3, "memory": 1}, user="B") for n in range(4)]
    return picture(jobs, cluster, {"fcfs": ("fcfs", {}), "drf": ("drf", {})})


def deadlines() -> str:
    """Liu and Layland: 2 of 5 and 4 of 7 seconds use 97 % of the time and meet every deadline under EDF."""
    jobs = [Job(f"A{n}", 5.0 * n, 2, deadline=5.0 * n + 5) for n in range(7)]
    jobs += [Job(f"B{n}", 7.0 * n, 4, deadline=7.0 * n + 7) for n in range(5)]
    return picture(jobs, ONE, {"fcfs": ("fcfs", {}), "edf, preemptive": ("edf", {"preemptive": "true"})})


def sensors() -> str:
    """A sensor that looks every 5 seconds for 1 second: its slot is free in between."""
    jobs = [Job(f"s{n}", 5.0 * n, 1) for n in range(6)] + [Job(f"w{n}", 0, 4) for n in range(5)]
    return picture(jobs, ONE, {"polls hold no slot in between": ("sjf", {})})


def gangs() -> str:
    """Two gangs of three on four slots, with a single job that fits beside them."""
    cluster = Cluster(tuple(Ant(name, {"slots": 2.0}) for name in "xy"))
    jobs = [Job(f"{gang}{n}", 0, 10, gang=gang) for gang in "gh" for n in range(3)] + [Job("one", 1, 8)]
    return picture(jobs, cluster, {"gang": ("gang", {})})


def backfill() -> str:
    """Mu'alem and Feitelson: the short job goes ahead, the long one would delay the first that waits."""
    cluster = Cluster((Ant("10 processors", {"cpu": 10.0}),))
    rows = (("running", 0, 10, 6), ("head", 1, 10, 8), ("long", 2, 20, 4), ("short", 3, 5, 4), ("narrow", 4, 24, 2))
    jobs = [Job(name, submit, runtime, {"cpu": cpu}) for name, submit, runtime, cpu in rows]
    return picture(
        jobs,
        cluster,
        {"fcfs": ("fcfs", {}), "backfill": ("backfill", {}), "conservative": ("backfill", {"reservations": "all"})},
    )


def delay() -> str:
    """How often a job has to be passed over for a wanted locality, by section 4.1 of Zaharia et al., EuroSys 2010."""
    lines = {
        f"{replicas} copies on 100 ants": [
            (float(skips_for(part / 100, 100, replicas, 2)), float(part)) for part in range(0, 99, 2)
        ]
        for replicas in (3, 6, 12)
    }
    return curves("per cent of local tasks", "times that the job is passed over", lines)


def speculation() -> str:
    """1 of 50 tasks takes twenty times as long; a copy starts once a task is slower than 95 % of those before."""
    rng, history = Random(3), [10.0 + 0.05 * n for n in range(50)]
    plain, helped, extra = [], [], 0.0
    for _ in range(2000):
        length, copy = (10 * rng.uniform(0.8, 1.2) * (20 if rng.random() < 0.02 else 1) for _ in range(2))
        at, work = percentile(history, 95) + 0.1, sum(helped)
        task, known = Attempt("x", "t", 0), {"t": history}
        if length > at and backups([task], known, at, slots=10, free=2, work_done=work, work_of_copies=extra):
            helped.append(min(length, at + copy))
            extra += helped[-1] - at
        else:
            helped.append(length)
        plain.append(length)
        history = [*history[-199:], helped[-1]]
    lines = {
        name: [(part / 10, percentile(values, 90 + part / 10)) for part in range(101)]
        for name, values in (("without copies", plain), ("with copies", helped))
    }
    return curves("seconds of the slowest tenth", "per cent of tasks, from 90 on", lines)


PICTURES: dict[str, Callable[[], str]] = {
    made.__name__ + ".svg": made
    for made in (
        fcfs,
        priority,
        degradation,
        multilevel,
        resources,
        matchmaking,
        delay,
        capacity,
        fair,
        drf,
        deadlines,
        speculation,
        sensors,
        gangs,
        backfill,
    )
}
"""File of docs/concepts/pictures -> what draws it."""
