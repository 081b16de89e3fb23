"""The root exception of the product and its document form (RFC 9457, ``application/problem+json``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TYPE_PREFIX = "/problems/"
"""Where the page of each type is, on the server that answers."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field of a request or a file.

    Attributes:
        field: JSON-like path, like ``tasks[2].retry`` or ``labels["a.b"]``.
        code: Stable code, like ``UNKNOWN_FIELD``.
        message: One sentence that says what to do.
        line: Line in the file, from 1; None when there is no file.
        column: Column in the file, from 1.
    """

    field: str
    code: str
    message: str
    line: int | None = None
    column: int | None = None

    @property
    def pointer(self) -> str:
        """The field as JSON Pointer (RFC 6901), like ``/tasks/2/retry``; empty for the whole document."""
        return pointer(self.field)

    def to_document(self) -> dict[str, object]:
        """Returns the JSON form; line and column are left out when unknown."""
        document: dict[str, object] = {"field": self.field, "code": self.code, "message": self.message}
        if self.line is not None:
            document["line"] = self.line
        if self.column is not None:
            document["column"] = self.column
        return document


@dataclass(frozen=True, slots=True)
class Detail:
    """One packed message (``google.protobuf.Any``) that a status carried, kept byte by byte.

    Attributes:
        type_url: Like ``type.googleapis.com/google.rpc.ErrorInfo``.
        value: The message in protobuf's binary form.
    """

    type_url: str
    value: bytes

    @property
    def type_name(self) -> str:
        """The full name of the message, like ``google.rpc.ErrorInfo``."""
        return self.type_url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a client tries again.

    Attributes:
        after_s: Seconds to wait before the next attempt; None = as the back-off says.
        max_retries: Attempts after the first one; None = the client decides.
        backoff_type: ``exponential``, ``constant`` or empty for none.
        backoff_ms: First wait of the back-off in milliseconds; None = the client decides.
    """

    after_s: float | None = None
    max_retries: int | None = None
    backoff_type: str = ""
    backoff_ms: int | None = None


NO_RETRY = RetryPolicy()


class Problem(Exception):
    """Anything that went wrong and that a caller can do something about.

    Control flow depends on ``code`` only, never on texts. Make one with :func:`formicary.problems.problem`, which
    fills in the rest from the catalogue.

    Attributes:
        code: Stable upper-case code.
        title: Short sentence, the same for every problem of this code.
        detail: What happened this time and what to do.
        status: HTTP status.
        grpc_code: Name of the gRPC status code; the number as text where it has no name.
        retryable: Whether the same call may succeed later.
        blame: ``caller``, ``server`` or ``task``.
        errors: What is wrong field by field.
        remedy: What to do, when it is not in ``detail``.
        extensions: Further members of the document, like ``leader``.
        retry: How to try again.
        details: Packed messages that came with a gRPC status, or go with it.
        show: Whether a client may see the detail; None = as the catalogue says.
        instance: What names this occurrence, usually the path of the request; empty = unknown.
        trace_id: 32 hexadecimal digits (W3C trace context); empty = unknown.
        timestamp: When it happened, RFC 3339; empty = unknown.
    """

    def __init__(
        self,
        code: str,
        title: str,
        detail: str = "",
        *,
        status: int = 500,
        grpc_code: str = "INTERNAL",
        retryable: bool = False,
        blame: str = "server",
        errors: Iterable[FieldError] = (),
        remedy: str = "",
        extensions: Mapping[str, object] | None = None,
        retry: RetryPolicy = NO_RETRY,
        details: Iterable[Detail] = (),
    ) -> None:
        super().__init__(detail or title)
        self.code = code
        self.title = title
        self.detail = detail or title
        self.status = status
        self.grpc_code = grpc_code
        self.retryable = retryable
        self.blame = blame
        self.errors = tuple(errors)
        self.remedy = remedy
        self.extensions = dict(extensions or {})
        self.retry = retry
        self.details = tuple(details)
        self.show: bool | None = None
        self.instance = ""
        self.trace_id = ""
        self.timestamp = ""

    def __repr__(self) -> str:
        return f"Problem({self.code!r}, {self.detail!r})"

    def __reduce__(self) -> tuple[object, tuple[dict[str, object]]]:
        return (Problem.from_document, (self.to_document(),))

    def to_document(self) -> dict[str, object]:
        """Returns the RFC 9457 document as JSON values; empty members are left out.

        This is the whole truth, for logs, stores and the command line. What a client may see of it is
        :func:`formicary.problems.http.public_document`.
        """
        document: dict[str, object] = {
            "type": type_uri(self.code),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "grpc_code": self.grpc_code,
            "retryable": self.retryable,
            "blame": self.blame,
        }
        if self.errors:
            document["errors"] = [error.to_document() for error in self.errors]
        for member, text in (
            ("remedy", self.remedy),
            ("instance", self.instance),
            ("traceId", self.trace_id),
            ("timestamp", self.timestamp),
        ):
            if text:
                document[member] = text
        document.update(_retry_members(self.retry))
        if self.details:
            from formicary.problems.packed import to_json

            document["details"] = [to_json(item) for item in self.details]
        document.update((k, v) for k, v in self.extensions.items() if k not in document)
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Problem:
        """Rebuilds a problem from its document; unknown members are kept as extensions, wrong types are ignored."""
        rest = {k: v for k, v in document.items() if k not in _MEMBERS}
        packed = document.get("details")
        details: list[Detail] = []
        if isinstance(packed, list) and packed:
            from formicary.problems.packed import from_json

            details = [found for found in map(from_json, packed) if found is not None]
            if not details:
                rest["details"] = packed
        elif packed is not None:
            rest["details"] = packed
        status, retryable = document.get("status"), document.get("retryable")
        found = cls(
            _text(document, "code", "INTERNAL"),
            _text(document, "title", "Internal error"),
            _text(document, "detail", ""),
            status=status if isinstance(status, int) else 500,
            grpc_code=_text(document, "grpc_code", "INTERNAL"),
            retryable=retryable if isinstance(retryable, bool) else False,
            blame=_text(document, "blame", "server"),
            errors=_errors(document.get("errors")),
            remedy=_text(document, "remedy", ""),
            extensions=rest,
            retry=_retry(document),
            details=details,
        )
        found.instance = _text(document, "instance", "")
        found.trace_id = _text(document, "traceId", "")
        found.timestamp = _text(document, "timestamp", "")
        return found


