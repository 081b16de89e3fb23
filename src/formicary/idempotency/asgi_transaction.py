"""ASGI middleware with own transaction: key, the application's writes and its answer are one commit.

::

    app = TransactionMiddleware(app, connect)

    async def transfer(scope, receive, send):
        connection = scope[CONNECTION]
        await connection.execute("UPDATE accounts …")
        …  # answers as always; the answer is sent after the commit

`connect` gives a connection of any kind that :mod:`formicary.idempotency.connections` knows. Nothing half-done can
exist: a crash at any instant leaves neither effect nor record, and a retry runs again. An answer of 400 and above
undoes what the application wrote; those that the rule keeps are replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from formicary.idempotency.asgi import (
    App,
    GoneError,
    Message,
    Receive,
    RequestReader,
    Scope,
    Send,
    refuse,
    rendered,
    replay,
)
from formicary.idempotency.counts import Counts
from formicary.idempotency.model import Claim, StoredResponse
from formicary.idempotency.policy import Policy, Rule
from formicary.idempotency.transaction import Transaction, idempotent
from formicary.problems import Problem, problem

CONNECTION = "formicary.idempotency.connection"
"""Key of the connection in the scope: what is written through it is part of the one commit."""


class TransactionMiddleware:
    """Wraps an application whose effects are in one database; mount it inside authentication.

    Args:
        app: What executes. It writes through ``scope[CONNECTION]`` and neither begins nor ends a transaction.
        connect: Gives a connection for one request, with no transaction open; the table is made by
            :func:`formicary.idempotency.connections.ensure_table`.
        policy: What holds where. An answer beyond ``max_response_bytes`` is kept as the rule says.
        tenant: Whose keys these are, see :class:`formicary.idempotency.IdempotencyMiddleware`.
        counts: Figures; None = new ones.
    """

    def __init__(
        self,
        app: App,
        connect: Callable[[], AbstractAsyncContextManager[object]],
        policy: Policy | None = None,
        *,
        tenant: Callable[[Scope], str] | None = None,
        counts: Counts | None = None,
    ) -> None:
        self._app = app
        self._connect = connect
        self._policy = policy or Policy()
        self.counts = counts or Counts()
        self._reader = RequestReader(self._policy, tenant, self.counts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; what is not HTTP, and what the policy does not name, passes through."""
        found = self._policy.find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        asked = None
        if found is not None:
            try:
                asked = await self._reader.asked(scope, receive, *found)
            except GoneError:
                return
            except Problem as error:
                await refuse(error, scope, send)
                return
        if found is None or asked is None:
            await self._app(scope, receive, send)
            return
        await self._protect(asked[0], asked[1], found[1], scope, receive, send)

    async def _protect(self, claim: Claim, body: bytes, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(body, receive)
        try:
            async with self._connect() as connection:
                block = idempotent(claim, connection, rule=rule, header=self._policy.header)
                async with block as tx:
                    if tx.replayed is None:
                        self.counts.executed += 1
                        scope[CONNECTION] = connection
                        await self._execute(tx, rule, scope, answer)
        except Problem as error:
            self._count(error)
            await refuse(error, scope, send)
            return
        if tx.replayed is not None:
            self.counts.replayed += 1
            await replay(tx.replayed, rule, send)
            return
        for message in answer.messages:
            await send(message)
        if answer.failure is not None:
            raise answer.failure

    async def _execute(self, tx: Transaction, rule: Rule, scope: Scope, answer: _Answer) -> None:
        """Has the application answer and says what is kept. What it raises beside a Problem rolls everything back."""
        try:
            await self._app(scope, answer.receive, answer.take)
        except Problem as error:
            answer.replace(rendered(error, scope))
        except Exception as error:
            if not rule.replay_5xx:
                raise
            answer.replace(rendered(problem("INTERNAL"), scope))
            answer.failure = error
        status, headers, body = answer.whole()
        tx.complete(StoredResponse(status, self._policy.kept(headers, rule), body))

    def _count(self, error: Problem) -> None:
        name = {
            "IDEMPOTENCY_KEY_REUSED": "reused",
            "IDEMPOTENT_REQUEST_IN_PROGRESS": "busy",
            "IDEMPOTENCY_STORE_UNAVAILABLE": "store_failures",
            "IDEMPOTENCY_OUTCOME_UNKNOWN": "store_failures",
        }.get(error.code)
        if name is not None:
            setattr(self.counts, name, getattr(self.counts, name) + 1)


class _Answer:
    """What the application is given and what it sends, held back until the commit."""

    __slots__ = ("_body", "_receive", "failure", "messages")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self.messages: list[Message] = []
        self.failure: Exception | None = None

    async def receive(self) -> Message:
        """The body that was read; after it whatever the server says."""
        body, self._body = self._body, None
        if body is None:
            return await self._receive()
        return {"type": "http.request", "body": body, "more_body": False}

    async def take(self, message: Message) -> None:
        """One message of the application."""
        self.messages.append(message)

    def replace(self, messages: tuple[Message, ...]) -> None:
        """Another answer instead of what was begun: nothing of it was sent."""
        self.messages = list(messages)

    def whole(self) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body. Raises RuntimeError where the application has not answered wholly."""
        start, *rest = self.messages or [{"type": ""}]
        parts = [each for each in rest if each["type"] == "http.response.body"]
        if start["type"] != "http.response.start" or not parts or parts[-1].get("more_body", False):
            raise RuntimeError("the application returned without a whole answer")
        status: int = start["status"]
        return status, list(start.get("headers", ())), b"".join([each.get("body", b"") for each in parts])
