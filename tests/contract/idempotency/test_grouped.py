"""Grouped mode: many operations in one commit, each all or nothing by itself."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from formicary.idempotency import Executed, Rule, State, StoredResponse, encode_response
from formicary.idempotency.schema import TABLE
from formicary.idempotency.sqlite import SqliteStore
from formicary.idempotency.transaction import idempotent
from formicary.problems import Problem, problem
from tests.contract.idempotency.places import SqlitePlace, claim, on
from tests.contract.idempotency.rules import acquired, record_of

CREATED = StoredResponse(201, ((b"location", b"/orders/1"),), b"made")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[SqlitePlace]:
    """A file with a business table."""
    place = SqlitePlace(tmp_path)
    with closing(sqlite3.connect(place.path)) as connection, connection:
        connection.execute("CREATE TABLE orders (what TEXT UNIQUE)")
    yield place


def orders(place: SqlitePlace) -> int:
    with closing(sqlite3.connect(place.path)) as connection:
        return int(connection.execute("SELECT count(*) FROM orders").fetchone()[0])


def insert(connection: sqlite3.Connection) -> StoredResponse:
    connection.execute("INSERT INTO orders VALUES (hex(randomblob(8)))")
    return CREATED


def test_waiting_operations_share_a_commit(place: SqlitePlace) -> None:
    """Whatever comes in one turn of the loop is one commit, and never is there more than one commit per operation."""

    async def scenario(store: SqliteStore) -> None:
        done = await asyncio.gather(*(store.run(claim(f"k{n}"), insert) for n in range(100)))
        assert done == [Executed(CREATED)] * 100
        assert store.commits == 1
        for n in range(5):
            await store.run(claim(f"alone-{n}"), insert)
        assert store.commits == 6
        again = await asyncio.gather(*(store.run(claim(f"k{n}"), insert) for n in range(100)))
        assert all(each.replayed and each.response == CREATED for each in again)
        assert store.commits == 6

    on(place, scenario, max_batch_s=30.0)
    assert orders(place) == 105


def test_one_commit_is_bounded(place: SqlitePlace) -> None:
    """More than 128 operations are several commits; slow functions are not made to wait for one another."""

    async def scenario(store: SqliteStore) -> None:
        await asyncio.gather(*(store.run(claim(f"k{n}"), insert) for n in range(300)))
        before = store.commits
        assert 3 <= before <= 300

        def slow(connection: sqlite3.Connection) -> StoredResponse:
            until = time.perf_counter() + 0.02
            while time.perf_counter() < until:
                pass
            return insert(connection)

        await asyncio.gather(*(store.run(claim(f"slow-{n}"), slow) for n in range(4)))
        assert store.commits - before == 4

    on(place, scenario)
    assert orders(place) == 304


def test_duplicates_in_one_commit_run_once(place: SqlitePlace) -> None:
    """Many with one key that come together: one executes, all get its answer; another payload is refused."""

    async def scenario(store: SqliteStore) -> None:
        calls = [store.run(claim(), insert) for _ in range(50)]
        *done, refused = await asyncio.gather(*calls, store.run(claim(body="b"), insert), return_exceptions=True)
        assert [each for each in done if not each.replayed] == [Executed(CREATED)]
        assert {each.response for each in done} == {CREATED}
        assert isinstance(refused, Problem)
        assert refused.code == "IDEMPOTENCY_KEY_REUSED"

    on(place, scenario)
    assert orders(place) == 1


def test_failing_function_undoes_itself_alone(place: SqlitePlace) -> None:
    """An error of one function is its caller's alone; its key is free, and the others of its commit stay."""

    def broken(connection: sqlite3.Connection) -> StoredResponse:
        insert(connection)
        raise ValueError("broken")

    def twice(connection: sqlite3.Connection) -> StoredResponse:
        for _ in range(2):
            connection.execute("INSERT INTO orders VALUES ('same')")
        return CREATED

    async def scenario(store: SqliteStore) -> None:
        good, bad, constraint, nothing, last = await asyncio.gather(
            store.run(claim("good"), insert),
            store.run(claim("bad"), broken),
            store.run(claim("constraint"), twice),
            store.run(claim("nothing"), lambda connection: insert(connection) and None),  # type: ignore[arg-type, return-value]  # a mistake
            store.run(claim("last"), insert),
            return_exceptions=True,
        )
        assert good == last == Executed(CREATED)
        assert isinstance(bad, ValueError)
        assert isinstance(constraint, sqlite3.IntegrityError)
        assert isinstance(nothing, TypeError)
        assert orders(place) == 2
        assert await store.run(claim("bad"), insert) == Executed(CREATED)

    on(place, scenario)


