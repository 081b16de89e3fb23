"""What the middleware takes of the processor per call, beside Powertools, idemkit and asgi-idempotency-header.

Every library runs in an environment of its own with its records in memory, in turn, several rounds; a figure is the
median over the rounds. Powertools is a decorator around a function: it reads no request and stores no headers.
asgi-idempotency-header reads no body at a replay: it never sees that a key came with another request.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers import environments

PEERS = ("powertools", "idemkit", "asgi-idempotency-header")
_BLIND = "asgi-idempotency-header"
"""It compares no requests."""
LIMITS_US = {"new": 25.0, "replay": 12.0}
_REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(slots=True)
class Costs:
    """Per library and kind of call the µs of each round, and the Python that ran it."""

    us: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    pythons: dict[str, str] = field(default_factory=dict)

    def of(self, name: str, what: str, kind: str) -> float | None:
        """The median over the rounds."""
        found = self.us.get((name, what, kind))
        return statistics.median(found) if found else None

    def ours_above_the_store(self, kind: str) -> float | None:
        """Our own part: the whole call without the application and without what the store takes."""
        parts = [self.of("ours", what, kind) for what in ("whole", "bare", "store")]
        whole, bare, store = parts
        return None if whole is None or bare is None or store is None else whole - bare - store


def measure(rounds: int, say: Callable[[str], None]) -> tuple[Costs, list[str]]:
    """Runs all of them in turn; the second value says what could not be measured."""
    pythons, problems, costs = {"ours": Path(sys.executable)}, [], Costs()
    for name in PEERS:
        try:
            pythons[name] = environments.ensure(name, say)
        except RuntimeError as error:
            problems.append(str(error))
    for number in range(rounds):
        for name, python in pythons.items():
            failure = _one(name, python, costs)
            if failure is not None and failure not in problems:
                problems.append(failure)
        say(f"adapters, round {number + 1} of {rounds}")
    return costs, problems


def _one(name: str, python: Path, costs: Costs) -> str | None:
    source = str(_REPOSITORY / "src") if name == "ours" else ""
    environment = {**os.environ, "PYTHONPATH": source}
    command = [str(python), "-m", "bench.peers.idempotency_runner", name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_REPOSITORY, env=environment, timeout=300)
    if done.returncode:
        return f"{name}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    found = json.loads(done.stdout.splitlines()[-1])
    costs.pythons[name] = found["python"]
    for what in ("bare", "whole", "store", "comparison"):
        for kind, value in found.get(what, {}).items():
            costs.us.setdefault((name, what, kind), []).append(value)
    return None


def figures(costs: Costs) -> list[dict[str, object]]:
    """One row for each library and kind of call."""
    return [
        {"section": "adapters", "what": f"{name}, {what}, {kind}", "median": round(statistics.median(values), 2),
         "unit": "µs CPU per call", "python": costs.pythons[name]}
        for (name, what, kind), values in costs.us.items()
    ]  # fmt: skip


def bars(costs: Costs) -> list[dict[str, object]]:
    """Our own part against its limit, and the whole call against each library's."""
    rows = []
    for kind, limit in LIMITS_US.items():
        value = costs.ours_above_the_store(kind)
        rows.append(_bar(f"ours, {kind}: µs above application and store", value, limit))
        for name in PEERS:
            ours, theirs = (costs.of(each, "whole", kind) for each in ("ours", name))
            ratio = None if ours is None or theirs is None else ours / theirs
            rows.append(_bar(f"ours, {kind}: whole call as a share of {name}'s", ratio, 1.0))
        ours, compared, theirs = (
            costs.of("ours", "whole", kind), costs.of("ours", "comparison", kind), costs.of(_BLIND, "whole", kind)
        )  # fmt: skip
        ratio = None if ours is None or compared is None or theirs is None else (ours - compared) / theirs
        rows.append(_bar(f"ours, {kind}: the same without comparing requests, as a share of {_BLIND}'s", ratio, 1.0))
    return rows


def _bar(what: str, value: float | None, limit: float) -> dict[str, object]:
    met = None if value is None else value <= limit
    shown = None if value is None else round(value, 3)
    return {"section": "adapters", "what": what, "bar": f"≤ {limit:g}", "value": shown, "met": met}
