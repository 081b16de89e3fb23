"""Transactions of one's own, on every kind of connection: effect, record and answer are there together or not."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from formicary.idempotency import Rule, StoredResponse
from formicary.idempotency.connections import drive, ensure_table
from formicary.idempotency.schema import TABLE
from formicary.idempotency.transaction import idempotent
from formicary.problems import Problem, problem
from tests.contract.idempotency.callers import CALLERS, CREATED, SYNCHRONOUS, Caller
from tests.contract.idempotency.places import claim


@pytest.fixture(params=CALLERS)
def caller(request: pytest.FixtureRequest, tmp_path: Path) -> Caller:
    return Caller(request.param, tmp_path, request.getfixturevalue)


async def order(caller: Caller, connection: Any, key: str = "k", body: str = "a") -> StoredResponse | None:
    """The handler of these tests."""
    async with idempotent(claim(key, body), connection) as tx:
        if tx.replayed is None:
            await caller.insert(connection)
            tx.complete(CREATED)
    return tx.response


def test_done_once_and_replayed(caller: Caller) -> None:
    """The second call gets the first one's answer and writes nothing."""

    async def scenario() -> None:
        async with caller.connect() as connection:
            assert [await order(caller, connection) for _ in range(3)] == [CREATED] * 3
            assert await order(caller, connection, "other") == CREATED
        async with caller.connect() as connection:
            assert await order(caller, connection) == CREATED

    asyncio.run(scenario())
    assert (caller.orders(), caller.count(TABLE)) == (2, 2)


def test_another_payload_is_refused(caller: Caller) -> None:
    """The key of another request is 422, and the connection is free for the next one."""

    async def scenario() -> None:
        async with caller.connect() as connection:
            await order(caller, connection)
            with pytest.raises(Problem) as caught:
                await order(caller, connection, body="b")
            assert caught.value.code == "IDEMPOTENCY_KEY_REUSED"
            await order(caller, connection, "next")

    asyncio.run(scenario())
    assert caller.orders() == 2


@pytest.mark.parametrize("error", [ValueError("broken"), problem("UNAVAILABLE", "later"), asyncio.CancelledError()])
def test_failure_leaves_nothing(caller: Caller, error: BaseException) -> None:
    """An exception, a refusal that is not kept and a cancellation roll everything back; a retry executes."""

    async def scenario() -> None:
        async with caller.connect() as connection:
            with pytest.raises(type(error)):
                async with idempotent(claim(), connection):
                    await caller.insert(connection)
                    raise error
            assert (caller.orders(), caller.count(TABLE)) == (0, 0)
            assert await order(caller, connection) == CREATED

    asyncio.run(scenario())
    assert caller.orders() == 1


def test_kept_refusal_undoes_the_business_writes(caller: Caller) -> None:
    """A refusal that the rule keeps is stored without what the block wrote, and is replayed, not raised again."""

    async def scenario() -> None:
        async with caller.connect() as connection:
            with pytest.raises(Problem):
                async with idempotent(claim(), connection):
                    await caller.insert(connection)
                    raise problem("NOT_FOUND", "There is no such customer.")
            async with idempotent(claim("completed"), connection) as tx:
                await caller.insert(connection)
                tx.complete(StoredResponse(409, (), b"sold out"))
            assert tx.response == StoredResponse(409, (), b"sold out")
            async with idempotent(claim(), connection) as tx:
                assert tx.replayed is not None
                assert tx.replayed.status == 404
                assert b"There is no such customer." in tx.replayed.body

    asyncio.run(scenario())
    assert (caller.orders(), caller.count(TABLE)) == (0, 2)


def test_answer_that_is_not_kept_leaves_nothing(caller: Caller) -> None:
    """An answer of 503 is given and not stored, and what was written before it is undone."""

    async def scenario() -> None:
        async with caller.connect() as connection:
            async with idempotent(claim(), connection) as tx:
                await caller.insert(connection)
                tx.complete(StoredResponse(503))
            assert tx.response == StoredResponse(503)

    asyncio.run(scenario())
    assert (caller.orders(), caller.count(TABLE)) == (0, 0)


def test_block_without_answer_is_an_error(caller: Caller) -> None:
    """Leaving without complete rolls back and says so."""

    async def scenario() -> None:
        async with caller.connect() as connection:
            with pytest.raises(RuntimeError, match="without tx"):
                async with idempotent(claim(), connection):
                    await caller.insert(connection)

    asyncio.run(scenario())
    assert (caller.orders(), caller.count(TABLE)) == (0, 0)


