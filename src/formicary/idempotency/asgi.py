"""ASGI middleware: any application's operations become safe to retry, with the same status, headers and body.

An answer is sent only once it is kept, so a client never sees an answer that a retry would not get. Streamed answers
are therefore collected up to ``max_response_bytes``; give routes that stream without end the rule None.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from formicary.idempotency.counts import Counts
from formicary.idempotency.execution import Execution, begin
from formicary.idempotency.fingerprints import request_fingerprint
from formicary.idempotency.heartbeat import Heartbeats
from formicary.idempotency.keys import key_of
from formicary.idempotency.model import Claim, StoredResponse
from formicary.idempotency.policy import Policy, Rule
from formicary.idempotency.refusals import key_missing, lease_lost, response_not_kept
from formicary.idempotency.store import Store
from formicary.idempotency.uncancelled import to_its_end
from formicary.problems import Problem, problem
from formicary.problems.http import render_http

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
log = logging.getLogger("formicary.idempotency")
App = Callable[[Scope, Receive, Send], Awaitable[None]]

EXECUTION = "formicary.idempotency"
"""Key of the :class:`Execution` in the scope, for handlers that pass recovery points or need the fencing token."""
_REPLAYED = (b"idempotency-replayed", b"true")
_NOT_KEPT = ((b"body", b"not kept"),)
"""Trailers of an answer whose body was too large."""


class IdempotencyMiddleware:
    """Wraps an application; mount it inside authentication.

    Args:
        app: What executes.
        store: Where records are; opened and closed by whoever made it.
        policy: What holds where.
        tenant: Whose keys these are, from what authentication left in the scope. None = ``scope["state"]["tenant"]``,
            else the identity of ``scope["user"]``, else a hash of the credentials that were sent: nobody is ever shown
            another caller's answer.
        counts: Figures; None = new ones.
    """

    def __init__(
        self,
        app: App,
        store: Store,
        policy: Policy | None = None,
        *,
        tenant: Callable[[Scope], str] | None = None,
        counts: Counts | None = None,
    ) -> None:
        self._app = app
        self._store = store
        self._policy = policy or Policy()
        self._heartbeats = Heartbeats()
        self.counts = counts or Counts()
        self._reader = RequestReader(self._policy, tenant, self.counts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; what is not HTTP, and what the policy does not name, passes through."""
        found = self._policy.find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        route, rule = found
        exchange: _Exchange | None = None
        try:
            asked = await self._reader.asked(scope, receive, route, rule)
            if asked is not None:
                claim, body = asked
                begun = await begin(self._store, claim, rule, self.counts, header=self._policy.header)
                if isinstance(begun, Execution):
                    exchange = _Exchange(self._policy, rule, begun, body, receive, send)
                    scope[EXECUTION] = begun
                    work = self._execute(begun, rule, scope, exchange)
                    await to_its_end(work, begun, self._heartbeats.of(rule))
                else:
                    await replay(begun, rule, send)
                return
        except GoneError:
            return
        except asyncio.CancelledError:
            if exchange is not None:
                exchange.send = _to_nobody  # the client has gone; what it has begun goes on
            raise
        except Problem as error:
            if exchange is not None and exchange.sent:
                raise  # the application has answered and failed then
            await refuse(error, scope, send)
            return
        await self._app(scope, receive, send)

    async def _execute(self, execution: Execution, rule: Rule, scope: Scope, exchange: _Exchange) -> None:
        """Raises Problem where nothing was sent yet."""
        try:
            await self._app(scope, exchange.receive, exchange.take)
        except asyncio.CancelledError:
            if execution.ended:
                raise  # its answer is kept
            if not execution.lost:
                await asyncio.shield(execution.release())
                raise
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            exchange.failure = lease_lost()
        except Exception as error:
            await exchange.failed(error, scope)
        if exchange.failure is None and exchange.sent:
            return
        await self._end(execution, rule, exchange)

    async def _end(self, execution: Execution, rule: Rule, exchange: _Exchange) -> None:
        """The application has returned and its caller has no answer yet."""
        if exchange.failure is None:
            await execution.release()
            raise RuntimeError("the application returned without a whole answer")
        kept = await execution.answer_of_another() if exchange.failure.code == "LEASE_LOST" else None
        if kept is None:
            raise exchange.failure
        await replay(kept, rule, exchange.send)


