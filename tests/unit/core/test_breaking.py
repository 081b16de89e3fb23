"""Circuit breakers in the core: an open one holds its job types back, also after a restart; trials; explain."""

from __future__ import annotations

import pytest

from formicary.engine.jobs.parse import parse_source
from formicary.engine.queen.core.explaining import explain
from formicary.lifecycle import CLOSED, HALF_OPEN, OPEN
from tests.unit.core.colony import ORG, Colony

JOB = """\
job_type: {name}
circuit_breaker: {{{breaker}}}
tasks:
- task_type: a
  script: ["true"]
"""
SHARED = "downstream: api, consecutive_failures: 2, open_for: 30s"


def job(name: str, breaker: str = SHARED) -> str:
    """A job file."""
    return JOB.format(name=name, breaker=breaker)


def opened() -> Colony:
    """A colony whose breaker `api` has just opened, with two jobs that wait for it."""
    colony = Colony()
    colony.ant("x", 4)
    pay, ask = colony.define(job("pay")), colony.define(job("ask"))
    for name, definition in (("p1", pay), ("a1", ask)):
        colony.submit(name, definition)
        colony.fail(name, "a")
    colony.submit("p2", pay)
    colony.submit("a2", ask)
    return colony


def state(colony: Colony) -> str:
    """Of the breaker `api`."""
    return colony.core.breaking.known[ORG, "api"].state


def test_job_types_that_share_a_downstream_wait_together() -> None:
    """The failures of both have opened it; jobs of other types go on."""
    colony = opened()
    assert state(colony) == OPEN
    assert colony.states("p2") == {"p2": "PENDING"} and colony.states("a2")["a2"] == "PENDING"
    colony.submit("other", colony.define("job_type: free\ntasks: [{task_type: a, script: ['true']}]"))
    assert colony.states("other")["other"] == "EXECUTING"


def test_half_open_lets_one_through_and_its_success_the_rest() -> None:
    """The oldest is the trial; the other begins as soon as it has completed."""
    colony = opened()
    colony.advance(31.0)
    assert state(colony) == HALF_OPEN
    assert colony.states("p2")["p2"] == "EXECUTING" and colony.states("a2")["a2"] == "PENDING"
    colony.ok("p2", "a")
    assert state(colony) == CLOSED and colony.states("a2")["a2"] == "EXECUTING"


def test_a_trial_that_fails_opens_it_for_as_long_again() -> None:
    """And its own retry waits as well."""
    colony = opened()
    colony.advance(31.0)
    colony.fail("p2", "a")
    assert state(colony) == OPEN and colony.states("a2")["a2"] == "PENDING"
    colony.advance(20.0)
    assert colony.states("a2")["a2"] == "PENDING"
    colony.advance(11.0)
    assert colony.states("a2")["a2"] == "EXECUTING"


def test_it_survives_a_restart_open_and_half_open() -> None:
    """State, due time and trials are rows of the commits that made them."""
    colony = opened()
    colony.restart()
    colony.join("x", claims=())
    assert state(colony) == OPEN and colony.states("p2")["p2"] == "PENDING"
    colony.advance(31.0)
    assert state(colony) == HALF_OPEN and colony.states("p2")["p2"] == "EXECUTING"
    colony.restart()
    colony.join("x")
    assert state(colony) == HALF_OPEN and colony.states("a2")["a2"] == "PENDING"
    colony.ok("p2", "a")
    assert state(colony) == CLOSED and colony.states("a2")["a2"] == "EXECUTING"


def test_a_cancelled_trial_makes_room_for_another() -> None:
    """Who is cancelled says nothing about the downstream."""
    colony = opened()
    colony.advance(31.0)
    colony.cancel("p2")
    colony.result("p2", "a", 4)
    assert state(colony) == HALF_OPEN and colony.states("a2")["a2"] == "EXECUTING"


def test_reset_lets_all_go() -> None:
    """At once."""
    colony = opened()
    colony.core.breaking.reset((ORG, "api"))
    colony.settle()
    assert state(colony) == CLOSED and colony.states("a2")["a2"] == "EXECUTING"


def test_explain_says_so_with_the_time() -> None:
    """Open: until when; half open: whose end it waits for; closed: nothing holds it up."""
    colony = opened()
    found = explain(colony.core, colony.core.jobs["a2"])
    assert "circuit breaker api is OPEN" in found.summary and "in 30.0 s" in found.summary
    (reason,) = (one for one in found.reasons if one.gate == "breaker")
    assert not reason.passed and reason.figures["left_s"] == pytest.approx(30.0) and reason.figures["opened"] == 1
    colony.advance(31.0)
    found = explain(colony.core, colony.core.jobs["a2"])
    assert found.summary == "the circuit breaker api is HALF_OPEN and waits for the end of its trials: p2"


def test_the_newest_version_says_which_policy_counts() -> None:
    """A version without a breaker takes it away from its type."""
    colony = opened()
    colony.define("job_type: ask\ntasks: [{task_type: a, script: ['true']}]")
    assert colony.states("a2")["a2"] == "EXECUTING" and colony.states("p2")["p2"] == "PENDING"
    colony.define(job("pay", "downstream: api, consecutive_failures: 9, open_for: 5s"))
    colony.advance(6.0)
    assert colony.states("p2")["p2"] == "EXECUTING"


@pytest.mark.parametrize(
    ("text", "column", "code"),
    [
        ("failures: 3", 19, "UNKNOWN_FIELD"),
        ("consecutive_failures: 0", 41, "OUT_OF_RANGE"),
        ("failure_rate: 150%", 33, "OUT_OF_RANGE"),
        ("failure_rate: many", 33, "OUT_OF_RANGE"),
        ("window: 10s", 18, "MISSING_FIELD"),
        ("trials: none", 27, "WRONG_TYPE"),
        ("open_for: 0", 18, "OUT_OF_RANGE"),
        ("downstream: 'a b'", 31, "BAD_NAME"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(text: str, column: int, code: str) -> None:
    """Line and column."""
    (parsed,) = parse_source(job("pay", text))
    assert [(one.line, one.column, one.code) for one in parsed.violations] == [(2, column, code)]


def test_shares_are_read_as_percentages() -> None:
    """`50%` is 0.5."""
    (parsed,) = parse_source(job("pay", "failure_rate: 50%, window: 2m, minimum_jobs: 20, open_for: 1m, trials: 3"))
    assert parsed.definition is not None
    assert parsed.definition.circuit_breaker == {
        "failure_rate": 0.5,
        "window": 120.0,
        "minimum_jobs": 20,
        "open_for": 60.0,
        "trials": 3,
    }
