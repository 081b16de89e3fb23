"""Estimates of waits beside the article's formula, on recorded workloads.

    python -m bench.estimating [--output json]

Each file of bench/workloads is gone through in order of time; every job that had to wait is estimated at its submission
from what had ended until then. The errors are those of what happened; no figure depends on the machine. `urgent-first`
has no bar: what more urgent jobs will come, no estimate can know.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random

from bench.machine import facts
from formicary.engine.scheduling.estimating import Score
from formicary.engine.scheduling.simulation.forecasting import read_record, replay

FOLDER = Path(__file__).parent / "workloads"
BARRED = ("mobile-analysis", "parallel-machine", "live-ants")
MOST_ERROR, COVERAGE = 0.5, (0.8, 0.95)


def score(name: str) -> Score:
    """The score of one workload; always the same."""
    jobs, slots = read_record((FOLDER / f"{name}.swf").read_text(encoding="ascii"))
    return replay(jobs, slots, Random(1))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", choices=("table", "json"), default="table")
    form = parser.parse_args().output
    figures: list[dict[str, object]] = []
    bars: list[dict[str, object]] = []
    for name in (*BARRED, "urgent-first"):
        found = score(name)
        ratio = found.mean_error_s / found.article_mean_error_s
        figures.append(
            {
                "workload": name,
                "waits": found.count,
                "error_s": round(found.mean_error_s, 3),
                "article_error_s": round(found.article_mean_error_s, 3),
                "ratio": round(ratio, 3),
                "inside": round(found.coverage, 3),
            }
        )
        if name in BARRED:
            inside = COVERAGE[0] <= found.coverage <= COVERAGE[1]
            bars += [
                {
                    "what": f"{name}: error / article's",
                    "bar": "<= 0.5",
                    "value": round(ratio, 3),
                    "met": ratio <= MOST_ERROR,
                },
                {"what": f"{name}: inside", "bar": "0.8-0.95", "value": round(found.coverage, 3), "met": inside},
            ]
    if form == "json":
        print(json.dumps({"name": "estimating", "machine": facts(), "figures": figures, "bars": bars, "peers": []}))
        return
    for figure in figures:
        print("  ".join(f"{key} {value}" for key, value in figure.items()))
    for bar in bars:
        print(f"{bar['what']:36} {bar['value']:>8} {bar['bar']:>9} {'met' if bar['met'] else 'MISSED'}")


if __name__ == "__main__":
    main()
