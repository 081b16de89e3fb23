"""Circuit breakers of tasks in the core: who shares one, that attempts wait for it, what counts, trials, explain."""

from __future__ import annotations

import pytest

from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.explaining import explain
from formicary.lifecycle import CLOSED, HALF_OPEN, OPEN
from tests.unit.core.colony import ORG, Colony
from tests.unit.core.test_queues import colony as queued

SPEC = "consecutive_failures: 2, open_for: 30s"
CALL = """\
job_type: {name}
{more}tasks:
- task_type: a
  method: HTTP_GET
  url: {url}
  circuit_breaker: {{{spec}}}
{task}"""
HOST = "rates.example"


def call(name: str, *, url: str = f"https://{HOST}/x", spec: str = SPEC, more: str = "", task: str = "") -> str:
    return CALL.format(name=name, url=url, spec=spec, more=more, task=task)


def state(made: Colony, name: str = HOST) -> str:
    return made.core.breaking.known[ORG, name].state


def task_state(made: Colony, job_id: str) -> tuple[str, int]:
    """State and attempts of a job's only task."""
    run = made.core.jobs[job_id].run
    assert run is not None
    return run.runs[0].state, run.runs[0].attempts


def opened(made: Colony | None = None, slots: int = 4) -> Colony:
    """A colony in which two attempts of two job types have failed at the same host; p2 and a2 wait."""
    made = made or Colony()
    made.ant("x", slots)
    pay, ask = made.define(call("pay")), made.define(call("ask", url=f"http://{HOST.upper()}/other?q=1"))
    for name, definition in (("p1", pay), ("a1", ask)):
        made.submit(name, definition)
        made.fail(name, "a", 503)
    made.submit("p2", pay)
    made.submit("a2", ask)
    return made


def test_tasks_that_call_the_same_host_wait_together_and_without_an_attempt() -> None:
    made = opened()
    assert state(made) == OPEN
    assert task_state(made, "p2") == task_state(made, "a2") == ("READY", 0)
    for name, url in (("port", f"https://{HOST}:8443/"), ("other", "https://other.example/")):
        made.submit(name, made.define(call(name, url=url)))
        assert task_state(made, name) == ("DISPATCHED", 1)
    assert {key[1] for key in made.core.breaking.known} == {HOST, f"{HOST}-8443", "other.example"}
    shown = {name: types for name, _, types in made.core.breaking.of(ORG)}
    assert shown[HOST] == ["ask", "pay"]


@pytest.mark.parametrize("queues", ["", "policy: priority\nset: {aging: 0.1, cap: 10}\n"])
def test_a_backlog_is_held_with_its_first_failures(queues: str) -> None:
    """Ten tasks that are ready, one slot: two attempts reach the host, no more."""
    made = queued(queues)
    made.ant("x", 1)
    definition = made.define(call("pay"))
    for number in range(10):
        made.submit(f"j{number}", definition)
    for number in range(2):
        made.fail(f"j{number}", "a", 500)
    assert state(made) == OPEN and len(made.tokens) == 2 and len(made.core.jobs) == 8
    made.advance(31.0)
    assert state(made) == HALF_OPEN and len(made.tokens) == 3, "one trial"
    made.ok("j2", "a")
    assert state(made) == CLOSED and len(made.tokens) == 4


def test_retries_wait_for_it_too_and_a_trial_that_fails_opens_it_again() -> None:
    made = Colony()
    made.ant("x", 4)
    made.submit("j", made.define(call("pay", task="  retry: 5\n  delay_between_retries: 1s\n")))
    made.fail("j", "a", 503)
    made.advance(2.0)
    made.fail("j", "a", 503)
    made.advance(20.0)
    assert task_state(made, "j") == ("READY", 2)
    made.advance(12.0)
    assert state(made) == HALF_OPEN and task_state(made, "j") == ("DISPATCHED", 3)
    made.fail("j", "a", 503)
    made.advance(20.0)
    assert state(made) == OPEN and task_state(made, "j") == ("READY", 3)


