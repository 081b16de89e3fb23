"""Tasks that run once per element of a list: bounds and numbers that the scenario files do not show."""

import json

import pytest

from formicary.engine.jobs.fan_out import (
    MAX_ELEMENTS,
    MOST_OPEN,
    STRIDE,
    definition_position,
    element_name,
    element_position,
    index_of,
    is_element,
    task_name,
)
from formicary.engine.jobs.model import MAX_TASKS, task_from_json
from formicary.engine.jobs.parse import parse_source
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.explaining import explain
from tests.unit.core.colony import Colony

FAN = """job_type: j
tasks:
- task_type: fan
  script: x
  fan_out: {source: list, item_var: n, max_parallel: 50}
"""


def fanned(parallel: int, **config: int) -> tuple[Colony, str]:
    """A colony with an ant that is large enough, and the job."""
    colony = Colony(CoreConfig(**config), check_twin=False)
    colony.ant("x", slots=2000)
    return colony, colony.define(FAN.replace("50", str(parallel)))


def held(colony: Colony) -> list[str]:
    """Names of the elements that the ant has, oldest first."""
    grants = colony.workers["x"].held.values()
    return [element_name("fan", index_of(grant.position)) for grant in grants]


def test_a_thousand_elements_are_always_full_and_never_fuller() -> None:
    """With max_parallel 50, exactly 50 elements are out until fewer are left, and each completes once."""
    colony, job = fanned(50)
    colony.submit("j", job, params={"list": list(range(1000))})
    for done in range(1000):
        out = held(colony)
        assert len(out) == min(50, 1000 - done)
        name = out[done % len(out)]
        colony.ok("j", name, outputs={"square": int(name[4:-1]) ** 2})
    run = colony.task("j", "fan")
    assert run is not None and run.state == "COMPLETED"
    results = json.loads(run.outputs or b"")["FanOutResults"]
    assert [(one["index"], one["outputs"]["square"]) for one in results] == [(n, n * n) for n in range(1000)]
    assert all(len(tokens) == 1 for tokens in colony.tokens.values())
    assert colony.store.element_states(1) == [(0, "COMPLETED", 1000)]


def test_without_a_limit_a_bounded_number_is_open() -> None:
    """A list of 10,000 does not become 10,000 queued tasks at once."""
    colony, job = fanned(0)
    colony.submit("j", job, params={"list": list(range(MAX_ELEMENTS))})
    assert len(held(colony)) == MOST_OPEN


def test_over_an_empty_list_there_is_nothing_to_run_and_the_job_goes_on() -> None:
    """As over jobs: the task completes, and says that there were none."""
    colony, job = fanned(50)
    colony.submit("j", job, params={"list": []})
    run = colony.task("j", "fan")
    assert run is not None and run.state == "COMPLETED"
    assert b'"FanOutItemCount":0' in (run.outputs or b"").replace(b" ", b"")
    assert colony.store.element_states(1) == []


@pytest.mark.parametrize(
    ("items", "code", "words"),
    [
        ({"a": 1}, "ERR_VALIDATION", "neither a list nor a variable with one"),
        ("[1, 2", "ERR_VALIDATION", "neither a list nor a variable with one"),
        (list(range(MAX_ELEMENTS + 1)), "ERR_FORK_LIMIT", "10001 elements"),
    ],
)
def test_what_cannot_be_fanned_out_over_fails_the_task(items: object, code: str, words: str) -> None:
    """The limits count before anything begins."""
    colony, job = fanned(50)
    colony.submit("j", job, params={"list": items})
    run = colony.task("j", "fan")
    assert run is not None and (run.state, run.error_code) == ("FAILED", code)
    assert words in (run.error_message or "")
    assert colony.store.element_states(1) == []


def test_elements_and_forked_jobs_share_one_limit() -> None:
    """One execution has at most so many of both."""
    colony, _ = fanned(50, children=5)
    two = colony.define(FAN + FAN.partition("tasks:\n")[2].replace("fan\n", "fun\n") + "  dependencies: [fan]\n")
    colony.submit("j", two, params={"list": [1, 2, 3]})
    for name in held(colony):
        colony.ok("j", name)
    run = colony.task("j", "fun")
    assert run is not None and run.error_code == "ERR_FORK_LIMIT"


def test_what_completed_counts_again_for_the_same_list_only() -> None:
    """A retry with another list runs every element of it."""
    colony, _ = fanned(50)
    job = colony.define(
        "job_type: k\ntasks:\n- task_type: find\n  script: x\n  allow_start_if_completed: true\n  on_completed: fan\n"
        + FAN.partition("tasks:\n")[2]
    )
    colony.submit("j", job)
    colony.ok("j", "find", outputs={"list": [1, 2]})
    colony.ok("j", "fan[0]")
    colony.fail("j", "fan[1]")
    colony.retry("j")
    colony.ok("j", "find", outputs={"list": [3, 4]})
    assert held(colony) == ["fan[0]", "fan[1]"]
    colony.fail("j", "fan[1]")
    colony.ok("j", "fan[0]")
    colony.retry("j")
    colony.ok("j", "find", outputs={"list": [3, 4]})
    assert held(colony) == ["fan[1]"]


