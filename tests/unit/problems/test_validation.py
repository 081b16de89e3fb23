"""Validation: every violation at once, with full paths, and never passed over."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from formicary.problems import FieldError, Problem
from formicary.problems.validation import Validator
from tests.unit.problems.ruled_messages import Batch, Broken, Task


def refused(validator: Validator, message: object) -> Problem:
    with pytest.raises(Problem) as caught:
        validator.check(message)
    return caught.value


def test_a_valid_message_passes() -> None:
    Validator().check(Task(title="x", tags=["a"], labels={"k": "v"}))


def test_all_violations_come_at_once_with_full_paths() -> None:
    batch = Batch()
    batch.requests.add().task.title = "ok"
    batch.requests.add()
    found = batch.requests.add().task
    found.tags.extend(["ok", "NOT OK"])
    found.labels["a.b"] = ""
    problem = refused(Validator(), batch)
    assert problem.code == "VALIDATION_FAILED" and problem.status == 400
    by_field = {error.field: error for error in problem.errors}
    assert set(by_field) == {
        "requests[2].task.title",
        "requests[2].task.tags[1]",
        'requests[2].task.labels["a.b"]',
    }
    assert by_field["requests[2].task.title"].code == "REQUIRED_FIELD"
    assert by_field["requests[2].task.tags[1]"].code == "STRING_PATTERN"
    assert by_field['requests[2].task.labels["a.b"]'].pointer == "/requests/2/task/labels/a.b"


def test_names_are_those_of_json_or_of_the_proto_file() -> None:
    message = Task(title="x", due_date="long")
    assert [e.field for e in refused(Validator(), message).errors] == ["dueDate"]
    assert [e.field for e in refused(Validator(names="proto"), message).errors] == ["due_date"]
    with pytest.raises(ValueError, match="names"):
        Validator(names="snake")


def test_validation_fails_closed() -> None:
    """A rule that cannot be compiled or evaluated refuses the message; its text stays inside."""
    problem = refused(Validator(), Broken(name="x"))
    assert problem.code == "INTERNAL" and problem.__cause__ is not None
    with pytest.raises(Problem):
        Validator().warm(Broken)


def test_business_rules_add_to_the_same_list_and_fail_closed_too() -> None:
    mine = FieldError("tags", "TOO_FEW", "add one")
    validator = Validator(rules={"ruled.Task": [lambda _: [mine]]})
    found = refused(validator, Task())
    assert [e.code for e in found.errors] == ["REQUIRED_FIELD", "TOO_FEW"]

    def crash(_: object) -> list[FieldError]:
        raise KeyError("secret")

    with pytest.raises(Problem) as caught:
        Validator().check(Task(title="x"), [crash])
    assert caught.value.code == "INTERNAL" and "secret" not in caught.value.detail


def test_a_flood_of_violations_is_bounded() -> None:
    found = refused(Validator(), Task(title="x", tags=["NO"] * 5000))
    assert len(found.errors) == 100 and found.extensions == {"truncated": True}
    assert "5000" in found.detail


def test_types_without_rules_are_told_from_those_with_rules_in_what_they_hold() -> None:
    """A rule counts however deep it is, and a business rule too; where nothing is, whatever is sent passes."""
    business = Validator(rules={"google.protobuf.Duration": [lambda _: []]})
    for kind in (Task, Batch, Broken):
        assert Validator().concerns(kind.DESCRIPTOR)
    for kind in (Struct, Duration, FileDescriptorSet):
        assert Validator().concerns(kind.DESCRIPTOR) is (kind is FileDescriptorSet)  # options may be extended
    assert business.concerns(Duration.DESCRIPTOR) and not business.concerns(Struct.DESCRIPTOR)
