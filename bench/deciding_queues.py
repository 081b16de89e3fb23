"""What a round of decisions by configured queues costs: many pending jobs with amounts, many ants, policy by policy.

    python -m bench.deciding_queues [--pending 100000] [--classes 1000] [--ants 1000] [--output json]

As `bench.deciding`, with the decisions of `scheduling.queues`: a class is a queue, a tenant or a level, tags, and what
a task holds of its ant. A full round places jobs until nothing more fits; the incremental one begins with what one task
has given back. Times are processor time of the one thread, medians of five.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from bench.machine import facts
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.scheduling.candidates import CandidateQueue
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.queues.deciding import Deciding
from formicary.engine.scheduling.queues.ledger import Ledger
from formicary.engine.scheduling.queues.reading import read_queues

SLOTS, TAG_SETS, RUNS = 4, 10, 5
NAMES = [f"q{at}" for at in range(10)]
PLAIN = f"queues: [{', '.join(NAMES)}]\ndefault: q0\n"
GUARANTEED = "queues:\n" + "".join(f"- {{name: {name}, guaranteed: 10}}\n" for name in NAMES) + "default: q0\n"
POLICIES = {
    "priority": "policy: priority\nset: {aging: 0.1}\nplacement: best_fit\n" + PLAIN,
    "multilevel": "policy: multilevel\nset: {mode: weighted}\n" + PLAIN,
    "drf": "policy: drf\n" + PLAIN,
    "capacity": "policy: capacity\n" + GUARANTEED,
}


@dataclass(eq=False, slots=True)
class Ant:
    """An ant as placement sees it."""

    tags: frozenset[str]
    slots: int = SLOTS
    window: int = SLOTS
    draining: bool = False
    connected: bool = True
    methods: frozenset[str] = frozenset({"SHELL"})
    labels: dict[str, str] = field(default_factory=dict)
    resources: dict[str, float] = field(default_factory=lambda: {"cpu": 4.0, "memory": 16.0})
    used: dict[str, float] = field(default_factory=dict)
    held: dict[int, Job] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Job:
    """A candidate."""

    number: int
    demand: Demand
    state: str = "PENDING"
    waiting_since: float = 0.0


class View:
    """The state of one colony, and what decisions do to it."""

    def __init__(self, policy: str, pending: int, classes: int, ants: int) -> None:
        found = read_queues(POLICIES[policy]).queues
        assert found is not None, "the policies above are valid"
        self.version, self.fresh, self.apart = 0, dict[Demand, None](), found.apart
        self.ants = [Ant(frozenset({f"tag{at % TAG_SETS}"})) for at in range(ants)]
        lists = [self.ants[at::TAG_SETS] for at in range(TAG_SETS)]
        demands = [
            Demand(
                "SHELL",
                frozenset({f"tag{at % TAG_SETS}"}),
                needs=(("cpu", 0.5 * (1 + at % 4)), ("memory", 1.0 + at % 3)),
                queue=NAMES[at % len(NAMES)],
                tenant=f"user{at % 50}" if policy == "drf" else "",
                level=at % 10 if policy == "priority" else 0,
            )
            for at in range(classes)
        ]
        self.sets = {demand: lists[at % TAG_SETS] for at, demand in enumerate(demands)}
        self.queues = {demand: CandidateQueue() for demand in demands}
        for number, demand in zip(range(pending), itertools.cycle(demands), strict=False):
            self.queues[demand].push((0, number, 0), Job(number, demand))
        self.ledger = Ledger()
        self.deciding = Deciding(found, self.ledger)

    def ants_for(self, demand: Demand) -> list[Ant]:
        return self.sets[demand]

    @property
    def versions(self) -> tuple[int, int]:
        return self.version, 0

    def all_ants(self) -> list[Ant]:
        return self.ants

    def running_of(self, gate: tuple[str, str]) -> int:
        return 0

    def limit_of(self, gate: tuple[str, str]) -> int:
        return 1 << 40

    def permits(self, gate: tuple[str, str]) -> bool:
        return True

    def round(self) -> tuple[list[float], int]:
        """Decides until nothing can be placed; seconds of each slice, and how many decisions."""
        slices, made, at_most = [], 0, CoreConfig().slice_decisions // 4
        decisions: Iterator[object] = self.deciding.decide(self, 1e9, Random(1))  # type: ignore[arg-type]  # of its own ants
        while True:
            begun, count = time.thread_time(), 0
            for decision in decisions:
                if decision is not None:
                    self.move(decision.ant, decision.candidate, +1)  # type: ignore[attr-defined]  # there are no gangs
                    made += 1
                count += 1
                if count == at_most:
                    break
            slices.append(time.thread_time() - begun)
            if count < at_most:
                return slices, made

    def move(self, ant: Ant, job: Job, sign: int) -> None:
        """A task begins on an ant, or ends there."""
        demand = job.demand
        charge = (demand.queue, demand.queue if self.apart else "", demand.tenant, demand.needs)
        for name, amount in demand.needs:
            ant.used[name] = ant.used.get(name, 0.0) + sign * amount
        if sign > 0:
            ant.held[job.number], job.state = job, "EXECUTING"
            self.ledger.take(charge)
        else:
            del ant.held[job.number]
            self.ledger.give(charge)
            self.deciding.given_back(ant)
            self.version += 1


def measure(policy: str, pending: int, classes: int, ants: int) -> dict[str, float]:
    """The figures of one run."""
    view = View(policy, pending, classes, ants)
    gc.collect()
    gc.freeze()  # as the queen does with what it has loaded
    slices, made = view.round()
    one = view.ants[37]
    view.move(one, next(iter(one.held.values())), -1)
    again, _ = view.round()
    gc.unfreeze()
    return {
        "round_ms": sum(slices) * 1e3,
        "slice_ms": max(slices) * 1e3,
        "incremental_ms": sum(again) * 1e3,
        "decisions": made,
    }


BARS = {"round_ms": 150.0, "slice_ms": 5.0, "incremental_ms": 1.0}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pending", type=int, default=100_000, help="pending jobs")
    parser.add_argument("--classes", type=int, default=1000, help="distinct demands among them")
    parser.add_argument("--ants", type=int, default=1000, help=f"ants with {SLOTS} slots each")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    figures, bars = [], []
    for policy in POLICIES:
        runs = [measure(policy, given.pending, given.classes, given.ants) for _ in range(RUNS)]
        medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        figures.append({"policy": policy, **medians})
        bars += [
            {
                "what": f"{policy} {name}",
                "bar": f"<= {limit:g}",
                "value": round(medians[name], 3),
                "met": medians[name] <= limit,
            }
            for name, limit in BARS.items()
        ]
    document = {"name": "deciding_queues", "machine": facts(), "figures": figures, "bars": bars, "peers": []}
    if given.output == "json":
        print(json.dumps(document, indent=2))
        return
    for bar in bars:
        print(f"{bar['what']:28} {bar['value']:>10} {bar['bar']:>8} {'met' if bar['met'] else 'MISSED'}")


if __name__ == "__main__":
    main()
