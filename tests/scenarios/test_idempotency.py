"""The scenarios of idempotency.yaml hold for the real middleware, and the runner sees what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.scenarios.idempotency_runner import Scenario, Step, read, run

_FILE = Path(__file__).with_name("idempotency.yaml")
SCENARIOS = read(_FILE)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario) -> None:
    """Every step gives what it expects."""
    assert run(scenario) == []


def _changed(step: Step, name: str, value: object) -> None:
    setattr(step.expect, name, value)


@pytest.mark.parametrize(
    ("name", "value"), [("status", 299), ("code", "NO"), ("body", "no"), ("replayed", True), ("executions", 99)]
)
def test_the_runner_sees_what_is_not_as_expected(name: str, value: object) -> None:
    """One wrong expectation is one sentence."""
    (scenario,) = (each for each in read(_FILE) if each.name == "a retry gets the same answer")
    _changed(scenario.steps[0], name, value)
    (line,) = run(scenario)
    assert line.startswith(f"step 1: {name} is ")


def test_unknown_words_are_refused() -> None:
    """A misspelt field is no expectation that always holds."""
    words = yaml.safe_load(_FILE.read_text())
    words[0]["steps"][0]["expect"]["stauts"] = 200
    import msgspec

    with pytest.raises(msgspec.ValidationError, match="stauts"):
        msgspec.convert(words, list[Scenario])
