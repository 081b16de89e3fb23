"""The defects D1 to D18 of the original programs: each test holds for ours and fails for their rules."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from formicary.idempotency import Acquired, Busy, Policy, Rule, State, Store
from tests.contract.idempotency.places import claim, make_place, on
from tests.integration.idempotency.apart import Apart, OneCommit, OwnTransaction, TextTimes, TwoOriginals, TwoServers
from tests.integration.idempotency.crashing import KeyInMemory, Outboxed
from tests.integration.idempotency.driving import JSON
from tests.integration.idempotency.worlds import DAY_S, Original, Ours, World, shown_able_to_fail

K1, K2 = "6f8b0d1e-6a35-4d8e-9a4b-000000000001", "6f8b0d1e-6a35-4d8e-9a4b-000000000002"


class Held:
    """A handler that waits until it is let go."""

    def __init__(self, world: World) -> None:
        self.began, self.go_on = asyncio.Event(), asyncio.Event()
        self._world = world

    async def __call__(self, body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Says that it has begun, waits, makes an order."""
        self.began.set()
        await self.go_on.wait()
        return await self._world.order(body)


@shown_able_to_fail(wrong=Original)
async def test_d1_a_zombie_changes_nothing(world: World) -> None:
    """What was answered once stays the answer, whatever an old holder writes later."""
    held = world.handler = Held(world)
    zombie = asyncio.create_task(world.call(K1))
    await held.began.wait()
    world.now_s += 31
    world.handler = world.order
    answered = await world.call(K1)
    held.go_on.set()
    await zombie
    assert (await world.call(K1)).body == answered.body


@shown_able_to_fail(wrong=Original)
async def test_d2_expiry_counts_at_acquire(world: World) -> None:
    """Two days later the key is new again, without a cleaner."""
    first = await world.call(K1)
    world.now_s += 2 * DAY_S
    assert (await world.call(K1)).body != first.body


@shown_able_to_fail(wrong=Original)
async def test_d3_the_cleaner_leaves_live_leases(world: World) -> None:
    """A record under a live lease is never purged, even where its window is over."""
    await world.call(K2)
    held = world.handler = Held(world)
    world.now_s += DAY_S - 1
    lost = asyncio.create_task(world.call(K1))  # its window ends a day from now
    await held.began.wait()
    world.now_s += DAY_S - 5
    second = world.handler = Held(world)
    taken_over = asyncio.create_task(world.call(K1))  # took over 5 s before that end
    await second.began.wait()
    world.now_s += 10
    await world.purge()
    world.handler = world.order
    third = await world.call(K1)
    second.go_on.set()
    held.go_on.set()
    await asyncio.gather(lost, taken_over)
    assert third.status == 409


@shown_able_to_fail(wrong=Original)
async def test_d4_retry_after_is_never_zero(world: World) -> None:
    """In the last second of a lease a duplicate is told to wait a second, not none."""
    held = world.handler = Held(world)
    first = asyncio.create_task(world.call(K1))
    await held.began.wait()
    world.now_s += 29.5
    again = await world.call(K1)
    held.go_on.set()
    await first
    assert again.header("retry-after") == "1"


@pytest.mark.parametrize("ours", [OneCommit, OwnTransaction])
def test_d5_effect_and_record_are_one(ours: type[OneCommit]) -> None:
    """Where the answer cannot be saved there is no effect, and the retry makes one; saved apart there are two."""

    for kind, after_fault, after_retry in ((ours, 0, 1), (Apart, 1, 2)):
        world = kind()
        try:
            found = asyncio.run(_fault_and_retry(world))
        finally:
            world.close()
        assert found == (500, after_fault, 201, after_retry), kind.__name__


async def _fault_and_retry(world: OneCommit) -> tuple[int, int, int, int]:
    await world.prepare()
    world.break_saving()
    failed = await world.place()
    after_fault = world.orders()
    world.mend()
    world.now_s += 31
    return failed.status, after_fault, (await world.place()).status, world.orders()