class RequestReader:
    """Reads from a request who wants to execute what. Shared by both kinds of middleware.

    Args:
        policy: What holds where.
        tenant: Whose keys these are; None = :func:`tenant_of`.
        counts: Figures.
    """

    __slots__ = ("_counts", "_header", "_policy", "_tenant")

    def __init__(self, policy: Policy, tenant: Callable[[Scope], str] | None, counts: Counts) -> None:
        self._policy = policy
        self._header = policy.header.lower().encode("ascii")
        self._tenant = tenant or tenant_of
        self._counts = counts

    async def asked(self, scope: Scope, receive: Receive, route: str, rule: Rule) -> tuple[Claim, bytes] | None:
        """The claim of a request and its body; None = no key, and none is needed. Raises Problem."""
        key, kind = self._key_and_type(scope["headers"], rule)
        if key is None:
            return None
        message = await receive()
        if message.get("more_body") or message["type"] != "http.request":
            message = await _rest(message, receive, rule.max_body_bytes)
        body = message.get("body", b"")
        if len(body) > rule.max_body_bytes:
            raise _too_large(rule.max_body_bytes)
        query = scope.get("query_string", b"")
        asked = request_fingerprint(path=scope["path"], query=query, content_type=kind, body=body)
        return Claim(key, asked, self._tenant(scope), scope["method"], route, "", rule.lease_s, rule.ttl_s), body

    def _key_and_type(self, headers: Iterable[tuple[bytes, bytes]], rule: Rule) -> tuple[str | None, str]:
        """What the request's headers say; None = no key, and none is needed."""
        header, kind = self._header, b""
        keys: list[bytes] = []
        for name, value in headers:
            if name == header:
                keys.append(value)
            elif name == b"content-type":
                kind = value
        if keys:
            return key_of(keys, header=self._policy.header, uuid_only=rule.uuid_only), kind.decode("latin-1")
        if rule.key == "refuse":
            self._counts.missing += 1
            raise key_missing(self._policy.header)
        return None, ""


