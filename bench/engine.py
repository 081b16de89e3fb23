"""The engine against its bars: ``python -m bench.engine [--output json]``.

Every peer runs the number of jobs that takes it at least 8 s, in its best form; Formicary runs 20,000. Peers are
measured three times, interleaved with five runs of Formicary, each on fresh data. A bar is met by the medians.
Plan and progress go to standard error, the result to standard output.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import bars, floor, machine, report
from bench.figures import Figures
from bench.participants import Field, Participant, RunFailed, all_participants, run
from bench.peers.services import Services

SECTIONS = ("bulk", "single", "idle", "chain", "fan", "postgres", "pending", "simulation")
_TIMED_MODES = ("bulk", "single", "chain")
_OURS = frozenset((bars.OURS, bars.OURS_POSTGRES))
#: Estimates in seconds of our own modes, of the modes that are not timed by ``--seconds``, and of the other sections.
_ESTIMATES = {"bulk": 4.0, "single": 5.0, "chain": 5.0, "latency": 2.0, "shell": 2.0, "fan": 3.0}
_PENDING_ESTIMATE_S = 38.0
_SIMULATION_ESTIMATE_S = 9.0
_SIMULATION_RUNS = 2
#: A peer's later runs are sized from its first one, a little longer than asked for.
_RESIZE = 1.06


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Args:
        rounds: runs of Formicary.
        peer_rounds: runs of each peer.
        seconds: least duration of a peer's throughput run.
        jobs: jobs that Formicary runs.
        pending: jobs of the deep backlog.
    """

    rounds: int
    peer_rounds: int
    seconds: float
    jobs: int
    pending: int

    def has_peers(self, number: int) -> bool:
        """Tell whether the peers run in round ``number`` (from 0): spread evenly over the rounds."""
        chosen = {round(step * (self.rounds - 1) / max(1, self.peer_rounds - 1)) for step in range(self.peer_rounds)}
        return number in chosen


DEFAULT = Scale(rounds=5, peer_rounds=3, seconds=8.0, jobs=20_000, pending=100_000)
QUICK = Scale(rounds=2, peer_rounds=1, seconds=4.0, jobs=5_000, pending=20_000)
FULL = Scale(rounds=9, peer_rounds=5, seconds=12.0, jobs=40_000, pending=100_000)


