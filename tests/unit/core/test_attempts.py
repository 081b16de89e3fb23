"""Attempts: time-outs, what a row says after each end, bounds."""

import json
from typing import Any

import pytest

from formicary.engine.jobs.lifecycle import IllegalTransition
from formicary.engine.jobs.model import Backoff, JobDefinition, TaskDefinition
from formicary.engine.queen.core import outcome as ends
from tests.unit.core.colony import WALL, Colony


def colony_with(task: TaskDefinition, *others: TaskDefinition, **fields: Any) -> Colony:
    """A colony whose job `j` has begun on an ant `x`."""
    colony = Colony()
    colony.ant("x", 4)
    colony.submit("j", colony.define(JobDefinition("one", (task, *others), **fields)))
    return colony


def timeout_of(colony: Colony) -> float:
    """Time-out of the newest attempt."""
    return next(iter(colony.workers["x"].held.values())).timeout_s


@pytest.mark.parametrize(
    ("task", "job", "expected"),
    [
        ({}, {}, 3600.0),
        ({"timeout_s": 5.0}, {}, 5.0),
        ({"timeout_s": 100.0}, {"timeout_s": 60.0}, 60.0),
        ({}, {"timeout_s": 9000.0}, 3600.0),
    ],
)
def test_an_attempt_runs_within_its_own_time_and_the_jobs(
    task: dict[str, Any], job: dict[str, Any], expected: float
) -> None:
    """`timeout` is 1 h by default and never longer than what is left of the job's."""
    assert timeout_of(colony_with(TaskDefinition("a", **task), **job)) == pytest.approx(expected)


def test_the_total_time_out_bounds_later_attempts() -> None:
    """A second attempt gets what is left; where nothing would be left there is none."""
    colony = colony_with(
        TaskDefinition("a", retry=9, total_timeout_s=10.0, delay_between_retries_s=(4.0, 4.0)),
    )
    colony.fail("j", "a")
    colony.advance(4.0)
    assert timeout_of(colony) == pytest.approx(6.0)
    colony.fail("j", "a")
    colony.advance(4.0)
    assert timeout_of(colony) == pytest.approx(2.0)
    colony.fail("j", "a")
    assert colony.states("j") == {"j": "FAILED", "a": "FAILED"}


def test_backoff_grows() -> None:
    """Exponential: 1, 2, 4 seconds."""
    colony = colony_with(TaskDefinition("a", retry=3, retry_backoff=Backoff(min_s=1.0, max_s=60.0, factor=2.0)))
    for wait in (1.0, 2.0, 4.0):
        colony.fail("j", "a")
        run = colony.task("j", "a")
        assert run is not None and run.timer_at == pytest.approx(WALL + colony.mono + wait)
        colony.advance(wait)
    colony.fail("j", "a")
    assert colony.job("j").state == "FAILED"


def test_a_new_attempt_forgets_how_the_last_one_ended() -> None:
    """Exit code, error, outputs and end belong to one attempt; counters and the first start stay."""
    colony = colony_with(TaskDefinition("a", retry=1, delay_between_retries_s=(1.0, 1.0)))
    colony.fail("j", "a", 3, outputs={"x": 1}, error_message="broken", traceback="there")
    started = colony.wall
    colony.advance(1.0)
    run = colony.task("j", "a")
    assert run is not None
    assert (run.exit_code, run.error_code, run.error_message, run.traceback, run.outputs, run.ended_at) == (None,) * 6
    assert (run.attempts, run.failures, run.started_at) == (2, 1, started)


def test_the_ant_s_own_stop_is_a_lost_attempt() -> None:
    """CANCELLED that nobody asked for (the ant was stopped) costs no retry and starts again."""
    colony = colony_with(TaskDefinition("a"))
    colony.result("j", "a", ends.CANCELLED)
    run = colony.task("j", "a")
    assert run is not None and (run.state, run.attempts, run.failures, run.lost) == ("DISPATCHED", 2, 0, 1)


def test_lost_siblings_of_a_failed_job_are_not_begun_again() -> None:
    """What was running when the end was decided may finish; if it is lost, that is its end."""
    colony = colony_with(TaskDefinition("a"), TaskDefinition("b"))
    colony.fail("j", "a")
    colony.result("j", "b", ends.LOST)
    assert colony.states("j") == {"j": "FAILED", "a": "FAILED", "b": "CANCELLED"}


