"""Scheduling: job events per second of the simulator. `python -m bench.scheduling [--output json]`.

The median of five runs of the mobile-analysis workload (a submission and an end are two events) at a fifth of its size,
under several policies; the load makes jobs wait. Reading and summaries are not part of it. Seconds are processor time
of the one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from random import Random

from bench.machine import facts
from formicary.engine.scheduling.simulation.engine import Simulation
from formicary.engine.scheduling.simulation.registry import POLICIES, read_settings
from formicary.engine.scheduling.simulation.synthetic import analysis_cluster, mobile_analysis

RUNS, BAR = 5, 50_000.0
MEASURED = ("fcfs", "priority", "edf", "sjf", "drf", "capacity")


def simulator(policy: str) -> float:
    """Events per second of one policy, the median."""
    jobs, cluster = mobile_analysis(Random(1), apps=20_000), analysis_cluster(17)
    rates = []
    for _ in range(RUNS):
        made = POLICIES[policy].make(read_settings(policy, {})[0], cluster, jobs)
        begun = time.thread_time()
        outcome = Simulation(cluster, jobs, made).run()
        rates.append(outcome.events / (time.thread_time() - begun))
    return statistics.median(rates)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    form = parser.parse_args().output
    figures = [{"what": f"simulator, {policy}, events/s", "value": round(simulator(policy))} for policy in MEASURED]
    value = float(str(figures[0]["value"]))
    bars = [{"what": "simulated job events/s, fcfs", "bar": "≥ 50,000", "value": value, "met": value >= BAR}]
    if form == "json":
        print(json.dumps({"name": "scheduling", "machine": facts(), "figures": figures, "bars": bars, "peers": []}))
        return
    for figure in figures:
        print(f"{figure['what']:<40} {figure['value']:>12,}")


if __name__ == "__main__":
    main()