class _Exchange:
    """One request and its answer: the application gets the body that was read; what it sends is collected, kept, and
    only then passed on.

    What goes wrong while it is kept is not thrown into the application, which would answer it with an error of its own:
    it is in `failure` when the application has returned. Nor is it told that the client has gone before its answer is
    kept: what stops half-way then would be begun again by the retry.
    """

    __slots__ = (
        "_execution", "_finished", "_parts", "_policy", "_receive", "_request", "_rule", "_settled", "_size", "_start",
        "failure", "send", "sent",
    )  # fmt: skip

    def __init__(
        self, policy: Policy, rule: Rule, execution: Execution, request: bytes, receive: Receive, send: Send
    ) -> None:
        self._policy = policy
        self._rule = rule
        self._execution = execution
        self._request: bytes | None = request
        self._receive = receive
        self._start: Message | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._finished = False
        self._settled: asyncio.Event | None = None
        self.failure: Problem | None = None
        self.send = send
        self.sent = False

    async def receive(self) -> Message:
        """The body that was read; after it, once the answer is kept, whatever the server says."""
        body, self._request = self._request, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        if not self.sent and self.failure is None:
            self._settled = self._settled or asyncio.Event()
            await self._settled.wait()
        return await self._receive()

    async def take(self, message: Message) -> None:
        """One message of the application."""
        if self.failure is not None:
            return
        if self.sent:
            await self.send(message)
        elif message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            chunk = message.get("body", b"")
            self._parts.append(chunk)
            self._size += len(chunk)
            self._finished = not message.get("more_body", False)
            if self._finished or self._size > self._rule.max_response_bytes:
                await self._settle()

    async def failed(self, error: Exception, scope: Scope) -> None:
        """The application has raised instead of answering. Raises the error where no answer of it is kept."""
        if self.failure is not None:
            log.error("the application failed after its answer could not be kept", exc_info=error)
            return
        refusal = error if isinstance(error, Problem) else None
        if self.sent or (refusal is None and not self._rule.replay_5xx):
            if not self._execution.ended:
                await self._execution.release()
            raise error
        self._parts, self._size = [], 0
        for message in rendered(refusal or problem("INTERNAL"), scope):
            await self.take(message)
        if refusal is None:
            raise error

    async def _settle(self) -> None:
        start, execution = self._start, self._execution
        if start is None:
            raise RuntimeError("the application sent a body before a status")
        parts = self._parts
        body, status = parts[0] if len(parts) == 1 else b"".join(parts), start["status"]
        try:
            if self._rule.keeps(status):
                kept = self._policy.kept(start.get("headers", ()), self._rule)
                if self._finished and self._size <= self._rule.max_response_bytes:
                    await execution.complete(StoredResponse(status, kept, body))
                else:
                    await execution.complete(_not_kept(status, kept))
            else:
                await execution.release()
        except Problem as error:
            self.failure = error
            return
        finally:
            if self._settled is not None:
                self._settled.set()
        self.sent = True
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body, "more_body": not self._finished})


async def _to_nobody(message: Message) -> None:
    """The client has gone."""


def _not_kept(status: int, headers: Iterable[tuple[bytes, bytes]]) -> StoredResponse:
    """What stands for an answer whose body was too large."""
    fitting = tuple(pair for pair in headers if pair[0].lower() != b"content-length")
    return StoredResponse(status, fitting, trailers=_NOT_KEPT)


def tenant_of(scope: Scope) -> str:
    """Whose keys a request's are, where nobody says: see :class:`IdempotencyMiddleware`."""
    state = scope.get("state")
    if state is not None and "tenant" in state:
        return str(state["tenant"])
    user = scope.get("user")
    if user is not None and getattr(user, "is_authenticated", False):
        return str(user.identity)
    for name, value in scope["headers"]:
        if name == b"authorization":
            return "credentials:" + hashlib.sha256(value).hexdigest()
    return ""


class GoneError(Exception):
    """The client has gone before its request was whole."""


def _too_large(limit: int) -> Problem:
    return problem("PAYLOAD_TOO_LARGE", f"The body has more than {limit} bytes.")


async def _rest(message: Message, receive: Receive, limit: int) -> Message:
    """A request that comes in pieces as one message. Raises Problem PAYLOAD_TOO_LARGE, or that the client has gone."""
    parts: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return {"type": "http.request", "body": b"".join(parts), "more_body": False}
        message = await receive()
    raise GoneError


async def replay(kept: StoredResponse, rule: Rule, send: Send) -> None:
    """Sends a kept answer with the mark of a replay. Raises Problem RESPONSE_NOT_KEPT."""
    if kept.trailers and rule.on_large_response == "fail":
        raise response_not_kept(kept.status)
    await send({"type": "http.response.start", "status": kept.status, "headers": [*kept.headers, _REPLAYED]})
    await send({"type": "http.response.body", "body": kept.body})


def rendered(error: Problem, scope: Scope) -> tuple[Message, Message]:
    """A problem as the messages of an answer."""
    accept = ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")
    status, headers, body = render_http(error, accept=accept, instance=scope["path"])
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return (
        {"type": "http.response.start", "status": status, "headers": pairs},
        {"type": "http.response.body", "body": body},
    )


async def refuse(error: Problem, scope: Scope, send: Send) -> None:
    """Answers with a problem."""
    for message in rendered(error, scope):
        await send(message)
