"""Tasks whose due date has passed: editable, and completed only with a new date. The original had it the other way."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from examples.todo.v1 import todo_pb2
from formicary.problems import Problem
from tests.integration.todo.clients import Tasks
from tests.integration.todo.test_methods import in_days


@pytest.fixture
def overdue(alice: Tasks, database: Path) -> todo_pb2.Task:
    """A task of Alice that should have been done in 2020."""
    task = alice.create("Late", due_date=in_days(1))
    with closing(sqlite3.connect(database)) as other, other:
        other.execute("UPDATE tasks SET due_date = '2020-01-01T00:00:00.000000000Z'")
    return alice.get(task.name)


def test_an_overdue_task_can_be_changed(alice: Tasks, overdue: todo_pb2.Task) -> None:
    after = alice.update(overdue.name, "title", "status", title="Later", status="STATUS_IN_PROGRESS")
    assert after.title == "Later"
    assert after.due_date == overdue.due_date


def test_an_overdue_task_is_completed_with_a_new_due_date_alone(alice: Tasks, overdue: todo_pb2.Task) -> None:
    with pytest.raises(Problem) as caught:
        alice.update(overdue.name, "status", status="STATUS_COMPLETED")
    assert [(item.field, item.code) for item in caught.value.errors] == [("task.due_date", "OVERDUE_COMPLETION")]
    done = alice.update(overdue.name, "status", "due_date", status="STATUS_COMPLETED", due_date=in_days(1))
    assert done.status == todo_pb2.STATUS_COMPLETED


def test_an_overdue_task_is_found_by_its_date(alice: Tasks, overdue: todo_pb2.Task) -> None:
    alice.create("No date")
    assert alice.titles('due_date < "2021-01-01T00:00:00Z"') == [overdue.title]
    assert alice.titles('NOT due_date < "2021-01-01T00:00:00Z"') == ["No date"]
