"""Jobs whose template makes their tasks are forked like all others: each from its own parameters, once."""

from __future__ import annotations

from tests.unit.core.colony import Colony

MADE = """\
job_type: made
dynamic_template_tasks: true
tasks:
- task_type: begin
  script: ["true"]
{{- range $val := Iterate .steps }}
- task_type: step-{{ $val }}
  script: ["true"]
  dependencies: [begin]
{{- end }}
"""
FORK = """\
job_type: parent
tasks:
- task_type: fork
  method: FORK_JOB
  fork_job_type: made
  variables: {steps: 2}
  on_completed: join
- task_type: join
  method: AWAIT_FORKED_JOB
  await_forked_tasks: [fork]
"""
FAN = """\
job_type: fan
tasks:
- task_type: each
  method: FAN_OUT_JOB
  fork_job_type: made
  fan_out: {source: [1, 2, 1], item_var: steps, max_parallel: 2}
"""


def finish(colony: Colony) -> None:
    """Completes what ants hold until nothing more comes."""
    while held := [grant for worker in colony.workers.values() for grant in worker.held.values()]:
        for grant in held:
            colony.ok(grant.job_id, colony._task_name(grant))


def test_a_fork_makes_the_tasks_of_its_job_first() -> None:
    """The forked job has the tasks that its template makes of the parameters, and is joined."""
    colony = Colony()
    colony.ant("x", 9)
    colony.define(MADE)
    colony.submit("p", colony.define(FORK))
    (child,) = [job for job in colony.core.jobs if job != "p"]
    assert [task.task_type for task in colony.core.jobs[child].definition.model.tasks] == ["begin", "step-0", "step-1"]
    finish(colony)
    assert {end.id: end.state for end in colony.ended} == {child: "COMPLETED", "p": "COMPLETED"}


def test_each_of_a_fan_out_has_its_own_and_never_too_many_are_open() -> None:
    """Two at a time; those whose tasks are being made count."""
    colony = Colony()
    colony.ant("x", 9)
    colony.expands = False
    colony.define(MADE)
    colony.submit("p", colony.define(FAN))
    assert len(colony.to_expand) == 2 and len(colony.core.jobs) == 1
    colony.expands = True
    colony.expand()
    colony.settle()
    made = [colony.core.jobs[name].definition.model.tasks for name in colony.core.jobs if name != "p"]
    assert sorted(len(tasks) for tasks in made) == [2, 3]
    finish(colony)
    assert [end.state for end in colony.ended] == ["COMPLETED"] * 4


def test_a_restart_while_they_are_made_makes_them_again_and_forks_once() -> None:
    """An answer to the queen that is gone changes nothing."""
    colony = Colony()
    colony.ant("x", 9)
    colony.expands = False
    colony.define(MADE)
    colony.submit("p", colony.define(FORK))
    stale = list(colony.to_expand)
    colony.to_expand = []
    colony.restart()
    colony.join("x")
    assert [request.index for request in colony.to_expand] == [0] and len(stale) == 1
    colony.expands = True
    colony.expand()
    colony.settle()
    finish(colony)
    assert [end.state for end in colony.ended] == ["COMPLETED", "COMPLETED"]


def test_what_cannot_be_made_fails_the_fork_with_its_reason() -> None:
    """And a job that is cancelled meanwhile forks nothing any more."""
    colony = Colony()
    colony.ant("x", 9)
    colony.define(MADE.replace("step-{{ $val }}", "step"))
    colony.submit("p", colony.define(FORK))
    (end,) = colony.ended
    assert (end.state, end.error_code) == ("FAILED", "ERR_FORK") and "step" in end.error_message
    colony.expands = False
    colony.define(MADE)
    colony.submit("q", colony.define(FAN))
    colony.cancel("q")
    colony.expands = True
    colony.expand()
    colony.settle()
    assert colony.ended[-1].state == "CANCELLED" and not colony.core.jobs
