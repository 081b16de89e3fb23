"""What a request costs on PostgreSQL: one commit, never more."""

from __future__ import annotations

import asyncio

import psycopg

from formicary.idempotency import Claim, StoredResponse
from formicary.idempotency.connections import ensure_table
from formicary.idempotency.transaction import idempotent


def _commits(url: str) -> int:
    """Commits of the database so far, asked from another one; a backend reports its own when it ends."""
    name = url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(url.replace(f"/{name}", "/postgres", 1), autocommit=True) as connection:
        backends = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        while connection.execute(backends, (name,)).fetchone() != (0,):
            pass
        connection.execute("SELECT pg_stat_clear_snapshot()")
        row = connection.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = %s", (name,)).fetchone()
        assert row is not None
        return int(row[0])


async def _requests(url: str, count: int) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for n in range(count):
            async with idempotent(Claim(f"k{n}", b"f" * 32), connection) as tx:
                await connection.execute("INSERT INTO orders VALUES ('one')")
                tx.complete(StoredResponse(201))


def test_one_commit_for_each_request(postgres_url: str) -> None:
    """25 requests in transactions of their own are 25 commits: key, order and answer share one."""

    async def prepare() -> None:
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            await ensure_table(connection)
            await connection.execute("CREATE TABLE orders (what TEXT)")

    asyncio.run(prepare())
    start = _commits(postgres_url)
    asyncio.run(_requests(postgres_url, 0))
    idle = _commits(postgres_url) - start
    asyncio.run(_requests(postgres_url, 25))
    assert _commits(postgres_url) - start - 2 * idle == 25
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (25,)
