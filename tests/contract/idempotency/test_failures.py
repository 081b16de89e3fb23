"""Stores that cannot be asked: 503 in every case, never a wrong answer, never a wait without end."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from formicary.idempotency import Acquired, Replay, Store
from formicary.idempotency.mysql import MysqlStore
from formicary.idempotency.postgres import PostgresStore
from formicary.idempotency.redis_store import RedisStore
from formicary.idempotency.schema import TABLE
from formicary.idempotency.sqlite import SqliteStore
from formicary.problems import Problem
from tests.contract.idempotency.places import MysqlPlace, Place, PostgresPlace, SqlitePlace, claim, on
from tests.contract.idempotency.rules import ANSWER, acquired

CODE = "IDEMPOTENCY_STORE_UNAVAILABLE"


def _assert_unavailable(problem: Problem) -> None:
    assert (problem.code, problem.status) == (CODE, 503)
    assert problem.retry.after_s == 2


def test_damaged_record_is_not_guessed(shared: Place) -> None:
    """A record in a state that does not exist stops its key, says which row it is, and stops no other key."""

    async def scenario(store: Store) -> None:
        wish = claim()
        await store.complete(wish.id, (await acquired(store, wish)).token, ANSWER, 60)
        shared.damage(wish.id)
        for question in (store.acquire(wish), store.get(wish.id), store.records()):
            with pytest.raises(Problem) as caught:
                await question
            _assert_unavailable(caught.value)
            assert wish.id.hex() in caught.value.detail
        await acquired(store, claim("another"))

    on(shared, scenario)


def test_store_that_was_not_opened_is_unavailable(shared: Place) -> None:
    """Before open and after close every question is answered 503."""

    async def scenario() -> None:
        store = shared.store()
        with pytest.raises(Problem) as caught:
            await store.acquire(claim())
        _assert_unavailable(caught.value)
        await store.open()
        await store.open()
        await acquired(store, claim())
        await store.close()
        await store.close()
        for question in (store.acquire(claim()), store.get(claim().id)):
            with pytest.raises(Problem) as caught:
                await question
            _assert_unavailable(caught.value)
        await store.open()
        assert await store.get(claim().id) is not None
        await store.close()

    asyncio.run(scenario())


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        server.settimeout(0.05)
        taken: list[socket.socket] = []
        stop = threading.Event()

        def take() -> None:
            while not stop.is_set():
                try:
                    taken.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=take)
        thread.start()
        yield server.getsockname()[1]
        stop.set()
        thread.join()
        for each in taken:
            each.close()


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "redis"])
def test_server_that_is_silent_is_unavailable(kind: str, silent_port: int) -> None:
    """A server that does not answer costs its time-out, not for ever."""
    asyncio.run(_opening_fails(_at(kind, silent_port)))


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "redis"])
def test_server_that_is_gone_is_unavailable(kind: str) -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    asyncio.run(_opening_fails(_at(kind, port)))


def _at(kind: str, port: int) -> Store:
    where = f"127.0.0.1:{port}"
    if kind == "postgresql":
        return PostgresStore(f"postgresql://nobody@{where}/none", timeout_s=0.3)
    if kind == "mysql":
        return MysqlStore(f"mysql://nobody@{where}/none", timeout_s=0.3)
    return RedisStore(f"redis://{where}/0", timeout_s=0.3)


async def _opening_fails(store: Store) -> None:
    with pytest.raises(Problem) as caught:
        await store.open()
    _assert_unavailable(caught.value)


def test_sqlite_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A directory that is missing, and a file that is no database."""
    asyncio.run(_opening_fails(SqliteStore(tmp_path / "none" / "records.db")))
    (tmp_path / "text.db").write_bytes(b"this is no database, but a text of some length" * 100)
    asyncio.run(_opening_fails(SqliteStore(tmp_path / "text.db")))


def test_sqlite_locked_by_another_program(tmp_path: Path) -> None:
    """While another program holds the write lock claims are 503 after the time-out and known answers are replayed; then
    it goes on.
    """
    place = SqlitePlace(tmp_path)

    async def scenario(store: Store) -> None:
        done = claim("done")
        await store.complete(done.id, (await acquired(store, done)).token, ANSWER, 60)
        other = sqlite3.connect(place.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Problem) as caught:
            await store.acquire(claim())
        _assert_unavailable(caught.value)
        assert isinstance(await store.acquire(done), Replay)
        other.execute("ROLLBACK")
        other.close()
        while True:
            try:
                await store.acquire(claim())
                break
            except Problem as problem:
                _assert_unavailable(problem)

    on(place, scenario, timeout_s=2.0)


def test_sqlite_table_that_is_gone(tmp_path: Path) -> None:
    """Without its table every change is 503, nothing is granted."""
    place = SqlitePlace(tmp_path)

    async def scenario(store: Store) -> None:
        with sqlite3.connect(place.path) as other:
            other.execute(f"DROP TABLE {TABLE}")
        other.close()
        for question in (store.acquire(claim()), store.complete(b"i" * 32, 1, b"", 1), store.purge(), store.records()):
            with pytest.raises(Problem) as caught:
                await question
            _assert_unavailable(caught.value)

    on(place, scenario)


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_read_only_server_is_unavailable(kind: str, request: pytest.FixtureRequest) -> None:
    """A standby or a server that refuses writes grants nothing."""
    url = request.getfixturevalue(f"{kind}_place_url")
    if kind == "postgresql":
        url += "%20-cdefault_transaction_read_only%3Don"
        on(PostgresPlace(url.partition("%20")[0]), lambda store: store.now_ms())
        place: Place = PostgresPlace(url)
    else:
        place = MysqlPlace(url)

    async def scenario(store: Store) -> None:
        if isinstance(store, MysqlStore):
            for _ in range(8):
                await store._execute("SET SESSION TRANSACTION READ ONLY", {})
        with pytest.raises(Problem) as caught:
            await store.acquire(claim())
        _assert_unavailable(caught.value)

    on(place, scenario)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_sqlite_file_is_unavailable(tmp_path: Path) -> None:
    """A file without the right to write."""
    place = SqlitePlace(tmp_path)
    on(place, lambda store: store.now_ms())
    place.path.chmod(0o400)
    asyncio.run(_opening_fails(place.store()))


def test_claim_of_a_caller_who_has_gone_is_given_back(tmp_path: Path) -> None:
    """A caller that is cancelled while its claim waits leaves no lease behind."""
    place = SqlitePlace(tmp_path)

    async def scenario(store: Store) -> None:
        asking = asyncio.ensure_future(store.acquire(claim(lease_s=600)))
        for _ in range(3):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        while not isinstance(await store.acquire(claim(lease_s=600)), Acquired):
            await asyncio.sleep(0)  # until the claim was given back

    on(place, scenario)
