"""What `formicary run` prints when it is piped: one line per change, nothing twice."""

import io
from typing import Any

import pytest

from formicary.cli.describing import describe, describe_child
from formicary.cli.display import Lines
from formicary.cli.output import emit_outputs

TIMES = {"started_at": "2026-01-01T00:00:00.000Z", "ended_at": "2026-01-01T00:00:01.500Z"}


def document(state: str, *tasks: tuple[str, str, int]) -> dict[str, Any]:
    """A job as `get` shows it."""
    times = TIMES if state == "COMPLETED" else {"started_at": TIMES["started_at"], "ended_at": None}
    shown = [
        {"task_type": name, "state": now, "attempts": attempts, "exit_code": 0, **TIMES}
        for name, now, attempts in tasks
    ]
    return {"id": "1", "job_type": "j", "state": state, "tasks": shown, **times}


def test_each_change_is_one_line() -> None:
    """The same document twice prints nothing more."""
    stream = io.StringIO()
    lines = Lines(stream)
    lines.job(document("PENDING", ("a", "PENDING", 0), ("b", "PENDING", 0)))
    lines.job(document("EXECUTING", ("a", "EXECUTING", 1), ("b", "PENDING", 0)))
    lines.job(document("EXECUTING", ("a", "EXECUTING", 1), ("b", "PENDING", 0)))
    lines.log("a", 1, "hello")
    lines.job(document("COMPLETED", ("a", "COMPLETED", 1), ("b", "SKIPPED", 0)))
    assert stream.getvalue().splitlines() == [
        "job 1 j",
        "a EXECUTING",
        "job 1 EXECUTING",
        "a | hello",
        "a COMPLETED (1.50 s)",
        "b SKIPPED (1.50 s)",
        "job 1 COMPLETED (1.50 s)",
    ]


def test_a_task_is_not_heard_before_it_is_shown_as_begun() -> None:
    """A log line that overtakes the document comes after the end of the task that led there, in its own task's turn."""
    stream = io.StringIO()
    lines = Lines(stream)
    lines.job(document("EXECUTING", ("a", "EXECUTING", 1), ("b", "PENDING", 0)))
    lines.log("b", 1, "late")
    lines.job(document("FAILED", ("a", "FAILED", 1), ("b", "COMPLETED", 1)))
    told = stream.getvalue().splitlines()
    assert [line.split(" (")[0] for line in told[2:]] == [
        "job 1 EXECUTING",
        "a FAILED",
        "b | late",
        "b COMPLETED",
        "job 1 FAILED",
    ]


def test_what_is_held_is_told_at_the_end() -> None:
    """Closing prints the lines of tasks that no document has shown."""
    stream = io.StringIO()
    lines = Lines(stream)
    lines.job(document("EXECUTING", ("a", "PENDING", 0)))
    lines.log("a", 1, "kept")
    assert "a | kept" not in stream.getvalue()
    lines.close()
    assert stream.getvalue().splitlines()[-1] == "a | kept"


def test_a_failure_is_told_with_its_reason() -> None:
    """The first line of the error, the attempt and the time."""
    task = {
        "state": "FAILED",
        "attempts": 3,
        "exit_code": 7,
        "error": {"code": "ERR_EXIT_CODE", "message": "exit code 7\nmore"},
        **TIMES,
    }
    assert describe(task) == "exit code 7, attempt 3, 1.50 s"


def test_text_that_the_terminal_cannot_show_is_escaped() -> None:
    """A line with an umlaut does not end the command where the output is ASCII."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Lines(stream).log("a", 1, "Zürich")
    assert raw.getvalue() == b"a | Z\\xfcrich\n"


def below_of(completed: int, failed: int = 0) -> dict[str, Any]:
    """What a task of 1,000 elements has below it."""
    shown = [
        {"index": 3, "name": "a[3]", "state": "FAILED", "attempts": 1, "exit_code": 4},
        {"index": 4, "name": "a[4]", "state": "EXECUTING", "attempts": 1, "exit_code": None},
    ]
    ended = {"completed": completed, "failed": failed, "cancelled": 0, "skipped": 0}
    is_open = min(50, 1000 - completed - failed)
    return {"kind": "task", "total": 1000, "waiting": 0, "open": is_open, "running": is_open, **ended, "shown": shown}


def test_a_thousand_elements_are_ten_lines() -> None:
    """A fan-out is told at each tenth of its way; the lines of its elements come as they are written."""
    stream = io.StringIO()
    lines = Lines(stream)
    for done in range(1000):
        found = document("EXECUTING", ("a", "WAITING", 1))
        found["tasks"][0]["children"] = below_of(done, failed=1 if done > 200 else 0)
        lines.job(found)
    lines.log("a[7]", 1, "hello")
    told = stream.getvalue().splitlines()
    assert told[1] == "a WAITING (0 of 1,000 elements, 50 on ants)"
    assert told[4] == "a 201 of 1,000 elements, 50 on ants, 1 failed" or told[4].startswith("a 200 of 1,000 elements")
    assert told[-1] == "a[7] | hello" and len(told) == 3 + 9 + 1


def test_what_has_failed_is_named() -> None:
    """An element or a job below a task is one line."""
    assert [describe_child(child) for child in below_of(0)["shown"]] == ["a[3] FAILED exit code 4", "a[4] EXECUTING"]
    job = {"index": 0, "job_id": "x.0-0-1", "state": "FAILED", "error": {"code": "ERR_EXIT_CODE", "message": "no\nway"}}
    assert describe_child(job) == "job x.0-0-1 FAILED no"


def test_outputs_of_a_long_list_do_not_hide_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """People see what there is beside the elements first, and a bounded number of lines."""
    named: dict[str, Any] = {f"item_{index}_status": "COMPLETED" for index in range(1000)}
    results = [{"index": index, "state": "COMPLETED", "outputs": {}} for index in range(1000)]
    emit_outputs({"outputs": {**named, "FanOutItemCount": 1000, "FanOutResults": results}})
    told = capsys.readouterr().out.splitlines()
    assert told[2] == "  FanOutItemCount: 1000" and told[3].endswith("more characters")
    assert told[-1] == "  … and 982 more: --output json shows all of them" and len(told) == 23
