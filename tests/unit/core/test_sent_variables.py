"""What an HTTP task sends where it names no arguments."""

import json

from tests.unit.core.colony import Colony

CALLS = """job_type: j
job_variables: {base: http://x, title: none}
tasks:
- {task_type: login, %s}
- task_type: post
  method: HTTP_POST_JSON
  dependencies: [login]
  url: "{{.base}}/{{.session}}"
  variables: {number: 7%s}
%s"""

_BEFORE = {"PYTHON": 'method: PYTHON, function: "a:b"', "SHELL": "script: [x]"}


def sent(more: str = "", task: str = "", method: str = "PYTHON") -> dict[str, object]:
    """The variables of the request after a task that has handed on a session and a title."""
    colony = Colony(check_twin=False)
    colony.ant("x", slots=2, methods=frozenset({"SHELL", "PYTHON", "HTTP_POST_JSON"}))
    colony.submit("j", colony.define(CALLS % (_BEFORE[method], more, task)), params={"item": "lamp"})
    colony.ok("j", "login", outputs={"session": "confidential", "title": "a title", "rows": [1, 2, 3]})
    (grant,) = colony.workers["x"].held.values()
    found: dict[str, object] = json.loads(grant.variables)
    return found


def test_only_variables_that_are_named_are_sent() -> None:
    """By the job, the task and the request, with the values they have by then; no other output of an earlier task."""
    assert sent() == {"base": "http://x", "title": "a title", "number": 7, "item": "lamp"}


def test_what_a_script_sets_by_name_is_sent_as_in_the_older_engine() -> None:
    """`::set-output` is a variable of the job from then on."""
    found = {"base": "http://x", "title": "a title", "number": 7, "item": "lamp", "rows": [1, 2, 3]}
    assert sent(method="SHELL") == {**found, "session": "confidential"}


def test_what_else_has_to_go_is_named() -> None:
    """In a variable of the task, or in its arguments, which are all that is sent then."""
    assert sent(more=', session: "{{.session}}"')["session"] == "confidential"
    arguments = "  arguments: {rows: {task: login, output: rows}}\n"
    assert sent(task=arguments) == {"rows": [1, 2, 3]}


def test_elements_send_their_own_value_too() -> None:
    """The list is left out, as for every element."""
    fan = "  fan_out: {source: list, item_var: one}\n"
    colony = Colony(check_twin=False)
    colony.ant("x", slots=2, methods=frozenset({"SHELL", "PYTHON", "HTTP_POST_JSON"}))
    colony.submit("j", colony.define(CALLS % (_BEFORE["PYTHON"], "", fan)), params={"list": ["a"]})
    colony.ok("j", "login", outputs={"session": "confidential"})
    (grant,) = colony.workers["x"].held.values()
    assert json.loads(grant.variables) == {"base": "http://x", "title": "none", "number": 7, "one": "a", "one_index": 0}
