"""Problems over HTTP: RFC 9457 documents, the headers that go with them, and the way back on the client."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import msgspec

from formicary.problems import pages
from formicary.problems.catalogue import entry, problem
from formicary.problems.fresh_digits import fresh_digits
from formicary.problems.problem import Problem, type_uri
from formicary.problems.showing import shown
from formicary.problems.trace_context import sent_trace_id

log = logging.getLogger("formicary.problems")
Headers = list[tuple[str, str]]

PROBLEM_JSON = "application/problem+json"
JSON = "application/json"
HTML = "text/html"
CHALLENGE = 'Bearer realm="formicary"'
"""``WWW-Authenticate`` where a problem brings no challenge of its own."""

_RETRY_MEMBERS = ("retryAfter", "maxRetries", "backoffType", "backoffMs")
_TOKENS = re.compile(r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")
_VISIBLE = re.compile(r"^[\x20-\x7e]+$")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_BY_STATUS = {
    400: "VALIDATION_FAILED",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    408: "DEADLINE_EXCEEDED",
    409: "CONFLICT",
    412: "PRECONDITION_FAILED",
    413: "PAYLOAD_TOO_LARGE",
    414: "URI_TOO_LONG",
    415: "UNSUPPORTED_MEDIA_TYPE",
    416: "RANGE_NOT_SATISFIABLE",
    422: "VALIDATION_FAILED",
    428: "PRECONDITION_REQUIRED",
    429: "RATE_LIMIT_EXCEEDED",
    431: "HEADERS_TOO_LARGE",
    499: "CANCELLED",
    501: "NOT_AVAILABLE",
    502: "DEPENDENCY_FAILED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class HttpAnswer(NamedTuple):
    """One answer: status, headers with lower-case names, body."""

    status: int
    headers: Headers
    body: bytes


def render_http(
    problem: Problem, *, accept: str = "", instance: str = "", trace_id: str = "", type_base: str = ""
) -> HttpAnswer:
    """What a client over HTTP is shown.

    Args:
        problem: What went wrong; what its caller may not see is left out.
        accept: The header ``Accept``; empty = anything.
        instance: Path of the request, where the problem names no occurrence of its own.
        trace_id: Of the request (W3C); where neither it nor the problem has one, a new one is made and logged.
        type_base: Scheme and authority of type URIs, empty = relative.
    """
    if not (trace_id or problem.trace_id):
        trace_id = fresh_digits()
        log.info("%s at %s, trace %s", problem.code, instance[:200] or "?", trace_id)
    document = public_document(problem, instance=instance, trace_id=trace_id, type_base=type_base)
    kind = preferred(accept, (PROBLEM_JSON, JSON, HTML)) or PROBLEM_JSON
    body = pages.problem_html(document) if kind == HTML else _encode(document)
    status = document["status"]
    assert isinstance(status, int)
    headers = [
        ("content-type", kind + "; charset=utf-8" if kind == HTML else kind),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        ("vary", "accept"),
        ("x-content-type-options", "nosniff"),
    ]
    if kind == HTML:
        headers.append(("content-security-policy", pages.POLICY))
    headers += _headers_of(problem, status, document)
    return HttpAnswer(status, headers, body)


def public_document(
    problem: Problem, *, instance: str = "", trace_id: str = "", type_base: str = ""
) -> dict[str, object]:
    """The RFC 9457 document that a client may see, as JSON values; the arguments are those of :func:`render_http`."""
    public = shown(problem, instance=instance, trace_id=trace_id)
    public.timestamp = public.timestamp or now_text()
    document = public.to_document()
    document["type"] = type_uri(public.code, type_base)
    if public.errors:
        document["errors"] = [e.to_document() | {"pointer": e.pointer} for e in public.errors]
    hints: dict[str, object] = {"retryable": public.retryable}
    hints.update((key, document.pop(key)) for key in _RETRY_MEMBERS if key in document)
    hints["errorCategory"] = entry(public.code).category
    document["extensions"] = hints
    return document


def fallback_http(trace_id: str = "", *, instance: str = "") -> HttpAnswer:
    """The answer when a problem cannot be rendered: made of texts alone, so that it cannot fail."""
    return render_http(problem("INTERNAL"), instance=instance, trace_id=trace_id)


def parse_http(status: int, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes | str) -> Problem:
    """The problem that an HTTP answer stands for, on the client.

    Args:
        status: Of the answer, 400 and above.
        headers: Of the answer; names in any case.
        body: Whole body.

    Returns:
        The server's problem with all its members. An answer that is no problem document gives the code that its status
        stands for; the document of another server keeps its type in the extension ``upstreamType``.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    fields = {name.lower(): value for name, value in pairs}
    try:
        document = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = None
    found = _from_members(status, document) if isinstance(document, dict) else _from_status(status)
    asked = fields.get("retry-after")
    if asked is not None and (found.retry.after_s is None or not isinstance(document, dict)):
        after_s = _seconds(asked)
        if after_s is not None:
            found.retry = replace(found.retry, after_s=after_s)
    if not found.trace_id:
        found.trace_id = sent_trace_id(fields.get("traceresponse", ""))
    return found


