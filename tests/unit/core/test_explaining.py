"""Jobs that are stuck in different ways, and the reason that `explain` gives for each."""

from dataclasses import replace

import pytest

from formicary.engine.jobs.model import JobDefinition, TaskDefinition
from formicary.engine.queen.core.explaining import Explanation, explain
from tests.unit.core.colony import Colony

ONE = JobDefinition("one", (TaskDefinition("a"),))
GPU = JobDefinition("gpu", (TaskDefinition("a", tags=frozenset({"gpu", "eu"})),))


@pytest.fixture
def colony() -> Colony:
    """An empty colony."""
    return Colony()


def why(colony: Colony, job_id: str) -> Explanation:
    """What explain says; asking changes nothing."""
    before = colony.states(job_id)
    found = explain(colony.core, colony.core.jobs[job_id])
    assert colony.states(job_id) == before and not colony.core.dirty()
    assert found.summary == next((one.message for one in found.reasons if not one.passed), "nothing holds it up")
    return found


def gates(found: Explanation) -> dict[str, bool]:
    return {one.gate: one.passed for one in found.reasons}


def test_no_ant(colony: Colony) -> None:
    """Nobody is there."""
    colony.submit("j", colony.define(ONE))
    found = why(colony, "j")
    assert found.summary == "no ant is connected" and found.state == "PENDING"
    assert gates(found) == {"time": True, "place": False, "order": True}


def test_no_ant_fits(colony: Colony) -> None:
    """Each ant's lack is told."""
    colony.ant("x", tags=frozenset({"eu"}))
    colony.ant("y", methods=frozenset({"HTTP_GET"}), tags=frozenset({"eu", "gpu"}))
    colony.submit("j", colony.define(GPU))
    assert why(colony, "j").summary == "none of 2 ants fits: x lacks tag gpu; y lacks method SHELL"


def test_all_are_full(colony: Colony) -> None:
    """With the figures, and the place in the order: higher priority first, then first come."""
    name = colony.define(ONE)
    colony.ant("x", 2)
    for i in range(5):
        colony.submit(f"j{i}", name)
    colony.submit("vip", name, priority=9)
    found = why(colony, "j3")
    assert found.summary == "all 1 ants that fit are full: 2 of 2 places taken"
    order = next(one for one in found.reasons if one.gate == "order")
    assert order.figures == {"ahead": 2, "ahead_of_all": 2} and not order.passed
    assert order.message.startswith("place 3 among those that need the same, 3 of all (priority ")
    assert gates(why(colony, "vip"))["order"]


def test_all_are_away(colony: Colony) -> None:
    """Draining and disconnected ants get nothing."""
    x = colony.ant("x")
    colony.ant("y")
    colony.core.drain(x.session)
    colony.drop("y")
    colony.submit("j", colony.define(ONE))
    assert why(colony, "j").summary == "all 2 ants that fit are away: 1 disconnected, 1 draining"


def test_a_concurrency_limit(colony: Colony) -> None:
    """max_concurrency with its figures, though an ant is free."""
    name = colony.define(replace(ONE, max_concurrency=2))
    colony.ant("x", 4)
    for i in range(3):
        colony.submit(f"j{i}", name)
    found = why(colony, "j2")
    assert found.summary == "2 of at most 2 executions of one are running (max_concurrency)"
    assert gates(found) == {"time": True, "concurrency": False, "order": True, "place": True}


def test_a_scheduled_start(colony: Colony) -> None:
    """When, and how long still."""
    colony.ant("x")
    colony.submit("j", colony.define(ONE), after_s=60)
    colony.advance(20)
    found = why(colony, "j")
    assert found.summary.startswith("waits for its scheduled start: 20") and found.summary.endswith("in 40.0 s")
    assert gates(found) == {"time": False}


def test_a_retry_delay(colony: Colony) -> None:
    """The task's next attempt is due later."""
    colony.ant("x")
    text = "job_type: r\ntasks:\n- task_type: a\n  method: SHELL\n  script: [x]\n"
    name = colony.define(text + "  retry: 2\n  delay_between_retries: 30s\n")
    colony.submit("j", name)
    colony.fail("j", "a")
    found = why(colony, "j")
    assert found.reasons[0].task_type == "a" and found.summary.startswith("a waits for its next attempt: ")


def test_a_poll(colony: Colony) -> None:
    """A sensor sleeps between two polls and holds no slot."""
    colony.ant("x")
    text = "job_type: s\ntasks:\n- task_type: a\n  method: SHELL\n  script: [x]\n  delay_between_retries: 15s\n"
    colony.submit("j", colony.define(text + "  on_exit_code:\n    '7': EXECUTING\n"))
    colony.fail("j", "a", 7)
    assert why(colony, "j").summary.startswith("a waits for its next poll: ")


def test_a_pause(colony: Colony) -> None:
    """It goes on by itself at a time, or when somebody lets it."""
    colony.ant("x")
    text = "job_type: p\ntasks:\n- task_type: a\n  method: SHELL\n  script: [x]\n  on_exit_code:\n    '3': PAUSE_JOB\n"
    colony.submit("j", colony.define(text))
    colony.fail("j", "a", 3)
    found = why(colony, "j")
    assert found.state == "PAUSED" and "`formicary resume`" in found.summary and "in 35.0 s" in found.summary


def test_a_task_behind_others(colony: Colony) -> None:
    """A job that has begun: one task runs, the next waits for an ant."""
    two = JobDefinition("two", (TaskDefinition("a"), TaskDefinition("b", dependencies=("a",)), TaskDefinition("c")))
    colony.ant("x", 1)
    colony.submit("j", colony.define(two))
    found = why(colony, "j")
    by_task = {(one.task_type, one.gate): one for one in found.reasons}
    assert by_task["a", "work"].message == "a has been given to x, attempt 1"
    assert found.summary == "all 1 ants that fit are full: 1 of 1 places taken" and not by_task["c", "place"].passed


def test_one_that_runs(colony: Colony) -> None:
    """Nothing holds it up."""
    colony.ant("x")
    colony.submit("j", colony.define(ONE))
    colony.started("j", "a")
    found = why(colony, "j")
    assert found.summary == "nothing holds it up"
    assert [one.message for one in found.reasons] == ["a is running on x, attempt 1"]


def test_one_that_is_being_cancelled(colony: Colony) -> None:
    """What runs still ends, nothing new begins."""
    colony.ant("x")
    colony.submit("j", colony.define(ONE))
    colony.started("j", "a")
    colony.cancel("j")
    assert why(colony, "j").summary == "the job is being ended (CANCELLED): only what runs still ends"
