"""What becomes of an answer when the store is away just then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from formicary.idempotency import IdempotencyMiddleware, MemoryStore, Policy, Rule, SqliteStore, once
from formicary.problems import problem
from tests.integration.idempotency.driving import Message, Receive, Scope, Send, call
from tests.integration.idempotency.worlds import Ours


class Shaky(MemoryStore):
    """A store whose completions fail: before they are applied, or after."""

    def __init__(self, fail_before: int = 0, fail_after: int = 0) -> None:
        super().__init__()
        self._before, self._after = fail_before, fail_after

    async def complete(self, record_id: bytes, token: int, response: bytes, ttl_s: float) -> None:
        """As the store below, with failures."""
        if self._before:
            self._before -= 1
            raise problem("IDEMPOTENCY_STORE_UNAVAILABLE", "connection reset", retry_after_s=2.0)
        await super().complete(record_id, token, response, ttl_s)
        if self._after:
            self._after -= 1
            raise problem("IDEMPOTENCY_STORE_UNAVAILABLE", "connection reset", retry_after_s=2.0)


def _world(store: Shaky) -> Ours:
    world = Ours()
    world.app = IdempotencyMiddleware(world.service, store)
    return world


def test_an_answer_is_tried_again() -> None:
    """A completion that fails twice succeeds: caller and retry get the same."""

    async def check() -> None:
        world = _world(Shaky(fail_before=2))
        first, again = await world.call("k"), await world.call("k")
        assert (first.status, again.replayed, len(world.effects)) == (201, True, 1)
        assert again.same_as(first)

    asyncio.run(check())


def test_an_answer_that_was_kept_in_silence_counts() -> None:
    """The store applied it and then failed: the second try meets its own answer and is no lost lease."""

    async def check() -> None:
        world = _world(Shaky(fail_after=1))
        first, again = await world.call("k"), await world.call("k")
        assert (first.status, again.replayed, len(world.effects)) == (201, True, 1)
        assert again.same_as(first)

    asyncio.run(check())


def test_an_answer_that_cannot_be_kept_is_not_given() -> None:
    """503 with Retry-After that does not claim that nothing was executed; meanwhile a retry is told to wait."""

    async def check() -> None:
        world = _world(Shaky(fail_before=100))
        first, again = await world.call("k"), await world.call("k")
        assert (first.status, first.header("retry-after")) == (503, "2")
        assert b"IDEMPOTENCY_OUTCOME_UNKNOWN" in first.body
        assert b"connection reset" not in first.body
        assert (again.status, len(world.effects)) == (409, 1)

    asyncio.run(check())


class Patient(MemoryStore):
    """A store that is asked to keep an answer and takes its time before it does."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def complete(self, record_id: bytes, token: int, response: bytes, ttl_s: float) -> None:
        """As the store below, later."""
        self.asked.set()
        await self.go_on.wait()
        await super().complete(record_id, token, response, ttl_s)


def test_the_answer_to_a_caller_who_leaves_while_it_is_kept_is_kept_all_the_same() -> None:
    """A request that is cancelled after its effect and before its record is complete: a retry gets the answer."""

    async def check() -> None:
        store = Patient()
        world = Ours()
        world.app = IdempotencyMiddleware(world.service, store)
        gone = asyncio.create_task(world.call("k"))
        await store.asked.wait()
        gone.cancel()
        store.go_on.set()
        await asyncio.wait({gone})
        assert gone.cancelled()
        again = await world.call("k")
        assert (again.status, again.replayed, len(world.effects)) == (201, True, 1)

    asyncio.run(check())


