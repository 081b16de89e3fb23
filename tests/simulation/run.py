"""Runs simulated worlds: `python -m tests.simulation.run --seeds 2000 [--start S] [--processes N]`.

A failing seed is printed with the last events of its world; `--seed N --trace` replays it event by event. `--bench`
measures the workload of the speed bar; `--workload placed` has jobs that say where they run. The exit status is 0 only
if no seed failed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterable, Iterator

from tests.simulation.mutants import MUTANTS, PLACED, applied
from tests.simulation.world import BAR, Setting, any_setting, placed_setting, run_seed

Report = tuple[int, int, str]
"""Seed, events, and what went wrong or nothing."""
SHOWN_FAILURES = 3


def setting_of(seed: int, workload: str) -> Setting:
    """The world of a seed: every fifth one is of the size of the bar, the others are drawn."""
    if workload == "placed":
        return placed_setting(seed)
    return BAR if workload == "bar" or (workload == "any" and seed % 5 == 0) else any_setting(seed)


def try_seed(task: tuple[int, str, str]) -> Report:
    """Runs one seed and says how it went."""
    seed, workload, mutant = task
    try:
        with applied(mutant):
            return seed, run_seed(seed, setting_of(seed, workload)).loop.events, ""
    except Exception as error:
        return seed, 0, "".join(traceback.format_exception(error))


def reports(tasks: list[tuple[int, str, str]], processes: int) -> Iterator[Report]:
    """Runs seeds, here or in several processes; in order of their end."""
    if processes <= 1:
        yield from map(try_seed, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(try_seed, tasks, chunksize=8)


def run_many(found: Iterable[Report], total: int, *, stop_at_first: bool) -> int:
    """Shows progress, the first failures and a summary; returns the number of failures."""
    begun = shown = time.perf_counter()
    passed = events = 0
    failures: list[int] = []
    for seed, count, problem in found:
        events += count
        passed += not problem
        if problem:
            failures.append(seed)
            if len(failures) <= SHOWN_FAILURES:
                print(f"\nseed {seed} failed:\n{problem}")
            if stop_at_first:
                break
        now = time.perf_counter()
        if now - shown > 5.0:
            shown = now
            print(f"{passed + len(failures)} of {total} seeds, {events / (now - begun):,.0f} events/s", flush=True)
    print(f"{events:,} events in {time.perf_counter() - begun:.1f} s")
    if failures:
        print(f"replay with: python -m tests.simulation.run --seed {failures[0]} --trace (and the same options)")
        print("failed seeds:", *failures[:50])
    print(f"{passed} passed, {len(failures)} failed")
    return len(failures)


def bench(seeds: int, start: int) -> dict[str, object]:
    """Speed of the bar's workload in one process, all invariants on: full scans each 50 events and at the end."""
    run_seed(start, BAR)
    events = crashes = 0
    begun = time.perf_counter()
    for seed in range(start, start + seeds):
        world = run_seed(seed, BAR)
        events += world.loop.events
        crashes += world.faults.crashes
    elapsed = time.perf_counter() - begun
    return {
        "events_per_s": round(events / elapsed),
        "seeds": seeds,
        "events": events,
        "crashes_per_seed": round(crashes / seeds, 1),
        "elapsed_s": round(elapsed, 3),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (default 200)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, help="run this one only")
    parser.add_argument("--trace", action="store_true", help="print every event of --seed")
    parser.add_argument("--processes", type=int, default=1, help="processes to use (default 1)")
    parser.add_argument(
        "--workload", choices=("any", "bar", "drawn", "placed"), default="any", help="size of the worlds"
    )
    parser.add_argument("--mutant", choices=sorted(MUTANTS), default="", help="run with a deliberate break")
    parser.add_argument("--bench", action="store_true", help="measure the bar's workload, print JSON")
    options = parser.parse_args(arguments)
    if options.bench:
        print(json.dumps(bench(options.seeds, options.start)))
        return 0
    if options.seed is not None:
        with applied(options.mutant):
            world = run_seed(options.seed, setting_of(options.seed, options.workload), trace=options.trace)
        print(f"seed {options.seed}: {world.loop.events} events, nothing wrong")
        return 0
    if options.mutant in PLACED and options.workload == "any":
        options.workload = "placed"
    tasks = [(seed, options.workload, options.mutant) for seed in range(options.start, options.start + options.seeds)]
    found = reports(tasks, options.processes)
    return 1 if run_many(found, len(tasks), stop_at_first=bool(options.mutant)) else 0


if __name__ == "__main__":
    sys.exit(main())
