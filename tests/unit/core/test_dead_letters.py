"""Which jobs become dead letters, with which reason and in which queue; a redriven one begins when it should."""

from __future__ import annotations

import pytest

from formicary.engine.jobs.model import TaskDefinition
from formicary.engine.jobs.parse import parse_source
from formicary.engine.queen.core import outcome as ends
from formicary.engine.storage.port import DEAD_LETTER_COLUMNS, DeadLetterQuery
from tests.unit.core.colony import ORG, Colony

JOB = """\
job_type: one
{job}
tasks:
- task_type: a
  script: ["true"]
{task}
"""


def colony_with(job: str = "", task: str = "") -> Colony:
    """A colony whose job `j` has begun on an ant `x`."""
    colony = Colony()
    colony.ant("x", 1)
    colony.submit("j", colony.define(JOB.format(job=job, task=task)))
    return colony


def letters(colony: Colony, state: str = "DEAD") -> list[dict[str, object]]:
    """The stored letters."""
    rows = colony.store.dead_letters(DeadLetterQuery(ORG, state), 100)
    return [dict(zip(DEAD_LETTER_COLUMNS, row, strict=True)) for row in rows]


def test_a_poison_job_is_a_dead_letter_without_asking() -> None:
    """Whoever kills its ants goes to the queue `default`."""
    colony = colony_with(task="  max_lost_attempts: 2")
    for _ in range(2):
        colony.result("j", "a", ends.LOST)
    (letter,) = letters(colony)
    assert (letter["queue"], letter["reason"], letter["task_type"], letter["attempts"]) == ("default", "POISON", "a", 2)
    assert letter["error_code"] == "ERR_POISON" and letter["alert"] == 0 and letter["execution"] == 1


@pytest.mark.parametrize(
    ("job", "task", "expected"),
    [
        ("error_handling: {dead_letter_queue: late}", "", ("late", 0)),
        ("error_handling: {dead_letter_queue: true, alert_on_dlq: true}", "", ("default", 1)),
        ("", "  error_handling: {dead_letter_queue: own}", ("own", 0)),
        ("error_handling: {dead_letter_queue: late}", "  error_handling: {dead_letter_queue: own}", ("own", 0)),
        ("", "", None),
        ("error_handling: {dead_letter_queue: false}", "", None),
        ("error_handling: {max_retries: 0}", "", None),
    ],
)
def test_a_job_that_failed_for_good_is_one_where_it_asks(job: str, task: str, expected: tuple[str, int] | None) -> None:
    """The failed task's own queue goes before the job's."""
    colony = colony_with(job, task)
    colony.fail("j", "a")
    found = [(one["queue"], one["alert"]) for one in letters(colony)]
    assert found == ([expected] if expected else [])
    assert [one["reason"] for one in letters(colony)] == ["RETRIES_EXHAUSTED"] * bool(expected)


def test_retries_come_first() -> None:
    """`max_retries` is `retry`: the letter is written after the last of them, for the execution that ended so."""
    colony = colony_with("error_handling: {dead_letter_queue: late, max_retries: 1}\ndelay_between_retries: 1s")
    colony.fail("j", "a")
    assert letters(colony) == []
    colony.advance(2.0)
    colony.fail("j", "a")
    (letter,) = letters(colony)
    assert letter["execution"] == 2 and letter["attempts"] == 2


def test_reasons_of_ends_that_no_retry_could_help() -> None:
    """FATAL exit codes and the job's time-out say so."""
    asked = "error_handling: {dead_letter_queue: late}\nretry: 5\ntimeout: 10s"
    colony = colony_with(asked, "  on_exit_code: {3: FATAL}")
    colony.fail("j", "a", 3)
    assert [one["reason"] for one in letters(colony)] == ["FATAL"]
    colony = colony_with(asked)
    colony.advance(11.0)
    colony.result("j", "a", ends.CANCELLED)
    assert [(one["reason"], one["task_type"]) for one in letters(colony)] == [("TIMED_OUT", "")]


def test_who_is_cancelled_left_out_or_allowed_is_none() -> None:
    """Nobody redrives what somebody has ended on purpose."""
    asked = "error_handling: {dead_letter_queue: late}"
    colony = colony_with(asked)
    colony.cancel("j")
    colony.result("j", "a", ends.CANCELLED)
    assert letters(colony) == []
    colony = colony_with(asked + "\nskip_if: 'true'")
    assert colony.states("j")["j"] == "FAILED" and letters(colony) == []
    colony = colony_with(asked, "  allow_failure: true")
    colony.fail("j", "a")
    assert letters(colony) == []


def test_a_redriven_job_begins_at_its_time_and_survives_a_restart() -> None:
    """The rate of a redrive is a timer, which is a row."""
    colony = colony_with("error_handling: {dead_letter_queue: late}")
    colony.fail("j", "a")
    row = colony.store.job(ORG, "j")
    assert row is not None and row[20] == 1
    definition = next(iter(colony.core.definitions.values()))
    colony.core.retry(definition, row, colony.store.tasks(1), hard=False, start_at=colony.wall + 5.0)
    colony.settle()
    assert colony.states("j") == {"j": "PENDING", "a": "PENDING"}
    colony.restart()
    colony.ant("y", 1)
    colony.advance(4.0)
    assert colony.states("j")["j"] == "PENDING"
    colony.advance(1.5)
    assert colony.states("j") == {"j": "EXECUTING", "a": "DISPATCHED"}


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        ("error_handling: {retries: 3}", (2, 18), "UNKNOWN_FIELD"),
        ("error_handling: {max_retries: -1}", (2, 31), "OUT_OF_RANGE"),
        ("error_handling: {dead_letter_queue: 'a b'}", (2, 37), "BAD_NAME"),
        ("error_handling: {alert_on_dlq: true}", (2, 17), "MISSING_FIELD"),
        ("error_handling: yes please", (2, 17), "WRONG_TYPE"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(text: str, place: tuple[int, int], code: str) -> None:
    """Line and column, for jobs and for tasks."""
    (parsed,) = parse_source(JOB.format(job=text, task=""))
    assert [(one.line, one.column, one.code) for one in parsed.violations] == [(*place, code)]
    (parsed,) = parse_source(JOB.format(job="", task="  " + text))
    assert [one.code for one in parsed.violations] == [code]


def test_the_articles_block_is_read() -> None:
    """`max_retries` counts where `retry` is not given."""
    text = "error_handling:\n  max_retries: 3\n  dead_letter_queue: failed-jobs\n  alert_on_dlq: true"
    (parsed,) = parse_source(JOB.format(job=text, task=""))
    assert parsed.violations == () and parsed.definition is not None and parsed.definition.retry == 3
    (parsed,) = parse_source(JOB.format(job=text + "\nretry: 1", task="  error_handling: {max_retries: 4}"))
    assert parsed.definition is not None and parsed.definition.retry == 1
    task: TaskDefinition = parsed.definition.tasks[0]
    assert task.retry == 4
