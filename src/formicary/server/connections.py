"""One HTTP connection with bounds: how long its client may take, and how much of it is read before an answer.

Theory of operation. A connection is in one of three places: in the head of a request, in its body, or between (the
request is whole, or none has begun). Each place has one due time, and the connection one timer that looks at it; a due
time that moves away leaves the timer as it is, so that an ordinary request, which arrives whole, sets no timer at all
(uvicorn's own timer of idle connections, one per request, is replaced by this one). A body is not late while nobody
reads it: then it is this server that waits. A client that does not read its answer is seen by the transport's buffer:
it is full, and after the time-out not one byte of it has gone.

A request may be answered before its body is there, with 413 mostly. A connection that were closed then would be reset
while its client still sends, and the answer lost: so what comes is read and dropped, within bounds, and then it closes.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from formicary.problems import Problem, problem
from formicary.problems.http import render_http

MAX_HEADER_BYTES = 64 * 1024
"""All names and values of a request; larger ones are answered 431 (RFC 6585)."""
_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_BETWEEN, _HEAD, _BODY = range(3)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of every HTTP connection; times are seconds.

    Attributes:
        head_s: From the first byte of a request (or the connection's begin) to the end of its head.
        body_s: Between two pieces of a body that is being read.
        write_s: For the next byte of an answer to leave. Shorter ones end clients in poor networks.
        idle_s: Between two requests of one connection.
        head_bytes: Of a head while it is read; a head that arrives in one piece may be longer by that piece.
        linger_s: For the rest of a body that is answered already, before the connection closes.
        linger_bytes: Of such a rest; more is no mistake any more, and the connection is cut.
        most: Connections at once; more are answered 503. Each may hold `head_bytes` and a piece of a body in memory.
    """

    head_s: float = 10.0
    body_s: float = 10.0
    write_s: float = 10.0
    idle_s: float = 120.0
    linger_s: float = 5.0
    linger_bytes: int = 32 * 1024 * 1024
    head_bytes: int = MAX_HEADER_BYTES + 16 * 1024
    most: int = 4096


def headers_too_large() -> Problem:
    """The 431 of a head beyond its bound."""
    return problem("HEADERS_TOO_LARGE", f"The headers of a request have at most {MAX_HEADER_BYTES} bytes.")


