"""Virtual resources in the core: never given out twice, kept over a restart, in order, inherited, explained."""

from __future__ import annotations

import pytest

from formicary.engine.queen.core.explaining import explain
from tests.unit.core.colony import ORG, Colony

TASK = """\
job_type: {name}
tasks:
- task_type: a
  resources: {{resource_type: licence, value: {value}}}
  script: ["true"]
"""
JOB = """\
job_type: {name}
resources: [{{resource_type: licence, value: 1}}]
tasks:
- task_type: a
  script: ["true"]
  on_completed: b
- task_type: b
  resources: {{resource_type: licence, value: 1}}
  script: ["true"]
"""
KEY = (ORG, "licence")


def colony_with(capacity: float | None) -> Colony:
    """An ant with room for nine."""
    colony = Colony()
    colony.ant("x", 9)
    if capacity is not None:
        colony.core.locking.put(KEY, capacity, "", "ops")
    return colony


@pytest.mark.parametrize(("capacity", "at_once"), [(None, 1), (2.0, 2), (3.0, 3)])
def test_no_more_than_there_is_are_held(capacity: float | None, at_once: int) -> None:
    """A name that nobody has configured is a lock of one; the next begins when one ends."""
    colony = colony_with(capacity)
    definition = colony.define(TASK.format(name="t", value=1))
    names = [f"j{n}" for n in range(5)]
    for name in names:
        colony.submit(name, definition)
    begun = [name for name in names if colony.states(name)[name] == "EXECUTING"]
    assert begun == names[:at_once]
    assert colony.core.locking.state(KEY).held == at_once
    colony.fail(names[0], "a")  # a failure gives it back as well
    assert colony.states(names[at_once])[names[at_once]] == "EXECUTING"


def test_a_job_holds_its_own_from_start_to_end_and_never_waits_for_itself() -> None:
    """Its task asks for the same name: the job's share is that share."""
    colony = colony_with(None)
    definition = colony.define(JOB.format(name="whole"))
    colony.submit("j1", definition)
    colony.submit("j2", definition)
    colony.ok("j1", "a")
    assert colony.states("j1")["j1"] == "EXECUTING" and colony.states("j2")["j2"] == "PENDING"
    (holder,) = colony.core.locking.state(KEY).holders
    assert (holder.job_id, holder.task_type, holder.amount) == ("j1", "", 1.0)
    colony.ok("j1", "b")
    assert colony.states("j1")["j1"] == "COMPLETED" and colony.states("j2")["j2"] == "EXECUTING"


def test_a_restart_of_the_queen_finds_everything_held() -> None:
    """What is configured is a row; who holds it follows from leases and running jobs."""
    colony = colony_with(2.0)
    task, whole = colony.define(TASK.format(name="t", value=1)), colony.define(JOB.format(name="whole"))
    for name, definition in (("j1", task), ("j2", whole), ("j3", task)):
        colony.submit(name, definition)
    before = colony.core.locking.state(KEY)
    colony.restart()
    colony.join("x")
    after = colony.core.locking.state(KEY)
    assert (after.held, after.capacity, set(after.holders)) == (2.0, 2.0, set(before.holders))
    assert colony.states("j3")["j3"] == "PENDING"
    colony.ok("j1", "a")
    assert colony.states("j3")["j3"] == "EXECUTING"


def test_who_asks_for_much_is_not_passed_over_by_those_behind() -> None:
    """Two of three are free and it wants three: the small ones behind wait, those of another name do not."""
    colony = colony_with(3.0)
    small, big = colony.define(TASK.format(name="s", value=1)), colony.define(TASK.format(name="b", value=3))
    other = colony.define(TASK.format(name="o", value=1).replace("licence", "printer"))
    for name, definition in (("s1", small), ("b1", big), ("s2", small), ("o1", other)):
        colony.submit(name, definition)
    assert [colony.states(one)[one] for one in ("s1", "b1", "s2", "o1")] == [
        "EXECUTING",
        "PENDING",
        "PENDING",
        "EXECUTING",
    ]
    colony.ok("s1", "a")
    assert colony.states("b1")["b1"] == "EXECUTING" and colony.states("s2")["s2"] == "PENDING"


def test_who_asks_for_more_than_there_ever_is_holds_nobody_up() -> None:
    """And is told so; more capacity lets it go on at once."""
    colony = colony_with(2.0)
    colony.submit("big", colony.define(TASK.format(name="b", value=4)))
    colony.submit("small", colony.define(TASK.format(name="s", value=1)))
    assert colony.states("small")["small"] == "EXECUTING"
    told = explain(colony.core, colony.core.jobs["big"])
    assert told.summary == "it needs 4 of licence, and there are only 2"
    colony.ok("small", "a")
    colony.core.locking.put(KEY, 4.0, "", "ops")
    colony.settle()
    assert colony.states("big")["big"] == "EXECUTING"


def test_a_holder_inherits_the_priority_of_one_that_waits() -> None:
    """Priority inversion: the low job that holds the lock goes before those between the two."""
    colony = Colony()
    colony.ant("x", 1)
    low = colony.define(JOB.format(name="low"))
    free = colony.define("job_type: free\ntasks: [{task_type: a, script: ['true']}]")
    colony.submit("low", low, priority=1)
    colony.submit("high", low, priority=9)
    colony.submit("middle", free, priority=5)
    colony.ok("low", "a")
    assert colony.states("low")["b"] == "DISPATCHED" and colony.states("middle")["middle"] == "PENDING"
    colony.ok("low", "b")
    assert colony.states("high")["high"] == "EXECUTING"


def test_explain_and_the_list_say_who_holds_it() -> None:
    """The gate is named with its figures."""
    colony = colony_with(1.0)
    definition = colony.define(TASK.format(name="t", value=1))
    colony.submit("j1", definition)
    colony.submit("j2", definition)
    told = explain(colony.core, colony.core.jobs["j2"])
    assert "1 of 1 of licence are held, and it needs 1" in told.summary
    assert any(reason.gate == "lock" and not reason.passed for reason in told.reasons)
    (state,) = colony.core.locking.shown(ORG)
    assert (state.name, state.held, state.waiting) == ("licence", 1.0, 1)
    assert [(one.job_id, one.task_type) for one in state.holders] == [("j1", "a")]


def test_a_lost_ant_gives_back_what_its_tasks_held() -> None:
    """The next begins on another ant, before the lost one again."""
    colony = colony_with(1.0)
    definition = colony.define(TASK.format(name="t", value=1))
    colony.submit("j1", definition)
    colony.core.bury("x")
    colony.settle()
    assert colony.core.locking.state(KEY).held == 0.0
    colony.ant("y", 2)
    assert colony.core.locking.state(KEY).held == 1.0


def test_a_name_is_removed_and_is_a_lock_of_one_again() -> None:
    """What is held stays held."""
    colony = colony_with(2.0)
    definition = colony.define(TASK.format(name="t", value=1))
    for name in ("j1", "j2", "j3"):
        colony.submit(name, definition)
    colony.core.locking.remove(KEY)
    colony.settle()
    colony.ok("j1", "a")
    assert colony.states("j3")["j3"] == "PENDING"
    colony.ok("j2", "a")
    assert colony.states("j3")["j3"] == "EXECUTING"
    with pytest.raises(KeyError):
        colony.core.locking.remove(KEY)
