"""Jobs of jobs and of elements: ``python -m bench.composition [--output json]``, about a minute.

Three measurements on a server with SQLite:

* **Fork and join**: one job forks 100 (a fan-out over jobs) and joins them. Overhead is the time of the parent less the
  children's own run time, which is the sum of what their tasks ran, by the ants' clocks, over the number of slots.
* **Waiting**: a job waits for one that sleeps. Meanwhile the queen must not commit anything, and its processor time is
  taken: nobody polls.
* **Fan-out**: 1,000 tasks with ``max_parallel: 50`` on more slots than that. How many ran at each moment is computed
  from when the ants began and ended each of them: never more than 50, and 50 as long as there were some left.

Beside them stands what the machine does without an engine: a thread pool of 50 that starts the same processes.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from bench import machine
from bench.bars import Bar
from bench.report import print_json
from bench.server import Server
from formicary.client import SyncClient
from formicary.engine.jobs.fan_out import STRIDE

CHILDREN, ELEMENTS, AT_ONCE = 100, 1_000, 50
ANTS, SLOTS = 2, 32
CHILD_S, WAIT_S = 0.1, 4.0
OVERHEAD_S, FULL = 1.5, 0.95
"""Bars: seconds of overhead, and the part of `max_parallel` that has to be running on average."""
_LIMIT_S = 600.0
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_TIMES = (
    "SELECT tasks.started_at, tasks.ended_at FROM tasks JOIN jobs ON jobs.number = tasks.job "
    "WHERE jobs.id = ? AND tasks.position >= ?"
)

Interval = tuple[float, float]

NAP = """job_type: nap
required_params: [seconds]
tasks:
- task_type: sleep
  script: ['exec sleep {{.seconds}}']
"""
FORK = """job_type: fork
required_params: [seconds, list]
tasks:
- task_type: all
  method: FAN_OUT_JOB
  fork_job_type: nap
  variables: {seconds: '{{.seconds}}'}
  fan_out: {source: list}
"""
FAN = """job_type: fan
required_params: [seconds, list]
tasks:
- task_type: all
  script: ['exec sleep {{.seconds}}']
  fan_out: {source: list, max_parallel: %d}
