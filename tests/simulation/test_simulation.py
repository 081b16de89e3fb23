"""Simulated worlds: no invariant breaks under faults, and each deliberate break of the rules is found.

These are the quick ones; the checks run 2,000 seeds with `python -m tests.simulation.run`, `make soak` 100,000.
"""

import pytest

from tests.simulation.mutants import MUTANTS, applied
from tests.simulation.run import main, setting_of
from tests.simulation.world import BAR, run_seed

SEEDS = 60
CAUGHT_WITHIN = 400
"""Seeds that suffice to catch every break but one, several times over; 2,000 are allowed."""
RARE = {"overtaken_hello": 1500}


@pytest.mark.parametrize("block", range(0, SEEDS, 10))
def test_nothing_breaks(block: int) -> None:
    """Ten seeds each: every job that was accepted ends as it must, whatever crashes on the way."""
    for seed in range(block, block + 10):
        run_seed(seed, setting_of(seed, "any"))


@pytest.mark.parametrize("block", range(0, 24, 8))
def test_nothing_is_where_it_must_not_be(block: int) -> None:
    """Classes, amounts, neighbours, devices: no ant above what it has, no device twice, nobody beside whom he shuns."""
    for seed in range(block, block + 8):
        run_seed(seed, setting_of(seed, "placed"))


def test_the_same_seed_is_the_same_story() -> None:
    """A seed replays event by event."""
    stories = [run_seed(7, BAR).loop.story(400) for _ in range(2)]
    assert stories[0] == stories[1]


def test_faults_do_happen() -> None:
    """The workload of the speed bar has at least five crashes and not a single commit per row."""
    world = run_seed(11, BAR)
    assert world.faults.crashes >= 5
    assert world.store.inner.commits < world.loop.events


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_each_break_is_found(mutant: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken fence, a lost acknowledgement, an ant without self-fence and others: each is a violation soon."""
    assert main(["--mutant", mutant, "--seeds", str(RARE.get(mutant, CAUGHT_WITHIN))]) == 1
    shown = capsys.readouterr().out
    assert "Violation" in shown
    assert shown.splitlines()[-1].endswith("1 failed")


def test_nothing_stays_broken() -> None:
    """A mutant is gone when its context ends."""
    with applied("broken_fence"):
        pass
    run_seed(9, setting_of(9, "any"))


def test_a_failure_names_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    """The report holds the seed, the last events and how to replay it."""
    main(["--mutant", "no_self_fence", "--seeds", str(CAUGHT_WITHIN)])
    shown = capsys.readouterr().out
    assert "after" in shown and "events; the last of them:" in shown
    assert "replay with: python -m tests.simulation.run --seed" in shown


def test_the_command_sums_up(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line counts the seeds."""
    assert main(["--seeds", "4", "--start", "20"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 passed, 0 failed"
