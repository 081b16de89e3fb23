"""ASGI middleware: any application's operations become safe to retry, with the same status, headers and body.

An answer is sent only once it is kept, so a client never sees an answer that a retry would not get. Streamed answers
are therefore collected up to ``max_response_bytes``; give routes that stream without end the rule None.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from formicary.idempotency.counts import Counts
from formicary.idempotency.execution import Execution, begin
from formicary.idempotency.fingerprints import request_fingerprint
from formicary.idempotency.keys import parse_key
from formicary.idempotency.model import Claim, StoredResponse
from formicary.idempotency.policy import Policy, Rule
from formicary.idempotency.refusals import key_missing, lease_lost, response_not_kept
from formicary.idempotency.store import Store
from formicary.problems import Problem, problem
from formicary.problems.http import render_http

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
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
        self._header = self._policy.header.lower().encode("ascii")
        self._tenant = tenant or tenant_of
        self.counts = counts or Counts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; what is not HTTP, and what the policy does not name, passes through."""
        found = self._policy.find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        route, rule = found
        try:
            key = self._key(scope, rule)
            if key is not None:
                await self._protect(key, route, rule, scope, receive, send)
                return
        except Problem as error:
            await _refuse(error, scope, send)
            return
        await self._app(scope, receive, send)

    async def _protect(self, key: str, route: str, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        """A request with a key. Raises Problem where nothing was sent yet."""
        body = await _read(receive, rule.max_body_bytes)
        if body is None:
            return  # the client has gone
        claim = self._claim(scope, route, rule, key, body)
        begun = await begin(self._store, claim, rule, self.counts, header=self._policy.header)
        if not isinstance(begun, Execution):
            await _replay(begun, rule, send)
            return
        try:
            await self._execute(begun, rule, scope, _once(body, receive), send)
        except Problem as error:
            kept = await begun.answer_of_another() if error.code == "LEASE_LOST" else None
            if kept is None:
                raise
            await _replay(kept, rule, send)

    def _key(self, scope: Scope, rule: Rule) -> str | None:
        name = self._header
        values = [value.decode("latin-1") for header, value in scope["headers"] if header == name]
        key = parse_key(values, header=self._policy.header, uuid_only=rule.uuid_only)
        if key is None and rule.key == "refuse":
            self.counts.missing += 1
            raise key_missing(self._policy.header)
        return key

    def _claim(self, scope: Scope, route: str, rule: Rule, key: str, body: bytes) -> Claim:
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        fingerprint = request_fingerprint(
            path=scope["path"], query=scope.get("query_string", b""), content_type=kind.decode("latin-1"), body=body
        )
        return Claim(
            key,
            fingerprint,
            self._tenant(scope),
            scope["method"],
            route,
            lease_s=rule.lease_s,
            ttl_s=rule.ttl_s,
        )

    async def _execute(self, execution: Execution, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(self._policy, rule, execution, send)
        scope[EXECUTION] = execution
        execution.keep_alive()
        try:
            await self._app(scope, receive, answer.take)
        except asyncio.CancelledError:
            if not execution.lost:
                await asyncio.shield(execution.release())
                raise
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            raise lease_lost() from None
        except Exception as error:
            refusal = error if isinstance(error, Problem) else None
            if execution.ended or not (refusal is not None or rule.replay_5xx):
                await answer.give_up()
                raise
            await answer.take_problem(refusal or problem("INTERNAL"), scope)
            if refusal is None:
                raise
        await answer.end()


class _Answer:
    """Collects what the application sends, keeps it, and only then passes it on.

    What goes wrong while it is kept is not thrown into the application, which would answer it with an error of its own;
    :meth:`end` raises it.
    """

    def __init__(self, policy: Policy, rule: Rule, execution: Execution, send: Send) -> None:
        self._policy = policy
        self._rule = rule
        self._execution = execution
        self._send = send
        self._start: Message | None = None
        self._body = b""
        self._finished = False
        self._sent = False
        self._failure: Problem | None = None

    async def take(self, message: Message) -> None:
        """One message of the application."""
        if self._failure is not None:
            return
        if self._sent:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            chunk = message.get("body", b"")
            self._body = self._body + chunk if self._body else chunk
            self._finished = not message.get("more_body", False)
            if self._finished or len(self._body) > self._rule.max_response_bytes:
                await self._settle()

    async def take_problem(self, error: Problem, scope: Scope) -> None:
        """The application has raised one instead of an answer, or crashed."""
        self._body = b""
        for message in _rendered(error, scope):
            await self.take(message)

    async def give_up(self) -> None:
        """The application has failed without an answer that is kept."""
        if not self._execution.ended:
            await self._execution.release()

    async def end(self) -> None:
        """The application has returned. Raises what went wrong; RuntimeError where it has not answered."""
        if self._failure is not None:
            raise self._failure
        if not self._sent:
            await self._execution.release()
            raise RuntimeError("the application returned without a whole answer")

    async def _settle(self) -> None:
        start = self._start
        if start is None:
            raise RuntimeError("the application sent a body before a status")
        status = start["status"]
        try:
            if self._rule.keeps(status):
                await self._execution.complete(self._stored(status, start.get("headers", ())))
            else:
                await self._execution.release()
        except Problem as error:
            self._failure = error
            return
        self._sent = True
        await self._send(start)
        await self._send({"type": "http.response.body", "body": self._body, "more_body": not self._finished})

    def _stored(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> StoredResponse:
        rule = self._rule
        kept = self._policy.kept(headers, rule)
        if self._finished and len(self._body) <= rule.max_response_bytes:
            return StoredResponse(status, kept, self._body)
        return StoredResponse(
            status, tuple(pair for pair in kept if pair[0].lower() != b"content-length"), trailers=_NOT_KEPT
        )


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


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body; None where the client has gone. Raises Problem PAYLOAD_TOO_LARGE."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk: bytes = message.get("body", b"")
        body = body + chunk if body else chunk
        if len(body) > limit:
            raise problem("PAYLOAD_TOO_LARGE", f"The body has more than {limit} bytes.")
        if not message.get("more_body", False):
            return body


def _once(body: bytes, receive: Receive) -> Receive:
    """The body that was read, for the application; after it whatever the server says."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _replay(kept: StoredResponse, rule: Rule, send: Send) -> None:
    if kept.trailers and rule.on_large_response == "fail":
        raise response_not_kept(kept.status)
    await send({"type": "http.response.start", "status": kept.status, "headers": [*kept.headers, _REPLAYED]})
    await send({"type": "http.response.body", "body": kept.body})


def _rendered(error: Problem, scope: Scope) -> tuple[Message, Message]:
    accept = ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")
    status, headers, body = render_http(error, accept=accept, instance=scope["path"])
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return (
        {"type": "http.response.start", "status": status, "headers": pairs},
        {"type": "http.response.body", "body": body},
    )


async def _refuse(error: Problem, scope: Scope, send: Send) -> None:
    for message in _rendered(error, scope):
        await send(message)
