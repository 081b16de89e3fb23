"""Tokens, roles and buckets."""

from __future__ import annotations

import asyncio
from importlib import import_module
from pathlib import Path

import pytest

from formicary import v1
from formicary.engine.storage.memory import MemoryStore
from formicary.gateway import Call, Service, bind
from formicary.problems import Problem
from formicary.server.auth.interceptors import LimitRate
from formicary.server.auth.principal import Principal
from formicary.server.auth.roles import ALLOWED, ROLES, may_call
from formicary.server.auth.token_bucket import TokenBucket
from formicary.server.auth.tokens import MOST_REMEMBERED, TokenBook, new_token
from formicary.server.config import UpConfig
from formicary.v1.tokens_pb2 import DESCRIPTOR


def test_every_method_says_who_may_call_it() -> None:
    """The table names each method of the contract and no other, and known roles only; KEDA's port asks nobody."""
    methods = set()
    for name in sorted({file.stem for file in Path(v1.__path__[0]).glob("*_pb2.py")} - {"external_scaler_pb2"}):
        for service in import_module(f"formicary.v1.{name}").DESCRIPTOR.services_by_name.values():
            methods |= {f"/{service.full_name}/{method.name}" for method in service.methods}
    assert set(ALLOWED) == methods
    assert set().union(*ALLOWED.values()) == set(ROLES)


def test_ants_serve_all_and_so_belong_to_the_server() -> None:
    """An ant's role in another organisation opens nothing; no role but its own and admin opens an ant's stream."""
    session = "/formicary.v1.AntService/Session"
    for role in ROLES:
        assert may_call(Principal("x", "local", frozenset({role})), session) == (role in ("ant", "admin"))
        assert not may_call(Principal("x", "acme", frozenset({role})), session)
    with pytest.raises(Problem):
        new_token("ant", "acme")


def test_a_token_is_kept_as_a_hash_and_ends() -> None:
    """The store never sees the secret; a token is good until it expires, is revoked, or another book has it not."""

    async def test() -> None:
        store, now = MemoryStore(), [0.0]
        book = TokenBook(store, wall=lambda: now[0])
        text, token = new_token("viewer", "acme", "for tests", 60)
        await book.add(token)
        now[0] = token.created_at
        assert text.split("_")[2] not in repr(store.tokens()) and token.last4 == text[-4:]
        other = TokenBook(store, wall=lambda: now[0])
        await other.load()
        assert book.find(text) == other.find(text) == token
        assert book.find(text + "0") is None and book.find(text[:-1]) is None and book.find("") is None
        now[0] += 60
        assert book.find(text) is None
        now[0] -= 60
        with pytest.raises(Problem):
            await book.revoke(token.id, "another")
        await book.revoke(token.id, "acme")
        assert book.find(text) is None and not book.is_valid(token)
        assert [row[-1] for row in store.tokens()] == [now[0]] and other.find(text) is not None
        await other.load()
        assert other.find(text) is None

    asyncio.run(test())


def test_a_remembered_token_ends_as_any_other() -> None:
    """The header of a good token is known the next time; not when it was revoked, has expired, or was never shown."""

    async def test() -> None:
        now = [0.0]
        book = TokenBook(MemoryStore(), wall=lambda: now[0])
        text, token = new_token("viewer", "acme", "for tests", 60)
        now[0] = token.created_at
        await book.add(token)
        header = f"Bearer {text}"
        assert book.remembered(header) is None
        book.remember(header, token)
        assert book.remembered(header) == token.principal and book.remembered(header + "0") is None
        now[0] += 60
        assert book.remembered(header) is None
        now[0] -= 60
        assert book.remembered(header) == token.principal
        for at in range(MOST_REMEMBERED - 1):
            book.remember(f"Bearer {at}", token)
        assert book.remembered(header) is not None
        book.remember("Bearer one more", token)
        assert book.remembered(header) is None, "the oldest goes"
        book.remember(header, token)
        await book.revoke(token.id, "acme")
        assert book.remembered(header) is None

    asyncio.run(test())


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    """Three at once, then one every half second; idle time fills it to the brim and no further."""
    bucket = TokenBucket(2, 3, 0)
    assert [bucket.take(0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(0.5) == 0 and bucket.take(0.5) == 0.5
    assert not bucket.is_full(1) and bucket.is_full(100) and bucket.left == 3


def test_a_share_is_that_of_the_principal_wherever_its_calls_say_they_come_from() -> None:
    """Without a word each has 100 calls a second, twice as many at once; an address in a header opens no other."""
    limit = LimitRate(rate := UpConfig(Path("data")).rate_per_s, round(2 * rate), lambda: 0.0)
    service = bind([Service(DESCRIPTOR.services_by_name["TokenService"], Silent())])

    def ask(who: str, number: int) -> None:
        address = f"10.0.0.{number % 250}"
        call = Call(service[0], "http", (("x-forwarded-for", address), ("x-real-ip", address)), remote=address)
        call.principal = Principal(who, "local", frozenset({"viewer"}))
        limit.step(call)

    for number in range(200):
        ask("ann", number)
    for number in range(250):
        with pytest.raises(Problem) as refused:
            ask("ann", number)
        assert refused.value.code == "RATE_LIMIT_EXCEEDED"
    ask("bob", 0)


class Silent:
    """Has every method, answers none."""

    def __getattr__(self, name: str) -> object:
        return lambda request, context: None
