"""Records the workloads that estimates of waits are scored on, in the Standard Workload Format.

    python -m bench.recording [--only live-ants] [--folder bench/workloads]

`mobile-analysis` and `parallel-machine` are made by generators and run in the simulator; the same seed gives the same
file. `live-ants` is what a real server and its ants made of 700 shell jobs; it takes four minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

from formicary.client import Client
from formicary.engine.scheduling.simulation.engine import Simulation
from formicary.engine.scheduling.simulation.forecasting import Recorded
from formicary.engine.scheduling.simulation.registry import POLICIES, read_settings
from formicary.engine.scheduling.simulation.synthetic import analysis_cluster, mobile_analysis, parallel_machine
from formicary.engine.scheduling.simulation.workload import Cluster, Job

FOLDER = Path(__file__).parent / "workloads"
ANTS, SLOTS, JOBS = 3, 2, 700


def swf(jobs: Iterable[Recorded], slots: int, notes: Sequence[str], kinds: Sequence[str]) -> str:
    """One record as a trace: times to the thousandth, queue = job type, partition = priority."""
    lines = [
        "; Version: 2.2",
        f"; MaxProcs: {slots}",
        *(f"; Note: {note}" for note in notes),
        *(f"; Queue: {number} {kind}" for number, kind in enumerate(kinds, 1)),
    ]
    for number, job in enumerate(jobs, 1):
        wait, run = max(0.0, job.start - job.submit), job.end - job.start
        queue = kinds.index(job.kind) + 1
        lines.append(
            f"{number} {job.submit:.10g} {round(wait, 3):.10g} {round(run, 3):.10g} {job.places} -1 -1 {job.places} "
            f"-1 -1 1 -1 -1 -1 {queue} {-int(job.rank) if job.rank else -1} -1 -1"
        )
    return "\n".join(lines) + "\n"


def simulated(jobs: Sequence[Job], cluster: Cluster, policy: str) -> list[Recorded]:
    """What the simulator made of a workload."""
    made = POLICIES[policy].make(read_settings(policy, {})[0], cluster, jobs)
    return [
        Recorded(
            ran.job.queue,
            ran.job.submit,
            round(ran.start, 3),
            round(ran.end, 3),
            int(ran.job.demand["cpu"]),
            -ran.job.priority if policy == "priority" else 0.0,
        )
        for ran in Simulation(cluster, jobs, made).run().jobs
        if ran.start is not None and ran.end is not None
    ]


async def live() -> list[Recorded]:
    """What a real server made of short shell jobs of three kinds that come in bursts."""
    rng = Random(7)
    kinds = (("quick", 0.2, 0.8, 0.6), ("build", 1.0, 3.0, 0.3), ("long", 4.0, 9.0, 0.1))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "formicary", "up", "--data", folder, "--http-port", "0", "--grpc-port", "0"]
        command += ["--ants", str(ANTS), "--slots", str(SLOTS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            address = next(word for word in server.stdout.readline().split() if word.startswith("grpc="))[5:]
            async with Client(address) as client:
                names = {}
                for kind, *_ in kinds:
                    source = f"job_type: {kind}\ntasks:\n  - task_type: wait\n    script: ['sleep {{{{.S}}}}']\n"
                    names[kind] = await client.register(source)
                ids = []
                for number in range(JOBS):
                    busy = number % 120 < 80
                    await asyncio.sleep(rng.expovariate(6.5 if busy else 2.2))
                    kind, shortest, longest, _ = rng.choices(kinds, [one[3] for one in kinds])[0]
                    seconds = round(rng.uniform(shortest, longest), 2)
                    ids.append((await client.submit(names[kind], {"S": seconds})).id)
                for one in ids:
                    await client.wait(one)
                documents = [await client.get(one) for one in ids]
            server.terminate()
    first = min(_seconds(one["submitted_at"]) for one in documents)
    return [
        Recorded(
            one["job_type"],
            *(round(_seconds(at) - first, 3) for at in (one["submitted_at"], *_run(one))),
        )
        for one in documents
    ]


def _run(document: Mapping[str, Any]) -> tuple[str, str]:
    """When the one task ran; the job counts as begun while it still waits for a slot."""
    return document["tasks"][0]["started_at"], document["tasks"][0]["ended_at"]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("mobile-analysis", "parallel-machine", "urgent-first", "live-ants"))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    tiers = ("quick", "standard", "deep")
    made = {
        "mobile-analysis": ("fcfs", analysis_cluster(2), mobile_analysis(Random(3), apps=2000), tiers, 32),
        "urgent-first": ("priority", analysis_cluster(2), mobile_analysis(Random(3), apps=2000), tiers, 32),
        "parallel-machine": (
            "fcfs",
            *reversed(parallel_machine(Random(4), 1500)),
            tuple(f"app{at}" for at in range(6)),
            64,
        ),
    }
    for name, (policy, cluster, jobs, kinds, slots) in made.items():
        if given.only in (None, name):
            source = f"made by formicary's generator of this name, run by its simulator under {policy}, no real jobs"
            (given.folder / f"{name}.swf").write_text(
                swf(simulated(jobs, cluster, policy), slots, [source], kinds), encoding="ascii"
            )
    if given.only in (None, "live-ants"):
        source = f"recorded from a real server with {ANTS} ants of {SLOTS} slots; the jobs sleep"
        jobs_run = asyncio.run(live())
        (given.folder / "live-ants.swf").write_text(
            swf(jobs_run, ANTS * SLOTS, [source], ("quick", "build", "long")), encoding="ascii"
        )


if __name__ == "__main__":
    main()
