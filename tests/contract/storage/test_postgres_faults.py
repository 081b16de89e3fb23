"""PostgreSQL: lost connections, two queens, newer data, wrong addresses."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from formicary.engine.storage.migrations import migrations
from formicary.engine.storage.port import Fenced, StoreError, StoreUnavailable, UnsupportedDataVersion
from tests.contract.storage.rows import changes, job, job_id, task

psycopg = pytest.importorskip("psycopg")

from formicary.engine.storage.postgres import PostgresStore  # noqa: E402  # after the driver's check


@pytest.fixture
def store(schema_url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(schema_url)
    store.open()
    yield store
    store.close()


def kill_connections(store: PostgresStore) -> None:
    """Ends every connection to the database on the server's side, the killer's own excepted."""
    with psycopg.connect(store.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_lost_connection_fails_one_commit_and_is_made_anew(store: PostgresStore) -> None:
    epoch = store.acquire("test")
    store.commit(epoch, changes(job(1)))
    kill_connections(store)
    with pytest.raises(StoreUnavailable):
        store.commit(epoch, changes(job(2)))
    store.commit(epoch, changes(job(3)))
    assert store.counts() == {"PENDING": 2}


def test_readers_get_over_lost_connections_by_themselves(store: PostgresStore) -> None:
    store.commit(store.acquire("test"), changes(job(1)))
    assert store.counts() == {"PENDING": 1}
    kill_connections(store)
    assert store.counts() == {"PENDING": 1}
    assert len(list(store.load().jobs)) == 1


def test_of_two_queens_that_write_at_once_only_the_later_one_writes(schema_url: str) -> None:
    """Whatever the old queen had acknowledged before the take-over is there, and nothing of it after."""
    old, new = PostgresStore(schema_url), PostgresStore(schema_url)
    old.open()
    new.open()
    epoch = old.acquire("old")
    acknowledged: list[int] = []
    fenced = threading.Event()

    def write() -> None:
        number = 0
        while not fenced.is_set():
            number += 1
            try:
                old.commit(epoch, changes(job(number), task(number)))
                acknowledged.append(number)
            except Fenced:
                fenced.set()

    thread = threading.Thread(target=write)
    thread.start()
    while len(acknowledged) < 20:
        assert thread.is_alive()
    later = new.acquire("new")
    seen = [row[0] for row in new.load().jobs]
    assert fenced.wait(10)
    thread.join()
    assert [row[0] for row in new.load().jobs] == seen == acknowledged
    new.commit(later, changes(job(10_000)))
    old.close()
    new.close()


def test_stores_that_open_together_migrate_once(schema_url: str) -> None:
    errors: list[StoreError] = []

    def start() -> None:
        store = PostgresStore(schema_url)
        try:
            store.open()
        except StoreError as error:
            errors.append(error)
        store.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_data_of_a_newer_version_is_refused_with_the_way_out(store: PostgresStore, schema_url: str) -> None:
    with psycopg.connect(store.url) as connection:
        connection.execute(
            f"INSERT INTO {store.schema}.schema_version VALUES (%s, 'later', 0, '9.1')".encode(),
            (len(migrations()) + 1,),
        )
    with pytest.raises(UnsupportedDataVersion, match=r"written by Formicary 9\.1"):
        PostgresStore(schema_url).open()


def test_a_read_only_server_takes_nothing(store: PostgresStore) -> None:
    epoch = store.acquire("test")
    assert store._writer is not None
    store._writer.execute("SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailable, match="read-only"):
        store.commit(epoch, changes(job(1)))
    store._writer.execute("SET default_transaction_read_only = off")
    store.commit(epoch, changes(job(2)))
    assert store.find_ids([job_id(1), job_id(2)]) == {job_id(2): 2}


@pytest.mark.parametrize("port", [1, 9])
def test_an_address_where_nothing_listens_is_named_without_its_password(port: int) -> None:
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}/db") as caught:
        PostgresStore(f"postgresql://user:secret@127.0.0.1:{port}/db").open()
    assert "secret" not in str(caught.value)


def test_a_schema_name_that_would_need_quotes_is_refused() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be a schema"):
        PostgresStore('postgresql://localhost/db?schema=a"b')


def test_several_colonies_share_one_database(store: PostgresStore, postgres_database: str) -> None:
    other = PostgresStore(f"{postgres_database}{'&' if '?' in postgres_database else '?'}schema=other_colony")
    other.open()
    other.commit(other.acquire("x"), changes(job(1)))
    assert store.counts() == {}
    other.close()