def test_a_trial_that_is_lost_or_cancelled_makes_room_for_another() -> None:
    made = opened()
    made.advance(31.0)
    assert task_state(made, "p2") == ("DISPATCHED", 1) and task_state(made, "a2") == ("READY", 0)
    made.cancel("p2")
    made.result("p2", "a", ends.CANCELLED)
    assert state(made) == HALF_OPEN and task_state(made, "a2") == ("DISPATCHED", 1)
    made.die("x")
    made.ant("y", 1)
    made.advance(5.0)
    assert state(made) == HALF_OPEN and task_state(made, "a2") == ("DISPATCHED", 2)
    made.ok("a2", "a")
    assert state(made) == CLOSED


def test_it_survives_a_restart() -> None:
    made = opened()
    made.restart()
    made.join("x", claims=())
    assert state(made) == OPEN and task_state(made, "p2") == ("READY", 0)
    assert {name: types for name, _, types in made.core.breaking.of(ORG)}[HOST] == ["ask", "pay"]
    made.advance(31.0)
    assert task_state(made, "p2") == ("DISPATCHED", 1) and task_state(made, "a2") == ("READY", 0)


@pytest.mark.parametrize(("code", "expected"), [(404, CLOSED), (425, CLOSED), (500, OPEN)])
def test_what_an_exit_code_is_mapped_to_decides_whether_it_is_a_failure(code: int, expected: str) -> None:
    made = Colony()
    made.ant("x", 4)
    definition = made.define(call("pay", task="  on_exit_code: {404: COMPLETED, 425: EXECUTING}\n"))
    for number in range(2):
        made.submit(f"j{number}", definition)
        made.fail(f"j{number}", "a", code)
    assert state(made) == expected


def test_a_task_with_a_name_or_without_an_address_has_that_breaker_or_its_own() -> None:
    made = Colony()
    made.ant("x", 4)
    shell = "job_type: {}\ntasks:\n- task_type: a\n  script: x\n  circuit_breaker: {{{}}}\n"
    for number, spec in enumerate(("downstream: api, " + SPEC, SPEC)):
        made.submit(f"j{number}", made.define(shell.format(f"s{number}", spec)))
    assert {key[1] for key in made.core.breaking.known} == {"api", "s1.a"}


def test_the_host_is_that_of_the_rendered_address() -> None:
    made = Colony()
    made.ant("x", 4)
    definition = made.define(call("pay", url="https://{{.host}}/x"))
    for number in range(3):
        made.submit(f"j{number}", definition, params={"host": HOST})
        if number < 2:
            made.fail(f"j{number}", "a", 503)
    made.submit("other", definition, params={"host": "other.example"})
    assert state(made) == OPEN and task_state(made, "j2")[0] == "READY"
    assert task_state(made, "other") == ("DISPATCHED", 1)


def test_a_job_that_passes_the_same_breaker_as_a_whole_does_not_wait_for_itself() -> None:
    made = Colony()
    made.ant("x", 4)
    both = f"circuit_breaker: {{downstream: api, {SPEC}}}\n"
    definition = made.define(call("pay", spec="downstream: api, " + SPEC, more=both))
    for name in ("j0", "j1", "j2"):
        made.submit(name, definition)
        if name != "j2":
            made.fail(name, "a", 503)
    assert state(made, "api") == OPEN and made.states("j2")["j2"] == "PENDING"
    made.advance(31.0)
    assert task_state(made, "j2") == ("DISPATCHED", 1)
    made.ok("j2", "a")
    assert state(made, "api") == CLOSED


def test_elements_of_a_fan_out_pass_it_one_by_one() -> None:
    made = Colony()
    made.ant("x", 1)
    made.submit("j", made.define(call("pay", task="  fan_out: {source: [1, 2, 3, 4]}\n")))
    for index in range(2):
        made.fail("j", f"a[{index}]", 503)
    assert state(made) == OPEN and len(made.tokens) == 2
    made.advance(31.0)
    assert state(made) == HALF_OPEN and len(made.tokens) == 3


def test_explain_names_it() -> None:
    made = opened()
    found = explain(made.core, made.core.jobs["a2"])
    assert f"the circuit breaker {HOST} is OPEN" in found.summary and "in 30.0 s" in found.summary
    made.advance(31.0)
    found = explain(made.core, made.core.jobs["a2"])
    assert found.summary == f"the circuit breaker {HOST} is HALF_OPEN and waits for the end of its trials: p2/0"
