"""One HTTP request under way: its headers and body, what it is answered, and whether the client still waits.

Nobody reads the connection while a handler runs, so a watcher does: when the client is gone it cancels the task that
serves the request. It starts after a while only, as most handlers are done before it would be of use; one timer looks
after all requests, as a timer for each costs more than the rest of this module.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, MutableMapping, Sequence
from types import CoroutineType
from typing import Any, ClassVar, NoReturn

from formicary.gateway.call import Call, Value
from formicary.gateway.transcoding import compression, refusals
from formicary.problems import problem

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Pairs = list[tuple[bytes, bytes]]

WATCH_AFTER_S = 0.05
_NAMES_KEPT = 512
_names: dict[bytes, str] = {}
_sent_names: dict[str, bytes] = {}


class ClientGone(Exception):
    """The client went away before it had its answer; nobody is left to be told."""


class Exchange:
    """A request and its answer.

    Attributes:
        method: HTTP method.
        path: Percent-encoded, without the mount point.
        query: As sent, without the question mark.
        headers: Lower-case names; the values of a repeated one joined with commas.
        metadata: The same in order, as calls have them.
        started: Whether the head of the answer is out.
        trace_id: Of the call, for its problems.
    """

    __slots__ = (
        "_call",
        "_gone",
        "_receive",
        "_send",
        "_task",
        "_watcher",
        "_watches",
        "headers",
        "metadata",
        "method",
        "path",
        "query",
        "scope",
        "started",
        "trace_id",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._gone = False
        self._task: asyncio.Task[Any] | None = None
        self._watches: _Watches | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.started = False
        self.trace_id = ""
        self.method: str = scope["method"]
        self.path = ""
        self.query = ""
        headers: dict[str, str] = {}
        metadata: list[tuple[str, Value]] = []
        for raw_name, raw_value in scope["headers"]:
            name, value = _names.get(raw_name) or _name(raw_name), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
            metadata.append((name, _binary(value) if name[-4:] == "-bin" else value))
        self.headers = headers
        self.metadata = metadata
        self._call: Call | None = None

    def read_target(self) -> None:
        """Reads path and query.

        Raises:
            Problem: They are not UTF-8.
        """
        raw = self.scope.get("raw_path")
        root: str = self.scope.get("root_path", "")
        try:
            path: str = raw.decode("utf-8") if raw else _quoted(self.scope["path"])
            self.query = self.scope["query_string"].decode("utf-8")
        except UnicodeDecodeError:
            raise refusals.malformed("The URL is not UTF-8.") from None
        self.path = path.removeprefix(root) if root and path.startswith(root + "/") else path

    @property
    def call_metadata(self) -> tuple[tuple[str, Value], ...]:
        """What the call wants to send back, failed or not, once it has ended."""
        return () if self._call is None else (*self._call.headers, *self._call.trailers)

    @property
    def client(self) -> str:
        """Address of the client."""
        address = self.scope.get("client")
        return f"{address[0]}:{address[1]}" if address else ""

    # --- body -------------------------------------------------------------------------------------------------------

    @property
    def has_body(self) -> bool:
        """Whether a body may follow."""
        if "content-length" in self.headers:
            return self.headers["content-length"] != "0"
        return "transfer-encoding" in self.headers or not str(self.scope.get("http_version", "1.1")).startswith("1")

    async def pieces(self, limit: int | None) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            Problem: It is longer than `limit` bytes.
            ClientGone: The client went away.
        """
        size = 0
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                self._leave()
            piece: bytes = event.get("body", b"")
            size += len(piece)
            if limit is not None and size > limit:
                raise refusals.too_large(limit)
            if piece:
                yield piece
            if not event.get("more_body", False):
                return

    async def body(self, limit: int, wait_s: float) -> bytes:
        """The whole body, decompressed.

        Raises:
            Problem: It is too large, too slow, or cannot be decompressed.
            ClientGone: The client went away.
        """
        if not self.has_body:
            return b""
        length = self.headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > limit:
            raise refusals.too_large(limit)
        found = await self._whole(limit, wait_s)
        encoding = self.headers.get("content-encoding")
        return compression.inflate(found, encoding, limit) if encoding else found

    async def _whole(self, limit: int, wait_s: float) -> bytes:
        """As `pieces`, in one: no asynchronous generator, and no timer, for what is one event that is there already."""
        first = self._receive()
        waits_for = _step(first)
        if isinstance(waits_for, _Done) and not waits_for.event.get("more_body", False):
            if waits_for.event["type"] == "http.disconnect":
                self._leave()
            body: bytes = waits_for.event.get("body", b"")
            if len(body) > limit:
                raise refusals.too_large(limit)
            return body
        try:
            async with asyncio.timeout(wait_s):
                event = waits_for.event if isinstance(waits_for, _Done) else await _Resumed(first, waits_for)
                return await self._rest(event, limit)
        except TimeoutError:
            raise refusals.too_slow(wait_s) from None

    async def _rest(self, event: Event, limit: int) -> bytes:
        found: list[bytes] = []
        size = 0
        while True:
            if event["type"] == "http.disconnect":
                self._leave()
            found.append(event.get("body", b""))
            size += len(found[-1])
            if size > limit:
                raise refusals.too_large(limit)
            if not event.get("more_body", False):
                return b"".join(found)
            event = await self._receive()

    def _leave(self) -> NoReturn:
        """The client has gone; within a call that is its cancellation, which interceptors let pass."""
        self._gone = True
        if self._task is not None and self._task is asyncio.current_task():
            raise asyncio.CancelledError
        raise ClientGone

    # --- the call ---------------------------------------------------------------------------------------------------

    def was_read(self) -> None:
        """The request has been read: from now on the client's leaving is noticed."""
        if self._task is not None:
            self._watches = _Watches.of_this_loop()
            self._watches.add(self)

    async def run(self, call: Call) -> None:
        """Runs the call, within its deadline, while the client is there.

        Raises:
            ClientGone: The client went away; the call was cancelled.
            Problem: What the call raised, or DEADLINE_EXCEEDED.
        """
        self._task = asyncio.current_task()
        try:
            if call.deadline is None:
                await call.method.run(call)
            else:
                await _within_deadline(call)
        except asyncio.CancelledError:
            if not self._gone or self._task is None:
                raise
            self._task.uncancel()
            raise ClientGone from None
        finally:
            self.trace_id = call.trace_id
            self._call = call
            if self._watches is not None:
                self._watches.remove(self)
            if self._watcher is not None:
                self._watcher.cancel()
            self._task = None
            call.finish()

    def watch(self) -> None:
        """Begins to watch for the client's leaving; the body must have been read."""
        if self._watcher is None and self._task is not None:
            self._watcher = asyncio.get_running_loop().create_task(self._watch(self._task))

    async def _watch(self, task: asyncio.Task[Any]) -> None:
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                break
        if self._task is task:
            self._gone = True
            task.cancel()

    # --- the answer -------------------------------------------------------------------------------------------------

    async def start(self, status: int, headers: Pairs) -> None:
        """Sends the head of the answer."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, body: bytes, *, more: bool) -> None:
        """Sends a piece of the answer's body."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer(self, status: int, headers: Pairs, body: bytes) -> None:
        """Sends a whole answer; to HEAD without its body."""
        if status >= 200 and status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})


