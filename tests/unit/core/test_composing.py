"""Jobs that fork jobs: limits and validation that the scenario files do not show."""

import json
from collections.abc import Callable

import pytest

from formicary.engine.jobs.availability import availability_violations
from formicary.engine.jobs.model import JobDefinition
from formicary.engine.jobs.parse import parse_source
from formicary.engine.queen.children import find_children
from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.batch import Children, ChildrenRequest, JobEnded
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.family import MAX_ID_CHARS, child_id, depth_of, root_of
from formicary.engine.storage.port import Row, Store
from tests.unit.core.colony import Colony

CHILD = "job_type: child\ntasks:\n- task_type: work\n  script: x\n"
FAN = """job_type: parent
tasks:
- task_type: fan
  method: FAN_OUT_JOB
  fork_job_type: child
  fan_out: {source: list, item_var: n, max_parallel: 50}
"""


HASTY = """job_type: hasty
tasks:
- task_type: start
  method: FORK_JOB
  fork_job_type: child
  delay_between_retries: 1s
  delay: 5s
- task_type: wait
  method: AWAIT_FORKED_JOB
  await_forked_tasks: [start]
- task_type: last
  script: x
- task_type: after
  script: x
  dependencies: [last]
"""


def children(colony: Colony) -> list[str]:
    """Ids of the forked jobs that have not ended."""
    return [job_id for job_id in colony.core.jobs if "." in job_id]


def test_the_parent_names_the_job_that_failed() -> None:
    """Not one with a smaller number that was cancelled for it."""
    colony = Colony()
    colony.define(CHILD)
    colony.ant("x", slots=8)
    hasty = colony.define(FAN.replace("max_parallel: 50", "max_parallel: 3, fail_fast: true"))
    colony.submit("j", hasty, params={"list": [1, 2, 3, 4]})
    first, second, third = children(colony)
    colony.fail(second, "work")
    for other in (first, third):
        colony.result(other, "work", ends.CANCELLED)
    run = colony.task("j", "fan")
    assert run is not None and f"the job {second} is FAILED" in str(run.error_message)


def test_a_fan_out_of_a_thousand_is_always_full_and_never_fuller() -> None:
    """With max_parallel 50, exactly 50 jobs are open until fewer are left."""
    colony = Colony(check_twin=False)
    colony.define(CHILD)
    colony.ant("x", slots=100)
    colony.submit("j", colony.define(FAN), params={"list": list(range(1000))})
    for done in range(1000):
        assert len(children(colony)) == len(colony.workers["x"].held) == min(50, 1000 - done)
        colony.ok(children(colony)[done % len(children(colony))], "work")
    run = colony.task("j", "fan")
    assert run is not None and run.state == "COMPLETED"
    results = json.loads(run.outputs or b"")["FanOutResults"]
    assert [result["index"] for result in results] == list(range(1000))


def test_more_children_than_a_job_may_have_are_refused() -> None:
    """The limit counts before anything is forked."""
    colony = Colony(CoreConfig(children=3))
    colony.define(CHILD)
    colony.ant("x")
    colony.submit("j", colony.define(FAN), params={"list": [1, 2, 3, 4]})
    assert colony.job("j").error_code == "ERR_FORK_LIMIT" and not children(colony)


def test_a_fan_out_over_nothing_completes() -> None:
    """An empty list has no jobs to wait for; what is no list is an error."""
    colony = Colony()
    colony.define(CHILD)
    colony.ant("x")
    parent = colony.define(FAN)
    colony.submit("j", parent, params={"list": []})
    colony.submit("k", parent, params={"list": 5})
    assert colony.job("j").state == "COMPLETED"
    assert colony.job("k").error_code == "ERR_VALIDATION"