def test_kept_refusal_is_replayed_without_its_writes(place: SqlitePlace) -> None:
    """A refusal that the rule keeps, raised or returned, undoes its writes and is replayed; others leave nothing."""

    def refuse(connection: sqlite3.Connection) -> StoredResponse:
        insert(connection)
        raise problem("NOT_FOUND", "There is no such customer.")

    def sold_out(connection: sqlite3.Connection) -> StoredResponse:
        insert(connection)
        return StoredResponse(409, (), b"sold out")

    def later(connection: sqlite3.Connection) -> StoredResponse:
        insert(connection)
        raise problem("UNAVAILABLE", "later")

    async def scenario(store: SqliteStore) -> None:
        first = await store.run(claim("raised"), refuse)
        assert first.response.status == 404
        assert await store.run(claim("raised"), insert) == Executed(
            first.response, True, (await record_of(store, claim("raised"))).created_ms
        )
        assert (await store.run(claim("returned"), sold_out)).response.status == 409
        assert (await store.run(claim("returned"), insert)).response.body == b"sold out"
        assert (await store.run(claim("later"), later)).response.status == 503
        assert await store.get(claim("later").id) is None
        assert (await store.run(claim("later"), insert)).response == CREATED
        keeping = Rule(replay_5xx=True)
        assert (await store.run(claim("kept"), later, rule=keeping)).response.status == 503
        assert (await store.run(claim("kept"), insert, rule=keeping)).replayed

    on(place, scenario)
    assert orders(place) == 1


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "BEGIN", "END", "COMMIT /* formicary */ "])
def test_function_may_not_end_the_transaction(place: SqlitePlace, statement: str) -> None:
    """A function that ends the shared transaction is refused and takes nobody with it."""

    def ends(connection: sqlite3.Connection) -> StoredResponse:
        insert(connection)
        connection.execute(statement)
        return CREATED

    def commits(connection: sqlite3.Connection) -> StoredResponse:
        with connection:
            return insert(connection)

    async def scenario(store: SqliteStore) -> None:
        good, *bad = await asyncio.gather(
            store.run(claim("good"), insert),
            store.run(claim("a"), ends),
            store.run(claim("b"), commits),
            return_exceptions=True,
        )
        assert good == Executed(CREATED)
        assert all(isinstance(each, sqlite3.DatabaseError) for each in bad)
        assert store.commits == 1

    on(place, scenario, max_batch_s=30.0)
    assert orders(place) == 1


def test_answer_that_is_too_large_is_marked(place: SqlitePlace) -> None:
    """The caller gets it, a retry is told that it was done and not kept."""
    large = StoredResponse(200, ((b"content-length", b"100"),), b"x" * 100)

    async def scenario(store: SqliteStore) -> None:
        for on_large, status, body in (("fail", 409, None), ("marker", 200, b"")):
            rule = Rule(max_response_bytes=99, on_large_response=on_large)  # type: ignore[arg-type]  # one of two
            wish = claim(on_large)
            assert (await store.run(wish, lambda connection: large, rule=rule)).response == large
            kept = (await store.run(wish, insert, rule=rule)).response
            assert kept.status == status
            assert body is None or kept.body == body

    on(place, scenario)
    assert orders(place) == 0


