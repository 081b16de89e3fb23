"""What checking a request and writing a long list cost: ``python -m bench.messages [--output json]``, a few seconds.

A valid submission of a job, with its parameters, goes through the rules of the contract and the business rules. A page
of 1,000 jobs (BASIC: no tasks, no outputs) is made of the store's rows and written as JSON and in the binary form. All
in processor time of this thread; the figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

from bench import machine
from formicary.engine.storage.port import JOB_COLUMNS, Row
from formicary.gateway.transcoding.encoder import Encoder
from formicary.server.api import messages
from formicary.server.api.rules import check_requests
from formicary.v1 import jobs_pb2 as pb

JOBS = 1000
CHECK_US, LIST_MS = 10.0, 30.0
_NOW = 1_790_000_000.0


def submission() -> pb.SubmitJobRequest:
    """As people send it."""
    request = pb.SubmitJobRequest(job_type="nightly-report", priority=5, idempotency_key="report-2026-09-22")
    request.params.update({"day": "2026-09-22", "regions": ["eu", "us"], "limit": 100})
    return request


def rows() -> list[Row]:
    """A page of the store."""
    known = {"job_type": "nightly-report", "state": "COMPLETED", "priority": 5, "definition_id": "d" * 26}
    times = {"submitted_at": _NOW, "started_at": _NOW + 1, "ended_at": _NOW + 2}
    return [
        tuple((known | times | {"id": f"01m8cp5b7nqzn9rzyqhxb{at:05}"}).get(name) for name in JOB_COLUMNS)
        for at in range(JOBS)
    ]


def _spent_us(work: Callable[[], object], times: int) -> float:
    begin = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - begin) / times * 1e6


def measure(rounds: int) -> list[dict[str, object]]:
    """Measures each; a row each, microseconds."""
    request, found, encoder = submission(), rows(), Encoder(defaults=True)
    check = check_requests().check

    def page() -> pb.ListJobsResponse:
        return pb.ListJobsResponse(jobs=[messages.basic(row) for row in found])

    works: dict[str, tuple[Callable[[], object], int]] = {
        "check a valid submission": (lambda: check(request), 5000),
        f"list of {JOBS:,} jobs as JSON": (lambda: encoder.encode(page()), 5),
        f"list of {JOBS:,} jobs, binary": (lambda: page().SerializeToString(), 5),
    }
    runs: dict[str, list[float]] = {name: [] for name in works}
    for work, _ in works.values():
        work()
    for _ in range(rounds):
        for name, (work, times) in works.items():
            runs[name].append(_spent_us(work, times))
    return [_row(name, found) for name, found in runs.items()]


def _row(what: str, runs: list[float]) -> dict[str, object]:
    spread = {"median": round(statistics.median(runs), 2), "min": round(min(runs), 2), "max": round(max(runs), 2)}
    return {"what": what, "unit": "µs", **spread, "runs": [round(run, 2) for run in runs]}


def _bars(figures: list[dict[str, object]]) -> list[dict[str, object]]:
    check, listing = (float(str(row["median"])) for row in figures[:2])
    found: list[dict[str, object]] = [
        {"what": "validation of a valid message", "bar": f"≤ {CHECK_US:g} µs", "value": check, "met": check <= CHECK_US}
    ]
    value = round(listing / 1000, 2)
    bar = {"what": f"a list of {JOBS:,} jobs (BASIC) serialises", "bar": f"≤ {LIST_MS:g} ms", "value": value}
    return [*found, bar | {"met": value <= LIST_MS}]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.messages", description=__doc__)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    figures = measure(chosen.rounds)
    bars = _bars(figures)
    if chosen.output == "json":
        document = {"name": "messages", "machine": machine.facts(), "figures": figures, "bars": bars, "peers": []}
        json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    for row in figures:
        print(f"{row['what']:<28} {row['median']:>10} {row['unit']}  ({row['min']} to {row['max']})")
    for bar in bars:
        print(f"{bar['what']}: {bar['value']} ({bar['bar']}) {'met' if bar['met'] else 'NOT met'}")


if __name__ == "__main__":
    main()