def test_a_time_out_ends_the_forked_jobs() -> None:
    """A fan-out with a time-out cancels its jobs and fails after them."""
    colony = Colony()
    colony.define(CHILD)
    colony.ant("x", slots=4)
    colony.submit("j", colony.define(FAN + "  timeout: 5s\n"), params={"list": [1, 2]})
    colony.advance(6)
    for job_id in children(colony):
        colony.result(job_id, "work", 4)
    run = colony.task("j", "fan")
    assert run is not None and (run.state, run.error_code) == ("FAILED", "ERR_TIMEOUT")


def test_a_task_that_ends_the_job_at_once_lets_no_sibling_begin() -> None:
    """The job fails while its start tasks get their turn: the ones behind it are not begun on a job that has ended."""
    colony = Colony()
    colony.define(CHILD)
    worker = colony.ant("x", slots=4)
    colony.submit("j", colony.define(HASTY))
    assert colony.job("j").state == "FAILED" and not worker.held
    assert colony.states("j") == {"j": "FAILED", "start": "SKIPPED", "wait": "FAILED"}


def test_a_job_that_ends_before_it_is_known_what_to_fork_starts_no_other() -> None:
    """The queen was killed, a child is gone before the answer has come: the fan-out waits for it."""
    colony = Colony(CoreConfig(), check_twin=False)
    colony.define(CHILD)
    colony.ant("x", slots=4)
    colony.submit("j", colony.define(FAN.replace("50", "1")), params={"list": [1, 2, 3]})
    (child,) = children(colony)
    core = colony.recovered(colony.store.acquire("test"))
    core.forget(core.jobs[child])
    core.composing.ended(JobEnded(child, "CANCELLED", b"", "", ""))
    assert not [job_id for job_id in core.jobs if "." in job_id]
    colony.core = core
    colony.settle()
    assert children(colony) == ["j.0-1-1"], "the answer starts the next one"


JOINING = """job_type: joining
tasks:
- task_type: one
  method: FORK_JOB
  fork_job_type: child
  on_completed: two
- task_type: two
  method: FORK_JOB
  fork_job_type: child
  on_completed: between
- task_type: between
  script: x
  on_completed: join
- task_type: join
  method: AWAIT_FORKED_JOB
  await_forked_tasks: [one, two]
"""