def test_modes_meet_in_one_table(place: SqlitePlace) -> None:
    """What one way of committing has done the others replay, and a lease of one is busy for the others."""

    async def scenario(store: SqliteStore) -> None:
        await store.run(claim("grouped"), insert)
        held = await acquired(store, claim("leased"))
        await acquired(store, claim("busy"))
        await store.complete(claim("leased").id, held.token, encode_response(CREATED), 60)
        with closing(sqlite3.connect(place.path)) as connection:
            for key in ("grouped", "leased"):
                async with idempotent(claim(key), connection) as tx:
                    assert tx.replayed is not None
            with pytest.raises(Problem) as caught:
                async with idempotent(claim("busy"), connection):
                    pass
            assert caught.value.code == "IDEMPOTENT_REQUEST_IN_PROGRESS"
            async with idempotent(claim("own"), connection) as tx:
                tx.complete(CREATED)
        assert (await store.run(claim("own"), insert)).replayed
        assert (await record_of(store, claim("own"))).state is State.COMPLETED

    on(place, scenario)
    with closing(sqlite3.connect(place.path)) as connection:
        assert connection.execute(f"SELECT count(*) FROM {TABLE}").fetchone() == (4,)


def test_answers_are_remembered_up_to_a_bound_and_the_forgotten_ones_are_replayed_all_the_same(
    place: SqlitePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest goes first, one that is told again is no newcomer, and a replay never executes."""
    monkeypatch.setattr("formicary.idempotency.sqlite._MAX_KNOWN", 3)

    async def scenario(store: SqliteStore) -> None:
        def known() -> list[str]:
            return [key for key in "abcde" if claim(key).id in store._known]

        for key in "abc":
            assert not (await store.run(claim(key), insert)).replayed
        store._know(claim("a").id)
        assert known() == ["a", "b", "c"]
        assert not (await store.run(claim("d"), insert)).replayed
        assert known() == ["a", "c", "d"]
        assert (await store.run(claim("b"), insert)).replayed
        assert known() == ["a", "b", "d"]
        for n in range(50):
            await store.run(claim(f"more-{n}"), insert)
        assert len(store._known) == 3 and known() == []
        assert all([(await store.run(claim(key), insert)).replayed for key in "abcd"])
        assert orders(place) == 54

    on(place, scenario)


def test_what_was_refused_for_a_locked_file_is_never_executed(place: SqlitePlace) -> None:
    """503 says that nothing was executed: that stays true when the file is free again, and a retry executes."""

    async def scenario(store: SqliteStore) -> None:
        await store.run(claim("warm"), insert)
        with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Problem) as caught:
                await store.run(claim("k"), insert)
            assert caught.value.code == "IDEMPOTENCY_STORE_UNAVAILABLE"
            other.execute("ROLLBACK")
        await store.run(claim("after"), insert)  # the writer has come past it
        assert await store.get(claim("k").id) is None
        assert (await store.run(claim("k"), insert)).replayed is False

    on(place, scenario, timeout_s=2.0)
    assert orders(place) == 3


def test_what_had_begun_at_its_time_out_is_not_called_unexecuted(place: SqlitePlace) -> None:
    """A function that outlasts the time-out: its caller hears that the outcome is unknown, a retry gets the answer."""

    async def scenario(store: SqliteStore) -> None:
        def slow(connection: sqlite3.Connection) -> StoredResponse:
            time.sleep(3.5)
            return insert(connection)

        with pytest.raises(Problem) as caught:
            await store.run(claim("k"), slow)
        assert caught.value.code == "IDEMPOTENCY_OUTCOME_UNKNOWN"
        await store.run(claim("after"), insert)
        assert (await store.run(claim("k"), insert)).replayed is True

    on(place, scenario, timeout_s=2.0)
    assert orders(place) == 2
