"""Rounds of scheduling decisions under every policy, and under ten policies at once.

    python -m bench.rounds [--pending 100000] [--ants 1000] [--output json]

All jobs wait at the beginning. The full round starts jobs until every slot is taken; the incremental one begins with
one freed slot. `mixed` is ten queues, each with a policy of its own, a tenth of the jobs and a tenth of the ants.
Starting a job is left away but for the books of what is free. Times are processor time of the one thread, medians of
five; a slice is 128 decisions, as decisions of some policies cost 40 µs. Beside them: the optimal assignment of 200
jobs to 200 ants, at random and in a plane.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from random import Random

from bench.machine import facts
from formicary.engine.scheduling.policies.assignment import assign
from formicary.engine.scheduling.simulation.policy import Policy, Start
from formicary.engine.scheduling.simulation.registry import POLICIES, read_settings
from formicary.engine.scheduling.simulation.state import ClusterState, Entry
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job, Queue

SLOTS, RUNS, SLICE = 4, 5, 128
TENTH: dict[str, Mapping[str, str]] = {
    "fcfs": {},
    "priority": {"aging": "0.01"},
    "multilevel": {"mode": "weighted"},
    "best_fit": {},
    "capacity": {"reclaim": "graceful"},
    "fair": {},
    "drf": {},
    "lottery": {},
    "edf": {},
    "sjf": {},
}
"""The policies of the mixed round with their parameters."""
BARS = {"round_ms": 150.0, "slice_ms": 5.0, "incremental_ms": 1.0}


class State:
    """A policy over its own cluster, with everything waiting."""

    def __init__(self, policy: str, settings: Mapping[str, str], pending: int, ants: int) -> None:
        rng = Random(1)
        jobs = [
            Job(
                id=str(number),
                submit=0.0,
                runtime=rng.uniform(1, 1000),
                user=f"user-{number % 50}",
                queue=f"queue-{number % 10}",
                priority=number % 11,
                deadline=5000 + rng.uniform(0, 1e5),
                tags=frozenset({f"tag-{number % 10}"}),
            )
            for number in range(pending)
        ]
        cluster = Cluster(
            tuple(Ant(f"ant-{at}", {"slots": SLOTS}, frozenset({f"tag-{at % 10}"})) for at in range(ants)),
            tuple(Queue(f"queue-{at}", weight=1 + at % 3, priority=at, guaranteed=0.1) for at in range(10)),
        )
        self.cluster = ClusterState.of(cluster, jobs)
        self.policy: Policy = POLICIES[policy].make(read_settings(policy, settings)[0], cluster, jobs)
        self.policy.bind(self.cluster, Random(0))
        for number, job in enumerate(jobs):
            self.policy.queued(Entry(number, job, self.cluster.shape_of(job)), 0.0)

    def round(self) -> tuple[list[float], int]:
        """Decides until nothing is left to say; seconds by slice, and how many started."""
        slices, made, begun = [], 0, time.thread_time()
        for decision in self.policy.decide(1.0):
            if isinstance(decision, Start):
                self.cluster.take(decision.entry, decision.ant)
                decision.entry.start = decision.entry.since = 1.0
                self.policy.started(decision.entry, 1.0)
                made += 1
                if made % SLICE == 0:
                    now = time.thread_time()
                    slices.append(now - begun)
                    begun = now
        slices.append(time.thread_time() - begun)
        return slices, made

    def free_one(self) -> None:
        """One job ends."""
        entry = next(one for ant in self.cluster.ants[::-1] for one in ant.running.values())
        self.cluster.give_back(entry)
        self.policy.stopped(entry, 1.0)
        entry.ant = None


def measure(make: Callable[[], list[State]]) -> dict[str, float]:
    """Medians over fresh states; the round goes over all of them, one after the other."""
    figures: list[dict[str, float]] = []
    for _ in range(RUNS):
        states = make()
        gc.collect()
        gc.freeze()  # as the queen does with what it has loaded
        slices: list[float] = []
        starts = 0
        for state in states:
            own, made = state.round()
            slices += own
            starts += made
        again = []
        for state in states:
            state.free_one()
            own, made = state.round()
            assert made == 1, made
            again.append(sum(own))
        gc.unfreeze()
        figures.append(
            {
                "round_ms": sum(slices) * 1e3,
                "slice_ms": max(slices) * 1e3,
                "incremental_ms": max(again) * 1e3,
                "starts": starts,
            }
        )
    return {name: round(statistics.median(one[name] for one in figures), 3) for name in figures[0]}


def assignment(plane: bool) -> float:
    """Milliseconds of the optimal assignment of 200 to 200, the median over as many matrices as there are runs."""
    rng, times = Random(2), []
    for _ in range(RUNS):
        if plane:
            sides = [[(rng.random(), rng.random()) for _ in range(200)] for _ in range(2)]
            costs = [[math.dist(one, other) for other in sides[1]] for one in sides[0]]
        else:
            costs = [[rng.random() for _ in range(200)] for _ in range(200)]
        begun = time.thread_time()
        assign(costs)
        times.append(time.thread_time() - begun)
    return round(statistics.median(times) * 1e3, 2)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pending", type=int, default=100_000, help="pending jobs")
    parser.add_argument("--ants", type=int, default=1000, help=f"ants with {SLOTS} slots each")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    pending, ants = given.pending, given.ants
    mixed = measure(lambda: [State(name, how, pending // 10, ants // 10) for name, how in TENTH.items()])
    figures: list[dict[str, object]] = [{"policy": "mixed", **mixed}]
    for name, how in TENTH.items():
        figures.append({"policy": name, **measure(lambda n=name, h=how: [State(n, h, pending, ants)])})  # type: ignore[misc]  # bound at once
    values = {**mixed, "assignment_ms": assignment(plane=False)}
    bars = [
        {"what": f"mixed {name}" if name in mixed else name, "bar": f"<= {most:g}", "value": values[name]}
        | {"met": values[name] <= most}
        for name, most in {**BARS, "assignment_ms": 20.0}.items()
    ]
    figures.append({"policy": "assignment of 200 x 200 in a plane", "round_ms": assignment(plane=True)})
    if given.output == "json":
        print(json.dumps({"name": "rounds", "machine": facts(), "figures": figures, "bars": bars, "peers": []}))
        return
    for figure in figures:
        print("  ".join(f"{key} {value}" for key, value in figure.items()))
    for bar in bars:
        print(f"{bar['what']:22} {bar['value']:>10} {bar['bar']:>8} {'met' if bar['met'] else 'MISSED'}")


if __name__ == "__main__":
    main()
