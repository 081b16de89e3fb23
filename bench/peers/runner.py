"""What every peer's runner does the same way: start workers, choose how many jobs, measure, print one JSON line a mode.

A runner runs inside its peer's environment as ``python -m bench.peers.NAME_runner --modes bulk,single …`` and
imports nothing of Formicary but this package's standard-library modules.

Modes:
    bulk: the peer's best bulk form of submission, workers running.
    single: one job per call.
    latency: idle, submit to result as the client sees it.
    chain: three steps one after the other, up to 64 jobs in flight.
    fan: 1 -> 100 -> 1, milliseconds of one such job.

Throughput is N / (last task done - first submission begun). N is what the peer needs at least ``--seconds`` for.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench import stamps

IN_FLIGHT = 64
LATENCY_SAMPLES = 200
FAN_SAMPLES = 7
FAN_WIDTH = 100
_WARM_UP = 100
_PILOT_S = 0.8
_MARGIN = 1.15
_REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the orchestrator asks of a runner.

    Args:
        folder: private folder for files.
        redis: URL of Redis without a database number, empty when none.
        broker: URL of the broker, empty for the peer's own choice.
        postgres: URL of an empty PostgreSQL database, empty when none.
    """

    folder: Path
    redis: str
    broker: str
    postgres: str


class Peer(ABC):
    """One engine to measure. ``submit`` and friends begin work; the tasks count themselves with ``stamps.stamp``."""

    name: str
    #: What the peer promises in the set-up measured here.
    durability: str
    #: How each mode was done.
    forms: ClassVar[dict[str, str]]

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of the engine and its store."""

    @abstractmethod
    def start(self) -> None:
        """Start the workers."""

    @abstractmethod
    def submit_bulk(self, count: int) -> None:
        """Submit no-op jobs in the quickest form."""

    @abstractmethod
    def submit_single(self, count: int) -> None:
        """Submit no-op jobs one per call."""

    def round_trip(self) -> None:
        """Submit one job and wait for its result."""
        raise LookupError(f"{self.name} has no mode latency")

    def start_chain(self) -> None:
        """Begin one job of three steps; the last one stamps."""
        raise LookupError(f"{self.name} has no mode chain")

    def run_chains(self, count: int) -> None:
        """Run jobs of three steps, up to 64 in flight."""
        begun = 0
        while begun < count:
            if begun - stamps.read().count < IN_FLIGHT:
                self.start_chain()
                begun += 1
            else:
                time.sleep(0.001)

    def fan(self) -> None:
        """Run one job 1 -> 100 -> 1 to its end."""
        raise LookupError(f"{self.name} has no mode fan")

    def spawn(self, command: Sequence[str]) -> None:
        """Start a worker process that is stopped at the end."""
        environment = dict(os.environ, PYTHONPATH=str(_REPO), PYTHONDONTWRITEBYTECODE="1")
        with open(self.settings.folder / f"{self.name}-worker.log", "ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=_REPO, start_new_session=True
            )
        self._processes.append(process)

    def stop(self) -> None:
        """Stop what ``spawn`` started."""
        for process in self._processes:
            _signal_group(process, signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
                process.wait()


def _signal_group(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    try:
        os.killpg(process.pid, how)
    except ProcessLookupError:
        pass


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the sample below which ``share`` (0 to 1) of all lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _timed(peer: Peer, mode: str, count: int) -> float:
    """Run ``count`` jobs and return the seconds from the first submission to the last task's end."""
    stamps.reset()
    begin = time.monotonic()
    {"bulk": peer.submit_bulk, "single": peer.submit_single, "chain": peer.run_chains}[mode](count)
    return stamps.wait_for(count, limit_s=150).last - begin


def throughput(peer: Peer, mode: str, seconds: float, count: int | None) -> dict[str, float]:
    """Measure jobs per second over at least ``seconds``.

    Args:
        peer: already warm.
        mode: bulk, single or chain.
        seconds: least duration.
        count: number of jobs when it is known from an earlier run, else found out here.
    """
    if count is None:
        pilot = 50
        while (took := _timed(peer, mode, pilot)) < _PILOT_S:
            pilot *= max(2, min(8, int(_PILOT_S / max(took, 0.01))))
        count = math.ceil(pilot / took * seconds * _MARGIN)
    while (took := _timed(peer, mode, count)) < seconds:
        count = math.ceil(count * seconds / took * _MARGIN)
    return {"jobs": count, "seconds": took, "per_s": count / took}


def latency(peer: Peer) -> dict[str, float]:
    """Measure idle submit to result, milliseconds."""
    for _ in range(20):
        peer.round_trip()
    samples = []
    for _ in range(LATENCY_SAMPLES):
        begin = time.monotonic()
        peer.round_trip()
        samples.append((time.monotonic() - begin) * 1e3)
        time.sleep(0.002)
    return {"jobs": len(samples), "p50_ms": percentile(samples, 0.5), "p99_ms": percentile(samples, 0.99)}


def fan(peer: Peer) -> dict[str, float]:
    """Measure 1 -> 100 -> 1 when idle, milliseconds."""
    peer.fan()
    samples = []
    for _ in range(FAN_SAMPLES):
        begin = time.monotonic()
        peer.fan()
        samples.append((time.monotonic() - begin) * 1e3)
    return {"jobs": len(samples), "ms": statistics.median(samples), "ms_min": min(samples), "ms_max": max(samples)}


def _warm_up(peer: Peer) -> None:
    """Run a few jobs so that every worker is up and has imported everything."""
    stamps.reset()
    peer.submit_bulk(_WARM_UP)
    stamps.wait_for(_WARM_UP, limit_s=60)


def _measure(peer: Peer, mode: str, seconds: float, counts: dict[str, int]) -> dict[str, float]:
    if mode == "latency":
        return latency(peer)
    if mode == "fan":
        return fan(peer)
    return throughput(peer, mode, seconds, counts.get(mode))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure one peer; run it with the peer's own Python.")
    parser.add_argument("--modes", default="bulk", help="of bulk,single,latency,chain,fan")
    parser.add_argument("--seconds", type=float, default=8.0, help="least duration of a throughput mode")
    parser.add_argument("--jobs", default="", help="known numbers of jobs: bulk=7000,chain=2000")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--redis", default="")
    parser.add_argument("--broker", default="")
    parser.add_argument("--postgres", default="")
    return parser.parse_args(arguments)


def main(peer_class: type[Peer], arguments: Sequence[str] | None = None) -> None:
    """Run the modes asked for and print a JSON line for each."""
    options = _parse(arguments)
    counts = {key: int(value) for key, _, value in (part.partition("=") for part in options.jobs.split(",") if part)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    peer = peer_class(Settings(options.folder, options.redis, options.broker, options.postgres))
    try:
        peer.start()
        _warm_up(peer)
        for mode in options.modes.split(","):
            figures = _measure(peer, mode, options.seconds, counts)
            row = {"peer": peer.name, "mode": mode, "form": peer.forms[mode], "durability": peer.durability}
            print(json.dumps({**row, "versions": peer.versions, **figures}), flush=True)
    finally:
        peer.stop()
