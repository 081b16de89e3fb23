"""Problems and ``google.rpc.Status``, both ways, with nothing lost.

A problem of ours goes out as an :class:`ErrorDetail`, which holds all of it, and as google.rpc's own details for
readers who do not know ours. A status from elsewhere keeps its details byte by byte and gets the code of
its gRPC status.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import grpc
import msgspec
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from formicary.problems.catalogue import GRPC_CODES, entry, generic, problem
from formicary.problems.packed import from_any, pack, to_any
from formicary.problems.problem import NO_RETRY, Detail, FieldError, Problem, RetryPolicy, type_uri
from formicary.problems.showing import shown
from formicary.v1.problems_pb2 import ErrorDetail, FieldProblem
from formicary.v1.problems_pb2 import RetryPolicy as RetryMessage

DOMAIN = "formicary"
STATUS_KEY = "grpc-status-details-bin"
_OWN = ErrorDetail.DESCRIPTOR.full_name
_MOST_TEXT = 2048
"""Characters of a status message; peers refuse metadata above 8 KiB."""
_MOST_METADATA_BYTES = 7000
_NUMBERS = {name: place for place, name in enumerate(GRPC_CODES)}
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Rendered(NamedTuple):
    """What ends a call: status code, text, trailing metadata."""

    code: grpc.StatusCode
    details: str
    trailing: tuple[tuple[str, str | bytes], ...]


def to_grpc(problem: Problem, *, trace_id: str = "", type_base: str = "") -> Rendered:
    """What a client over gRPC is shown.

    Args:
        problem: What went wrong; what its caller may not see is left out.
        trace_id: Of the call (W3C), where the problem has none.
        type_base: Scheme and authority of type URIs, empty = relative.

    Returns:
        Code, text and trailing metadata with ``grpc-status-details-bin`` for ``context.abort(*…)``.
    """
    public = shown(problem, trace_id=trace_id)
    status = to_status(public, type_base=type_base)
    trailing: bytes = status.SerializeToString()
    if len(trailing) > _MOST_METADATA_BYTES:
        trailing = _shortened(public, type_base).SerializeToString()
    code = _STATUS_CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    if code is grpc.StatusCode.OK:  # no call can fail with it
        code = grpc.StatusCode.UNKNOWN
    return Rendered(code, public.detail[:_MOST_TEXT], ((STATUS_KEY, trailing),))


def to_status(problem: Problem, *, type_base: str = "") -> Any:
    """The whole problem as ``google.rpc.Status``, nothing hidden: for what stays inside.

    Args:
        problem: What went wrong.
        type_base: Scheme and authority of type URIs, empty = relative.
    """
    carried = {detail.type_name for detail in problem.details}
    derived = [item for item in _derived(problem, type_base) if item.DESCRIPTOR.full_name not in carried]
    own = _own(problem)
    own.derived.extend(item.DESCRIPTOR.full_name for item in derived)
    details = [pack(own), *map(pack, derived), *problem.details]
    return status_pb2.Status(
        code=code_number(problem.grpc_code), message=problem.detail, details=[to_any(item) for item in details]
    )


def from_status(status: Any) -> Problem:
    """The problem that a ``google.rpc.Status`` stands for, whoever made it."""
    details = [from_any(packed) for packed in status.details]
    for place, detail in enumerate(details):
        if detail.type_name == _OWN:
            own = _parsed(detail, ErrorDetail())
            if own is not None:
                rest = details[:place] + details[place + 1 :]
                derived = set(own.derived)
                kept = [item for item in rest if item.type_name not in derived]
                return _from_own(own, status, kept)
    return _from_foreign(status, details)


def from_trailing_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Problem | None:
    """The problem in a call's trailing metadata, None where there is none that can be read."""
    for key, value in metadata:
        if key == STATUS_KEY:
            try:
                return from_status(status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode()))
            except DecodeError:
                return None
    return None


def from_rpc_error(error: grpc.RpcError) -> Problem:
    """The problem that a failed call stands for, on the client.

    Args:
        error: What the stub raised, from grpc or grpc.aio.

    Returns:
        The server's problem where it sent one. Otherwise that of the status code, whose text is not shown to others
        when the fault is not the caller's: it may name addresses.
    """
    failed: Any = error
    found = from_trailing_metadata(failed.trailing_metadata() or ())
    if found is not None:
        return found
    found = from_status(status_pb2.Status(code=failed.code().value[0], message=failed.details() or ""))
    found.show = False if found.status >= 500 else None
    return found


def code_number(name: str) -> int:
    """The number of a gRPC status code; a number as text stands for itself, any other name for UNKNOWN."""
    found = _NUMBERS.get(name)
    if found is not None:
        return found
    return int(name) if name.lstrip("-").isdigit() else _NUMBERS["UNKNOWN"]


def code_name(number: int) -> str:
    """The name of a gRPC status code, the number as text where it has none."""
    return GRPC_CODES[number] if 0 <= number < len(GRPC_CODES) else str(number)


# --- problem -> details ---------------------------------------------------------------------------------------------


