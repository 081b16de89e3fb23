"""What becomes of an answer when the store is away just then."""

from __future__ import annotations

import asyncio

from formicary.idempotency import IdempotencyMiddleware, MemoryStore
from formicary.problems import problem
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
