"""The corpus where people decide: parties vote on a running server, one after the other, some of them wrongly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import Up, until

FILE = "tests/acceptance/corpus/voted/three_parties.yaml"
WAITS = "MANUAL_APPROVAL_REQUIRED"
STRANGER = TWICE = 1
Vote = tuple[str, str, int]
"""approve or reject, who, and the exit status of the command."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server for all."""
    server = Up(tmp_path_factory.mktemp("votes") / "data", "--ants", "1", "--slots", "2")
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("votes", "state", "ends"),
    [
        (
            {
                "testers": [("approve", "olga", STRANGER), ("approve", "tom", 0)],
                "operations": [("approve", "olga", 0), ("approve", "olga", TWICE), ("approve", "oskar", 0)],
                "board": [("approve", "bea", 0), ("approve", "ben", 0)],
            },
            "COMPLETED",
            "build COMPLETED, testers COMPLETED, operations COMPLETED, board COMPLETED, release COMPLETED,"
            " undo SKIPPED, done COMPLETED",
        ),
        (
            {
                "testers": [("approve", "tess", 0)],
                "operations": [("approve", "otto", 0), ("approve", "oskar", 0)],
                "board": [("approve", "ben", 0), ("reject", "bea", 0)],
            },
            "FAILED",
            "build COMPLETED, testers COMPLETED, operations COMPLETED, board FAILED, release SKIPPED,"
            " undo COMPLETED, done COMPLETED",
        ),
    ],
    ids=["all agree", "one of the board does not"],
)
def test_parties_vote_one_after_the_other(votes: dict[str, list[Vote]], state: str, ends: str, up: Up) -> None:
    """Each gate opens with the last vote that it takes, and not before; strangers and second votes are refused."""
    job = json.loads(up.cli("submit", FILE, "--output", "json"))["ids"][0]

    def states() -> dict[str, str]:
        return {task["task_type"]: task["state"] for task in up.job(job)["tasks"]}

    def until_waiting(gate: str) -> None:
        until(lambda: states()[gate] == WAITS, 20, f"{gate} waits for votes")

    for gate, given in votes.items():
        until_waiting(gate)
        for word, who, status in given:
            assert states()[gate] == WAITS, (gate, who)
            up.cli(word, job, gate, "--as", who, status=status)
    until(lambda: up.job(job)["state"] in ("COMPLETED", "FAILED"), 20, "the job's end")
    assert up.job(job)["state"] == state
    assert ", ".join(f"{name} {end}" for name, end in states().items()) == ends


def test_every_file_of_it_is_voted_on() -> None:
    """Nothing lies there that no test uses."""
    assert [path.name for path in (Path(__file__).parent / "corpus" / "voted").iterdir()] == [Path(FILE).name]
