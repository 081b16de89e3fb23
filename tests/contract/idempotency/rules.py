"""What every store must do, as functions of a place and its open store: the contract itself.

test_store.py runs them on every store, test_weak_stores.py on stores that must fail them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from formicary.idempotency import Acquired, Busy, Claim, Mismatch, Outcome, Record, Replay, State, Store
from formicary.problems import Problem
from tests.contract.idempotency.places import Place, claim

Rule = Callable[[Place, Store], Awaitable[None]]
ANSWER = b"\x01an answer \x00\xff"


async def acquired(store: Store, wish: Claim) -> Acquired:
    outcome = await store.acquire(wish)
    assert isinstance(outcome, Acquired)
    return outcome


async def record_of(store: Store, wish: Claim) -> Record:
    record = await store.get(wish.id)
    assert record is not None
    return record


async def refused(store: Store, wish: Claim, token: int) -> None:
    """Every change with the token is refused as LEASE_LOST and changes nothing."""
    before = await store.get(wish.id)
    for change in (
        lambda: store.renew(wish.id, token, 60),
        lambda: store.checkpoint(wish.id, token, "p", b"d"),
        lambda: store.complete(wish.id, token, b"another answer", 60),
        lambda: store.release(wish.id, token),
        lambda: store.discard(wish.id, token),
    ):
        with pytest.raises(Problem) as caught:
            await change()
        assert caught.value.code == "LEASE_LOST"
    assert await store.get(wish.id) == before


async def first_claim_executes(place: Place, store: Store) -> None:
    """A claim on an absent key executes, and its record says what was claimed, by the store's clock."""
    wish = claim(parent="w1", lease_s=30, ttl_s=100)
    before = await store.now_ms()
    outcome = await acquired(store, wish)
    after = await store.now_ms()
    assert outcome == Acquired(outcome.token)
    record = await record_of(store, wish)
    assert before <= record.created_ms <= after
    assert record == Record(
        wish.id, "k", wish.fingerprint, "t", "POST", "/orders", "w1", State.IN_PROGRESS, outcome.token, 1,
        record.created_ms, record.created_ms + 30_000, record.created_ms + 100_000,
    )  # fmt: skip


async def completed_is_replayed(place: Place, store: Store) -> None:
    """After completion every claim gets the answer byte for byte, until the time to live from completion is over."""
    wish = claim(ttl_s=100)
    token = (await acquired(store, wish)).token
    place.advance(20)
    await store.complete(wish.id, token, ANSWER, 100)
    record = await record_of(store, wish)
    assert (record.state, record.response) == (State.COMPLETED, ANSWER)
    assert abs(record.expires_ms - await store.now_ms() - 100_000) < 5_000
    place.advance(90)
    for _ in range(3):
        outcome = await store.acquire(wish)
        assert isinstance(outcome, Replay)
        assert outcome.response == ANSWER
    place.advance(11)
    again = await acquired(store, wish)
    assert again.attempt == 1
    assert again.token > token


async def empty_and_large_answers(place: Place, store: Store) -> None:
    """An answer of no bytes and one of a megabyte come back as they were."""
    for key, answer in (("empty", b""), ("large", bytes(range(256)) * 4096)):
        wish = claim(key)
        await store.complete(wish.id, (await acquired(store, wish)).token, answer, 60)
        outcome = await store.acquire(wish)
        assert isinstance(outcome, Replay)
        assert outcome.response == answer


async def busy_while_the_lease_lives(place: Place, store: Store) -> None:
    """A duplicate under a live lease is told to come back after its rest, never after 0 s."""
    wish = claim(lease_s=30)
    await acquired(store, wish)
    outcome = await store.acquire(wish)
    assert isinstance(outcome, Busy)
    assert 25 <= outcome.retry_after_s <= 30
    place.advance(28.5)
    outcome = await store.acquire(wish)
    assert isinstance(outcome, Busy | Acquired)  # a slow machine may be past the lease
    if isinstance(outcome, Busy):
        assert outcome.retry_after_s in (1, 2)


async def retry_after_is_rounded_up(place: Place, store: Store) -> None:
    """A lease of less than a second still means one second."""
    wish = claim(lease_s=0.9)
    await acquired(store, wish)
    outcome = await store.acquire(wish)
    assert isinstance(outcome, Acquired) or outcome == Busy(1)


async def another_payload_is_a_mismatch(place: Place, store: Store) -> None:
    """Another fingerprint is refused in every state, before anything else is considered, and changes nothing."""
    wish, other = claim(), claim(body="b")
    token = (await acquired(store, wish)).token
    assert await store.acquire(other) == Mismatch()
    await store.release(wish.id, token)
    assert await store.acquire(other) == Mismatch()
    token = (await acquired(store, wish)).token
    await store.complete(wish.id, token, ANSWER, 60)
    assert await store.acquire(other) == Mismatch()
    assert isinstance(await store.acquire(wish), Replay)
    place.advance(61)
    assert (await acquired(store, other)).attempt == 1
    assert (await record_of(store, wish)).fingerprint == other.fingerprint


