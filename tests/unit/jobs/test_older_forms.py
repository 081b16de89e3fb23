"""Other spellings of older files: lists of demands, environments as lists."""

import pytest

from formicary.engine.jobs.parse import parse_source

TASKS = "tasks:\n- task_type: a\n  script: x\n"


def test_resources_are_a_list_or_a_mapping() -> None:
    """Both are read and kept."""
    listed = parse_source(f"job_type: j\nresources: [{{resource_type: A, value: 1}}]\n{TASKS}")[0].definition
    single = parse_source(f"job_type: j\nresources: {{resource_type: A}}\n{TASKS}")[0].definition
    assert listed is not None and listed.resources == ({"resource_type": "A", "value": 1},)
    assert single is not None and single.resources == {"resource_type": "A"}


@pytest.mark.parametrize(
    "text", ["{A: 1, B: two=3}", "[A=1, B=two=3]", "[{A: 1}, {name: B, value: two=3}]", "[A=1, '', {B: two=3}]"]
)
def test_an_environment_is_a_mapping_or_a_list(text: str) -> None:
    """Every form means the same."""
    found = parse_source(f"job_type: j\n{TASKS}  environment: {text}\n")[0]
    if "''" in text:
        assert [(v.path, v.code) for v in found.violations] == [("tasks[0].environment[1]", "WRONG_TYPE")]
    else:
        assert found.definition is not None
        assert found.definition.tasks[0].environment == {"A": "1", "B": "two=3"}


@pytest.mark.parametrize(("text", "path"), [("[A]", "[0]"), ("[=x]", "[0]"), ("[A=1, [B]]", "[1]"), ("5", "")])
def test_a_wrong_environment_is_named_with_its_place(text: str, path: str) -> None:
    """What names no variable is refused."""
    found = parse_source(f"job_type: j\n{TASKS}  environment: {text}\n")[0]
    assert [v.path for v in found.violations if v.is_error] == [f"tasks[0].environment{path}"]
