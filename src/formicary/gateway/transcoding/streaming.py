"""Streams in HTTP bodies: lines of JSON, server-sent events, one JSON array; and lines of JSON as requests.

A stream that fails after its first message ends with the problem in band: a line ``{"@problem": {…}}`` (no field can
have that name), the same as the last element of an array, or an event ``problem``. Events end with an event ``end``, so
that a browser's EventSource knows not to come back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from formicary.gateway.transcoding import refusals
from formicary.gateway.transcoding.negotiation import EVENTS, NDJSON

_dump = msgspec.json.encode


class Framing(Protocol):
    """How the messages of a stream are laid out in a body."""

    content_type: str

    def message(self, text: bytes, event_id: str = "") -> bytes:
        """Frames the JSON text of one message; only events have ids."""
        ...

    def failure(self, document: object) -> bytes:
        """The end of a stream that failed."""
        ...

    def end(self) -> bytes:
        """The end of a stream that did not."""
        ...

    def beat(self) -> bytes:
        """Something that means nothing, sent when nothing happens; empty where the form has no such thing."""
        ...


class Lines:
    """One JSON text per line."""

    content_type = NDJSON

    def message(self, text: bytes, event_id: str = "") -> bytes:
        """Frames the JSON text of one message."""
        return text + b"\n"

    def failure(self, document: object) -> bytes:
        """The problem as the last line."""
        return _dump({"@problem": document}) + b"\n"

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def beat(self) -> bytes:
        """Nothing: not every reader of lines passes over an empty one."""
        return b""


class Events:
    """Server-sent events."""

    content_type = EVENTS

    def message(self, text: bytes, event_id: str = "") -> bytes:
        """One event; JSON text has no line breaks."""
        named = b"id: " + event_id.encode() + b"\n" if event_id else b""
        return named + b"data: " + text + b"\n\n"

    def failure(self, document: object) -> bytes:
        """An event ``problem``."""
        return b"event: problem\ndata: " + _dump(document) + b"\n\n"

    def end(self) -> bytes:
        """An event ``end``."""
        return b"event: end\ndata: {}\n\n"

    def beat(self) -> bytes:
        """A comment."""
        return b": \n\n"


class Array:
    """One JSON array, written as it comes."""

    content_type = "application/json"

    def __init__(self) -> None:
        self._opened = False

    def message(self, text: bytes, event_id: str = "") -> bytes:
        """One element."""
        return self._next() + text

    def failure(self, document: object) -> bytes:
        """The problem as the last element."""
        return self._next() + _dump({"@problem": document}) + b"]"

    def end(self) -> bytes:
        """The bracket that closes."""
        return b"]" if self._opened else b"[]"

    def beat(self) -> bytes:
        """White space."""
        return b"\n" if self._opened else b""

    def _next(self) -> bytes:
        lead = b",\n" if self._opened else b"["
        self._opened = True
        return lead


def framing(form: str) -> Framing:
    """The framing of a content type."""
    if form == EVENTS:
        return Events()
    return Lines() if form == NDJSON else Array()


async def lines(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Cuts a body into lines that are not blank.

    Raises:
        Problem: A line is longer than `limit` bytes.
    """
    rest = bytearray()
    async for piece in pieces:
        searched = len(rest)
        rest += piece
        start = 0
        while (end := rest.find(b"\n", max(start, searched))) >= 0:
            line = bytes(rest[start:end]).strip()
            start = end + 1
            if len(line) > limit:
                raise refusals.too_large(limit)
            if line:
                yield line
        del rest[:start]
        if len(rest) > limit:
            raise refusals.too_large(limit)
    last = bytes(rest).strip()
    if last:
        yield last