def test_only_jobs_that_have_ended_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever begins to wait asks the store for the ends that are past; those to come are events."""
    asked: list[tuple[str, ...]] = []

    def read(store: Store, model: Callable[[Row], JobDefinition], request: ChildrenRequest) -> Children:
        if not request.job_type:
            asked.append(request.ids)
        return find_children(store, model, request)

    monkeypatch.setattr("tests.unit.core.colony.find_children", read)
    colony = Colony()
    colony.define(CHILD)
    colony.ant("x", slots=9)
    for job_id, is_over in (("j", False), ("k", True)):
        colony.submit(job_id, colony.define(JOINING))
        first, second = (child_id(job_id, position, 0, 1) for position in (0, 1))
        if is_over:
            colony.ok(first, "work")
        colony.ok(job_id, "between")
        assert asked == [(first,) if is_over else ()]
        asked.clear()
        for child in (second,) if is_over else (first, second):
            colony.ok(child, "work")
        assert colony.states(job_id)["join"] == "COMPLETED"


def test_a_pinned_version_is_forked() -> None:
    """`fork_job_version` names a version by its number or its sem_version; an unknown one fails the task."""
    colony = Colony()
    colony.define("sem_version: 1.2.0\n" + CHILD)
    colony.define(CHILD.replace("script: x", "script: y"))
    colony.ant("x", slots=9)
    for version, expected in (("1.2.0", "child:1"), ("2", "child:2"), ("", "child:2")):
        pinned = FAN + (f"  fork_job_version: '{version}'\n" if version else "")
        colony.submit(f"j{version or 'newest'}".replace(".", ""), colony.define(pinned), params={"list": [1]})
        assert colony.core.jobs[children(colony)[-1]].definition.id == expected
    colony.submit("k", colony.define(FAN + "  fork_job_version: '7'\n"), params={"list": [1]})
    assert colony.job("k").error_code == "ERR_FORK"


def test_ids_stay_short_and_keep_depth_and_root() -> None:
    """However deep: below the bound of the contract, unique, and the dots count the depth."""
    found = "01m8a7032wh1a0p4p5jdf560hn"
    seen = {found}
    for depth in range(1, 11):
        found = child_id(found, 9999, 9999, 99)
        seen.add(found)
        assert len(found) <= MAX_ID_CHARS and depth_of(found) == depth
        assert root_of(found) == "01m8a7032wh1a0p4p5jdf560hn"
    assert len(seen) == 11


BAD = [
    ("  method: FORK_JOB\n", 4, 11, "MISSING_FORK_JOB_TYPE"),
    ("  method: AWAIT_FORKED_JOB\n", 4, 11, "MISSING_FORKED_TASKS"),
    ("  method: AWAIT_FORKED_JOB\n  await_forked_tasks: [b]\n", 5, 24, "UNKNOWN_DEPENDENCY"),
    ("  method: FAN_OUT_JOB\n  fork_job_type: k\n", 4, 11, "MISSING_FAN_OUT"),
    ("  method: FAN_OUT_JOB\n  fork_job_type: k\n  fan_out: {source: s, itemvar: x}\n", 6, 24, "UNKNOWN_FIELD"),
    ("  method: FAN_OUT_JOB\n  fork_job_type: k\n  fan_out: {source: s, max_parallel: -1}\n", 6, 38, "WRONG_TYPE"),
    ("  method: FAN_OUT_JOB\n  fork_job_type: k\n  fan_out: {item_var: x}\n", 6, 12, "MISSING_SOURCE"),
    ("  method: FORK_JOB\n  fork_job_type: k\n  sub_workflow: {inputs: []}\n", 6, 18, "UNKNOWN_FIELD"),
    (
        "  method: FORK_JOB\n  fork_job_type: k\n  sub_workflow: {input_params: [{value: 1}]}\n",
        6,
        33,
        "WRONG_TYPE",
    ),
    ("  script: x\n  sub_workflow: {wait_for_completion: true}\n", 5, 17, "METHOD_MISMATCH"),
    ("  script: x\n  fan_out: {source: []}\n", 5, 21, "EMPTY_LIST"),
    ("  script: x\n  fan_out: {source: 5}\n", 5, 21, "WRONG_TYPE"),
    ("  script: x\n  fan_out: {source: {tasks: a}}\n", 5, 21, "BAD_ARGUMENT"),
    ("  script: x\n  fan_out: {source: s, fail_fast: 2}\n", 5, 35, "WRONG_TYPE"),
    ("  script: x\n  fan_out: {source: s, item_var: ''}\n", 5, 34, "WRONG_TYPE"),
    ("  script: x\n  fan_out: {source: s, fan_out: {source: t}}\n", 5, 24, "NESTED_FAN_OUT"),
    ("  script: x\n  fan_out: {source: s, fork_job_type: k}\n", 5, 39, "METHOD_MISMATCH"),
    ("  script: x\n  on_exit_code: {3: WAIT_FOR_APPROVAL}\n  fan_out: {source: s}\n", 6, 12, "METHOD_MISMATCH"),
    ("  method: MANUAL\n  fan_out: {source: s}\n", 5, 12, "METHOD_MISMATCH"),
    (f"  script: x\n  fan_out: {{source: {list(range(10_001))}}}\n", 5, 21, "TOO_LONG"),
]


@pytest.mark.parametrize(("task", "line", "column", "code"), BAD)
def test_what_is_wrong_is_said_with_its_place(task: str, line: int, column: int, code: str) -> None:
    """Each mistake in the fields of composition has its line, column and code."""
    parsed = parse_source(f"job_type: j\ntasks:\n- task_type: a\n{task}")[0]
    later = availability_violations(parsed.definition) if parsed.definition is not None else ()
    violations = [*parsed.violations, *later]
    assert [(found.line, found.column, found.code) for found in violations] == [(line, column, code)]