@shown_able_to_fail(wrong=Original)
async def test_d6_completing_what_is_gone_is_no_success(world: World) -> None:
    """An execution whose record is gone is told so: its caller gets no answer that no retry would get."""
    held = world.handler = Held(world)
    first = asyncio.create_task(world.call(K1))
    await held.began.wait()
    if isinstance(world, Ours):
        world.store._records.clear()
    else:
        assert isinstance(world, Original)
        world.store._db.execute("DELETE FROM records")
    held.go_on.set()
    assert (await first).status == 409


@shown_able_to_fail(wrong=Original, ours=lambda: Ours(Policy(Rule(lease_s=0.3))))
async def test_d7_a_slow_handler_keeps_its_lease(world: World) -> None:
    """A handler that takes longer than a lease is not run again beside itself: the lease is renewed."""
    held = world.handler = Held(world)
    first = asyncio.create_task(world.call(K1))
    await held.began.wait()
    statuses = []
    for _ in range(4):  # the clocks run together: 0.12 s of the world are 12 s of the original, 40 % of a lease
        await asyncio.sleep(0.12)
        world.now_s += 0.12 if isinstance(world, Ours) else 12
        retry = asyncio.create_task(world.call(K1))
        done, _ = await asyncio.wait({retry}, timeout=0.05)
        statuses += [each.result().status for each in done]
    held.go_on.set()
    await first
    assert (len(world.effects), set(statuses)) == (1, {409})