def test_writes_of_a_block_that_ignores_the_replay_are_undone(caller: Caller) -> None:
    """A block that executes in spite of a replay changes nothing, and the first answer counts."""

    async def scenario() -> None:
        async with caller.connect() as connection:
            await order(caller, connection)
            async with idempotent(claim(), connection) as tx:
                await caller.insert(connection)
                tx.complete(StoredResponse(200, (), b"again"))
            assert tx.response == CREATED

    asyncio.run(scenario())
    assert caller.orders() == 1


def test_concurrent_duplicates_have_one_effect(caller: Caller) -> None:
    """Of many at once, each on its connection, one executes; the others are told to wait, or get its answer."""

    async def scenario() -> None:
        async def one() -> object:
            async with caller.connect() as connection:
                try:
                    return await order(caller, connection)
                except Problem as refusal:
                    assert refusal.code == "IDEMPOTENT_REQUEST_IN_PROGRESS"
                    assert (refusal.retry.after_s or 0) >= 1
                    return "busy"

        answers = await asyncio.gather(*(one() for _ in range(12)))
        assert all(answer in ("busy", CREATED) for answer in answers)
        assert CREATED in answers

    asyncio.run(scenario())
    assert (caller.orders(), caller.count(TABLE)) == (1, 1)


def test_duplicate_of_an_open_block_is_told_at_once(caller: Caller) -> None:
    """While one is inside its block, another with the key is refused and does not wait for the end."""

    async def scenario() -> None:
        async with caller.connect() as first, caller.connect() as second:
            async with idempotent(claim(), first) as tx:
                with pytest.raises(Problem) as caught:
                    await order(caller, second)
                assert caught.value.code == "IDEMPOTENT_REQUEST_IN_PROGRESS"
                tx.complete(CREATED)
            assert await order(caller, second) == CREATED

    asyncio.run(scenario())
    assert caller.orders() == 0


def test_duplicate_may_wait(caller: Caller) -> None:
    """With on_busy="wait" the duplicate gets the answer of the first one."""

    async def scenario() -> None:
        async with caller.connect() as first, caller.connect() as second:
            async with idempotent(claim(), first) as tx:
                wait = Rule(on_busy="wait", wait_s=30)
                other = idempotent(claim(), second, rule=wait)
                waiting = asyncio.ensure_future(other.__aenter__())
                await asyncio.sleep(0)
                await caller.insert(first)
                tx.complete(CREATED)
            assert (await waiting).replayed == CREATED
            await other.__aexit__(None, None, None)

    asyncio.run(scenario())
    assert caller.orders() == 1


def test_own_end_of_the_transaction_is_an_error(caller: Caller) -> None:
    """A block that commits by itself is told so: its writes would be there without a record."""

    async def scenario() -> None:
        async with caller.connect() as connection:
            with pytest.raises(Exception, match=r"ended the transaction|savepoint|closed|inactive|transaction"):
                async with idempotent(claim(), connection) as tx:
                    if caller.kind == "asyncpg":
                        await connection.execute("COMMIT")
                    elif caller.kind in SYNCHRONOUS:
                        connection.commit()
                    else:
                        await connection.commit()
                    tx.complete(CREATED)

    asyncio.run(scenario())
    assert caller.count(TABLE) == 0


def test_open_transaction_is_refused(caller: Caller) -> None:
    """idempotent() begins its own transaction, and says so where one is open."""

    async def scenario() -> None:
        async with caller.connect() as connection:
            if caller.kind == "asyncpg":
                await connection.execute("BEGIN")
            elif caller.on_mysql:
                connection.begin()
            elif "autocommit" in caller.kind:
                begun = connection.execute("BEGIN")
                await begun if caller.kind not in SYNCHRONOUS else None
            else:
                await caller.insert(connection)
            with pytest.raises(RuntimeError, match="transaction is open"):
                await order(caller, connection)

    asyncio.run(scenario())


def test_expired_answer_is_not_replayed(caller: Caller) -> None:
    """After its time to live an answer does not count, and the new one replaces it."""

    async def scenario() -> None:
        async with caller.connect() as connection:
            await order(caller, connection)
            caller.run(f"UPDATE {TABLE} SET expires_ms = expires_ms - 86400001, lease_ms = 0")
            assert await order(caller, connection, body="b") == CREATED

    asyncio.run(scenario())
    assert (caller.orders(), caller.count(TABLE)) == (2, 1)