def _too_slow(what: str, limit_s: float) -> Problem:
    found = problem("DEADLINE_EXCEEDED", f"The {what} of the request did not arrive within {limit_s:g} s.")
    found.status = 408
    return found


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection within `limits`."""

    limits = ConnectionLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._place = _HEAD
        self._due = math.inf
        self._head_bytes = 0
        self._watch: asyncio.TimerHandle | None = None
        self._write_watch: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._dropped = 0
        self._lingers = False

    # --- as the transport calls it ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client has connected."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.most:
            self._refuse(problem("UNAVAILABLE", "This server has as many connections as it takes; try again."))
        else:
            self._expect(self.limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        for timer in (self._watch, self._write_watch):
            if timer is not None:
                timer.cancel()
        self._watch = self._write_watch = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self.transport.is_closing():
            return
        if self._place != _BODY:
            if self._place == _BETWEEN:
                self._place, self._due = _HEAD, math.inf
            self._head_bytes += len(data)
        super().data_received(data)
        if self._place == _BODY:
            if self.cycle.response_complete:
                self._drop(len(data))
            else:
                self._expect(self.limits.body_s)
        elif self._place == _HEAD and not self.transport.is_closing():
            if self._head_bytes > self.limits.head_bytes:
                self._refuse(headers_too_large())
            elif self._due == math.inf:
                self._expect(self.limits.head_s)

    def pause_writing(self) -> None:
        """The answer waits for its client."""
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        """The client has read."""
        if self._write_watch is not None:
            self._write_watch.cancel()
            self._write_watch = None
        super().resume_writing()

    # --- as the parser calls it -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._place = _HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._place, self._due, self._head_bytes = _BODY, math.inf, 0
        super().on_headers_complete()
        self._dropped = 0
        if not self.cycle.keep_alive:
            self.cycle.transport = _ClosesLater(self)  # type: ignore[assignment]  # what a cycle uses of one

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._place, self._due = _BETWEEN, math.inf
        super().on_message_complete()
        if self._lingers:
            self.transport.close()

    def on_response_complete(self) -> None:
        """An answer is out: the next request of the pipeline has its turn, or the connection is idle from now on."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._place == _BETWEEN:
            self._expect(self.limits.idle_s)

    def close_when_read(self) -> None:
        """The answer is out, and the last one: the connection closes as soon as its client has sent all."""
        if self._place == _BODY and not self.transport.is_closing():
            self._lingers = True
            self._expect(self.limits.linger_s)
        else:
            self.transport.close()

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._dropped > self.limits.linger_bytes:
            self.transport.abort()
        elif not self._lingers:
            self._expect(self.limits.body_s)

    # --- time -------------------------------------------------------------------------------------------------------

    def _expect(self, within_s: float) -> None:
        self._due = due = self.loop.time() + within_s
        if self._watch is None or due < self._watch.when():
            self._look_at(due)

    def _look_at(self, when: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self.loop.call_at(when, self._look)

    def _look(self) -> None:
        self._watch = None
        if self._due == math.inf or self.transport.is_closing():
            return
        if self.loop.time() < self._due:
            self._look_at(self._due)
        elif self._place == _BETWEEN or self._lingers:
            self.transport.close()
        elif self._place == _HEAD:
            self._late("head", self.limits.head_s)
        elif self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._expect(self.limits.body_s)  # whoever serves the request has not asked for more
        else:
            self._late("body", self.limits.body_s)

    def _late(self, what: str, limit_s: float) -> None:
        """Ends the connection; says why where an answer can still be given."""
        cycle: RequestResponseCycle | None = self.cycle
        if what == "head" and cycle is not None and not cycle.response_complete:
            self._expect(limit_s)  # the answer to an earlier request is on its way
        elif what == "head" and not self._head_bytes:
            self.transport.close()  # nothing was asked
        elif what == "body" and cycle is not None and cycle.response_started:
            self.transport.abort()
        else:
            self._refuse(_too_slow(what, limit_s))

    def _watch_writing(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._write_watch = self.loop.call_later(self.limits.write_s, self._look_at_writing)

    def _look_at_writing(self) -> None:
        if self.transport.get_write_buffer_size() < self._unsent:
            self._watch_writing()
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read: too long a request line, or no HTTP at all."""
        if max(self._head_bytes, len(self.url)) >= MAX_HEADER_BYTES - 1:  # the parser takes 65,535 at most
            self._refuse(headers_too_large())
        else:
            self._refuse(problem("VALIDATION_FAILED", "These bytes are no HTTP/1.1 request."))

    def _refuse(self, why: Problem) -> None:
        """Answers in place of the application, which sees a client that has gone, and closes."""
        status, headers, body = render_http(why)
        lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in headers)]
        self.transport.write("\r\n".join((*lines, "connection: close", "", "")).encode("latin-1") + body)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


class _ClosesLater:
    """The transport of a cycle after which the connection closes."""

    __slots__ = ("_connection",)

    def __init__(self, connection: BoundedConnection) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        """Sends bytes."""
        self._connection.transport.write(data)

    def is_closing(self) -> bool:
        """Whether the connection is being closed."""
        return self._connection.transport.is_closing()

    def close(self) -> None:
        """Closes it when the request is whole."""
        self._connection.close_when_read()


def bounded(limits: ConnectionLimits) -> type[BoundedConnection]:
    """The protocol class that a uvicorn server with these limits needs."""
    return type("BoundedConnection", (BoundedConnection,), {"limits": limits})
