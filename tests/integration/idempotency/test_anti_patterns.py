"""The twelve anti-patterns, one test each: it holds for ours and fails for what has the fault."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from formicary.idempotency import Claim, Policy, Route, Rule
from formicary.problems import Problem, problem
from tests.integration.idempotency.apart import Apart, OneCommit
from tests.integration.idempotency.belonging import Belonging, Related, Unrelated
from tests.integration.idempotency.driving import JSON
from tests.integration.idempotency.worlds import (
    DAY_S,
    CheckThenAct,
    Forgetful,
    Original,
    Ours,
    ServerKeys,
    World,
    answering,
    refusing,
    shown_able_to_fail,
)

K1, K2 = "6f8b0d1e-6a35-4d8e-9a4b-000000000001", "6f8b0d1e-6a35-4d8e-9a4b-000000000002"


@shown_able_to_fail(wrong=ServerKeys)
async def test_1_server_generated_keys(world: World) -> None:
    """Only the client's key counts: two equal payloads with two keys both run."""
    first, second = await world.call(K1, b'{"coffee": 1}'), await world.call(K2, b'{"coffee": 1}')
    assert len(world.effects) == 2
    assert first.body != second.body


@shown_able_to_fail(wrong=CheckThenAct)
async def test_2_check_then_act(world: World) -> None:
    """Of 200 concurrent requests with one key one executes, the others are told to wait or get its answer."""

    async def slow(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        await asyncio.sleep(0.01)
        return await world.order(body)

    world.handler = slow
    answers = await asyncio.gather(*(world.call(K1) for _ in range(200)))
    assert len(world.effects) == 1
    assert sorted({answer.status for answer in answers}) == [201, 409]
    assert (await world.call(K1)).same_as(next(answer for answer in answers if answer.status == 201))


@shown_able_to_fail(wrong=Original)
async def test_3_no_handling_of_requests_in_progress(world: World) -> None:
    """A duplicate of a running request gets 409, a problem document and a Retry-After of 1 at least, even at last."""
    running, go_on = asyncio.Event(), asyncio.Event()

    async def waiting(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        running.set()
        await go_on.wait()
        return await world.order(body)

    world.handler = waiting
    first = asyncio.create_task(world.call(K1))
    await running.wait()
    world.now_s += 29.6
    second = await world.call(K1)
    go_on.set()
    assert (await first).status == 201
    assert (second.status, second.header("content-type")) == (409, "application/problem+json")
    assert int(second.header("retry-after") or 0) >= 1


@shown_able_to_fail(wrong=Original)
async def test_4_optional_keys(world: World) -> None:
    """A mutating method without a key is 400, DELETE too; nothing runs."""
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = await world.call(None, method=method)
        assert (answer.status, answer.header("content-type")) == (400, "application/problem+json")
    assert world.effects == []
    assert (await world.call(None, method="GET")).status == 201


@shown_able_to_fail(wrong=Original)
async def test_5_failures_not_preserved(world: World) -> None:
    """A refusal that a retry would get again is kept, however the service says it; a failure of the moment is not."""
    world.handler = refusing(problem("NOT_FOUND", "There is no account 7."))
    first, again = await world.call(K1), await world.call(K1)
    assert (first.status, again.status, len(world.effects)) == (404, 404, 1)
    assert again.replayed
    assert again.same_as(first)
    world.handler = answering(503)
    assert (await world.call(K2)).status == 503
    world.handler = world.order
    assert (await world.call(K2)).status == 201


@shown_able_to_fail(wrong=Forgetful)
async def test_6_stores_that_forget(world: World) -> None:
    """No key is forgotten before its time, however many there are."""
    first = await world.call("the-first")
    for number in range(50):
        await world.call(f"another-{number}")
    assert (await world.call("the-first")).same_as(first)
    assert len(world.effects) == 51


@shown_able_to_fail(wrong=Original)
async def test_7_orphaned_pending(world: World) -> None:
    """After the lease another one takes over, and what the old holder says late changes nothing."""
    began = [asyncio.Event(), asyncio.Event()]
    go_on = [asyncio.Event(), asyncio.Event()]
    turn = iter((0, 1))

    async def in_turn(body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        mine = next(turn)
        began[mine].set()
        await go_on[mine].wait()
        return 201, [JSON], b'{"by": %d}' % mine

    world.handler = in_turn
    zombie = asyncio.create_task(world.call(K1))
    await began[0].wait()
    world.now_s += 31
    second = asyncio.create_task(world.call(K1))
    await began[1].wait()
    go_on[1].set()
    assert (await second).body == b'{"by": 1}'
    go_on[0].set()
    late = await zombie
    assert late.body == b'{"by": 1}', "the zombie's caller is told what counts"
    assert (await world.call(K1)).body == b'{"by": 1}'


ROUTED = Policy(routes=[Route("/accounts/{id}/transfers", Rule())])


@shown_able_to_fail(wrong=Original, ours=lambda: Ours(ROUTED))
async def test_8_no_fingerprint(world: World) -> None:
    """The same key with another body, path, query or content type is 422; another spelling of one JSON is no other."""
    path, body = "/accounts/1/transfers", b'{"amount": 5, "to": "b"}'
    first = await world.call(K1, body, path=path)
    assert (await world.call(K1, b'{"to":"b","amount":5}', path=path)).same_as(first)
    others = (
        await world.call(K1, b'{"amount": 6, "to": "b"}', path=path),
        await world.call(K1, body, path="/accounts/2/transfers"),
        await world.call(K1, body, path=path, query=b"notify=1"),
        await world.call(K1, body, path=path, headers=[(b"content-type", b"text/plain")]),
    )
    assert [answer.status for answer in others] == [422] * 4
    assert len(world.effects) == 1


@shown_able_to_fail(wrong=Original)
async def test_9_ambiguous_store_failure(world: World) -> None:
    """Where the store cannot be asked the answer is 503 with Retry-After, and nothing runs."""
    await _break(world)
    answer = await world.call(K1)
    assert (answer.status, world.effects) == (503, [])
    assert int(answer.header("retry-after") or 0) >= 1


async def _break(world: World) -> None:
    if isinstance(world, Original):
        world.store.close()
        return
    assert isinstance(world, Ours)

    async def away(claim: Claim) -> None:
        raise problem("IDEMPOTENCY_STORE_UNAVAILABLE", "connection refused", retry_after_s=2.0)

    world.store.acquire = away  # type: ignore[assignment, method-assign]  # the store is away from now on


@shown_able_to_fail(wrong=Apart, ours=OneCommit)
async def test_10_saved_separately_from_the_effect(world: OneCommit) -> None:
    """A process that is killed between effect and save leaves no effect without its record: the retry makes one."""
    await world.order_and_die()
    world.now_s += 31
    assert (await world.place()).status == 201
    assert world.orders() == 1
    assert (await world.place()).status == 201
    assert world.orders() == 1


@shown_able_to_fail(wrong=Original)
async def test_11_window_too_short(world: World) -> None:
    """A second before 24 hours the answer is replayed; a second after, the key is free, without any purge."""
    first = await world.call(K1, b'{"a": 1}')
    world.now_s += DAY_S - 1
    assert (await world.call(K1, b'{"a": 1}')).same_as(first)
    world.now_s += 2
    assert (await world.call(K1, b'{"a": 2}')).status == 201
    assert len(world.effects) == 2


def test_a_business_refusal_is_kept_and_a_refusal_of_the_attempt_is_not() -> None:
    """A rule keeps 402, 404, 409 and 422, gives back 401, 403, 408, 425, 429 and 5xx, and says otherwise where told."""
    rule = Rule()
    assert [status for status in (200, 302, 400, 402, 404, 409, 410, 422) if not rule.keeps(status)] == []
    assert [status for status in (401, 403, 407, 408, 421, 425, 429, 500, 502, 503) if rule.keeps(status)] == []
    assert replace(rule, replay_5xx=True).keeps(500)
    assert replace(rule, keep=frozenset({429})).keeps(429)
    assert not replace(rule, release=frozenset({404})).keeps(404)


def test_a_rule_says_all_that_is_wrong_with_it() -> None:
    """Values out of range are refused together."""
    try:
        Rule(ttl_s=0, lease_s=-1, max_body_bytes=0)
    except Problem as error:
        assert all(name in error.detail for name in ("ttl_s", "lease_s", "max_body_bytes"))
    else:
        raise AssertionError("it was taken")


@shown_able_to_fail(wrong=Unrelated, ours=Related)
async def test_12_unrelated_operations(world: Belonging) -> None:
    """Operations that belong together are resumed after the last completed one, and are found by what they are of."""
    await world.buy(dies_after="charge")
    assert world.effects == [b"create", b"charge"]
    await world.buy(dies_after=None)
    assert world.effects == [b"create", b"charge", b"allocate"]
    assert await world.found() == ["create", "charge", "allocate"]
