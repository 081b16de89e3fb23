"""A queue's own past in the simulator: what was, and what would have been."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from formicary.embedded import Colony, ColonyConfig
from formicary.engine.queen.history import read_history, with_more
from formicary.engine.scheduling.simulation.workload import Ant, Cluster
from formicary.engine.storage.backends import open_store
from tests.acceptance.test_kills import slowness
from tests.forks import run_forked

LONG = "job_type: long\ntasks:\n- task_type: t\n  script: ['sleep 1.2']\n"
SHORT = "job_type: short\ntasks:\n- task_type: t\n  script: ['sleep 0.2']\n"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's data after one ant with one slot ran one long job and three short ones behind it."""
    folder = tmp_path_factory.mktemp("past")

    async def work() -> None:
        async with Colony(ColonyConfig(folder, slots=1)) as colony:
            long, short = await colony.register(LONG), await colony.register(SHORT)
            await colony.queen.ended([await colony.submit(long), *[await colony.submit(short) for _ in range(3)]])

    asyncio.run(work())
    return folder


def simulate(past: Path, *more: str) -> dict[str, dict[str, float]]:
    """Summaries by policy, as the command prints them."""
    done = run_forked(("simulate", "--history", str(past), "--output", "json", *more))
    assert done.returncode == 0, done.stderr
    return {one["policy"]: one["summary"] for one in json.loads(done.stdout)}


def test_the_past_is_read_as_it_was(past: Path) -> None:
    store = open_store(past)
    try:
        found = read_history(store, "local", 0.0)
        later = read_history(store, "local", time.time() + 60)
        others = read_history(store, "somebody else", 0.0)
    finally:
        store.close()
    assert [job.queue for job in found.jobs] == ["long", "short", "short", "short"]
    assert [ant.capacity for ant in found.cluster.ants] == [{"slots": 1.0}]
    assert 1.1 < found.jobs[0].runtime < 3 + slowness()
    starts = [ran.start for ran in found.outcome.jobs]
    assert starts == sorted(starts, key=float)  # type: ignore[arg-type]  # all of them started
    assert (len(later.jobs), len(others.jobs)) == (0, 0)


def test_fcfs_of_the_past_is_about_what_happened_and_more_ants_make_it_shorter(past: Path) -> None:
    same = simulate(past, "--policy", "fcfs")
    assert same["fcfs"]["makespan"] == pytest.approx(same["as it was"]["makespan"], abs=1.0 + slowness())
    more = simulate(past, "--policy", "fcfs", "--add-ants", "10")
    assert more["fcfs"]["mean_wait"] == 0 < more["as it was"]["mean_wait"]


def test_more_ants_are_like_the_largest_with_every_tag() -> None:
    small, large = Ant("a", {"slots": 1.0}, frozenset({"x"})), Ant("b", {"slots": 4.0}, frozenset({"y"}))
    more = with_more(Cluster((small, large)), 2).ants[2:]
    assert [(ant.id, ant.capacity, ant.tags) for ant in more] == [
        ("more-1", {"slots": 4.0}, {"x", "y"}),
        ("more-2", {"slots": 4.0}, {"x", "y"}),
    ]
    assert with_more(Cluster(()), 3) == Cluster(())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--history", "nowhere"], "there is no formicary.db in it"),
        (["--history", "nowhere", "--since", "soon"], "--since soon: write a duration"),
        (["--history", "nowhere", "--workload", "w.jsonl"], "give either --workload FILE or --history DATA"),
    ],
)
def test_a_past_that_cannot_be_read_is_refused(arguments: list[str], sentence: str) -> None:
    done = run_forked(("simulate", *arguments, "--policy", "fcfs"))
    assert done.returncode == 2
    assert sentence in done.stderr


def test_a_past_without_jobs_says_so(past: Path) -> None:
    done = run_forked(("simulate", "--history", str(past), "--org", "x", "--policy", "fcfs"))
    assert done.returncode == 2
    assert "no job of x that was submitted in the last 7d has run and ended" in done.stderr
