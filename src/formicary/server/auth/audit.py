"""The audit log: who changed what, and who was refused.

Every call that may change something leaves a record, and so does every call that was refused because nobody knew the
caller or the caller may not. Records say no more than who, when, what, on which resource and with which outcome: no
bodies, no secrets. They are gathered in memory and appended each `FLUSH_S` in one transaction, so that no call waits
for them: a server that is killed may lose the records of that last moment. Where the store is away they wait, as many
as `MOST_WAITING`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from google.api import annotations_pb2

from formicary.engine.storage.port import Row, Store, StoreError
from formicary.gateway import Call, Method, Run
from formicary.problems import Problem
from formicary.server.auth.token_bucket import TokenBucket

log = logging.getLogger("formicary.audit")
FLUSH_S = 0.1
MOST_WAITING = 20_000
LONGEST = 200
"""Characters of a resource or an address that are kept."""
REFUSALS_PER_S, REFUSALS_AT_ONCE = 10.0, 100
"""Refused calls that get records of their own; the others are counted in the next record."""
PURGE_EVERY_S = 3600.0
PURGE_BATCH = 1000
_REFUSED = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})


class Origin(Protocol):
    """Where a call comes from, as records say it."""

    @property
    def trace_id(self) -> str:
        """Of the request (W3C)."""
        ...

    @property
    def remote(self) -> str:
        """Address of the caller."""
        ...

    @property
    def protocol(self) -> str:
        """Http or grpc."""
        ...


class AuditLog:
    """Writes records to a store in the background.

    Args:
        store: An open store.
        keep_s: How long records are kept, in seconds; 0 = for ever.
        wall: Seconds since the epoch.
    """

    def __init__(self, store: Store, keep_s: float, wall: Callable[[], float] = time.time) -> None:
        self._store = store
        self._keep_s = keep_s
        self._wall = wall
        self._waiting: deque[Row] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._some = asyncio.Event()
        self.dropped = 0
        """Records that were lost because the store was away for too long."""

    def start(self) -> None:
        """Begins to write and, where records grow old, to remove."""
        self._tasks.append(asyncio.create_task(self._write()))
        if self._keep_s:
            self._tasks.append(asyncio.create_task(self._purge()))

    async def stop(self) -> None:
        """Writes what waits, then ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self.flush()

    def record(
        self, org: str, principal: str, method: str, resource: str, code: str, call: Origin, suppressed: int = 0
    ) -> None:
        """Takes one record; it is written soon."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        place, remote = resource[:LONGEST], call.remote[:LONGEST]
        row = (self._wall(), org, principal, method, place, code, call.trace_id, remote, call.protocol, suppressed)
        self._waiting.append(row)
        self._some.set()

    def note(self, org: str, method: str, resource: str, code: str) -> None:
        """Takes a record of something that happened by itself."""
        self._waiting.append((self._wall(), org, "", method, resource[:LONGEST], code, "", "", "", 0))
        self._some.set()

    async def flush(self) -> bool:
        """Writes what waits; False where the store does not take it, and it waits on."""
        rows = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not rows:
            return True
        try:
            await asyncio.shield(asyncio.to_thread(self._store.add_audit, rows))
        except StoreError as error:
            log.warning("%d audit records wait for the store: %s", len(rows), error)
            room = max(0, MOST_WAITING - len(self._waiting))
            self.dropped += max(0, len(rows) - room)
            self._waiting.extendleft(reversed(rows[-room:] if room else []))
            return False
        return True

    async def _write(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(FLUSH_S)
            self._some.clear()
            if not await self.flush():
                self._some.set()
                await asyncio.sleep(1.0)

    async def _purge(self) -> None:
        while True:
            with contextlib.suppress(StoreError):  # the next hour will do
                while await asyncio.to_thread(self._store.purge_audit, self._wall() - self._keep_s, PURGE_BATCH):
                    await asyncio.sleep(FLUSH_S)
            await asyncio.sleep(PURGE_EVERY_S)


class Audit:
    """Interceptor around authentication that records calls.

    Args:
        book: Where records go.
        now: A clock that never goes back.
    """

    def __init__(self, book: AuditLog, now: Callable[[], float] = time.monotonic) -> None:
        self._book = book
        self._now = now
        self._refusals = TokenBucket(REFUSALS_PER_S, REFUSALS_AT_ONCE, now())
        self._suppressed = 0

    async def __call__(self, call: Call, proceed: Run) -> None:
        """Records one call at its end; a stream that changes something at its beginning, too."""
        changes = may_change(call.method)
        if changes and call.requests is not None:
            call.requests = self._announced(call, call.requests)
        code = "OK"
        try:
            await proceed(call)
        except Problem as error:
            code = error.code
            raise
        except Exception:
            code = "INTERNAL"
            raise
        except BaseException:
            code = "CANCELLED"
            raise
        finally:
            if changes or code in _REFUSED:
                self._ended(call, code)

    async def _announced(self, call: Call, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The requests of a stream; the first one that is let through says that it began."""
        is_first = True
        async for request in requests:
            if is_first:
                is_first = False
                self._ended(call, "STARTED")
            yield request

    def _ended(self, call: Call, code: str) -> None:
        if code in _REFUSED and self._refusals.take(self._now()):
            self._suppressed += 1
            return
        suppressed, self._suppressed = self._suppressed, 0
        who = call.principal
        org, principal = (who.org, who.id) if who is not None else ("", "")
        name = call.method.full_name.removeprefix("/")
        self._book.record(org, principal, name, resource_of(call), code, call, suppressed)


def may_change(method: Method) -> bool:
    """Whether a method is more than reading: whatever HTTP does not GET."""
    rule = method.descriptor.GetOptions().Extensions[annotations_pb2.http]
    is_read: bool = rule.WhichOneof("pattern") == "get"
    return not is_read


def resource_of(call: Call) -> str:
    """What a call concerns: the id in its request or answer; the path of one that was not read; else nothing."""
    for message in (call.request, call.response, getattr(call.response, "record", None)):
        found = getattr(message, "id", "")
        if isinstance(found, str) and found:
            return found
    place = [getattr(call.request, field, "") for field in ("scope", "owner", "name")]
    if len(place) == 3 and place[2] and hasattr(call.request, "scope"):
        return "/".join((place[0] or "org", *filter(None, place[1:])))
    ids: list[str] = list(getattr(call.response, "ids", ()))
    if ids:
        return str(ids[0]) if len(ids) == 1 else f"{ids[0]} +{len(ids) - 1}"
    return call.path if call.protocol == "http" and call.request is None else ""