class _Watches:
    """The requests of one event loop whose clients may have to be watched, in the order they were read."""

    __slots__ = ("_loop", "_running", "_timer")
    _latest: ClassVar[_Watches | None] = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: dict[Exchange, bool] = {}
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of_this_loop(cls) -> _Watches:
        """Those of the loop that runs; a process that changes between loops has more than one of a loop."""
        loop, found = asyncio.get_running_loop(), cls._latest
        if found is None or found._loop is not loop:
            found = cls._latest = cls(loop)
        return found

    def add(self, exchange: Exchange) -> None:
        """Has it watched when it still runs at the second tick from now."""
        self._running[exchange] = False
        if self._timer is None:
            self._timer = self._loop.call_later(WATCH_AFTER_S, self._tick)

    def remove(self, exchange: Exchange) -> None:
        """It has ended."""
        self._running.pop(exchange, None)

    def _tick(self) -> None:
        for exchange, ticked in list(self._running.items()):
            if ticked:
                del self._running[exchange]
                exchange.watch()
            else:
                self._running[exchange] = True
        self._timer = self._loop.call_later(WATCH_AFTER_S, self._tick) if self._running else None


class _Done:
    """What an awaitable gave without waiting."""

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event = event


def _step(awaitable: Awaitable[Event]) -> object:
    """Runs an ASGI `receive` until it waits; returns what it gave, or what it waits for."""
    if not isinstance(awaitable, CoroutineType):
        return None
    try:
        return awaitable.send(None)
    except StopIteration as end:
        return _Done(end.value)


