"""The article's four errors as REST shows them, what the database does to a call, and that nothing leaks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from examples.todo.serving import Options, Server
from examples.todo.store import Store
from examples.todo.v1 import todo_pb2, todo_pb2_grpc
from formicary.problems.rpc import from_rpc_error
from tests.integration.todo.clients import RestClient
from tests.integration.todo.conftest import serving


def problem_of(answer: httpx.Response, status: int) -> dict:
    """The document of an answer, whose status is that of the status line."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    document = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail", "code"} <= document.keys()
    return document


def test_first_example_a_validation_failure_names_every_field(rest: RestClient) -> None:
    """400 in status line and body, and errors[] with field, code and message."""
    answer = rest.http.post("/v1/tasks", json={"task": {"description": "x" * 1001, "tags": ["INVALID TAG"]}})
    document = problem_of(answer, 400)
    assert document["code"] == "VALIDATION_FAILED"
    assert [(item["field"], item["code"]) for item in document["errors"]] == [
        ("task.title", "REQUIRED_FIELD"),
        ("task.description", "TOO_LONG"),
        ("task.tags[0]", "INVALID_TAG_FORMAT"),
    ]
    assert all(item["message"] for item in document["errors"])


def test_second_example_not_found(rest: RestClient) -> None:
    document = problem_of(rest.http.get("/v1/tasks/non-existent-id"), 404)
    assert document["code"] == "NOT_FOUND"
    assert "tasks/non-existent-id" in document["detail"]


def test_third_example_a_duplicate_title_is_a_conflict(rest: RestClient) -> None:
    body = {"task": {"title": "Existing Task Title"}}
    assert rest.http.post("/v1/tasks", json=body).status_code == 200
    assert problem_of(rest.http.post("/v1/tasks", json=body), 409)["code"] == "ALREADY_EXISTS"


def check_unavailable(answer: httpx.Response) -> None:
    document = problem_of(answer, 503)
    assert document["code"] == "UNAVAILABLE"
    assert answer.headers["retry-after"] == "30"
    hints = document["extensions"]
    assert hints["retryable"] is True
    assert hints["retryAfter"] == 30
    assert hints["maxRetries"] > 0
    assert hints["backoffType"] == "exponential"
    assert hints["backoffMs"] > 0
    assert hints["errorCategory"]


@pytest.fixture
def locked(database: Path, server: Server) -> Iterator[None]:
    """Somebody else writes to the database and does not end."""
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.rollback()
    other.close()


@pytest.mark.usefixtures("locked")
def test_fourth_example_a_locked_database_is_unavailable_for_a_while(rest: RestClient) -> None:
    """503 with Retry-After and what a client needs to try again; reading goes on meanwhile."""
    check_unavailable(rest.http.post("/v1/tasks", json={"task": {"title": "Buy milk"}}))
    many = {"requests": [{"task": {"title": f"t{number}"}} for number in range(100)]}
    check_unavailable(rest.http.post("/v1/tasks:batchCreate", json=many))
    assert rest.http.get("/v1/tasks").status_code == 200


def test_a_removed_database_is_unavailable_and_its_return_ends_that(
    rest: RestClient, server: Server, database: Path
) -> None:
    """Over gRPC the same problem has the same delay in RetryInfo."""
    for path in database.parent.glob("tasks.db*"):
        path.unlink()
    check_unavailable(rest.http.get("/v1/tasks"))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel, pytest.raises(grpc.RpcError) as caught:
        todo_pb2_grpc.TodoServiceStub(channel).ListTasks(
            todo_pb2.ListTasksRequest(), metadata=[("authorization", "Bearer wonderland")]
        )
    error = from_rpc_error(caught.value)
    assert (error.code, error.retryable, error.retry.after_s) == ("UNAVAILABLE", True, 30)
    Store(database)
    assert rest.http.get("/v1/tasks").status_code == 200


def test_the_switch_makes_every_call_unavailable(database: Path) -> None:
    with serving(Options(database=database, unavailable=True)) as server:
        check_unavailable(httpx.get(f"http://127.0.0.1:{server.http_port}/v1/tasks"))


def test_nothing_of_the_inside_reaches_a_caller(rest: RestClient, database: Path) -> None:
    """A damaged table is an internal error that names neither SQL nor file; the log has the cause."""
    with sqlite3.connect(database) as other:
        other.execute("ALTER TABLE tasks RENAME COLUMN description TO canary_column")
    other.close()
    for answer in (rest.http.get("/v1/tasks"), rest.http.post("/v1/tasks", json={"task": {"title": "a"}})):
        assert problem_of(answer, 500)["code"] == "INTERNAL"
        for word in ("canary", "SELECT", "column", "sqlite", "Traceback", str(database)):
            assert word not in answer.text
            assert all(word not in value for value in answer.headers.values())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"task": {"title": "a", "status": "INVALID_STATUS"}}', "task.status"),
        ('{"task": {"title": "a", "colour": "red"}}', "task.colour"),
        ('{"task": {"title": 7}}', "task.title"),
    ],
)
def test_what_the_definition_does_not_know_is_refused(rest: RestClient, body: str, field: str) -> None:
    """Unknown enum names, unknown fields and wrong types are violations with a path, never passed over."""
    answer = rest.http.post("/v1/tasks", content=body, headers={"content-type": "application/json"})
    assert [item["field"] for item in problem_of(answer, 400)["errors"]] == [field]


def test_broken_json_and_unknown_paths_are_problems_too(rest: RestClient) -> None:
    broken = rest.http.post("/v1/tasks", content=b'{"task', headers={"content-type": "application/json"})
    problem_of(broken, 400)
    problem_of(rest.http.get("/v1/nothing"), 404)
    put = rest.http.put("/v1/tasks", json={})
    problem_of(put, 405)
    assert "POST" in put.headers["allow"]


def test_without_a_token_the_answer_says_how_to_authenticate(server: Server) -> None:
    answer = httpx.get(f"http://127.0.0.1:{server.http_port}/v1/tasks", headers={"authorization": "Basic YTpi"})
    problem_of(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
