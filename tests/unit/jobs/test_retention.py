"""How long a job is kept."""

from __future__ import annotations

import math

import pytest

from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.retention import DAY_S, kept_until

SOURCE = """job_type: a
retention_days_for_failed: 2
retention_days_for_completed: 0
tasks:
- task_type: t
  script: ['true']
"""


@pytest.mark.parametrize(
    ("state", "expected"),
    [("FAILED", 1000 + 2 * DAY_S), ("COMPLETED", math.inf), ("CANCELLED", 1000 + 30 * DAY_S), ("EXECUTING", math.inf)],
)
def test_the_definition_says_how_long_by_end(state: str, expected: float) -> None:
    """Named days count, 0 is for ever, the default holds where nothing is named, a live job is never over."""
    parsed = parse_source(SOURCE, filename="a.yaml")[0]
    assert parsed.definition is not None and not parsed.violations
    assert kept_until(parsed.definition, state, 1000.0) == expected


def test_a_definition_that_cannot_be_read_has_the_defaults() -> None:
    assert kept_until(None, "COMPLETED", 5.0) == 5.0 + 7 * DAY_S


def test_a_dead_letter_that_nobody_has_handled_stays_longer_than_its_job_asks_for() -> None:
    """Ninety days at least; what is kept for ever or longer stays so."""
    named = parse_source(SOURCE, filename="a.yaml")[0].definition
    assert kept_until(named, "FAILED", 0.0, is_dead=True) == 90 * DAY_S
    longer = parse_source(SOURCE.replace("failed: 2", "failed: 200"), filename="a.yaml")[0].definition
    assert kept_until(longer, "FAILED", 0.0, is_dead=True) == 200 * DAY_S
    ever = parse_source(SOURCE.replace("failed: 2", "failed: 0"), filename="a.yaml")[0].definition
    assert kept_until(ever, "FAILED", 0.0, is_dead=True) == math.inf
