"""What the six methods do, the same over both protocols."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from examples.todo.v1 import todo_pb2
from formicary.problems import Problem
from formicary.problems.rpc import from_status
from tests.integration.todo.clients import Tasks


def in_days(days: float) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(datetime.now(UTC) + timedelta(days=days))
    return found


def refused(what: Callable[..., Any], *args: Any, **fields: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        what(*args, **fields)
    return caught.value


def fields_of(error: Problem) -> list[tuple[str, str]]:
    return [(item.field, item.code) for item in error.errors]


def test_a_task_is_created_with_defaults_and_read_back(alice: Tasks) -> None:
    """Unspecified status and priority become pending and medium; owner, name and times are the service's."""
    made = alice.create("Buy milk", tags=["shop", "food"], due_date=in_days(1), created_by="bob", name="tasks/mine")
    assert made.status == todo_pb2.STATUS_PENDING
    assert made.priority == todo_pb2.PRIORITY_MEDIUM
    assert made.created_by == "alice"
    assert made.name != "tasks/mine"
    assert made.etag == "1"
    assert alice.get(made.name) == made


def test_all_mistakes_of_a_task_are_told_at_once(alice: Tasks) -> None:
    """Rules of the proto file and of the business are in one list, with indices, one entry for each mistake."""
    error = refused(alice.create, "", description="x" * 1001, tags=["ok", "Not OK", "ok"], due_date=in_days(-1))
    assert (error.code, error.status, error.grpc_code) == ("VALIDATION_FAILED", 400, "INVALID_ARGUMENT")
    assert fields_of(error) == [
        ("task.title", "REQUIRED_FIELD"),
        ("task.description", "TOO_LONG"),
        ("task.due_date", "MUST_BE_FUTURE"),
        ("task.tags[1]", "INVALID_TAG_FORMAT"),
        ("task.tags[2]", "DUPLICATE_TAG"),
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"title": "x" * 201}, ("task.title", "TOO_LONG")),
        ({"title": "  "}, ("task.title", "REQUIRED_FIELD")),
        ({"tags": [f"t{n}" for n in range(11)]}, ("task.tags", "TOO_MANY")),
        ({"tags": ["x" * 51]}, ("task.tags[0]", "INVALID_TAG_FORMAT")),
        ({"tags": ["line\n"]}, ("task.tags[0]", "INVALID_TAG_FORMAT")),
        ({"priority": 9}, ("task.priority", "INVALID_VALUE")),
        ({"title": "two\nlines"}, ("task.title", "INVALID_FORMAT")),
        ({"description": "a\0"}, ("task.description", "INVALID_FORMAT")),
    ],
)
def test_a_mistake_is_named_by_its_field_and_code(
    alice: Tasks, fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    """Each limit has its own code at its own path."""
    assert fields_of(refused(alice.create, **({"title": "ok"} | fields))) == [expected]


def test_a_title_of_200_letters_of_any_script_is_taken(alice: Tasks) -> None:
    """Lengths are counted in characters, not bytes."""
    assert alice.create("é" * 200).title == "é" * 200


def test_a_task_that_is_not_there_is_not_found(alice: Tasks) -> None:
    error = refused(alice.get, "tasks/none")
    assert (error.code, error.status) == ("NOT_FOUND", 404)
    assert error.extensions["resource_name"] == "tasks/none"


def test_a_title_is_unique_for_its_owner_alone(alice: Tasks, bob: Tasks) -> None:
    """The second one of the same owner is a conflict, on update too; that of another owner is not."""
    alice.create("Buy milk")
    other = alice.create("Buy bread")
    bob.create("Buy milk")
    for error in (refused(alice.create, "Buy milk"), refused(alice.update, other.name, "title", title="Buy milk")):
        assert (error.code, error.status, error.grpc_code) == ("ALREADY_EXISTS", 409, "ALREADY_EXISTS")
        assert fields_of(error) == [("task.title", "DUPLICATE_TITLE")]


def test_only_the_owner_and_an_administrator_may_use_a_task(as_user: Callable[[str], Tasks]) -> None:
    """Others are refused all of it and do not see it in lists."""
    task = as_user("alice").create("Secret")
    bob = as_user("bob")
    for what in (
        lambda: bob.get(task.name),
        lambda: bob.update(task.name, "title", title="Mine"),
        lambda: bob.delete(task.name),
    ):
        error = refused(what)
        assert (error.code, error.status) == ("PERMISSION_DENIED", 403)
    assert bob.titles() == []
    assert as_user("root").titles() == ["Secret"]
    assert as_user("root").update(task.name, "title", title="Open").created_by == "alice"


@pytest.mark.parametrize("user", ["", "nobody", "builder2", "Builder"])
def test_nobody_gets_in_without_a_token(as_user: Callable[[str], Tasks], user: str) -> None:
    """A missing token and a wrong one are answered alike, on both ports."""
    client = as_user(user)
    error = refused(client.list)
    assert (error.code, error.status, error.grpc_code) == ("UNAUTHENTICATED", 401, "UNAUTHENTICATED")
    assert error.detail in ("It is not known who is calling", "The call needs a valid bearer token in authorization.")


def test_an_update_changes_what_its_mask_names_and_checks_no_more(alice: Tasks) -> None:
    """Fields beside the mask keep their values, whatever the message has there."""
    task = alice.create("Buy milk", description="two", tags=["shop"])
    after = alice.update(task.name, "description", "priority", description="three", priority="PRIORITY_LOW", title="")
    assert (after.title, after.description, after.priority) == ("Buy milk", "three", todo_pb2.PRIORITY_LOW)
    assert after.tags == ["shop"]
    assert after.etag == "2"
    assert after.update_time.ToDatetime() > task.update_time.ToDatetime()
    assert alice.update(task.name, "tags").tags == []


def test_a_mask_with_unknown_or_fixed_fields_is_refused(alice: Tasks) -> None:
    task = alice.create()
    error = refused(alice.update, task.name, "created_by", "create_time", created_by="bob")
    assert error.status == 400
    assert {item.field for item in error.errors} == {"update_mask"}
    assert len(error.errors) == 2
    assert alice.get(task.name) == task


def test_masked_fields_are_validated(alice: Tasks) -> None:
    task = alice.create()
    error = refused(alice.update, task.name, "title", "tags", "status", "due_date", tags=["A"], due_date=in_days(-1))
    assert sorted(fields_of(error)) == [
        ("task.due_date", "MUST_BE_FUTURE"),
        ("task.status", "REQUIRED_FIELD"),
        ("task.tags[0]", "INVALID_TAG_FORMAT"),
        ("task.title", "REQUIRED_FIELD"),
    ]


def test_an_update_of_an_old_version_is_a_conflict(alice: Tasks) -> None:
    """The version in the message must be the present one, for updates and removals."""
    task = alice.create()
    alice.update(task.name, "description", description="new", etag=task.etag)
    for what in (
        lambda: alice.update(task.name, "description", description="old", etag=task.etag),
        lambda: alice.delete(task.name, task.etag),
    ):
        error = refused(what)
        assert (error.code, error.status, error.grpc_code) == ("CONFLICT", 409, "ABORTED")
    assert alice.get(task.name).description == "new"


def test_a_removed_task_is_gone(alice: Tasks) -> None:
    task = alice.create()
    assert task.name in alice.delete(task.name).message
    assert refused(alice.get, task.name).code == "NOT_FOUND"
    assert refused(alice.delete, task.name).code == "NOT_FOUND"


def test_pages_neither_skip_nor_repeat_while_tasks_come_and_go(alice: Tasks) -> None:
    """A page begins after the last task of the page before, whatever was inserted or removed meanwhile."""
    made = {title: alice.create(title) for title in "bdfhj"}
    first = alice.list(page_size=2, order_by="title")
    assert [task.title for task in first.tasks] == ["b", "d"]
    assert first.total_size == 5
    for title in "acg":
        alice.create(title)
    alice.delete(made["d"].name)
    seen, token = [], first.next_page_token
    while token:
        page = alice.list(page_size=2, order_by="title", page_token=token)
        seen += [task.title for task in page.tasks]
        token = page.next_page_token
    assert seen == ["f", "g", "h", "j"]


def test_pages_in_any_order_hold_every_task_once(alice: Tasks) -> None:
    """Ties are decided by the id and tasks without a due date come after those with one."""
    for number in range(7):
        due = {"due_date": in_days(1 + number % 2)} if number % 3 else {}
        alice.create(f"t{number}", priority=1 + number % 2, **due)
    for order in ("priority desc, due_date", "due_date desc", "status", "create_time", ""):
        seen, token = list[str](), ""
        while True:
            page = alice.list(page_size=2, order_by=order, page_token=token)
            seen += [task.title for task in page.tasks]
            token = page.next_page_token
            if not token:
                break
        assert seen == alice.titles(order_by=order, page_size=1000)
        assert sorted(seen) == [f"t{number}" for number in range(7)]


def test_a_page_token_of_another_query_is_refused(alice: Tasks) -> None:
    for title in "ab":
        alice.create(title)
    token = alice.list(page_size=1).next_page_token
    for fields in ({"filter": "title = a"}, {"order_by": "title"}, {"page_token": token[:-3]}, {"page_token": "é"}):
        error = refused(alice.list, **({"page_token": token} | fields))
        assert fields_of(error) == [("page_token", "INVALID_PAGE_TOKEN")]


def test_all_mistakes_of_a_list_are_told_at_once(alice: Tasks) -> None:
    error = refused(alice.list, page_size=-1, filter="stat = 1", order_by="tags", page_token="x")
    assert [item.field for item in error.errors] == ["page_size", "filter", "order_by", "page_token"]


def test_lists_are_filtered(alice: Tasks) -> None:
    alice.create("Buy milk", tags=["shop"], priority="PRIORITY_HIGH")
    alice.create("Write report", description="for the SHOP", due_date=in_days(3))
    alice.create("Sleep", status="STATUS_COMPLETED")
    assert sorted(alice.titles('tags:shop OR description:"shop"')) == ["Buy milk", "Write report"]
    assert alice.titles("priority >= HIGH") == ["Buy milk"]
    assert alice.titles("NOT status = COMPLETED AND due_date:*") == ["Write report"]
    assert alice.titles("sLEEP") == ["Sleep"]
    assert alice.list(filter="status = PENDING", page_size=1).total_size == 2


def test_a_batch_tells_of_each_request_what_became_of_it(alice: Tasks) -> None:
    """A conflict fails its own request alone, with the whole error in the response."""
    alice.create("taken")
    answer = alice.batch(*(todo_pb2.Task(title=title) for title in ("one", "taken", "two")))
    assert [task.title for task in answer.tasks] == ["one", "two"]
    assert [result.status.code for result in answer.results] == [0, 6, 0]
    assert [result.name for result in answer.results] == [answer.tasks[0].name, "", answer.tasks[1].name]
    error = from_status(answer.results[1].status)
    assert (error.code, fields_of(error)) == ("ALREADY_EXISTS", [("task.title", "DUPLICATE_TITLE")])
    assert error.trace_id


def test_a_batch_in_which_all_fail_is_no_internal_error(alice: Tasks) -> None:
    alice.create("taken")
    answer = alice.batch(todo_pb2.Task(title="taken"))
    assert [result.status.code for result in answer.results] == [6]


def test_a_batch_with_mistakes_creates_nothing_and_names_each_place(alice: Tasks) -> None:
    """Paths have the index of the request, and duplicate titles are told in the order of the requests."""
    error = refused(
        alice.batch,
        todo_pb2.Task(title="same"),
        None,
        todo_pb2.Task(title="ok", tags=["Bad", "a", "a"]),
        todo_pb2.Task(title="same"),
    )
    assert fields_of(error) == [
        ("requests[1].task", "REQUIRED_FIELD"),
        ("requests[2].task.tags[0]", "INVALID_TAG_FORMAT"),
        ("requests[2].task.tags[2]", "DUPLICATE_TAG"),
        ("requests[3].task.title", "DUPLICATE_TITLE"),
    ]
    assert alice.titles() == []


def test_a_batch_is_neither_empty_nor_too_large(alice: Tasks) -> None:
    assert fields_of(refused(alice.batch)) == [("requests", "EMPTY_BATCH")]
    many = [todo_pb2.Task(title=f"t{number}") for number in range(101)]
    assert fields_of(refused(alice.batch, *many)) == [("requests", "BATCH_TOO_LARGE")]


def test_user_text_never_becomes_sql(alice: Tasks) -> None:
    title = "Robert'); DROP TABLE tasks;--"
    alice.create(title)
    assert alice.titles(f'title = "{title}"') == [title]
    assert alice.titles('title = "\' OR 1=1 --"') == []
