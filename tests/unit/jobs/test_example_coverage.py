"""The examples hold every field of a job file, and the published JSON Schema takes every one of them."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from formicary.engine.jobs.fields import JOB_FIELDS, TASK_FIELDS, Field
from formicary.engine.jobs.schema import job_schema
from formicary.engine.jobs.templates.masking import mask
from formicary.engine.jobs.yaml_nodes import YamlError, compose, to_json

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "examples" / "jobs").rglob("*.yaml"))
ELSEWHERE: dict[str, set[str]] = {"job": set(), "task": set()}
"""Fields whose methods no example can use yet; each goes once its method is available."""


def documents(path: Path) -> list[object]:
    """The jobs of a file as an editor sees them; actions are hidden where the file is no YAML before rendering."""
    found = []
    for text in re.split(r"^---\s*$", path.read_text("utf-8"), flags=re.M):
        try:
            node = compose(text)
        except YamlError:
            dialect = "jinja" if "template: jinja" in text else "go"
            node = compose(mask(text, dialect).text)
        if node is not None and node.kind == "map":
            found.append(to_json(node))
    return found


def names(table: tuple[Field, ...]) -> set[str]:
    return {row.name for row in table}


def test_every_field_stands_in_an_example() -> None:
    """A field that no example shows is named here."""
    seen: dict[str, set[str]] = {"job": set(), "task": set()}
    for path in FILES:
        for job in documents(path):
            assert isinstance(job, dict)
            seen["job"] |= job.keys()
            seen["task"] |= {name for task in job["tasks"] if isinstance(task, dict) for name in task}
    assert names(JOB_FIELDS) - seen["job"] == ELSEWHERE["job"]
    assert names(TASK_FIELDS) - seen["task"] == ELSEWHERE["task"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_published_schema_takes_the_example(path: Path) -> None:
    """A validator that is not ours finds nothing wrong."""
    schema = json.loads((ROOT / "docs" / "reference" / "job-file.schema.json").read_text("utf-8"))
    found = documents(path)
    assert found
    for job in found:
        errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(job)]
        assert errors == []


def test_the_schema_is_one_and_refuses_what_is_wrong() -> None:
    """It follows its own draft; unknown fields, missing fields and wrong types are found."""
    Draft202012Validator.check_schema(job_schema())
    validator = Draft202012Validator(job_schema())
    good = {"job_type": "j", "tasks": [{"task_type": "a", "script": "x"}]}
    assert validator.is_valid(good)
    for bad in (
        {"job_type": "j"},
        {**good, "nonsense": 1},
        {**good, "priority": 11},
        {**good, "tasks": [{"task_type": "a", "method": "SMOKE"}]},
        {**good, "tasks": [{"task_type": "a", "environment": 5}]},
    ):
        assert not validator.is_valid(bad), bad
