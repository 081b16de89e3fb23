"""What is wrong with a request: the rules of todo.proto and the rules of the business in one list, all at once.

The former are checked by protovalidate; if it cannot check, the request is refused (INTERNAL), never let through.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.message import Message

from examples.todo.instants import stored
from examples.todo.v1 import todo_pb2
from formicary.problems import FieldError, Problem
from formicary.problems.validation import Validator, refusal

MUTABLE = ("title", "description", "status", "priority", "due_date", "tags")
"""What a field mask may name."""

MAX_BATCH = 100
FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999, which is what a Timestamp may hold; over gRPC nothing else looks at it."""

_CONTROLS = "".join(map(chr, range(32))) + "\x7f"

_VALIDATOR = Validator(names="proto")
_CODES = {
    "STRING_MAX_LEN": "TOO_LONG",
    "REPEATED_MAX_ITEMS": "TOO_MANY",
    "REPEATED_MIN_ITEMS": "REQUIRED_FIELD",
    "STRING_PATTERN": "INVALID_FORMAT",
    "TIMESTAMP_GT_NOW": "MUST_BE_FUTURE",
    "INT32_GTE_LTE": "OUT_OF_RANGE",
    "ENUM_DEFINED_ONLY": "INVALID_VALUE",
}
"""Codes of rules -> the article's."""
_BATCH_CODES = {"REQUIRED_FIELD": "EMPTY_BATCH", "TOO_MANY": "BATCH_TOO_LARGE"}


def broken_rules(message: Message, prefix: str = "") -> list[FieldError]:
    """The rules of todo.proto that a message breaks.

    Args:
        message: Any message of todo.proto.
        prefix: Stands before each path, like ``task.``.

    Raises:
        Problem: INTERNAL, the rules themselves cannot be evaluated.
    """
    try:
        _VALIDATOR.check(message)
    except Problem as error:
        if error.code != "VALIDATION_FAILED":
            raise
        return [_named(found, prefix) for found in error.errors]
    return []


def _named(found: FieldError, prefix: str) -> FieldError:
    """The mistake under the article's code, as a sentence."""
    path, code, text = prefix + found.field, _CODES.get(found.code, found.code), found.message
    if code == "INVALID_FORMAT" and "tags[" in path:
        code, text = "INVALID_TAG_FORMAT", "must be 1 to 50 lower-case letters, digits and hyphens"
    elif path == "requests":
        code = _BATCH_CODES.get(code, code)
    return FieldError(path, code, f"{path or 'The request'} {text.removeprefix('value ')}.")


def unless_valid(message: Message, more: Iterable[FieldError] = ()) -> None:
    """Raises Problem VALIDATION_FAILED with everything that is wrong with the message, and with what else was found."""
    errors = [*broken_rules(message), *more]
    if errors:
        raise refusal(errors)


def new_task_errors(task: todo_pb2.Task, prefix: str) -> list[FieldError]:
    """What the business asks of a task beyond the rules of todo.proto."""
    errors = []
    if task.title and not task.title.strip(" "):
        errors.append(FieldError(f"{prefix}title", "REQUIRED_FIELD", f"{prefix}title is blank."))
    for name, forbidden in (("title", _CONTROLS), ("description", "\0")):
        if any(letter in forbidden for letter in getattr(task, name)):
            errors.append(FieldError(prefix + name, "INVALID_FORMAT", f"{prefix}{name} holds a control character."))
    due = task.due_date
    if not (FIRST_S <= due.seconds <= LAST_S and 0 <= due.nanos < 1_000_000_000):
        text = f"{prefix}due_date lies in the years 1 to 9999 and has 0 to 999,999,999 nanoseconds."
        errors.append(FieldError(f"{prefix}due_date", "INVALID_VALUE", text))
    seen: set[str] = set()
    for index, tag in enumerate(task.tags):
        if tag in seen:
            errors.append(FieldError(f"{prefix}tags[{index}]", "DUPLICATE_TAG", f"The tag {tag!r} is there twice."))
        seen.add(tag)
    return errors


