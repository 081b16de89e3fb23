"""The root exception of the product and its document form (RFC 9457, ``application/problem+json``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TYPE_PREFIX = "urn:formicary:problem:"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field of a request or a file.

    Attributes:
        field: JSON-like path, like ``tasks[2].retry``.
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

    def to_document(self) -> dict[str, object]:
        """Returns the JSON form; line and column are left out when unknown."""
        document: dict[str, object] = {"field": self.field, "code": self.code, "message": self.message}
        if self.line is not None:
            document["line"] = self.line
        if self.column is not None:
            document["column"] = self.column
        return document


class Problem(Exception):
    """Anything that went wrong and that a caller can do something about.

    Control flow depends on ``code`` only, never on texts. Make one with :func:`formicary.problems.problem`, which
    fills in the rest from the catalogue.

    Attributes:
        code: Stable upper-case code.
        title: Short sentence, the same for every problem of this code.
        detail: What happened this time and what to do.
        status: HTTP status.
        grpc_code: Name of the gRPC status code.
        retryable: Whether the same call may succeed later.
        blame: ``caller``, ``server`` or ``task``.
        errors: What is wrong field by field.
        remedy: What to do, when it is not in ``detail``.
        extensions: Further members of the document, like ``leader``.
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

    def __repr__(self) -> str:
        return f"Problem({self.code!r}, {self.detail!r})"

    def __reduce__(self) -> tuple[object, tuple[dict[str, object]]]:
        return (Problem.from_document, (self.to_document(),))

    def to_document(self) -> dict[str, object]:
        """Returns the RFC 9457 document as JSON values; empty members are left out."""
        document: dict[str, object] = {
            "type": TYPE_PREFIX + self.code.lower().replace("_", "-"),
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
        if self.remedy:
            document["remedy"] = self.remedy
        document.update((k, v) for k, v in self.extensions.items() if k not in document)
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Problem:
        """Rebuilds a problem from its document; unknown members are kept as extensions, wrong types are ignored."""
        rest = {k: v for k, v in document.items() if k not in _MEMBERS}
        status, retryable = document.get("status"), document.get("retryable")
        return cls(
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
        )


_MEMBERS = frozenset(
    {"type", "title", "status", "detail", "code", "grpc_code", "retryable", "blame", "errors", "remedy"}
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