def test_always_run_keeps_its_retries_when_the_job_is_stopped() -> None:
    """A clean-up that is lost or fails is tried again like any task."""
    clean = TaskDefinition("clean", always_run=True, retry=1, delay_between_retries_s=(1.0, 1.0))
    colony = colony_with(TaskDefinition("a"), clean)
    colony.cancel("j")
    colony.result("j", "a", ends.CANCELLED)
    colony.result("j", "clean", ends.LOST)
    colony.fail("j", "clean")
    colony.advance(1.0)
    colony.ok("j", "clean")
    assert colony.states("j") == {"j": "CANCELLED", "a": "CANCELLED", "clean": "COMPLETED"}
    run = colony.task("j", "clean")
    assert run is not None and (run.attempts, run.failures, run.lost) == (3, 1, 1)


def test_a_cancel_before_the_deadline_stays_a_cancel() -> None:
    """The job's time-out does not overrule it while the task is being ended."""
    colony = colony_with(TaskDefinition("a"), timeout_s=10.0)
    colony.advance(9.0)
    colony.cancel("j")
    colony.advance(5.0)
    colony.result("j", "a", ends.CANCELLED)
    assert colony.job("j").state == "CANCELLED"


def test_two_tasks_may_ask_for_a_pause() -> None:
    """The second one waits with the first; both go on when the job does."""
    codes = {"8": "PAUSE_JOB"}
    colony = colony_with(TaskDefinition("a", on_exit_code=codes), TaskDefinition("b", on_exit_code=codes))
    colony.fail("j", "a", 8)
    colony.fail("j", "b", 8)
    assert colony.states("j") == {"j": "PAUSED", "a": "WAITING", "b": "WAITING"}
    colony.resume("j")
    assert colony.states("j") == {"j": "EXECUTING", "a": "DISPATCHED", "b": "DISPATCHED"}


def test_only_a_paused_job_can_be_resumed() -> None:
    """Anything else is refused and changes nothing."""
    colony = colony_with(TaskDefinition("a"))
    with pytest.raises(IllegalTransition):
        colony.resume("j")
    assert colony.states("j") == {"j": "EXECUTING", "a": "DISPATCHED"}


def test_nothing_is_begun_while_a_text_is_rendered_for_a_paused_job() -> None:
    """An answer that comes while the job is paused is dropped; the text is rendered again when it goes on."""
    source = """
job_type: pausing
tasks:
- task_type: a
  script: ["true"]
  on_exit_code: {8: PAUSE_JOB}
- task_type: b
  script: ["echo {{.JobID}}"]
  dependencies: [c]
- task_type: c
  script: ["true"]
"""
    colony = Colony()
    colony.ant("x", 4)
    colony.submit("j", colony.define(source))
    colony.holds_rendering = True
    colony.ok("j", "c")
    colony.fail("j", "a", 8)
    assert colony.states("j") == {"j": "PAUSED", "a": "WAITING", "b": "WAITING", "c": "COMPLETED"}
    colony.holds_rendering = False
    colony.resume("j")
    assert colony.states("j") == {"j": "EXECUTING", "a": "DISPATCHED", "b": "DISPATCHED", "c": "COMPLETED"}


def test_polls_of_the_final_phase_are_bounded() -> None:
    """Without `retry` and `total_timeout` the length of the job's time-out bounds them."""
    poll = TaskDefinition(
        "clean", always_run=True, on_exit_code={"7": "EXECUTING"}, delay_between_retries_s=(10.0, 10.0)
    )
    colony = colony_with(TaskDefinition("a"), poll, timeout_s=60.0)
    colony.ok("j", "a")
    for _ in range(20):
        if "j" not in colony.core.jobs:
            break
        colony.fail("j", "clean", 7)
        colony.advance(10.0)
    assert colony.states("j")["clean"] == "FAILED"


def test_later_outputs_win_and_each_task_s_own_stay() -> None:
    """Two tasks that set one name: the later commit counts; the earlier one's is still there under the task."""
    colony = colony_with(
        TaskDefinition("a", on_completed="b"), TaskDefinition("b", on_completed="c"), TaskDefinition("c")
    )
    colony.ok("j", "a", outputs={"n": 1, "only": "a"})
    colony.ok("j", "b", outputs={"n": 2})
    (grant,) = colony.workers["x"].held.values()
    assert json.loads(grant.variables) == {"a": {"n": 1, "only": "a"}, "b": {"n": 2}, "n": 2, "only": "a"}
    colony.ok("j", "c")
    assert json.loads(colony.ended[-1].outputs) == {"n": 2, "only": "a"}
