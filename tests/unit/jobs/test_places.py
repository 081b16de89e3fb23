"""Where in its file something of a job stands, also in the second document of it."""

from __future__ import annotations

import pytest

from formicary.engine.jobs.model import Position
from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.places import place_of_field, place_of_remark

FILE = """# two jobs
job_type: first
tasks:
- task_type: a
  script: x
---
# the other one
job_type: second
gang: {tasks: [a, a b]}
tasks:
- task_type: a
  script: x
-   task_type: a b
    script: x
"""


@pytest.mark.parametrize(
    ("which", "remark", "line", "column"),
    [
        (0, "task a: none of the ants fits", 4, 3),
        (0, "the job needs 5 of licence", 2, 1),
        (1, "the gang of 3 tasks is larger", 9, 1),
        (1, "task a needs 5 of licence", 11, 3),
        (1, "task a b: none of the ants fits", 13, 5),
        (1, "what nobody has thought of", 8, 1),
    ],
)
def test_a_remark_has_its_place(which: int, remark: str, line: int, column: int) -> None:
    model = parse_source(FILE)[which].definition
    assert model is not None
    assert place_of_remark(model, remark) == Position(line, column)


def test_a_job_on_one_line_begins_where_it_begins() -> None:
    model = parse_source("{job_type: a, tasks: [{task_type: a, script: x}]}")[0].definition
    assert model is not None and place_of_field(model, "queue") == Position(1, 1)
