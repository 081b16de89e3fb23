"""What the suite does with tests that fail beside others: a race is named, a fault stays a failure."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.side_by_side import FEW, Part, second_try

RACE = """
from pathlib import Path

def test_race():
    mark = Path(__file__).with_suffix(".seen")
    first = not mark.exists()
    mark.touch()
    assert not first
"""
FAULT = "def test_fault():\n    assert False\n"
GOOD = "def test_good():\n    pass\n"


def part(folder: Path, *files: str) -> Part:
    """A part with test files of these texts, after its first run."""
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    for number, text in enumerate(files):
        (folder / f"test_{number}.py").write_text(text)
    made = Part(folder / "cache", [str(folder)], ["-c", str(folder / "pytest.ini"), f"--rootdir={folder}"])
    made.status = subprocess.run(made.command, stdout=subprocess.DEVNULL, check=False).returncode
    return made


@pytest.mark.parametrize(
    ("files", "flaky", "worst"),
    [
        ([RACE, GOOD], ["test_0.py::test_race"], 0),
        ([RACE, FAULT], ["test_0.py::test_race"], 1),
        ([FAULT, GOOD], [], 1),
        ([RACE] * (FEW + 1), [], 1),
        (["import nothing_of_this_name"], [], 2),
    ],
    ids=["race", "race-and-fault", "fault", "too-many", "not-to-be-read"],
)
def test_only_a_few_races_are_forgiven_and_all_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], flaky: list[str], worst: int
) -> None:
    """Also where a fault stands beside a race."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    tried = part(tmp_path / "suite", *files)
    assert second_try([tried]) == flaky
    assert tried.status == worst