def preferred(accept: str, offered: tuple[str, ...]) -> str:
    """The media type that a client likes best.

    Args:
        accept: The header ``Accept``; empty = anything.
        offered: Media types, the server's favourite first, which wins where the client does not care.

    Returns:
        One of them, empty where the client accepts none.
    """
    ranges = _ranges(accept)
    best, best_rank = "", (0.0, 0)
    for kind in offered:
        fits = [(precise, q) for name, precise, q in ranges if name in (kind, kind.split("/")[0] + "/*", "*/*")]
        if fits:
            precise, q = max(fits)
            if q > 0 and (q, precise) > best_rank:
                best, best_rank = kind, (q, precise)
    return best


def now_text() -> str:
    """The present time as RFC 3339 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ranges(accept: str) -> list[tuple[str, int, float]]:
    """(media range, 0 any .. 2 exact, q) of a header."""
    found = []
    for part in (accept[:2000] or "*/*").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        q = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    q = float(parameter[2:])
                except ValueError:
                    q = 0.0
        if math.isfinite(q):
            found.append((name, 0 if name == "*/*" else 1 if name.endswith("/*") else 2, q))
    return found


def _headers_of(problem: Problem, status: int, document: Mapping[str, object]) -> Headers:
    """Retry-After on 429, 503 and a 409 that says when, WWW-Authenticate on 401, Allow on 405."""
    if status in (409, 429, 503):
        hints = document["extensions"]
        after = hints.get("retryAfter") if isinstance(hints, dict) else None
        return [("retry-after", str(max(0, math.ceil(after))))] if isinstance(after, int | float) else []
    if status == 401:
        challenge = problem.extensions.get("challenge")
        valid = isinstance(challenge, str) and _VISIBLE.match(challenge)
        return [("www-authenticate", str(challenge) if valid else CHALLENGE)]
    if status == 405:
        allow = problem.extensions.get("allow")
        names = allow.split(",") if isinstance(allow, str) else allow if isinstance(allow, list | tuple) else ()
        methods = [str(name).strip() for name in names]
        return [("allow", ", ".join(name for name in methods if _TOKENS.match(name)))]
    return []


def _from_status(status: int) -> Problem:
    found = problem(_BY_STATUS.get(status, "VALIDATION_FAILED" if status < 500 else "INTERNAL"))
    found.detail = f"The server answered with status {status}."
    found.status = status
    found.retry = entry(found.code).retry if found.retryable else found.retry
    return found


def _from_members(status: int, document: dict[str, object]) -> Problem:
    hints = document.get("extensions")
    flat = dict(document)
    if isinstance(hints, dict) and "retryable" in hints:
        del flat["extensions"]
        flat.update((key, value) for key, value in hints.items() if key in ("retryable", *_RETRY_MEMBERS))
    if isinstance(flat.get("code"), str):
        return Problem.from_document(flat | {"status": status})
    known = _from_status(status)
    found = Problem.from_document(known.to_document() | flat | {"status": status, "code": known.code})
    kind = document.get("type")
    if isinstance(kind, str) and kind != "about:blank":
        found.extensions["upstreamType"] = kind
    return found


def _seconds(text: str) -> float | None:
    """``Retry-After``: seconds or a date."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
