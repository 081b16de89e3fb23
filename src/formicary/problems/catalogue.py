"""The table of problem codes: what each means in HTTP and gRPC, whether to retry, and whose fault it is.

Adding a code is adding a row. A code never changes its meaning; rows are never removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from formicary.problems.problem import FieldError, Problem


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """One row of the catalogue; the fields are those of :class:`formicary.problems.Problem`."""

    code: str
    title: str
    status: int
    grpc_code: str
    retryable: bool = False
    blame: str = "caller"
    remedy: str = ""


_ROWS = (
    # requests
    CodeEntry("VALIDATION_FAILED", "The input is not valid", 400, "INVALID_ARGUMENT"),
    CodeEntry("NOT_FOUND", "There is no such thing", 404, "NOT_FOUND"),
    CodeEntry("ALREADY_EXISTS", "It exists already", 409, "ALREADY_EXISTS"),
    CodeEntry("CONFLICT", "It changed meanwhile", 409, "ABORTED", remedy="Read it again and repeat the change."),
    CodeEntry(
        "IDEMPOTENCY_KEY_REUSED",
        "The idempotency key was used for another request",
        422,
        "INVALID_ARGUMENT",
        remedy="Use a new key for a new request.",
    ),
    CodeEntry("FAILED_PRECONDITION", "Not possible in the present state", 412, "FAILED_PRECONDITION"),
    CodeEntry("PAYLOAD_TOO_LARGE", "The input is too large", 413, "INVALID_ARGUMENT"),
    CodeEntry("RESOURCE_EXHAUSTED", "Too much at once", 429, "RESOURCE_EXHAUSTED", True, remedy="Wait and try again."),
    CodeEntry("UNAUTHENTICATED", "It is not known who is calling", 401, "UNAUTHENTICATED"),
    CodeEntry("PERMISSION_DENIED", "The caller may not do this", 403, "PERMISSION_DENIED"),
    CodeEntry("CANCELLED", "The caller cancelled the call", 499, "CANCELLED"),
    CodeEntry("NOT_AVAILABLE", "Not available in this version", 501, "UNIMPLEMENTED"),
    # the server
    CodeEntry("INTERNAL", "Internal error", 500, "INTERNAL", blame="server"),
    CodeEntry("UNAVAILABLE", "The service cannot answer now", 503, "UNAVAILABLE", True, "server", "Try again."),
    CodeEntry("DEADLINE_EXCEEDED", "The call took too long", 504, "DEADLINE_EXCEEDED", True, "server", "Try again."),
    CodeEntry("NOT_LEADER", "Another queen leads", 503, "UNAVAILABLE", True, "server", "Send the call to the leader."),
    CodeEntry("STALE_TOKEN", "The lease token is not the present one", 409, "ABORTED"),
    CodeEntry("UNSUPPORTED_DATA_VERSION", "The data is of another version", 500, "FAILED_PRECONDITION"),
    CodeEntry("DATA_IN_USE", "Another process uses the data", 409, "FAILED_PRECONDITION"),
    CodeEntry("DATA_CORRUPT", "The stored data is damaged", 500, "DATA_LOSS", blame="server"),
    # how tasks and jobs end
    CodeEntry("ERR_VALIDATION", "The task or its parameters are not valid", 400, "INVALID_ARGUMENT", blame="task"),
    CodeEntry("ERR_TIMEOUT", "It took longer than its time-out", 504, "DEADLINE_EXCEEDED", blame="task"),
    CodeEntry("ERR_POISON", "The ant was lost with this task too often", 500, "ABORTED", blame="task"),
    CodeEntry("ERR_FILTERED_JOB", "The job's skip_if was true", 412, "FAILED_PRECONDITION", blame="task"),
    CodeEntry("ERR_CANCELLED", "It was cancelled", 499, "CANCELLED"),
    CodeEntry("ERR_EXCEPTION", "The function raised an exception", 500, "UNKNOWN", blame="task"),
    CodeEntry("ERR_EXIT_CODE", "The command failed", 500, "UNKNOWN", blame="task"),
    CodeEntry("ERR_SIGNAL", "The command was ended by a signal", 500, "UNKNOWN", blame="task"),
    CodeEntry("ERR_HTTP", "The HTTP call failed", 502, "UNKNOWN", blame="task"),
    CodeEntry("ERR_START", "The task could not be started", 500, "INTERNAL", blame="task"),
    CodeEntry("ERR_RESULT_TOO_LARGE", "The result is too large", 413, "RESOURCE_EXHAUSTED", blame="task"),
    CodeEntry("ERR_TASK_FAILED", "A task of the job failed", 500, "ABORTED", blame="task"),
)

CATALOGUE: dict[str, CodeEntry] = {row.code: row for row in _ROWS}
"""Every code with its row."""


def entry(code: str) -> CodeEntry:
    """Returns the row of a code; a code that is not in the table (``ERR_*`` of a job file) counts as a task's error."""
    found = CATALOGUE.get(code)
    if found is not None:
        return found
    return CodeEntry(code, "The task ended with an error of its own", 500, "UNKNOWN", blame="task")


def problem(
    code: str,
    detail: str = "",
    *,
    errors: Iterable[FieldError] = (),
    remedy: str = "",
    **extensions: object,
) -> Problem:
    """Makes the problem of a code, with everything that the catalogue knows about it.

    Args:
        code: A code of the catalogue, or an ``ERR_*`` code of a job file.
        detail: What happened and what to do, one sentence.
        errors: What is wrong field by field.
        remedy: Replaces the catalogue's remedy.
        **extensions: Further members of the document.
    """
    row = entry(code)
    return Problem(
        row.code,
        row.title,
        detail,
        status=row.status,
        grpc_code=row.grpc_code,
        retryable=row.retryable,
        blame=row.blame,
        errors=errors,
        remedy=remedy or row.remedy,
        extensions=extensions,
    )