"""


def overlap(intervals: Sequence[Interval]) -> tuple[int, list[tuple[float, int]]]:
    """The most intervals at one moment, and how many there are from each moment on."""
    steps = sorted([(begin, 1) for begin, _ in intervals] + [(end, -1) for _, end in intervals])
    count = most = 0
    course: list[tuple[float, int]] = []
    for moment, change in steps:  # at one moment what ends counts before what begins
        count += change
        most = max(most, count)
        course.append((moment, count))
    return most, course


def fullness(intervals: Sequence[Interval], limit: int) -> float:
    """Mean number that ran, as a part of `limit`, from when `limit` had begun until the last one began."""
    begun = sorted(begin for begin, _ in intervals)
    if len(begun) <= limit:
        return 0.0
    first, last = begun[limit - 1], begun[-1]
    _, course = overlap(intervals)
    area = 0.0
    for (moment, count), (after, _) in pairwise(course):
        area += count * max(0.0, min(after, last) - max(moment, first))
    return area / ((last - first) * limit) if last > first else 0.0


def _seconds(document: dict[str, object]) -> float:
    begin, end = (datetime.fromisoformat(str(document[name])).timestamp() for name in ("started_at", "ended_at"))
    return end - begin


def _run(client: SyncClient, source: str, params: dict[str, object]) -> dict[str, object]:
    job = client.submit(client.register(source), params)
    end = client.wait(job.id, _LIMIT_S)
    if end.state != "COMPLETED":
        raise RuntimeError(f"{job.id} ended {end.state}: {client.get(job.id)['error']}")
    return client.get(job.id)


def fork_and_join(client: SyncClient, children: int) -> dict[str, float]:
    """1 → `children` → 1: the overhead above what the children ran."""
    client.register(NAP)
    document = _run(client, FORK, {"seconds": CHILD_S, "list": list(range(children))})
    outputs = document["outputs"]
    assert isinstance(outputs, dict)
    own = 0.0
    for result in outputs["FanOutResults"]:
        tasks = client.get(result["job"])["tasks"]
        own += sum(_seconds(task) for task in tasks)
    taken = _seconds(document)
    return {
        "children": children,
        "fork_join_s": taken,
        "children_own_s": own / (ANTS * SLOTS),
        "overhead_s": taken - own / (ANTS * SLOTS),
    }


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def waiting(client: SyncClient, server: Server, seconds: float) -> dict[str, float]:
    """What the queen does while a job waits for another one."""
    job = client.submit(client.register(FORK), {"seconds": seconds + 2.0, "list": [1]})
    time.sleep(1.0)
    before, cpu_s = server.counters(), _cpu_s(server.pid)
    time.sleep(seconds)
    after, used_s = server.counters(), _cpu_s(server.pid) - cpu_s
    client.wait(job.id, _LIMIT_S)
    if before is None or after is None:
        raise RuntimeError("this version has no counters")
    return {"wait_commits": after.commits - before.commits, "wait_cpu_percent": 100.0 * used_s / seconds}


def fan_out(client: SyncClient, database: Path, elements: int, seconds: float) -> dict[str, float]:
    """`elements` tasks, at most 50 at once: the most that ran together, and how full it was."""
    document = _run(client, FAN % AT_ONCE, {"seconds": seconds, "list": list(range(elements))})
    with closing(sqlite3.connect(f"file:{database}/formicary.db?mode=ro", uri=True)) as store:
        ran: list[Interval] = store.execute(_TIMES, (document["id"], STRIDE)).fetchall()
    most, _ = overlap(ran)
    taken = _seconds(document)
    least = elements / AT_ONCE * seconds
    return {
        "elements": len(ran),
        "most_at_once": most,
        "mean_of_50": fullness(ran, AT_ONCE),
        "fan_out_s": taken,
        "least_s": least,
        "element_overhead_ms": (taken - least) / elements * 1e3,
    }


def floor(elements: int, seconds: float) -> float:
    """Seconds that a pool of 50 threads takes to run the same processes."""
    command = ["/bin/sh", "-c", f"exec sleep {seconds}"]
    begin = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: subprocess.run(command, check=True), range(elements)))
    return time.perf_counter() - begin


def bars(found: dict[str, float]) -> list[Bar]:
    """What the figures are held against."""
    overhead, commits, most, full = (
        found[name] for name in ("overhead_s", "wait_commits", "most_at_once", "mean_of_50")
    )
    fork = f"fork 1 → {found['children']:.0f} → join: seconds above the children's own run time"
    return [
        Bar("composition", fork, f"≤ {OVERHEAD_S:g}", overhead, overhead <= OVERHEAD_S),
        Bar("composition", "commits while a job waits for another (no polling)", "0", commits, commits == 0),
        Bar("composition", f"most of {found['elements']:.0f} elements at once", f"≤ {AT_ONCE}", most, most <= AT_ONCE),
        Bar("composition", f"mean of {AT_ONCE} while elements are left", f"≥ {FULL:g}", full, full >= FULL),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints, exits with 0."""
    parser = argparse.ArgumentParser(description="Measure forks, joins and fan-outs.")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--children", type=int, default=CHILDREN)
    parser.add_argument("--elements", type=int, default=ELEMENTS)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long an element runs")
    options = parser.parse_args(arguments)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        server = Server(data, Path(folder) / "server.log", ants=ANTS, slots=SLOTS)
        server.start()
        try:
            with SyncClient(server.address) as client:
                fork_and_join(client, 10)  # warm
                found |= fork_and_join(client, options.children)
                found |= waiting(client, server, WAIT_S)
                found |= fan_out(client, data, options.elements, options.seconds)
        finally:
            server.stop()
    found["pool_s"] = floor(options.elements, options.seconds)
    found["to_pool"] = found["fan_out_s"] / found["pool_s"]
    held = bars(found)
    if options.output == "json":
        content = {"name": "composition", "machine": machine.facts(), "figures": [found], "peers": []}
        print_json({**content, "bars": [bar.as_json() for bar in held]})
        return
    for name, value in found.items():
        print(f"{name:>20}  {value:,.6g}")
    for bar in held:
        print(f"{'met' if bar.met else 'MISSED'}: {bar.what}: {bar.value:,.4g} ({bar.bar})")


if __name__ == "__main__":
    main()