async def lease_over_is_taken_over(place: Place, store: Store) -> None:
    """After the lease the next caller takes over with a higher token, and the old holder can change nothing."""
    wish = claim(lease_s=30)
    first = await acquired(store, wish)
    await store.checkpoint(wish.id, first.token, "charged", b"\x00id 7")
    place.advance(31)
    second = await acquired(store, wish)
    assert second == Acquired(second.token, 2, "charged", b"\x00id 7", taken_over=True)
    assert second.token > first.token
    await refused(store, wish, first.token)
    await store.complete(wish.id, second.token, ANSWER, 60)
    assert isinstance(await store.acquire(wish), Replay)


async def late_holder_may_finish(place: Place, store: Store) -> None:
    """A lease that ran out takes nothing from its holder until somebody takes over."""
    wish = claim(lease_s=1)
    token = (await acquired(store, wish)).token
    place.advance(2)
    await store.complete(wish.id, token, ANSWER, 60)
    assert isinstance(await store.acquire(wish), Replay)


async def renewal_keeps_the_lease(place: Place, store: Store) -> None:
    """A renewed lease ends its new length after the renewal; nobody takes over before."""
    wish = claim(lease_s=30)
    token = (await acquired(store, wish)).token
    place.advance(20)
    await store.renew(wish.id, token, 40)
    place.advance(30)
    assert isinstance(await store.acquire(wish), Busy)
    place.advance(11)
    assert (await acquired(store, wish)).taken_over


async def released_goes_on(place: Place, store: Store) -> None:
    """A released operation may run again at once, after its last recovery point, under a higher token."""
    wish = claim(ttl_s=100)
    first = await acquired(store, wish)
    await store.checkpoint(wish.id, first.token, "one", b"1")
    await store.checkpoint(wish.id, first.token, "two", b"")
    await store.release(wish.id, first.token)
    assert (await record_of(store, wish)).state is State.RELEASED
    await refused(store, wish, first.token)
    second = await acquired(store, wish)
    assert second == Acquired(second.token, 2, "two", b"", taken_over=False)
    assert second.token > first.token
    await store.release(wish.id, second.token)
    place.advance(101)
    third = await acquired(store, wish)
    assert third == Acquired(third.token)
    assert third.token > second.token


async def discarded_is_absent(place: Place, store: Store) -> None:
    """A discarded claim leaves nothing, and its token never comes again."""
    wish, last = claim(), 0
    for _ in range(20):
        token = (await acquired(store, wish)).token
        assert token > last
        last = token
        await store.discard(wish.id, token)
        assert await store.get(wish.id) is None
    await refused(store, wish, last)
    assert await store.acquire(claim(body="b")) != Mismatch()


async def strangers_change_nothing(place: Place, store: Store) -> None:
    """Without the present token, on an absent and on a completed record every change is refused."""
    wish = claim()
    await refused(store, wish, 1)
    token = (await acquired(store, wish)).token
    await refused(store, wish, token - 1)
    await refused(store, wish, token + 1)
    await store.complete(wish.id, token, ANSWER, 60)
    await refused(store, wish, token)


async def time_over_is_absent_at_acquire(place: Place, store: Store) -> None:
    """A record whose time is over does not count, though no purge has run; one under a live lease counts."""
    wish = claim(lease_s=10, ttl_s=20)
    token = (await acquired(store, wish)).token
    place.advance(5)
    await store.renew(wish.id, token, 30)
    place.advance(20)
    assert isinstance(await store.acquire(wish), Busy)  # older than its time to live, and alive
    assert await store.acquire(claim(body="b")) == Mismatch()
    place.advance(11)
    outcome = await acquired(store, wish)
    assert outcome == Acquired(outcome.token)
    assert outcome.token > token
    await refused(store, wish, token)


async def scopes_are_apart(place: Place, store: Store) -> None:
    """The same key of another tenant, method or route is another operation; case and blanks count."""
    for wish in (
        claim(), claim(tenant="u"), claim(tenant=""), claim(method="PUT"), claim(route="/Orders"), claim("K"),
        claim(tenant="t "), claim(tenant="tP", method="OST"),
    ):  # fmt: skip
        await acquired(store, wish)


