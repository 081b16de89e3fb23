"""The contract itself must be able to fail: stores that look right and are not do not pass it."""

from __future__ import annotations

import asyncio

import pytest

from formicary.idempotency import Acquired, Claim, MemoryStore, Outcome, State, Store
from formicary.idempotency.deciding import decide
from tests.contract.idempotency import rules
from tests.contract.idempotency.places import Place, on


class CheckThenAct(MemoryStore):
    """Looks, gives way, and writes what it decided on what it saw: the race of anti-pattern 2."""

    async def acquire(self, claim: Claim) -> Outcome:
        outcome, changed = decide(self._records.get(claim.id), claim, self._now())
        await asyncio.sleep(0)
        if changed is not None:
            self._records[claim.id] = changed
        return outcome


class NoFence(MemoryStore):
    """Takes a completion from anybody."""

    async def complete(self, record_id: bytes, token: int, response: bytes, ttl_s: float) -> None:
        record = self._records.get(record_id)
        await super().complete(record_id, record.token if record else token, response, ttl_s)


class Forgetful(MemoryStore):
    """Purges by age alone, as if nobody could be at work on an old record."""

    async def purge(self, limit: int = 1000) -> int:
        now = self._now()
        old = [each for each, record in self._records.items() if record.expires_ms <= now][:limit]
        for each in old:
            del self._records[each]
        return len(old)


class SameTokens(MemoryStore):
    """Begins its tokens at 1 for every new record."""

    async def acquire(self, claim: Claim) -> Outcome:
        outcome = await super().acquire(claim)
        if isinstance(outcome, Acquired) and outcome.attempt == 1:
            from msgspec.structs import replace

            self._records[claim.id] = replace(self._records[claim.id], token=1)
            return Acquired(1)
        return outcome


class NeverOver(MemoryStore):
    """Replays for ever, until a purge comes."""

    async def acquire(self, claim: Claim) -> Outcome:
        record = self._records.get(claim.id)
        if record is not None and record.state is State.COMPLETED:
            return decide(record, claim, record.created_ms)[0]
        return await super().acquire(claim)


class _Weak(Place):
    def __init__(self, kind: type[MemoryStore]) -> None:
        super().__init__()
        self._memory = kind(self.clock)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (CheckThenAct, rules.one_of_many_executes),
        (CheckThenAct, rules.one_of_many_takes_over),
        (NoFence, rules.lease_over_is_taken_over),
        (Forgetful, rules.purge_is_bounded),
        (SameTokens, rules.discarded_is_absent),
        (SameTokens, rules.tokens_grow_over_a_purge),
        (NeverOver, rules.completed_is_replayed),
    ],
)
def test_weak_store_fails_the_contract(kind: type[MemoryStore], rule: rules.Rule) -> None:
    place = _Weak(kind)

    async def scenario(store: Store) -> None:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            await rule(place, store)

    on(place, scenario)