@shown_able_to_fail(wrong=Original)
async def test_d8_a_crash_or_a_cancellation_blocks_nobody(world: World) -> None:
    """After a crash of the handler a retry runs at once; a cancelled request goes on, and a retry gets its answer."""

    async def crash(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        raise ZeroDivisionError

    world.handler = crash
    assert (await world.call(K1)).status == 500
    held = world.handler = Held(world)
    cancelled = asyncio.create_task(world.call(K2))
    await held.began.wait()
    cancelled.cancel()
    await asyncio.wait({cancelled})
    world.handler = world.order
    held.go_on.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert [(await world.call(K1)).status, (await world.call(K2)).status] == [201, 201]
    assert len(world.effects) == 3  # the crash, its retry, and the one that was cancelled: once


@shown_able_to_fail(wrong=Original)
async def test_d9_what_cannot_be_parsed_still_counts(world: World) -> None:
    """Two different bodies that are no JSON are two requests; one JSON in two spellings is one."""
    text = [(b"content-type", b"text/csv")]
    assert (await world.call(K1, b"a,1", headers=text)).status == 201
    assert (await world.call(K1, b"a,2", headers=text)).status == 422
    first = await world.call(K2, b'{"a":1,"b":[2]}')
    assert (await world.call(K2, b'{ "b" : [2], "a" : 1 }')).same_as(first)


@shown_able_to_fail(wrong=Original)
async def test_d10_keys_are_what_the_draft_says(world: World) -> None:
    """Texts of 1 to 255 characters are keys, with or without quotes; one UUID in two spellings is one where asked."""
    first = await world.call("order-2026-11:7")
    assert first.status == 201
    assert (await world.call('"order-2026-11:7"')).same_as(first)
    assert (await world.call("x" * 255)).status == 201
    for wrong in ("", "x" * 256, "two words", "caf\xe9", '"open', ["a", "a"]):
        assert (await world.call(wrong)).status == 400, wrong


@shown_able_to_fail(wrong=Original)
async def test_d11_repeated_headers_are_replayed_and_cookies_are_not(world: World) -> None:
    """Every Link comes again in order; Set-Cookie, Date and headers of one connection do not."""
    links = [(b"link", b"</a>; rel=next"), (b"link", b"</b>; rel=prev")]

    async def linked(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        cookie = (b"set-cookie", b"session=secret")
        return 200, [JSON, *links, cookie, (b"date", b"today"), (b"connection", b"close")], b"{}"

    world.handler = linked
    first, again = await world.call(K1), await world.call(K1)
    assert [pair for pair in first.headers if pair[0] == b"set-cookie"] != []
    assert [pair for pair in again.headers if pair[0] == b"link"] == links
    assert {name for name, _ in again.headers} == {b"content-type", b"link", b"idempotency-replayed"}


@shown_able_to_fail(wrong=Original)
async def test_d12_no_header_says_whose_a_key_is(world: World) -> None:
    """Tenants come from authentication: two with one key are two, and a header X-User-ID changes nothing."""
    first = await world.call(K1, user="alice", headers=[JSON, (b"x-user-id", b"bob")])
    other = await world.call(K1, user="bob")
    assert (other.status, other.body != first.body) == (201, True)
    again = await world.call(K1, user="alice", headers=[JSON, (b"x-user-id", b"carol")])
    assert again.same_as(first)


@shown_able_to_fail(wrong=Original, ours=lambda: Ours(Policy(Rule(replay_5xx=True))))
async def test_d13_what_happens_to_5xx_is_a_rule(world: World) -> None:
    """With `replay_5xx` a retry gets the same 500, of a crash too, and nothing runs again."""

    async def crash(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        raise ZeroDivisionError

    world.handler = crash
    await world.call(K1)
    world.handler = world.order
    again = await world.call(K1)
    assert (again.status, again.replayed, len(world.effects)) == (500, True, 1)


@shown_able_to_fail(wrong=TwoOriginals, ours=TwoServers)
async def test_d14_two_servers_at_once_are_no_error(world: TwoServers) -> None:
    """One executes; the other is told to wait or gets the answer, not that the store has failed."""
    answers = await world.both()
    assert {answer.status for answer in answers} <= {201, 409}
    assert len(world.effects) == 1


@shown_able_to_fail(wrong=TextTimes)
async def test_d15_times_are_numbers(world: World) -> None:
    """Half a second after a lease has ended at a whole second another takes over: no text is compared."""
    held = world.handler = Held(world)
    first = asyncio.create_task(world.call(K1))
    await held.began.wait()
    world.handler = world.order
    world.now_s += 30.5
    second = await world.call(K1)
    held.go_on.set()
    await first
    assert second.status == 201


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "redis"])
def test_d15_the_clock_of_a_server_does_not_count(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose clock is an hour ahead takes over no live lease: time is the store's."""
    place = make_place(kind, tmp_path, request.getfixturevalue)
    real = time.time_ns

    async def check(store: Store) -> None:
        assert isinstance(await store.acquire(claim()), Acquired)
        monkeypatch.setattr(time, "time_ns", lambda: real() + 3600 * 10**9)
        monkeypatch.setattr(time, "time", lambda: real() / 1e9 + 3600)
        assert isinstance(await store.acquire(claim()), Busy)

    try:
        on(place, check)
    finally:
        monkeypatch.undo()
        place.remove()


@shown_able_to_fail(wrong=Original, ours=lambda: Ours(Policy(Rule(max_body_bytes=1000, max_response_bytes=1000))))
async def test_d16_bodies_come_back_byte_for_byte_and_have_limits(world: World) -> None:
    """An answer that is no JSON is replayed as it was; a body beyond the limit is 413 and runs nothing."""

    async def picture(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        return 200, [(b"content-type", b"image/png")], bytes(range(256))

    world.handler = picture
    first, again = await world.call(K1), await world.call(K1)
    assert again.same_as(first)
    assert (again.body, again.header("content-type")) == (bytes(range(256)), "image/png")
    assert (await world.call(K2, b"x" * 1001, chunks=3)).status == 413
    assert len(world.effects) == 1


def test_an_answer_too_large_to_keep_is_never_made_twice() -> None:
    """Its caller gets it whole; a retry is told that it was done."""
    world = Ours(Policy(Rule(max_response_bytes=10)))

    async def large(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        return 201, [JSON], b"[" + b"1," * 50 + b"1]"

    async def check() -> None:
        world.handler = large
        first, again = await world.call(K1), await world.call(K1)
        assert (first.status, len(first.body)) == (201, 103)
        assert (again.status, len(world.effects)) == (409, 1)
        assert b"RESPONSE_NOT_KEPT" in again.body
        (record,) = await world.store.records()
        assert record.state is State.COMPLETED

    asyncio.run(check())


@shown_able_to_fail(wrong=KeyInMemory, ours=Outboxed)
async def test_d18_a_crash_of_the_client_makes_no_new_key(world: Outboxed) -> None:
    """The next process sends what has no answer with the key that it had: one effect."""
    await world.order_and_die()
    assert len(world.effects) == 1
    await world.begin_again()
    assert len(world.effects) == 1
