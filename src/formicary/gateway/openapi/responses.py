"""Problem documents of an API: their schema, and a response per HTTP status with an example per code."""

from __future__ import annotations

from collections.abc import Mapping

from formicary.gateway.openapi.wellknown import Json
from formicary.problems import CATALOGUE, CodeEntry, FieldError, problem
from formicary.problems.http import public_document

PROBLEM_TYPE = "application/problem+json"
DEFAULT = "default"

_TITLES = {
    400: "The request is not valid; nothing has happened.",
    401: "It is not known who is calling.",
    403: "The caller may not do this.",
    404: "There is no such thing.",
    406: "No form of the answer is one that the caller accepts.",
    409: "It conflicts with what is there.",
    413: "The body is too large.",
    415: "The body is of a type or an encoding that is not read here.",
    429: "Too much at once; wait and try again.",
    503: "The service cannot answer now; try again.",
}

_ERROR: Json = {
    "type": "object",
    "description": "One thing that is wrong with one field.",
    "properties": {
        "field": {"type": "string", "description": "Path of the field, like `tasks[2].retry`."},
        "code": {"type": "string", "description": "Stable code, like `UNKNOWN_FIELD`."},
        "message": {"type": "string", "description": "One sentence that says what to do."},
        "pointer": {"type": "string", "description": "The place in the body as JSON Pointer (RFC 6901)."},
        "line": {"type": "integer", "minimum": 1, "description": "Line in a file, from 1."},
        "column": {"type": "integer", "minimum": 1, "description": "Column in a file, from 1."},
    },
    "required": ["field", "code", "message"],
}
_HINTS: Json = {
    "type": "object",
    "description": "How to go on.",
    "properties": {
        "retryable": {"type": "boolean", "description": "Whether the same call may succeed later."},
        "errorCategory": {"type": "string", "description": "What the code is about, like `validation`."},
        "retryAfter": {"type": "number", "minimum": 0, "description": "Seconds to wait before the next try."},
        "maxRetries": {"type": "integer", "minimum": 0, "description": "Most tries after the first one."},
        "backoffType": {"type": "string", "description": "How the waits grow, like `exponential`."},
        "backoffMs": {"type": "integer", "minimum": 0, "description": "The first wait, in milliseconds."},
    },
}
_TRACE_ID, _TIME = "0af7651916cd43dd8448eb211c80319c", "2026-01-31T12:00:00.000Z"


def catalogue_of(given: Mapping[str, CodeEntry] | None) -> dict[str, CodeEntry]:
    """The codes that an API answers with: all of the catalogue but those that tell how a task has ended."""
    rows = CATALOGUE if given is None else given
    return {code: row for code, row in rows.items() if row.blame != "task" and not code.startswith("ERR_")}


def problem_schemas(catalogue: Mapping[str, CodeEntry]) -> dict[str, Json]:
    """The schemas of a problem document (RFC 9457) and of its errors."""
    lines = [f"- `{code}` ({row.status}): {row.title}." for code, row in catalogue.items()]
    properties: Json = {
        "type": {"type": "string", "format": "uri-reference", "description": "Names the kind of problem."},
        "title": {"type": "string", "description": "The same for every problem of this code."},
        "status": {"type": "integer", "minimum": 100, "maximum": 599, "description": "HTTP status."},
        "detail": {"type": "string", "description": "What happened this time and what to do."},
        "instance": {"type": "string", "format": "uri-reference"},
        "code": {"type": "string", "description": "\n".join(["Stable code; more may come.", "", *lines])},
        "grpc_code": {"type": "string", "description": "Name of the gRPC status code."},
        "retryable": {"type": "boolean", "description": "Whether the same call may succeed later."},
        "blame": {"type": "string", "description": "`caller`, `server` or `task`."},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
        "remedy": {"type": "string", "description": "What to do."},
        "traceId": {"type": "string", "description": "Names the call in the server's log."},
        "timestamp": {"type": "string", "format": "date-time"},
        "extensions": _HINTS,
        "details": {"type": "array", "items": {"type": "object"}, "description": "Details of the gRPC status."},
    }
    whole: Json = {
        "type": "object",
        "description": "A problem document (RFC 9457); it may have further members.",
        "properties": properties,
        "required": ["type", "title", "status", "detail", "code"],
    }
    return {"FieldError": _ERROR, "Problem": whole}


def problem_responses(statuses: set[int], catalogue: Mapping[str, CodeEntry]) -> dict[str, Json]:
    """The named responses: one per status that an operation refers to, and the default one."""
    found = {f"Problem{status}": _response(status, catalogue) for status in sorted(statuses)}
    content: Json = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    found["Problem"] = {"description": "Any other problem.", "content": content}
    return found


def _response(status: int, catalogue: Mapping[str, CodeEntry]) -> Json:
    examples = {code: _example(row) for code, row in catalogue.items() if row.status == status}
    media: Json = {"schema": {"$ref": "#/components/schemas/Problem"}}
    if examples:
        media["examples"] = examples
    found: Json = {"description": _TITLES[status]}
    if status == 401:
        found["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    if status in (429, 503):
        text = "Seconds to wait before the next try."
        found["headers"] = {"Retry-After": {"description": text, "schema": {"type": "integer", "minimum": 0}}}
    found["content"] = {PROBLEM_TYPE: media}
    return found


def _example(row: CodeEntry) -> Json:
    wrong = [FieldError("priority", "OUT_OF_RANGE", "Give a number from 0 to 10.")]
    made = problem(row.code, errors=wrong if row.code == "VALIDATION_FAILED" else (), remedy=row.remedy)
    made.timestamp = _TIME
    known: Json = {
        **public_document(made, instance="/v1/things/1", trace_id=_TRACE_ID),
        "title": row.title,
        "status": row.status,
        "detail": row.title,
        "grpc_code": row.grpc_code,
        "retryable": row.retryable,
        "blame": row.blame,
    }
    return {"summary": row.title, "value": known}


def statuses_of(verb: str, *, has_input: bool, has_path: bool, has_body: bool, secured: bool) -> list[int]:
    """The statuses that an operation answers a problem with, beside the default.

    Args:
        verb: Upper-case HTTP method.
        has_input: Whether there is anything that can be wrong.
        has_path: Whether the path names something that may not be there.
        has_body: Whether there is a body to read.
        secured: Whether callers must say who they are.
    """
    found = [400] if has_input else []
    found += [401, 403] if secured else []
    found += [404] if has_path else []
    found += [406]
    found += [] if verb in ("GET", "HEAD", "OPTIONS") else [409]
    found += [413, 415] if has_body else []
    return [*found, 429, 503]


def problem_references(statuses: list[int]) -> Json:
    """The members of ``responses`` that refer to the named responses."""
    found: Json = {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in statuses}
    found[DEFAULT] = {"$ref": "#/components/responses/Problem"}
    return found