def _own(problem: Problem) -> Any:
    retry = problem.retry
    return ErrorDetail(
        code=problem.code,
        title=problem.title,
        status=problem.status,
        blame=problem.blame,
        retryable=problem.retryable,
        remedy=problem.remedy,
        errors=[
            FieldProblem(field=e.field, code=e.code, message=e.message, line=e.line or 0, column=e.column or 0)
            for e in problem.errors
        ],
        extensions={key: msgspec.json.encode(value).decode() for key, value in problem.extensions.items()},
        retry=None
        if retry == NO_RETRY
        else RetryMessage(
            after_s=retry.after_s,
            max_retries=retry.max_retries,
            backoff_type=retry.backoff_type,
            backoff_ms=retry.backoff_ms,
        ),
        instance=problem.instance,
        trace_id=problem.trace_id,
        timestamp=problem.timestamp,
    )


def _derived(problem: Problem, type_base: str) -> list[Message]:
    """google.rpc's own details, made of what the problem says."""
    found: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=problem.code,
            domain=DOMAIN,
            metadata={key: value for key, value in problem.extensions.items() if isinstance(value, str)},
        )
    ]
    if problem.errors:
        found.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=e.field, description=e.message, reason=e.code)
                    for e in problem.errors
                ]
            )
        )
    if problem.retryable and problem.retry.after_s is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromNanoseconds(round(problem.retry.after_s * 1e9))
        found.append(info)
    if problem.trace_id:
        found.append(error_details_pb2.RequestInfo(request_id=problem.trace_id))
    if problem.remedy:
        link = error_details_pb2.Help.Link(description=problem.remedy, url=type_uri(problem.code, type_base))
        found.append(error_details_pb2.Help(links=[link]))
    return found


def _shortened(public: Problem, type_base: str) -> Any:
    """A status that fits into metadata: as many field errors as there is room for, no packed details."""
    small = Problem.from_document(public.to_document() | {"details": [], "errors": [], "detail": public.detail[:500]})
    small.extensions.clear()
    room = _MOST_METADATA_BYTES - 1500
    kept: list[FieldError] = []
    for error in public.errors:
        room -= 2 * len(f"{error.field}{error.code}{error.message}".encode()) + 32
        if room < 0:
            break
        kept.append(error)
    small.errors = tuple(kept)
    small.extensions["truncated"] = True
    return to_status(small, type_base=type_base)


# --- details -> problem ---------------------------------------------------------------------------------------------


def _parsed(detail: Detail, into: Any) -> Any:
    try:
        into.ParseFromString(detail.value)
    except DecodeError:
        return None
    return into


def _from_own(own: Any, status: Any, details: Sequence[Detail]) -> Problem:
    extensions: dict[str, object] = {}
    for key, value in own.extensions.items():
        try:
            extensions[key] = json.loads(value)
        except ValueError:
            extensions[key] = value
    found = Problem(
        own.code,
        own.title,
        own.detail or status.message,
        status=own.status or 500,
        grpc_code=code_name(status.code),
        retryable=own.retryable,
        blame=own.blame,
        errors=[FieldError(e.field, e.code, e.message, e.line or None, e.column or None) for e in own.errors],
        remedy=own.remedy,
        extensions=extensions,
        retry=_retry(own.retry) if own.HasField("retry") else NO_RETRY,
        details=details,
    )
    found.instance, found.trace_id, found.timestamp = own.instance, own.trace_id, own.timestamp
    return found


def _retry(message: Any) -> RetryPolicy:
    return RetryPolicy(
        message.after_s if message.HasField("after_s") else None,
        message.max_retries if message.HasField("max_retries") else None,
        message.backoff_type,
        message.backoff_ms if message.HasField("backoff_ms") else None,
    )


def _from_foreign(status: Any, details: Sequence[Detail]) -> Problem:
    name = code_name(status.code)
    row = generic(name)
    errors: list[FieldError] = []
    after_s: float | None = None
    trace_id = ""
    for detail in details:
        if detail.type_name == "google.rpc.BadRequest":
            bad = _parsed(detail, error_details_pb2.BadRequest())
            for violation in bad.field_violations if bad is not None else ():
                errors.append(FieldError(violation.field, violation.reason or "INVALID", violation.description))
        elif detail.type_name == "google.rpc.RetryInfo":
            info = _parsed(detail, error_details_pb2.RetryInfo())
            if info is not None:
                after_s = max(0.0, info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
        elif detail.type_name == "google.rpc.RequestInfo":
            request = _parsed(detail, error_details_pb2.RequestInfo())
            trace_id = request.request_id if request is not None else ""
        elif detail.type_name == "google.rpc.ErrorInfo":
            reason = _parsed(detail, error_details_pb2.ErrorInfo())
            if reason is not None and reason.domain == DOMAIN:
                row = entry(reason.reason)
    made = problem(row.code, status.message, errors=errors, retry_after_s=after_s, details=details)
    made.grpc_code = name
    made.retryable = made.retryable or after_s is not None
    made.trace_id = trace_id
    return made
