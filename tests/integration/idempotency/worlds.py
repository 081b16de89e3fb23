"""A service under test with its clock, its effects and its store: ours, and wrong ones that the same tests catch."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from itertools import count
from typing import Any

import pytest

from formicary.idempotency import IdempotencyMiddleware, MemoryStore, Policy
from formicary.problems import Problem
from tests.integration.idempotency.driving import JSON, Answer, App, Message, Receive, Scope, Send, call
from tests.integration.idempotency.original import OriginalMiddleware, OriginalStore

DAY_S = 86_400
Handler = Callable[[bytes], Awaitable[tuple[int, list[tuple[bytes, bytes]], bytes]]]


class World:
    """A service whose handler notes every execution.

    Attributes:
        now_s: The clock of the store, in seconds.
        effects: The body of each execution.
        handler: What the service does beside noting; replaced by tests.
    """

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0
        self.effects: list[bytes] = []
        self.handler: Handler = self.order
        self._numbers = count(1)
        self.app: App = self.service

    async def service(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application without any protection."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.effects.append(body)
        status, headers, text = await self.handler(body)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    async def order(self, body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Makes another order each time: a second execution cannot answer as the first did."""
        number = next(self._numbers)
        return 201, [JSON, (b"location", b"/orders/%d" % number)], b'{"order": %d}' % number

    async def call(self, key: str | Sequence[str] | None, body: bytes = b"{}", **more: Any) -> Answer:
        """One request; what the application throws is a 500 of the server around it."""
        try:
            return await call(self.app, key, body, **more)
        except Exception:
            return Answer(500)

    async def purge(self) -> None:
        """Cleans up what is over; a world without a store has nothing to clean up."""

    def close(self) -> None:
        """Releases what it holds."""


class Ours(World):
    """Our middleware."""

    def __init__(self, policy: Policy | None = None) -> None:
        super().__init__()
        self.store = MemoryStore(lambda: round(self.now_s * 1000))
        self.app = IdempotencyMiddleware(self.service, self.store, policy)

    async def purge(self) -> None:
        """Through the store."""
        await self.store.purge()


class Original(World):
    """What the articles' programs do."""

    def __init__(self) -> None:
        super().__init__()
        self.store = OriginalStore(lambda: self.now_s)
        self.app = OriginalMiddleware(self.service, self.store)

    async def purge(self) -> None:
        """Through its cleaner."""
        await self.store.purge()

    def close(self) -> None:
        """Its file."""
        self.store.close()


class ServerKeys(Ours):
    """Anti-pattern 1: the server makes the key from the payload."""

    def __init__(self) -> None:
        super().__init__()
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            message = await receive()
            made = hashlib.sha256(message["body"]).hexdigest().encode()
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"idempotency-key"]
            scope["headers"].append((b"idempotency-key", made))

            async def again() -> Message:
                return message

            await inner(scope, again, send)

        self.app = app


class CheckThenAct(World):
    """Anti-pattern 2: looks, then runs, then notes."""

    def __init__(self) -> None:
        super().__init__()
        known: dict[bytes, list[Message]] = {}

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            key = dict(scope["headers"])[b"idempotency-key"]
            await asyncio.sleep(0)
            messages = known.get(key)
            if messages is None:
                messages = []

                async def take(message: Message) -> None:
                    messages.append(message)

                await self.service(scope, receive, take)
                known[key] = messages
            for message in messages:
                await send(message)

        self.app = app


class Forgetful(Ours):
    """Anti-pattern 6: a cache that forgets old keys when it is full."""

    def __init__(self) -> None:
        super().__init__()
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            kept = self.store._records
            while len(kept) >= 10:
                del kept[next(iter(kept))]
            await inner(scope, receive, send)

        self.app = app


Check = Callable[[Any], Awaitable[None]]


def shown_able_to_fail(wrong: Callable[[], World], ours: Callable[[], World] = Ours) -> Callable[[Check], Any]:
    """The check has to hold for ours and to fail for the wrong one: it becomes two tests.

    Args:
        wrong: Makes what has the fault.
        ours: Makes what must not have it.
    """

    def decorate(check: Check) -> Any:
        @pytest.mark.parametrize("make", [ours, wrong], ids=["ours", "with the fault"])
        @wraps(check)
        def test(make: Callable[[], World]) -> None:
            world = make()
            try:
                if make is ours:
                    asyncio.run(check(world))
                else:
                    with pytest.raises(AssertionError):
                        asyncio.run(check(world))
            finally:
                world.close()

        del test.__wrapped__  # type: ignore[attr-defined]  # else pytest would ask for the check's own arguments
        return test

    return decorate


def refusing(error: Problem) -> Handler:
    """A handler that refuses."""

    async def handler(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        raise error

    return handler


def answering(status: int, text: bytes = b"{}") -> Handler:
    """A handler that always answers with a status."""

    async def handler(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        return status, [JSON], text

    return handler