@dataclass(slots=True)
class Session:
    """One run of the benchmark.

    Args:
        scale: how much is measured.
        sections: which sections.
        with_peers: False to measure Formicary alone.
        folder: temporary folder for all data.
        stamps: memory-backed folder in which tasks count themselves.
    """

    scale: Scale
    sections: set[str]
    with_peers: bool
    folder: Path
    stamps: Path
    figures: Figures = field(default_factory=Figures)
    problems: list[str] = field(default_factory=list)
    spins: list[float] = field(default_factory=list)
    floors: list[dict[str, float]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _jobs: dict[tuple[str, str], int] = field(default_factory=dict)
    _runs: int = 0

    def say(self, line: str) -> None:
        """Print one line of progress."""
        print(f"[{time.monotonic() - self._began:4.0f} s] {line}", file=sys.stderr, flush=True)

    def _estimate(self, participant: Participant, modes: Sequence[str]) -> float:
        """Return the seconds that one run of a participant is expected to take."""
        total = participant.start_s
        for mode in modes:
            is_timed = participant.is_peer and mode in _TIMED_MODES
            total += self.scale.seconds * 1.1 if is_timed else _ESTIMATES[mode]
        return total

    def plan(self, participants: Sequence[Participant]) -> float:
        """Print what will be done with estimates and return their sum in seconds."""
        total = 0.0
        for participant in participants:
            modes = participant.chosen(self.sections)
            runs = self.scale.peer_rounds if participant.is_peer else self.scale.rounds
            seconds = runs * self._estimate(participant, modes)
            total += seconds
            self.say(f"plan: {participant.engine}: {', '.join(modes)} × {runs}, about {seconds:.0f} s")
        for section, seconds in (
            ("pending", 2 * _PENDING_ESTIMATE_S),
            ("simulation", _SIMULATION_RUNS * _SIMULATION_ESTIMATE_S),
        ):
            if section in self.sections:
                total += seconds
                self.say(f"plan: {section}, about {seconds:.0f} s")
        self.say(f"plan: about {total / 60:.1f} minutes in all")
        return total

    def _counts(self, engine: str, modes: Sequence[str]) -> str:
        known = ((mode, self._jobs.get((engine, mode))) for mode in modes)
        return ",".join(f"{mode}={count}" for mode, count in known if count)

    def _command(self, participant: Participant, modes: Sequence[str], folder: Path) -> list[str]:
        prepared = participant.prepare(folder)
        if prepared is None:
            raise RunFailed("the server it needs is not there")
        command = [*prepared, "--modes", ",".join(modes)]
        if not participant.is_peer:
            return [*command, "--jobs", str(self.scale.jobs)]
        return [*command, "--seconds", str(self.scale.seconds), "--jobs", self._counts(participant.engine, modes)]

    def run_participant(self, participant: Participant, number: int) -> None:
        """Run one participant once and keep its figures."""
        modes = participant.chosen(self.sections)
        self.say(f"round {number + 1} of {self.scale.rounds}: {participant.engine}: {', '.join(modes)}")
        folder = self._fresh_folder()
        try:
            command = self._command(participant, modes, folder)
            for found in run(command, folder / "runner.log", self.stamps / folder.name):
                self.figures.add(found)
                self._remember(participant.engine, found)
        except RunFailed as failure:
            self._fail(f"{participant.engine}, round {number + 1}: {failure}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(self.stamps / folder.name, ignore_errors=True)

    def _remember(self, engine: str, found: dict[str, object]) -> None:
        """Size the next run of a timed mode from this one."""
        jobs, seconds = found.get("jobs"), found.get("seconds")
        if isinstance(jobs, int) and isinstance(seconds, float):
            self._jobs[engine, str(found["mode"])] = math.ceil(jobs * self.scale.seconds / seconds * _RESIZE)

    def _fresh_folder(self) -> Path:
        self._runs += 1
        folder = self.folder / f"run-{self._runs}"
        folder.mkdir()
        return folder

    def _fail(self, sentence: str) -> None:
        self.problems.append(sentence)
        self.say(f"failed: {sentence}")

    def rounds(self, participants: Sequence[Participant]) -> None:
        """Run all rounds."""
        for number in range(self.scale.rounds):
            self._look_at_machine()
            for participant in participants:
                if not participant.is_peer or self.scale.has_peers(number):
                    self.run_participant(participant, number)

    def pending(self) -> None:
        """Measure what a backlog costs, for both sizes of parameters."""
        for size in bars.SIZES:
            self.say(f"pending: {self.scale.pending:,} jobs with {size:,} bytes of parameters")
            folder = self._fresh_folder()
            command = [sys.executable, "-m", "bench.pending", "--size", str(size), "--deep", str(self.scale.pending)]
            self._run_own([*command, "--folder", str(folder)], folder, f"pending {size}")

    def simulation(self) -> None:
        """Measure the simulator's speed."""
        for number in range(_SIMULATION_RUNS):
            self.say(f"simulation: run {number + 1} of {_SIMULATION_RUNS}")
            folder = self._fresh_folder()
            command = [sys.executable, "-m", "tests.simulation.run", "--bench"]
            self._run_own(command, folder, "simulation")

    def _run_own(self, command: list[str], folder: Path, what: str) -> None:
        labels: dict[str, object] = {"peer": bars.OURS, "mode": what}
        try:
            for found in run(command, folder / "runner.log", self.stamps / folder.name):
                self.figures.add({**labels, **found})
        except RunFailed as failure:
            self._fail(f"{what}: {failure}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(self.stamps / folder.name, ignore_errors=True)

    def measure(self, full: bool) -> None:
        """Run everything that was asked for."""
        with Services() as services:
            field_ = Field(services, self.say)
            everyone = [one for one in all_participants(field_, full) if one.chosen(self.sections)]
            everyone = [one for one in everyone if self.with_peers or not one.is_peer]
            missing = field_.prepare_all(everyone, self.folder)
            self.problems += missing
            ready = [one for one in everyone if not any(line.startswith(f"{one.engine}: ") for line in missing)]
            self._began = time.monotonic()
            self.plan(ready)
            if ready:
                self.rounds(ready)
        if "pending" in self.sections:
            self.pending()
        if "simulation" in self.sections:
            self.simulation()
        self._look_at_machine()
        self.figures.floor = {name: statistics.median(one[name] for one in self.floors) for name in self.floors[0]}

    def _look_at_machine(self) -> None:
        """Measure the floor and the noise; done in every round, so that they belong to the same minutes."""
        self.spins.append(machine.spin_ms())
        self.floors.append(floor.measure())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description="Measure the engine beside its peers.")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"sections: {','.join(SECTIONS)}")
    parser.add_argument("--no-peers", action="store_true", help="measure Formicary alone")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="about 2 minutes: fewer runs, 4 s for each peer")
    size.add_argument("--full", action="store_true", help="about 30 minutes: more and longer runs, more modes")
    options = parser.parse_args(arguments)
    options.sections = {part.strip() for part in options.only.split(",")}
    if unknown := options.sections - set(SECTIONS):
        parser.error(f"unknown section {', '.join(sorted(unknown))}; the sections are {', '.join(SECTIONS)}")
    return options


def _stamps_parent() -> str | None:
    """Return a folder in memory for the counters, None for the ordinary temporary folder."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0 when everything could be measured, else 1."""
    options = _parse(arguments)
    scale = QUICK if options.quick else FULL if options.full else DEFAULT
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    facts, load_before = machine.facts(), os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="formicary-bench-engine-"))
    stamps = Path(tempfile.mkdtemp(prefix="formicary-bench-", dir=_stamps_parent()))
    session = Session(scale, options.sections, not options.no_peers, folder, stamps)
    try:
        session.measure(options.full)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(stamps, ignore_errors=True)
    facts |= {"load_1m_after": os.getloadavg()[0], "spin_ms": round(statistics.median(session.spins), 1)}
    facts |= {"spin_ms_min": round(min(session.spins), 1), "spin_ms_max": round(max(session.spins), 1)}
    commits = [one["sqlite_commit_ms"] for one in session.floors]
    disturbed = machine.disturbances(load_before, session.spins, commits)
    facts["disturbed"] = disturbed
    judged = bars.bars(session.figures, session.sections)
    if options.output == "json":
        report.print_json(report.document(facts, session.figures, judged, session.problems, _OURS))
    else:
        report.print_tables(facts, session.figures, judged, session.problems)
    return 1 if session.problems else 0


if __name__ == "__main__":
    sys.exit(main())