def check_create(request: todo_pb2.CreateTaskRequest) -> None:
    """Raises Problem VALIDATION_FAILED unless the task can be created."""
    unless_valid(request, new_task_errors(request.task, "task."))


def check_batch(request: todo_pb2.BatchCreateTasksRequest) -> None:
    """Raises Problem VALIDATION_FAILED unless every task could be created, were it alone."""
    errors: list[FieldError] = []
    first: dict[str, int] = {}
    for index, item in enumerate(request.requests[:MAX_BATCH]):
        errors += new_task_errors(item.task, f"requests[{index}].task.")
        title = item.task.title
        if title in first:
            path = f"requests[{index}].task.title"
            same = f"requests[{first[title]}] has the same title."
            errors.append(FieldError(path, "DUPLICATE_TITLE", same))
        elif title:
            first[title] = index
    unless_valid(request, errors)


def check_update(request: todo_pb2.UpdateTaskRequest) -> list[str]:
    """Checks the fields that the mask names, and no others.

    A mask made of a PATCH's body names etag and name where the body has them: they say which task, and change nothing.

    Returns:
        The names of the fields to change.

    Raises:
        Problem: VALIDATION_FAILED.
    """
    if not request.HasField("task"):
        raise refusal([FieldError("task", "REQUIRED_FIELD", "task is required.")])
    named = list(dict.fromkeys(request.update_mask.paths))
    paths = list(MUTABLE) if named == ["*"] else [path for path in named if path not in ("name", "etag")]
    errors = [
        FieldError("update_mask", "UNKNOWN_FIELD", f"{path!r} cannot be changed; {', '.join(MUTABLE)} can.")
        for path in paths
        if path not in MUTABLE
    ]
    if not paths:
        errors.append(
            FieldError("update_mask", "REQUIRED_FIELD", f"It names no field; {', '.join(MUTABLE)} can change.")
        )
    errors += broken_rules(todo_pb2.GetTaskRequest(name=request.task.name), "task.")
    masked = todo_pb2.Task(etag=request.task.etag)
    for path in paths:
        if path in MUTABLE:
            copy_field(request.task, masked, path)
    for path in ("status", "priority"):
        if path in paths and not getattr(masked, path):
            errors.append(
                FieldError(f"task.{path}", "REQUIRED_FIELD", f"task.{path} is required where the mask names it.")
            )
    errors += [
        error
        for error in [*broken_rules(masked, "task."), *new_task_errors(masked, "task.")]
        if _top(error.field) in [*paths, "etag"]
    ]
    if errors:
        raise refusal(errors)
    return paths


def _top(path: str) -> str:
    """The field of the task that a path leads into, as the mask names it."""
    return path.removeprefix("task.").partition("[")[0].partition(".")[0]


def check_completion(before: todo_pb2.Task, after: todo_pb2.Task, now: datetime) -> None:
    """Raises Problem VALIDATION_FAILED when a change would complete a task after its due date."""
    completed = todo_pb2.STATUS_COMPLETED
    if after.status != completed or before.status == completed or not after.HasField("due_date"):
        return
    if stored(after.due_date) < now.astimezone(UTC).replace(tzinfo=None).isoformat():
        text = "The due date has passed: set a later one in the same update."
        raise refusal([FieldError("task.due_date", "OVERDUE_COMPLETION", text)])


def copy_field(source: todo_pb2.Task, target: todo_pb2.Task, name: str) -> None:
    """Makes a field of the target what it is in the source, absent where it is absent there."""
    target.ClearField(name)
    value = getattr(source, name)
    if name == "tags":
        target.tags.extend(value)
    elif name == "due_date":
        if source.HasField("due_date"):
            target.due_date.CopyFrom(value)
    else:
        setattr(target, name, value)