def test_a_fan_out_is_explained() -> None:
    """How far it is, and what the first element that waits is waiting for."""
    colony = Colony()
    colony.ant("x", slots=1)
    colony.submit("j", colony.define(FAN), params={"list": [1, 2, 3]})
    found = explain(colony.core, colony.core.jobs["j"])
    assert found.reasons[0].message == "fan runs 1 of 3 elements, at most 50 at a time"
    assert any(reason.task_type == "fan[1]" and "1 of 1 places taken" in reason.message for reason in found.reasons)


@pytest.mark.parametrize(
    ("task", "method"),
    [
        ("  method: FAN_OUT_JOB\n  script: x\n  fan_out: {source: s}\n", "SHELL"),
        ("  method: FAN_OUT_JOB\n  container: {image: i}\n  fan_out: {source: s}\n", "KUBERNETES"),
        ("  fan_out: {source: s, fork_job_type: k}\n", "FAN_OUT_JOB"),
        ("  fork_job_type: k\n  fan_out: {source: s}\n", "FAN_OUT_JOB"),
        ("  method: FORK_JOB\n  fan_out: {source: s, fork_job_type: k}\n", "FORK_JOB"),
    ],
)
def test_fork_job_type_says_what_is_fanned_out(task: str, method: str) -> None:
    """Older files name the method of every fan-out FAN_OUT_JOB, or none: it follows from what there is to run."""
    parsed = parse_source(f"job_type: j\ntasks:\n- task_type: a\n{task}")[0]
    assert parsed.definition is not None and not parsed.violations
    assert parsed.definition.tasks[0].method == method


def test_positions_of_elements_meet_nothing_else() -> None:
    """Every element of every task has a position of its own, and a name that leads back."""
    assert STRIDE > MAX_TASKS and STRIDE > MAX_ELEMENTS
    last = element_position(MAX_TASKS - 1, MAX_ELEMENTS - 1)
    assert last < 2**31 and (definition_position(last), index_of(last)) == (MAX_TASKS - 1, MAX_ELEMENTS - 1)
    assert element_position(3, 0) > element_position(2, MAX_ELEMENTS - 1) and not is_element(MAX_TASKS - 1)
    assert definition_position(MAX_TASKS - 1) == MAX_TASKS - 1
    assert [task_name(name) for name in ("a[0]", "a[1][2]", "a", "a[01]", "a[x]")] == [
        "a",
        "a[1]",
        "a",
        "a[01]",
        "a[x]",
    ]


def test_elements_see_what_changes_meanwhile() -> None:
    """What elements share is made once, and again when an output of the job has changed."""
    colony = Colony()
    colony.ant("x", slots=2)
    job = colony.define(FAN.replace("50", "1") + "- task_type: side\n  script: x\n  dependencies: []\n")
    colony.submit("j", job, params={"list": [1, 2, 3], "n": "hidden", "other": "seen"})

    def seen(name: str) -> dict[str, object]:
        token = colony.token("j", name)
        found: dict[str, object] = json.loads(colony.holder(token).held[token].variables)
        return found

    assert seen("fan[0]") == {"other": "seen", "n": 1, "n_index": 0}
    colony.ok("j", "fan[0]")
    assert seen("fan[1]") == {"other": "seen", "n": 2, "n_index": 1}
    colony.ok("j", "side", outputs={"other": "newer"})
    colony.ok("j", "fan[1]")
    assert seen("fan[2]")["other"] == "newer"


JINJA = """template: jinja
job_type: j
job_variables: {towns: [{name: Riga, n: 2}, {name: Tartu, n: 3}]}
tasks:
- task_type: fan
  script: ['{{ town.name | upper }} {{ town.n * 2 }} {{ town_index }}']
  fan_out: {source: towns, item_var: town, max_parallel: '{{ 1 + 1 }}'}
"""


def test_elements_of_jinja_files_are_rendered_with_their_value() -> None:
    """There a missing name is an error: only what the task says of its fan-out is rendered without an element."""
    colony = Colony()
    colony.ant("x", slots=4)
    colony.submit("j", colony.define(JINJA))
    lines = [task_from_json(grant.rendered or b"").script for grant in colony.workers["x"].held.values()]
    assert lines == [("RIGA 4 0",), ("TARTU 6 1",)]
