"""The page of algorithms tells the truth: its examples run, its tests are there, no public function is missing."""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

from formicary.engine.scheduling import policies
from formicary.engine.scheduling.simulation.registry import EVERYWHERE, POLICIES

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/reference/scheduling-algorithms.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: str(BLOCKS.index(block)))
def test_an_example_runs(block: str) -> None:
    exec(compile(block, "scheduling-algorithms.md", "exec", dont_inherit=True), {"__name__": "__main__"})


def test_every_test_that_is_named_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    there = set()
    for folder in ("unit", "property", "acceptance"):
        for file in (ROOT / "tests" / folder).rglob("test_*.py"):
            there |= set(re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE))
    assert len(named) > 60 and named <= there, named - there


def test_every_public_function_and_class_with_a_life_has_an_example() -> None:
    values = {
        "Violation",
        "CapacityError",
        "Preemption",
        "Reservation",
        "Plan",
        "Backup",
        "Limits",
        "Host",
    }  # are answers
    helpers = {"version", "attempt_at"}
    examples, missing = "\n".join(BLOCKS), []
    for module in pkgutil.iter_modules(policies.__path__):
        found = import_module(f"{policies.__name__}.{module.name}")
        for name, what in vars(found).items():
            is_ours = getattr(what, "__module__", "") == found.__name__ and not name.startswith("_")
            if is_ours and (inspect.isfunction(what) or inspect.isclass(what)) and name not in values | helpers:
                missing += [] if re.search(rf"\b{name}\b", examples) else [f"{module.name}.{name}"]
    assert not missing


def test_the_table_of_policies_is_the_registry_s() -> None:
    """Names, kinds, defaults and meanings of all parameters, and the line of each policy."""
    page = (ROOT / "docs/reference/scheduling.md").read_text(encoding="utf-8")
    table = page.split("\n| policy | what it does |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    found: dict[str, list[tuple[str, str, str]]] = {}
    name = ""
    for row in rows:
        name = row[0].strip("`") or name
        if row[1]:
            assert POLICIES[name].meaning == row[1]
        found.setdefault(name, []).append((row[2].strip("`"), row[4].strip("`"), row[5]))
    expected = {name: known.parameters for name, known in POLICIES.items()} | {"every one": EVERYWHERE}
    assert {name: sorted(rows) for name, rows in found.items()} == {
        name: sorted((key, _default(one.default), one.meaning) for key, one in parameters.items())
        for name, parameters in expected.items()
    }


def _default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None or value == {} else str(value)