def test_a_caller_of_the_file_store_who_leaves_while_its_answer_is_kept(tmp_path: Path) -> None:
    """The same where the answer waits in the queue of the writer: callers leave at any moment of their request."""

    async def check() -> None:
        store = SqliteStore(tmp_path / "keys.db")
        await store.open()
        world = Ours()
        world.app = IdempotencyMiddleware(world.service, store)
        for turns in range(1, 200):
            task = asyncio.create_task(world.call(f"k{turns}"))
            for _ in range(turns % 25):
                await asyncio.sleep(0 if turns % 2 else 0.0002)
            task.cancel()
            await asyncio.wait({task})
            executed = len(world.effects) == turns
            while (again := await world.call(f"k{turns}")).status == 409:
                assert not executed  # a claim whose caller has gone is given back in a moment
            assert (again.status, again.replayed, len(world.effects)) == (201, executed, turns)
        await store.close()

    asyncio.run(check())


def test_a_client_that_goes_away_changes_nothing_of_what_has_begun() -> None:
    """The effect is there, its answer is being streamed when the server says so: it ends, and a retry gets it all."""

    async def check() -> None:
        effects, gone, piece = 0, asyncio.Event(), asyncio.Event()
        told: list[str] = []
        head = {"type": "http.response.start", "status": 201, "headers": []}

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal effects
            await receive()
            effects += 1

            async def stream() -> None:
                await send(head)
                for part in (b"or", b"der"):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                    await piece.wait()
                await send({"type": "http.response.body", "body": b""})

            async def listen() -> None:
                told.append((await receive())["type"])

            streaming, listening = asyncio.create_task(stream()), asyncio.create_task(listen())
            await asyncio.wait({streaming, listening}, return_when=asyncio.FIRST_COMPLETED)
            streaming.cancel()  # where the client has gone first, as frameworks do
            await listening

        async def receive() -> Message:
            if not gone.is_set():
                gone.set()
                return {"type": "http.request", "body": b"{}", "more_body": False}
            return {"type": "http.disconnect"}

        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        protected = IdempotencyMiddleware(app, MemoryStore())
        keys = [(b"idempotency-key", b"k")]
        scope = {"type": "http", "method": "POST", "path": "/orders", "query_string": b"", "headers": keys}
        first = asyncio.create_task(protected(dict(scope), receive, send))
        await gone.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        assert (effects, told) == (1, [])
        first.cancel()
        await asyncio.wait({first})
        piece.set()
        while not told:
            await asyncio.sleep(0)
        assert (first.cancelled(), told, sent) == (True, ["http.disconnect"], [])
        again = await call(protected, "k", headers=())
        assert (again.status, again.body, again.replayed, effects) == (201, b"order", True, 1)

    asyncio.run(check())


def test_what_has_begun_ends_although_its_caller_is_cancelled() -> None:
    """A coroutine that is made safe: its caller's time is over after the effect, and the next call gets the value."""
    effects: list[str] = []

    @once(MemoryStore(), key=lambda item: item, rule=Rule(on_busy="wait"))
    async def charge(item: str) -> int:
        effects.append(item)
        await asyncio.sleep(2.0)
        return len(effects)

    async def check() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await charge("tea")
        assert effects == ["tea"]
        assert await charge("tea") == 1
        assert effects == ["tea"]

    asyncio.run(check())


def test_a_handler_that_hangs_does_not_keep_its_key_for_ever() -> None:
    """Its lease is renewed no longer than the rule says; who took over is right, and it gets that answer too."""

    async def check() -> None:
        store, went_on, numbers = MemoryStore(), asyncio.Event(), iter((b"first", b"second"))

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            body = next(numbers)
            if body == b"first":
                await went_on.wait()
            await send({"type": "http.response.start", "status": 201, "headers": []})
            await send({"type": "http.response.body", "body": body})

        protected = IdempotencyMiddleware(app, store, Policy(Rule(lease_s=0.5, renew_for_s=0.5)))
        hanging = asyncio.create_task(call(protected, "k"))
        await asyncio.sleep(0)
        busy = 0
        while (answer := await call(protected, "k")).status == 409:
            busy += 1
            await asyncio.sleep(0.005)
        assert (busy > 0, answer.status, answer.body) == (True, 201, b"second")
        went_on.set()
        assert (await hanging).body == b"second"

    asyncio.run(check())