@pytest.mark.parametrize("kind", SYNCHRONOUS)
def test_without_a_loop(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Synchronous drivers need no loop: the same block with `with`."""
    caller = Caller(kind, tmp_path, request.getfixturevalue)

    async def opened() -> None:
        async with caller.connect():
            pass

    asyncio.run(opened())
    connection, close = _opened(caller)
    for _ in range(2):
        with idempotent(claim(), connection) as tx:
            if tx.replayed is None:
                drive(caller.insert(connection))
                tx.complete(CREATED)
        assert tx.response == CREATED
    close()
    assert caller.orders() == 1


def _opened(caller: Caller) -> tuple[Any, Any]:
    from tests.contract.idempotency.callers import _open

    opening = _open(caller.kind, caller.target)
    try:
        opening.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # a pair of any kind of connection and its end
    raise AssertionError("it gave way")


def test_the_lock_of_a_key_on_mysql_is_its_databases_own(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Locks have names of the whole server; another database on it that knows the same key is not held up."""
    caller = Caller("pymysql", tmp_path, request.getfixturevalue)
    other = f"formicary_other_{uuid.uuid4().hex[:12]}"

    async def scenario() -> None:
        async with caller.connect() as one, caller.connect() as two:
            with two.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {other}")
            try:
                two.select_db(other)
                await ensure_table(two)
                async with idempotent(claim(), one) as tx:
                    async with idempotent(claim(), two) as beside:
                        beside.complete(CREATED)
                    tx.complete(CREATED)
            finally:
                with two.cursor() as cursor:
                    cursor.execute(f"DROP DATABASE {other}")

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["pymysql", "pymysql-autocommit"])
def test_the_lock_of_a_key_on_mysql_goes_with_its_block(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """However a block ends, and where a statement has committed by itself too, another session may have the key next;
    the connection is left without a transaction."""
    caller = Caller(kind, tmp_path, request.getfixturevalue)

    async def scenario() -> None:
        async with caller.connect() as one, caller.connect() as two:
            with pytest.raises(ValueError, match="broken"):
                async with idempotent(claim(), one):
                    await caller.insert(one)
                    raise ValueError("broken")
            with pytest.raises(RuntimeError, match="ended the transaction"):
                async with idempotent(claim(), one) as tx:
                    with one.cursor() as cursor:  # MySQL commits before and after it
                        cursor.execute("CREATE TABLE IF NOT EXISTS more (what TEXT)")
                    await caller.insert(one)
                    tx.complete(CREATED)
            async with idempotent(claim(), two) as tx:
                with pytest.raises(Problem) as busy:
                    await order(caller, one)
                assert busy.value.code == "IDEMPOTENT_REQUEST_IN_PROGRESS"
                tx.complete(CREATED)
            assert await order(caller, one) == await order(caller, two) == CREATED
            assert not (one.server_status & 1 or two.server_status & 1)

    asyncio.run(scenario())
    assert caller.count(TABLE) == 1


def test_unknown_connections_are_named() -> None:
    """What is no known connection is refused with the list of those that are."""
    with pytest.raises(TypeError, match=r"psycopg\.AsyncConnection"):
        asyncio.run(ensure_table(object()))


def test_asynchronous_connection_needs_async_with(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """`with` on an asynchronous connection says what to write instead."""
    caller = Caller("psycopg", tmp_path, request.getfixturevalue)

    async def scenario() -> None:
        async with caller.connect() as connection:
            with pytest.raises(TypeError, match="async with"), idempotent(claim(), connection):
                pass

    asyncio.run(scenario())


def test_duplicates_that_wait_for_one_lock_are_told_apart_from_strangers(tmp_path: Path) -> None:
    """On SQLite: two with one key come while another program writes; one executes, the other is 409, not 503."""
    path = tmp_path / "orders.db"

    async def scenario() -> list[str]:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            await ensure_table(other)
            other.execute("BEGIN IMMEDIATE")

            async def come() -> str:
                with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                    try:
                        async with idempotent(claim("k"), connection, lock_wait_s=30.0) as tx:
                            tx.complete(StoredResponse(201))
                    except Problem as problem:
                        return problem.code
                return "executed"

            both = [asyncio.create_task(come()) for _ in range(2)]
            done, _ = await asyncio.wait(both, timeout=30.0, return_when=asyncio.FIRST_COMPLETED)
            assert [each.result() for each in done] == ["IDEMPOTENT_REQUEST_IN_PROGRESS"]
            other.execute("ROLLBACK")
            return sorted(await asyncio.gather(*both))

    assert asyncio.run(scenario()) == ["IDEMPOTENT_REQUEST_IN_PROGRESS", "executed"]


def test_a_connection_that_breaks_at_the_commit_claims_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """It may be committed: the caller is told that nobody knows, and a retry finds out."""
    import psycopg

    caller = Caller("psycopg-sync", tmp_path, request.getfixturevalue)

    async def scenario() -> None:
        async with caller.connect() as connection:

            def commit() -> None:
                del connection.commit
                connection.commit()
                raise psycopg.OperationalError("the connection is lost")

            connection.commit = commit
            with pytest.raises(Problem) as caught:
                await order(caller, connection)
            assert caught.value.code == "IDEMPOTENCY_OUTCOME_UNKNOWN"
            assert await order(caller, connection) == CREATED

    asyncio.run(scenario())
    assert caller.orders() == 1