class _Resumed:
    """Awaits a coroutine that `_step` has begun."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Awaitable[Event], waits_for: object) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[object, None, Event]:
        coroutine, waits_for = self._coroutine, self._waits_for
        if not isinstance(coroutine, CoroutineType):
            return (yield from coroutine.__await__())
        try:
            while True:
                try:
                    sent = yield waits_for
                except GeneratorExit:
                    coroutine.close()
                    raise
                except BaseException as error:
                    waits_for = coroutine.throw(error)
                else:
                    waits_for = coroutine.send(sent)
        except StopIteration as end:
            event: Event = end.value
            return event


async def _within_deadline(call: Call) -> None:
    remaining = call.time_remaining()
    if remaining is None:
        await call.method.run(call)
        return
    limit = asyncio.timeout(remaining)
    try:
        async with limit:
            await call.method.run(call)
    except TimeoutError:
        if limit.expired():
            raise problem("DEADLINE_EXCEEDED", "The call took longer than its caller said it would wait.") from None
        raise


def _name(raw: bytes) -> str:
    name = raw.decode("latin-1").lower()
    if len(_names) < _NAMES_KEPT and len(raw) <= 64:
        _names[bytes(raw)] = name
    return name


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path, safe="/:@!$&'()*+,;=-._~")


def _binary(value: str) -> bytes:
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return value.encode("latin-1")


def encoded(headers: Sequence[tuple[str, Value]]) -> Pairs:
    """Metadata as HTTP headers; a value never breaks out of its line."""
    try:
        # Nearly all are text of known names: then one look at all values is enough.
        if "".join([value for _, value in headers]).isprintable():  # type: ignore[misc]  # bytes raise TypeError
            return [(_sent_names[name], value.encode("latin-1")) for name, value in headers]  # type: ignore[union-attr]  # as above
    except (TypeError, KeyError, UnicodeEncodeError):
        return _encoded_singly(headers)
    return _encoded_singly(headers)


def _encoded_singly(headers: Sequence[tuple[str, Value]]) -> Pairs:
    pairs = []
    for name, value in headers:
        if isinstance(value, bytes):
            text = base64.b64encode(value) if name.endswith("-bin") else value
        else:
            text = value.encode("latin-1", "replace")
            if value.isprintable():
                pairs.append((_sent_names.get(name) or _sent_name(name), text))
                continue
        pairs.append((_sent_names.get(name) or _sent_name(name), text.translate(_PLAIN)))
    return pairs


def _sent_name(name: str) -> bytes:
    made = name.lower().encode("latin-1", "replace")
    if len(_sent_names) < _NAMES_KEPT and len(name) <= 64:
        _sent_names[name] = made
    return made


_PLAIN = bytes(32 if code in (0, 10, 13) else code for code in range(256))