async def purge_is_bounded(place: Place, store: Store) -> None:
    """A purge deletes only what is over, at most as many as it was told, and never what lives."""
    for n in range(7):
        wish = claim(f"old-{n}", lease_s=1, ttl_s=5)
        token = (await acquired(store, wish)).token
        if n % 2:
            await store.complete(wish.id, token, ANSWER, 5)
    live = claim("live", lease_s=4, ttl_s=5)
    token = (await acquired(store, live)).token
    await store.renew(live.id, token, 1000)
    kept = claim("kept")
    await store.complete(kept.id, (await acquired(store, kept)).token, ANSWER, 1000)
    assert await store.purge() == 0
    place.advance(6)
    assert [await store.purge(3), await store.purge(3), await store.purge(3), await store.purge(3)] == [3, 3, 1, 0]
    assert {record.key for record in await store.records()} == {"live", "kept"}
    await store.complete(live.id, token, ANSWER, 60)


async def tokens_grow_over_a_purge(place: Place, store: Store) -> None:
    """A key that was purged is given a higher token than ever before."""
    wish = claim(lease_s=1, ttl_s=1)
    token = (await acquired(store, wish)).token
    place.advance(2)
    assert await store.purge() == 1
    assert (await acquired(store, wish)).token > token
    await refused(store, wish, token)


async def listing_is_paged(place: Place, store: Store) -> None:
    """Records come in the order of their ids, page by page, each once; filters are exact and combine."""
    wishes = [
        claim(f"k{n % 8}", tenant="ab"[n % 2], route=f"/r{n // 8}", parent="w" if n % 3 == 0 else "") for n in range(24)
    ]
    for n, wish in enumerate(wishes):
        token = (await acquired(store, wish)).token
        if n % 4 == 0:
            await store.complete(wish.id, token, ANSWER, 60)
        if n % 4 == 1:
            await store.release(wish.id, token)
    found: list[Record] = []
    while page := await store.records(after=found[-1].id if found else b"", limit=5):
        assert len(page) <= 5
        found += page
    assert [record.id for record in found] == sorted(wish.id for wish in wishes)
    assert len(await store.records(tenant="a", limit=100)) == 12
    assert len(await store.records(state=State.COMPLETED)) == 6
    assert len(await store.records(parent="w")) == 8
    assert len(await store.records(key="k0")) == 3
    both = await store.records(tenant="b", state=State.RELEASED, limit=4)
    assert len(both) == 4
    assert {(record.tenant, record.state) for record in both} == {("b", State.RELEASED)}
    assert await store.records(tenant="b", state=State.COMPLETED) == []
    assert await store.records(key="nobody' OR 1=1 --") == []


async def one_of_many_executes(place: Place, store: Store) -> None:
    """Of many claims at once, through several connections, exactly one executes."""
    others = [place.store() for _ in range(3)]
    for other in others:
        await other.open()
    try:
        for n in range(4):
            stores = [store, *others] * 12
            outcomes = await asyncio.gather(*(each.acquire(claim(f"race-{n}")) for each in stores))
            assert_one(outcomes)
    finally:
        for other in others:
            if other is not store:
                await other.close()


def assert_one(outcomes: list[Outcome]) -> None:
    """One executes, the others wait."""
    assert [type(outcome) for outcome in outcomes].count(Acquired) == 1
    assert {type(outcome) for outcome in outcomes} <= {Acquired, Busy}
    assert all(outcome.retry_after_s >= 1 for outcome in outcomes if isinstance(outcome, Busy))


async def one_of_many_takes_over(place: Place, store: Store) -> None:
    """Of many claims on a lease that ran out exactly one takes over."""
    wish = claim(lease_s=30)
    await acquired(store, wish)
    place.advance(31)
    assert_one(await asyncio.gather(*(store.acquire(wish) for _ in range(20))))


async def finish_and_takeover_exclude(place: Place, store: Store) -> None:
    """Where a late completion meets a take-over, exactly one of them counts."""
    for n in range(10):
        wish = claim(f"late-{n}", lease_s=30)
        token = (await acquired(store, wish)).token
        place.advance(31)
        done, outcome = await asyncio.gather(
            store.complete(wish.id, token, ANSWER, 60), store.acquire(wish), return_exceptions=True
        )
        if done is None:
            assert isinstance(outcome, Replay | Busy)
        else:
            assert isinstance(done, Problem)
            assert isinstance(outcome, Acquired)


RULES: tuple[Rule, ...] = (
    first_claim_executes,
    completed_is_replayed,
    empty_and_large_answers,
    busy_while_the_lease_lives,
    retry_after_is_rounded_up,
    another_payload_is_a_mismatch,
    lease_over_is_taken_over,
    late_holder_may_finish,
    renewal_keeps_the_lease,
    released_goes_on,
    discarded_is_absent,
    strangers_change_nothing,
    time_over_is_absent_at_acquire,
    scopes_are_apart,
    purge_is_bounded,
    tokens_grow_over_a_purge,
    listing_is_paged,
    one_of_many_executes,
    one_of_many_takes_over,
    finish_and_takeover_exclude,
)
