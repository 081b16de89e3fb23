"""Scheduling: job events per second of the simulator. `python -m bench.scheduling [--output json]`.

The median of five runs of each policy (a submission and an end are two events). `analysis` is the mobile-analysis
workload at a fifth of its size on 17 ants, fewer than it needs: thousands of jobs wait at noon; `small
analysis` has a fifth of those jobs on 3 ants. `parallel` is 5,000
parallel jobs on one machine, where few wait. Reading and summaries are not part of it. Seconds are processor time of
the one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from random import Random

from bench.machine import facts
from formicary.engine.scheduling.simulation.engine import Simulation
from formicary.engine.scheduling.simulation.registry import POLICIES, read_settings
from formicary.engine.scheduling.simulation.synthetic import analysis_cluster, mobile_analysis, parallel_machine
from formicary.engine.scheduling.simulation.workload import Cluster, Job

RUNS, BAR = 5, 50_000.0
MEASURED: tuple[tuple[str, str], ...] = (
    *((name, "") for name in POLICIES),
    ("priority", "aging=0.01"),
    ("priority", "preemptive=true"),
    ("edf", "preemptive=true"),
    ("sjf", "preemptive=true"),
    ("multilevel", "preemptive=true"),
    ("multilevel", "mode=weighted"),
    ("multilevel", "mode=feedback"),
    ("capacity", "reclaim=graceful"),
    ("capacity", "reclaim=aggressive"),
    ("backfill", "reservations=all"),
)
"""Policies under the analysis, each with a parameter."""
SMALL = (("llf", "preemptive=true"),)
"""What compares what waits with what runs each second, on a smaller one: it takes minutes on the other."""
PARALLEL = (("gang", ""), ("backfill", ""), ("backfill", "reservations=all"))


def simulator(policy: str, text: str, jobs: Sequence[Job], cluster: Cluster) -> float:
    """Events per second of one policy, the median."""
    rates = []
    for _ in range(RUNS):
        values, wrong = read_settings(policy, dict([text.split("=")]) if text else {})
        assert not wrong, wrong
        made = POLICIES[policy].make(values, cluster, jobs)
        begun = time.thread_time()
        outcome = Simulation(cluster, jobs, made).run()
        rates.append(outcome.events / (time.thread_time() - begun))
    return statistics.median(rates)


def measure() -> Iterator[tuple[str, float]]:
    """What was measured and the events per second."""
    analysis = mobile_analysis(Random(1), apps=20_000), analysis_cluster(17)
    parallel = parallel_machine(Random(3), jobs=5000)
    small = mobile_analysis(Random(1), apps=4000), analysis_cluster(3)
    workloads = (("analysis", MEASURED, analysis), ("small analysis", SMALL, small), ("parallel", PARALLEL, parallel))
    for name, measured, (jobs, cluster) in workloads:
        for policy, text in measured:
            yield f"{policy} {text}".strip() + f", {name}", simulator(policy, text, jobs, cluster)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    form = parser.parse_args().output
    rates = list(measure())
    figures = [{"what": f"simulator, {what}, events/s", "value": round(rate)} for what, rate in rates]
    bars = [
        {"what": f"simulated job events/s, {what}", "bar": "≥ 50,000", "value": round(rate), "met": rate >= BAR}
        for what, rate in rates
    ]
    if form == "json":
        print(json.dumps({"name": "scheduling", "machine": facts(), "figures": figures, "bars": bars, "peers": []}))
        return
    for figure in figures:
        print(f"{figure['what']:<60} {figure['value']:>12,}")


if __name__ == "__main__":
    main()
