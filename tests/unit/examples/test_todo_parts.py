"""The smaller parts of the to-do example: its generated code, times, tokens and arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from examples.todo import generate
from examples.todo.access import parse_tokens
from examples.todo.filtering import parse_order
from examples.todo.instants import InvalidInstant, loaded, parse_instant, stored
from examples.todo.paging import InvalidToken, decode, encode
from examples.todo.store import path_of
from examples.todo.v1 import todo_pb2
from examples.todo.validation import check_create
from formicary.problems import Problem
from tests.components import require

INSTANTS = st.builds(Timestamp, seconds=st.integers(-62135596800, 253402300799), nanos=st.integers(0, 999_999_999))


def test_generated_code_is_current(tmp_path: Path) -> None:
    """examples/todo/v1 is what the proto file generates; otherwise run `python -m examples.todo.generate`."""
    require("grpcio-tools")
    generate.generate(tmp_path)
    fresh = {path.name: path.read_bytes() for path in (tmp_path / "examples/todo/v1").iterdir()}
    assert fresh == {name: (generate.ROOT / "examples/todo/v1" / name).read_bytes() for name in fresh}
    assert set(fresh) == {"todo.binpb", "todo_pb2.py", "todo_pb2.pyi", "todo_pb2_grpc.py"}


@given(INSTANTS, INSTANTS)
def test_times_keep_their_order_and_nanoseconds_as_text(one: Timestamp, other: Timestamp) -> None:
    assert loaded(stored(one)) == one
    assert (stored(one) < stored(other)) == ((one.seconds, one.nanos) < (other.seconds, other.nanos))
    assert parse_instant(one.ToJsonString()) == stored(one)


@pytest.mark.parametrize(
    "text", ["", "2030-01-01", "2030-13-01T00:00:00Z", "2030-01-01T24:00:00Z", "2030-01-01T00:00Z"]
)
def test_another_text_is_no_time(text: str) -> None:
    with pytest.raises(InvalidInstant):
        parse_instant(text)


@given(st.lists(st.one_of(st.text(), st.integers()), max_size=4), st.text())
def test_a_page_token_comes_back_for_its_query_alone(last: list[str | int], query: str) -> None:
    token = encode(last, query, "order")
    assert decode(token, query, "order") == last
    assert token.isascii()
    for other in ((query + "x", "order"), (query, "orders"), (query,)):
        with pytest.raises(InvalidToken):
            decode(token, *other)


@given(st.text())
def test_another_text_is_no_page_token(text: str) -> None:
    with pytest.raises(InvalidToken):
        decode(text, "query")


def test_a_database_is_a_url_or_a_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_of("sqlite:///tasks.db") == tmp_path / "tasks.db"
    assert path_of("sqlite:////data/tasks.db") == Path("/data/tasks.db")
    assert path_of("tasks.db") == tmp_path / "tasks.db"
    for url in ("postgres:///tasks", "sqlite://tasks.db", "sqlite:///"):
        with pytest.raises(ValueError, match="is no database"):
            path_of(url)


def test_tokens_are_users_with_secrets() -> None:
    assert parse_tokens(["alice=a=b", "bob=c"]) == {"alice": "a=b", "bob": "c"}
    for texts in (["alice"], ["=a"], ["alice="], ["alice=a", "alice=b"]):
        with pytest.raises(ValueError, match="USER=SECRET"):
            parse_tokens(texts)


def test_validation_that_cannot_be_done_lets_nothing_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that cannot be evaluated is an internal error, not a valid task."""

    def broken(_: object) -> list[object]:
        raise RuntimeError("canary")

    monkeypatch.setattr("examples.todo.validation._VALIDATOR._collect", broken)
    with pytest.raises(Problem) as caught:
        check_create(todo_pb2.CreateTaskRequest(task=todo_pb2.Task(title="a")))
    assert caught.value.code == "INTERNAL"
    assert "canary" not in caught.value.detail


@pytest.mark.parametrize(("seconds", "nanos"), [(2**60, 0), (253_402_300_800, 0), (4_000_000_000, -5), (0, 10**9)])
def test_a_due_date_that_json_cannot_say_is_refused(seconds: int, nanos: int) -> None:
    """One such task, sent over gRPC, would keep every list over REST from being shown."""
    task = todo_pb2.Task(title="a", due_date=Timestamp(seconds=seconds, nanos=nanos))
    with pytest.raises(Problem) as caught:
        check_create(todo_pb2.CreateTaskRequest(task=task))
    assert ("task.due_date", "INVALID_VALUE") in [(error.field, error.code) for error in caught.value.errors]


def test_the_default_order_is_the_newest_first() -> None:
    assert parse_order(" ") == (("create_time", True),)
