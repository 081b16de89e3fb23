"""One call, whatever carries it: what a handler and every interceptor is given.

It offers the methods of grpc.aio's ``ServicerContext`` too, so that a servicer written for grpc.aio runs unchanged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from formicary.headers.grpc_wire import Metadatum
from formicary.problems import Problem, problem

if TYPE_CHECKING:
    from formicary.gateway.service import Method

Value = str | bytes
Metadata = Sequence[tuple[str, Value]]
"""Pairs of a lower-case key and its value, repeated keys in order; the value of a ``-bin`` key is bytes."""

LARGE = "large_answer"
"""In the state of a call: its answers are so large that they are made into JSON on another thread; handlers say so."""
Write = Callable[[Any], Awaitable[None]]

_OK = 0


class Call:
    """A call under way.

    Attributes:
        method: What is called.
        protocol: ``grpc`` or ``http``.
        metadata: What the caller sent, after header mapping.
        remote: Address of the peer as its transport names it.
        deadline: When the caller stops waiting, on ``time.monotonic()``; None = never.
        request: The message of a call with one request, once it is loaded: see :meth:`load`.
        requests: The messages of a call that streams them.
        response: The answer of a call with one response, set by the handler.
        headers: Response metadata that goes out before the first message.
        trailers: Response metadata that goes out with the status.
        principal: Who is calling, once authenticated.
        trace_id: 32 hexadecimal digits (W3C trace context); empty until the trace interceptor has run.
        traceparent: What to send on when the handler calls others.
        state: Room for interceptors, by name.
        http_method: Verb of an HTTP request, empty for gRPC.
        path: Path of an HTTP request, or the method's full name.
        write: Sends one message of a streamed answer.
    """

    __slots__ = (
        "_callbacks",
        "_code",
        "_details",
        "_source",
        "deadline",
        "headers",
        "http_method",
        "metadata",
        "method",
        "path",
        "principal",
        "protocol",
        "remote",
        "request",
        "requests",
        "response",
        "started",
        "state",
        "trace_id",
        "traceparent",
        "trailers",
        "write",
    )

    def __init__(
        self,
        method: Method,
        protocol: str,
        metadata: Metadata,
        *,
        remote: str = "",
        deadline: float | None = None,
        write: Write | None = None,
        http_method: str = "",
        path: str = "",
    ) -> None:
        self.method = method
        self.protocol = protocol
        self.metadata = metadata
        self.remote = remote
        self.deadline = deadline
        self.request: Any = None
        self.requests: AsyncIterator[Any] | None = None
        self.response: Any = None
        self.headers: list[tuple[str, Value]] = []
        self.trailers: list[tuple[str, Value]] = []
        self.principal: Any = None
        self.trace_id = ""
        self.traceparent = ""
        self.state: dict[str, Any] = {}
        self.http_method = http_method
        self.path = path or method.full_name
        self.write = write or _no_stream
        self.started = time.monotonic()
        self._callbacks: list[Callable[[Any], None]] = []
        self._code: Any = None
        self._details = ""
        self._source: Callable[[], Awaitable[Any]] | None = None

    # --- for handlers and interceptors ------------------------------------------------------------------------------

    def read_later(self, source: Callable[[], Awaitable[Any]]) -> None:
        """Has the request read when the chain has come to it: who may not call is told so before anything is read."""
        self._source = source

    async def load(self) -> Any:
        """The request of a call with one request, read if it was not yet. Raises Problem where it is not valid."""
        source, self._source = self._source, None
        if source is not None:
            self.request = await source()
        return self.request

    @property
    def is_loaded(self) -> bool:
        """Whether the request of a call with one request is there, so that :meth:`load` has nothing to wait for."""
        return self._source is None

    def value(self, key: str) -> str:
        """The first value of a metadata key, empty where it was not sent."""
        for name, value in self.metadata:
            if name == key:
                return value if isinstance(value, str) else value.decode("latin-1")
        return ""

    def values(self, key: str) -> list[Value]:
        """All values of a metadata key, in order."""
        return [value for name, value in self.metadata if name == key]

    def set_header(self, key: str, value: Value) -> None:
        """Adds response metadata; too late once the first message of a stream is out."""
        self.headers.append((key, value))

    def outcome(self) -> None:
        """Raises the Problem of a code that the handler set with `set_code`, as grpc.aio servicers do."""
        if self._code is not None and _number(self._code) != _OK:
            raise from_code(self._code, self._details)

    def finish(self) -> None:
        """Runs what waits for the end of the call; called once by whoever carries it."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    # --- as grpc.aio names them -------------------------------------------------------------------------------------

    def invocation_metadata(self) -> Metadata:
        """What the caller sent, in entries that have ``key`` and ``value`` as grpc's own do."""
        return tuple([Metadatum(key, value) for key, value in self.metadata])

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, None = there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def peer(self) -> str:
        """Address of the peer."""
        return self.remote

    def set_code(self, code: Any) -> None:
        """The status of the call (``grpc.StatusCode``)."""
        self._code = code

    def set_details(self, details: str) -> None:
        """The text of the status."""
        self._details = details

    def code(self) -> Any:
        """The status that was set."""
        return self._code

    def details(self) -> str:
        """The text that was set."""
        return self._details

    async def send_initial_metadata(self, metadata: Iterable[tuple[str, Value]]) -> None:
        """Adds response metadata."""
        self.headers.extend(metadata)

    def set_trailing_metadata(self, metadata: Iterable[tuple[str, Value]]) -> None:
        """Replaces the trailing metadata."""
        self.trailers = list(metadata)

    def trailing_metadata(self) -> Metadata:
        """The trailing metadata so far."""
        return self.trailers

    async def abort(self, code: Any, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """Ends the call. Raises the Problem of the status."""
        self.trailers.extend(trailing_metadata)
        raise from_code(code, details)

    async def abort_with_status(self, status: Any) -> NoReturn:
        """Ends the call with a ``grpc.Status``. Raises its Problem, with the details it carries."""
        from formicary.problems.rpc import from_trailing_metadata

        found = from_trailing_metadata(status.trailing_metadata or ())
        raise found if found is not None else from_code(status.code, status.details)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls `callback(call)` when the call has ended."""
        self._callbacks.append(callback)

    def cancelled(self) -> bool:
        """Whether the call was cancelled: the task that serves it is being ended."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def done(self) -> bool:
        """False while a handler runs."""
        return False


async def _no_stream(_: Any) -> None:
    raise problem("INTERNAL", "this method answers with one message; it cannot write a stream")


def _number(code: Any) -> int:
    value = getattr(code, "value", code)
    return int(value[0] if isinstance(value, tuple) else value)


def from_code(code: Any, details: str) -> Problem:
    """The problem that stands for a gRPC status code and its text."""
    from google.rpc import status_pb2

    from formicary.problems.rpc import from_status

    return from_status(status_pb2.Status(code=_number(code), message=details))
