"""Tasks of the Python front end that wait for people."""

from datetime import timedelta

import pytest

from formicary import job, task
from formicary.dsl import DefinitionError, approval
from formicary.engine.jobs.approval import read_policy


@task
def build() -> str:
    return "built"


@task
def ship() -> str:
    return "shipped"


@task
def undo() -> None:
    return None


@job
def release(wait: int = 1) -> None:
    gate = approval(
        "gate",
        min_approvals=2,
        allowed_users=["ann", "bob"],
        sla_deadline=timedelta(hours=1),
        timeout_action="ESCALATE",
    )
    gate.after(build()).on_exit_code({"APPROVED": ship(), "REJECTED": undo()})


@job
def waved_through() -> None:
    ship_it = ship()
    approval("gate", sla_deadline=0.05, timeout_action="AUTO_APPROVE").after(build()).on_completed(ship_it)


def test_both_front_ends_make_the_same_task() -> None:
    """Method, policy, routes and dependencies are those that a job file would say."""
    gate = release.definition().task("gate")
    assert gate.method == "MANUAL" and gate.function is None and gate.dependencies == ("build",)
    policy = read_policy(gate.approval_policy)
    assert (policy.min_approvals, policy.allowed_users, policy.sla_deadline_s) == (2, ("ann", "bob"), 3600.0)
    assert policy.timeout_action == "ESCALATE"
    assert gate.on_exit_code == {"APPROVED": "ship", "REJECTED": "undo"}


def test_it_runs_in_a_test_without_a_server() -> None:
    """A deadline that approves lets `run()` go through; the tasks behind it run."""
    result = waved_through.run()
    assert result.state == "COMPLETED"
    assert [one.state for one in result.tasks.values()] == ["COMPLETED"] * 3


def test_outside_of_a_job_there_is_nothing_to_approve() -> None:
    """The error says where it belongs."""
    with pytest.raises(DefinitionError, match="inside of a job's function"):
        approval("gate")
