"""What idempotency costs: stores and shared commits beside the raw floor of the same work.

``python -m bench.idempotency --output json`` prints one document. Each round runs the floors and ours one after the
other on the same disk; a ratio is the median over the rounds, so that others on the machine count less.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from bench import idempotency_adapters, idempotency_stores, machine


def main() -> int:
    """Measures and prints; 0 when everything could be measured, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    parser.add_argument("--section", choices=["stores", "adapters", "all"], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each run, default 2")
    chosen = parser.parse_args()
    load_before, began, spins = os.getloadavg()[0], time.monotonic(), [machine.spin_ms()]

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {line}", file=sys.stderr, flush=True)
        spins.append(machine.spin_ms())

    figures: list[dict[str, object]] = []
    bars: list[dict[str, object]] = []
    problems: list[str] = []
    commits_ms: list[float] = []
    if chosen.section != "adapters":
        rates, problems = idempotency_stores.measure(chosen.rounds, chosen.seconds, say)
        commits_ms = [1000 / rate for rate in rates.per_s["raw loop, 1 to a commit"]]
        figures, bars = idempotency_stores.figures(rates), idempotency_stores.bars(rates)
    if chosen.section != "stores":
        costs, missing = idempotency_adapters.measure(chosen.rounds, say)
        problems += missing
        figures += idempotency_adapters.figures(costs)
        bars += idempotency_adapters.bars(costs)
    facts = machine.facts() | {"disturbed": machine.disturbances(load_before, spins, commits_ms)}
    if chosen.output == "json":
        document = {"name": "idempotency", "machine": facts, "figures": figures, "bars": bars, "peers": []}
        json.dump(document | {"problems": problems}, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        _print(facts, figures, bars, problems)
    return 1 if problems else 0


def _print(
    facts: dict[str, object], figures: list[dict[str, object]], bars: list[dict[str, object]], problems: list[str]
) -> None:
    for row in figures:
        each = f"{row['requests_per_commit']} to a commit" if "requests_per_commit" in row else ""
        cpu = f"{row['cpu_us_per_request']:>7} µs CPU  " if "cpu_us_per_request" in row else ""
        print(f"{row['what']:<34} {row['median']:>8} {row['unit']}  {cpu}{each}".rstrip())
    for bar in bars:
        met = {True: "met", False: "NOT met", None: "not measured"}[bar["met"]]  # type: ignore[index]  # it is one of these three values
        print(f"{bar['what']}: {bar['value']} ({bar['bar']}) {met}")
    for line in (*problems, *(str(each) for each in facts["disturbed"])):  # type: ignore[attr-defined]  # it is a list of sentences
        print(f"Note: {line}")


if __name__ == "__main__":
    sys.exit(main())
