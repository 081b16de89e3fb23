"""What a round of scheduling decisions costs: many pending jobs, many ants, as the live queen decides.

    python -m bench.deciding [--pending 100000] [--classes 1000] [--ants 1000] [--output json]

The view is made of the engine's own candidate queues and demands; carrying a decision out is left away. A full round
places jobs until every slot is taken, in slices as the queen draws them; the incremental one begins with a single free
slot. Times are processor time of the one thread, medians of five.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import statistics
import time
import tracemalloc
from dataclasses import dataclass, field

from bench.machine import facts
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.core import POLICY
from formicary.engine.scheduling.candidates import CandidateQueue
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import decide

SLOTS = 4
TAG_SETS = 10
RUNS = 5


@dataclass(eq=False, slots=True)
class Ant:
    """An ant as placement sees it."""

    slots: int = SLOTS
    window: int = SLOTS
    draining: bool = False
    connected: bool = True
    held: dict[int, object] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Job:
    """A candidate."""

    number: int
    state: str = "PENDING"


class View:
    """Queues by class; a class is an organisation's job type with a limit that is never reached, and a set of tags."""

    def __init__(self, pending: int, classes: int, ants: int) -> None:
        self.fresh: dict[Demand, None] = {}
        self.lists = [[Ant() for _ in range(ants // TAG_SETS)] for _ in range(TAG_SETS)]
        self.demands = [
            Demand("SHELL", frozenset({f"tag{at % TAG_SETS}"}), ("org", f"type{at}")) for at in range(classes)
        ]
        self.sets = {demand: self.lists[at % TAG_SETS] for at, demand in enumerate(self.demands)}
        self.queues = {demand: CandidateQueue() for demand in self.demands}
        self.jobs = [Job(number) for number in range(pending)]

    def fill(self) -> None:
        """Queues every job."""
        for job, demand in zip(self.jobs, itertools.cycle(self.demands), strict=False):
            self.queues[demand].push((-(job.number % 10), job.number, 0), job)

    def ants_for(self, demand: Demand) -> list[Ant]:
        return self.sets[demand]

    def running_of(self, gate: tuple[str, str]) -> int:
        return 0

    def permits(self, gate: tuple[str, str]) -> bool:
        return True

    def limit_of(self, gate: tuple[str, str]) -> int:
        return 1 << 40

    def round(self) -> tuple[list[float], int]:
        """Decides until nothing can be placed; seconds of each slice, and how many decisions."""
        slices, made, at_most = [], 0, CoreConfig().slice_decisions
        while True:
            begun, count = time.thread_time(), 0
            for decision in decide(self, POLICY):  # type: ignore[arg-type]  # a View of its own ants
                held = decision.ant.held
                held[len(held)] = decision.candidate  # type: ignore[index]  # a dict in this view
                decision.candidate.state = "EXECUTING"
                count += 1
                if count == at_most:
                    break
            slices.append(time.thread_time() - begun)
            made += count
            if count < at_most:
                return slices, made


def measure(pending: int, classes: int, ants: int) -> dict[str, float]:
    """The figures of one run."""
    view = View(pending, classes, ants)
    gc.collect()
    tracemalloc.start()
    view.fill()
    index_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    gc.freeze()  # as the queen does with what it has loaded
    slices, made = view.round()
    one = view.lists[3][7]
    one.held.popitem()
    again, second = view.round()
    gc.unfreeze()
    assert (made, second) == (ants * SLOTS, 1), (made, second)
    return {
        "round_ms": sum(slices) * 1e3,
        "slice_ms": max(slices) * 1e3,
        "incremental_ms": sum(again) * 1e3,
        "index_bytes_per_job": index_bytes / pending,
        "decisions": made,
    }


BARS = {"round_ms": 150.0, "slice_ms": 5.0, "incremental_ms": 1.0, "index_bytes_per_job": 400.0}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pending", type=int, default=100_000, help="pending jobs")
    parser.add_argument("--classes", type=int, default=1000, help="distinct demands among them")
    parser.add_argument("--ants", type=int, default=1000, help=f"ants with {SLOTS} slots each")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    runs = [measure(given.pending, given.classes, given.ants) for _ in range(RUNS)]
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    bars = [
        {"what": name, "bar": f"<= {limit:g}", "value": round(medians[name], 3), "met": medians[name] <= limit}
        for name, limit in BARS.items()
    ]
    document = {"name": "deciding", "machine": facts(), "figures": [medians], "bars": bars, "peers": []}
    if given.output == "json":
        print(json.dumps(document, indent=2))
        return
    for bar in bars:
        print(f"{bar['what']:22} {bar['value']:>10} {bar['bar']:>8} {'met' if bar['met'] else 'MISSED'}")


if __name__ == "__main__":
    main()
