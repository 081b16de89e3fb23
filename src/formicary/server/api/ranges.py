"""Parts of a content: ``Range`` and ``If-Range`` of HTTP (RFC 9110, 14), for contents that never change.

One range of bytes is answered with 206. Several ranges, other units and what cannot be read are passed over, as the RFC
allows: the answer is the whole then. A range that begins behind the end is 416.
"""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

from formicary.engine.queen.artifacts import Artifact
from formicary.gateway import Call
from formicary.problems import problem

RANGE, IF_RANGE, CONTENT_RANGE, ACCEPT_RANGES, ETAG = "range", "if-range", "content-range", "accept-ranges", "etag"
_ONE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*\Z", re.IGNORECASE)


class Span(NamedTuple):
    """A part of a content: where it begins and how many bytes it has."""

    offset: int
    length: int


def answered(artifact: Artifact, offset: int, call: Call) -> Span:
    """What is to be sent of a content; says so in the headers of the answer.

    Args:
        artifact: Whose content it is.
        offset: Of the request; with one, Range says nothing.
        call: Has the headers, and gets those of the answer.

    Raises:
        Problem: RANGE_NOT_SATISFIABLE.
    """
    size, tag = artifact.size, f'"{artifact.sha256}"'
    call.set_header(ETAG, tag)
    call.set_header(ACCEPT_RANGES, "bytes")
    call.set_header("repr-digest", f"sha-256=:{base64.b64encode(bytes.fromhex(artifact.sha256)).decode()}:")
    condition = call.value(IF_RANGE).strip()
    is_current = condition in ("", tag)  # another tag, or a date: the whole is sent
    span = _asked(call.value(RANGE), size) if is_current and not offset else None
    if span is None:
        return _sent(Span(offset, size - offset), call)
    if not 0 <= span.offset < size or span.length <= 0:
        call.set_header(CONTENT_RANGE, f"bytes */{size}")
        raise problem("RANGE_NOT_SATISFIABLE", f"The content has {size} bytes; the range lies behind them.")
    call.set_header(CONTENT_RANGE, f"bytes {span.offset}-{span.offset + span.length - 1}/{size}")
    call.state["http_status"] = 206
    return _sent(span, call)


def _sent(span: Span, call: Call) -> Span:
    """The part; to HEAD, whose answer has no content, its length is said."""
    if call.http_method == "HEAD":
        call.state["http_length"] = max(0, span.length)
    return span


def _asked(header: str, size: int) -> Span | None:
    """The range of a header; None where there is none that is read here."""
    found = _ONE.match(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        return Span(size - length, length)
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if found[2] and int(found[2]) < first:
        return None
    return Span(first, last - first + 1)
