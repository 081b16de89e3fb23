"""The table of weak points is whole, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ROW = re.compile(r"^\| (W-\d+) \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)


def rows() -> list[tuple[str, str, str, list[str]]]:
    """Number, there, here, and the tests of each row."""
    page = (ROOT / "docs" / "reference" / "weak-points.md").read_text("utf-8")
    return [(number, there, here, re.findall(r"`([^`]+)`", tests)) for number, there, here, tests in ROW.findall(page)]


def test_every_weak_point_has_its_row() -> None:
    """W-1 to W-47, in order, each with something to say and a test."""
    found = rows()
    assert [number for number, *_ in found] == [f"W-{number}" for number in range(1, 48)]
    assert all(there.endswith(".") and here.endswith(".") and tests for _, there, here, tests in found)


def test_every_test_that_is_named_exists() -> None:
    """A function of a test module by its name, a scenario by its file."""
    missing = []
    for number, _, _, tests in rows():
        for test in tests:
            file, _, name = test.partition("::")
            path = ROOT / file
            if not path.is_file() or not file.startswith("tests/"):
                missing.append(f"{number}: {test}")
            elif name:
                tree = ast.parse(path.read_text("utf-8"))
                functions = {
                    node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                }
                missing += [] if name in functions and name.startswith("test_") else [f"{number}: {test}"]
            elif path.suffix != ".txt" or path.parent.name != "scenarios":
                missing.append(f"{number}: {test}")
    assert missing == []
