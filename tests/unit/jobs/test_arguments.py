"""What `arguments` of a task deliver: exactly what is named, whatever other variables are called."""

from collections.abc import Mapping

import pytest

from formicary.engine.jobs.arguments import (
    MISSING,
    Missing,
    referenced_tasks,
    resolve_arguments,
    result_of,
    wrong_arguments,
)
from formicary.engine.jobs.model import Json
from formicary.engine.jobs.parse import parse_source


class Known:
    """A job with two parameters and three tasks, of which one did not complete."""

    def param(self, name: str) -> Json:
        return {"first": 1962, "none": None}.get(name, MISSING)

    def outputs(self, task_type: str) -> Mapping[str, Json] | Missing:
        found: dict[str, dict[str, Json]] = {
            "extract": {"rows": 3, "path": "/a"},
            "count": {"result": 7},
            "silent": {},
        }
        return found.get(task_type, MISSING)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (5, 5),
        ("text", "text"),
        ([1, [2]], [1, [2]]),
        ({"value": {"task": "no reference"}}, {"task": "no reference"}),
        ({"param": "first"}, 1962),
        ({"param": "none"}, None),
        ({"param": "unknown"}, MISSING),
        ({"task": "extract"}, {"rows": 3, "path": "/a"}),
        ({"task": "extract", "output": "path"}, "/a"),
        ({"task": "extract", "output": "*"}, {"rows": 3, "path": "/a"}),
        ({"task": "extract", "output": "unknown"}, MISSING),
        ({"task": "count"}, 7),
        ({"task": "count", "output": "*"}, {"result": 7}),
        ({"task": "silent"}, None),
        ({"task": "unreached"}, MISSING),
        ([{"task": "count"}, {"task": "unreached"}, 1], [7, None, 1]),
        ({"map": {"a": {"task": "count"}, "b": {"task": "unreached"}}}, {"a": 7, "b": None}),
    ],
)
def test_each_form_delivers_its_value(argument: Json, value: Json) -> None:
    """What leads nowhere is left out as an argument and null inside of a list or a mapping."""
    found = resolve_arguments({"x": argument}, Known())
    assert found == ({} if value is MISSING else {"x": value})


def test_results_seen_from_outputs() -> None:
    """Nothing is None, `result` alone is the value, anything else is the mapping itself."""
    assert result_of({}) is None
    assert result_of({"result": [1]}) == [1]
    assert result_of({"result": 1, "more": 2}) == {"result": 1, "more": 2}


def test_tasks_are_found_inside_of_lists_and_mappings() -> None:
    """A constant mapping is no reference."""
    arguments: dict[str, Json] = {
        "a": [{"task": "x"}, [{"task": "y", "output": "k"}]],
        "b": {"map": {"k": {"task": "z"}}},
        "c": {"value": {"task": "no"}},
    }
    assert sorted(referenced_tasks(arguments)) == ["x", "y", "z"]


@pytest.mark.parametrize(
    "argument", [{}, {"tsk": "x"}, {"task": "x", "out": "y"}, {"task": 5}, {"map": [1]}, [{"param": ""}]]
)
def test_other_forms_are_refused(argument: Json) -> None:
    """A mapping that is none of the four forms is told with them."""
    assert [name for name, _ in wrong_arguments({"fine": 1, "wrong": argument})] == ["wrong"]


def test_mistakes_in_a_job_file_have_their_place() -> None:
    """A wrong form and an unknown task are violations with line and column."""
    source = """job_type: x
tasks:
  - task_type: a
    method: PYTHON
    function: m:f
    arguments:
      good: {param: p}
      bad: {tsk: b}
      lost: {task: nowhere}
"""
    found = [(v.line, v.code) for v in parse_source(source)[0].violations]
    assert found == [(8, "BAD_ARGUMENT"), (9, "UNKNOWN_DEPENDENCY")]