_MEMBERS = frozenset(
    {
        "type",
        "title",
        "status",
        "detail",
        "code",
        "grpc_code",
        "retryable",
        "blame",
        "errors",
        "remedy",
        "instance",
        "traceId",
        "timestamp",
        "details",
        "retryAfter",
        "maxRetries",
        "backoffType",
        "backoffMs",
    }
)
_STEP = re.compile(r'\[(?P<quoted>"(?:[^"\\]|\\.)*")\]|\[(?P<index>[^\]"]*)\]|(?P<name>[^.\[]+)')


def slug(code: str) -> str:
    """The last part of a code's type URI: ``NOT_FOUND`` is ``not-found``."""
    return code.lower().replace("_", "-")


def type_uri(code: str, base: str = "") -> str:
    """The type URI of a code.

    Args:
        code: Of the catalogue, or ``ERR_*`` of a job file.
        base: Scheme and authority in front of it, like ``https://jobs.example``; empty = relative to the server.
    """
    return base.rstrip("/") + TYPE_PREFIX + slug(code)


def pointer(path: str) -> str:
    """A path like ``tasks[2].labels["a.b"]`` as JSON Pointer (RFC 6901): ``/tasks/2/labels/a.b``."""
    parts = []
    for found in _STEP.finditer(path):
        quoted = found["quoted"]
        step = re.sub(r"\\(.)", r"\1", quoted[1:-1]) if quoted is not None else found["index"] or found["name"] or ""
        parts.append("/" + step.replace("~", "~0").replace("/", "~1"))
    return "".join(parts)


def number(value: float) -> int | float:
    """Seconds as JSON writes them best: whole ones without a fraction."""
    return int(value) if value == int(value) else value


def _retry_members(retry: RetryPolicy) -> dict[str, object]:
    members: dict[str, object] = {}
    if retry.after_s is not None:
        members["retryAfter"] = number(retry.after_s)
    if retry.max_retries is not None:
        members["maxRetries"] = retry.max_retries
    if retry.backoff_type:
        members["backoffType"] = retry.backoff_type
    if retry.backoff_ms is not None:
        members["backoffMs"] = retry.backoff_ms
    return members


def _retry(document: Mapping[str, object]) -> RetryPolicy:
    after, most, wait = document.get("retryAfter"), document.get("maxRetries"), document.get("backoffMs")
    return RetryPolicy(
        float(after) if isinstance(after, int | float) and not isinstance(after, bool) else None,
        most if isinstance(most, int) else None,
        _text(document, "backoffType", ""),
        wait if isinstance(wait, int) else None,
    )


def _text(document: Mapping[str, object], key: str, default: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else default


def _errors(value: object) -> list[FieldError]:
    if not isinstance(value, list):
        return []
    found = []
    for item in value:
        if isinstance(item, dict):
            line, column = item.get("line"), item.get("column")
            found.append(
                FieldError(
                    _text(item, "field", ""),
                    _text(item, "code", ""),
                    _text(item, "message", ""),
                    line if isinstance(line, int) else None,
                    column if isinstance(column, int) else None,
                )
            )
    return found
