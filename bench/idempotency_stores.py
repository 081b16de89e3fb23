"""Rates of the idempotency stores: grouped commits beside the raw floor, PostgreSQL, replays.

Every request is a claim, one row of effect and a stored answer of 250 bytes, kept durably (synchronous=FULL, on
PostgreSQL synchronous_commit=on). The raw floor is a loop over sqlite3 that does the same as three statements on the
same table without a function, a savepoint, a thread or a client, `size` requests to a commit.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from formicary.idempotency import Claim, StoredResponse, encode_response
from formicary.idempotency.connections import ensure_table
from formicary.idempotency.model import record_id
from formicary.idempotency.schema import COLUMN_LIST, COLUMNS, TABLE, table_statements
from formicary.idempotency.sqlite import SqliteStore
from formicary.idempotency.transaction import idempotent

CLIENTS = 64
ANSWER = StoredResponse(201, ((b"content-type", b"application/json"),), b"x" * 220)
_EFFECT = "INSERT INTO effects (what) VALUES (?)"
_CLAIM = f"INSERT INTO {TABLE} ({COLUMN_LIST}) VALUES ({', '.join('?' * len(COLUMNS))}) ON CONFLICT (id) DO NOTHING"
_ANSWER = f"UPDATE {TABLE} SET state = 'COMPLETED', response = ? WHERE id = ? AND token = ?"
_ADMIN = os.environ.get("FORMICARY_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")


@dataclass(slots=True)
class Rates:
    """What was measured, round by round: requests per second, processor time (µs) of a request, requests per commit."""

    per_s: dict[str, list[float]] = field(default_factory=dict)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    per_commit: dict[str, list[float]] = field(default_factory=dict)

    def add(self, what: str, count: int, seconds: float, cpu_s: float, commits: int = 0) -> None:
        self.per_s.setdefault(what, []).append(count / seconds)
        self.cpu_us.setdefault(what, []).append(cpu_s / count * 1e6)
        if commits:
            self.per_commit.setdefault(what, []).append(count / commits)

    def ratio(self, what: str, to: str) -> float | None:
        """The median over the rounds of one rate by another of the same round."""
        pairs = list(zip(self.per_s.get(what, ()), self.per_s.get(to, ()), strict=True))
        return statistics.median(one / other for one, other in pairs) if pairs else None


def database(folder: Path) -> Path:
    """A file with the tables."""
    path = folder / f"{uuid.uuid4().hex}.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in (*table_statements("sqlite"), "CREATE TABLE effects (id INTEGER PRIMARY KEY, what TEXT)"):
        connection.execute(statement)
    connection.close()
    return path


def raw_floor(folder: Path, size: int, seconds: float, rates: Rates) -> None:
    """The loop of one connection, `size` requests to a commit."""
    connection = sqlite3.connect(database(folder), isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    stored, count = encode_response(ANSWER), 0
    begin, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() < begin + seconds:
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(size):
            count += 1
            key = f"key-{count}"
            name = record_id("t", "POST", "/orders", key)
            now = time.time_ns() // 1_000_000
            row = (
                name,
                key,
                b"f" * 32,
                "t",
                "POST",
                "/orders",
                "",
                "IN_PROGRESS",
                now,
                1,
                now,
                now,
                now,
                None,
                "",
                b"",
            )
            connection.execute(_CLAIM, row)
            connection.execute(_EFFECT, ("a thing",))
            connection.execute(_ANSWER, (stored, name, now))
        connection.execute("COMMIT")
    rates.add(f"raw loop, {size} to a commit", count, time.perf_counter() - begin, time.process_time() - cpu)
    connection.close()


def effect(connection: sqlite3.Connection) -> StoredResponse:
    """What a request does."""
    connection.execute(_EFFECT, ("a thing",))
    return ANSWER


async def grouped(folder: Path, clients: int, seconds: float, rates: Rates) -> None:
    """Clients that each wait for their answer before they ask again, then the same keys once more."""
    store = SqliteStore(database(folder))
    await store.open()
    done: list[str] = []

    async def new(client: int, until: float) -> None:
        number = 0
        while time.perf_counter() < until:
            number += 1
            key = f"{client}-{number}"
            await store.run(Claim(key, b"f" * 32, "t", "POST", "/orders"), effect)
            done.append(key)

    begin, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(new(client, begin + seconds) for client in range(clients)))
    took = time.perf_counter() - begin
    rates.add(f"grouped, {clients} clients", len(done), took, time.process_time() - cpu, store.commits)
    begin, cpu = time.perf_counter(), time.process_time()
    for key in done[:5000]:
        answer = await store.run(Claim(key, b"f" * 32, "t", "POST", "/orders"), effect)
        assert answer.replayed
    count = len(done[:5000])
    rates.add("replays, 1 client", count, time.perf_counter() - begin, time.process_time() - cpu)
    await store.close()


async def postgres(seconds: float, rates: Rates) -> None:
    """Transactions of one's own on PostgreSQL, 1 and 16 connections, and the commits that each request cost."""
    import psycopg

    name = f"formicary_bench_{uuid.uuid4().hex[:12]}"
    url = _ADMIN.rsplit("/", 1)[0] + f"/{name}"
    async with await psycopg.AsyncConnection.connect(_ADMIN, autocommit=True) as admin:
        await admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            async with await psycopg.AsyncConnection.connect(url) as connection:
                await ensure_table(connection)
                await connection.execute("CREATE TABLE effects (id bigserial PRIMARY KEY, what text)")
            for clients in (1, 16):
                before = await _commits(admin, name)
                await asyncio.gather(*(_ask_postgres(url, f"{clients}-{n}", 0.0) for n in range(clients)))
                idle = await _commits(admin, name) - before
                begin, cpu = time.perf_counter(), time.process_time()
                until = begin + seconds
                done = await asyncio.gather(*(_ask_postgres(url, f"{clients}-{n}", until) for n in range(clients)))
                took, count = time.perf_counter() - begin, sum(done)
                commits = await _commits(admin, name) - before - 2 * idle  # connecting commits too
                rates.add(f"PostgreSQL, {clients} connections", count, took, time.process_time() - cpu, commits)
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def _ask_postgres(url: str, client: str, until: float) -> int:
    """One client on one connection, until the time is over; returns how many requests it did."""
    import psycopg

    number = 0
    async with await psycopg.AsyncConnection.connect(url) as connection:
        while time.perf_counter() < until:
            number += 1
            claim = Claim(f"{client}-{number}", b"f" * 32, "t", "POST", "/orders")
            async with idempotent(claim, connection) as tx:
                await connection.execute("INSERT INTO effects (what) VALUES ('a thing')")
                tx.complete(ANSWER)
    return number


async def _commits(admin: object, name: str) -> int:
    """Commits of a database; a backend reports its own when it ends."""
    import psycopg

    assert isinstance(admin, psycopg.AsyncConnection)
    question = "SELECT xact_commit, (SELECT count(*) FROM pg_stat_activity WHERE datname = %s) FROM pg_stat_database"
    while True:
        row = await (await admin.execute(f"{question} WHERE datname = %s".encode(), (name, name))).fetchone()
        assert row is not None
        if not row[1]:
            return int(row[0])


def measure(rounds: int, seconds: float, say: Callable[[str], None]) -> tuple[Rates, list[str]]:
    """Runs all rounds, floor and ours in turn; returns the rates and what could not be measured."""
    rates, problems = Rates(), []
    for number in range(rounds):
        say(f"stores: round {number + 1} of {rounds}")
        with tempfile.TemporaryDirectory(prefix="formicary-bench-") as name:
            folder = Path(name)
            raw_floor(folder, 1, seconds, rates)
            raw_floor(folder, CLIENTS, seconds, rates)
            asyncio.run(grouped(folder, CLIENTS, seconds, rates))
        problem = _attempt(lambda: postgres(seconds, rates))
        if problem and problem not in problems:
            problems.append(problem)
    return rates, problems


def _attempt(work: Callable[[], Awaitable[None]]) -> str | None:
    import psycopg

    async def run() -> None:
        await work()

    try:
        asyncio.run(run())
    except psycopg.OperationalError as error:
        return f"PostgreSQL: {' '.join(str(error).split())}"
    return None


def figures(rates: Rates) -> list[dict[str, object]]:
    """A row for everything that was measured."""
    rows: list[dict[str, object]] = []
    for what, runs in rates.per_s.items():
        row: dict[str, object] = {"section": "stores", "what": what, "unit": "requests/s"}
        row |= {"median": round(statistics.median(runs)), "min": round(min(runs)), "max": round(max(runs))}
        row["cpu_us_per_request"] = round(statistics.median(rates.cpu_us[what]), 1)
        if what in rates.per_commit:
            row["requests_per_commit"] = round(statistics.median(rates.per_commit[what]), 2)
        rows.append(row)
    return rows


def bars(rates: Rates) -> list[dict[str, object]]:
    """The bars of the stores."""
    ours, one, floor = f"grouped, {CLIENTS} clients", "raw loop, 1 to a commit", f"raw loop, {CLIENTS} to a commit"
    commits = [1 / value for name, values in rates.per_commit.items() for value in values if "PostgreSQL" not in name]
    postgres_commits = [1 / value for name, values in rates.per_commit.items() for value in values if "Postg" in name]
    judged: list[tuple[str, str, float | None, Callable[[float], bool]]] = [
        (f"{ours}: times the raw loop of one commit each", "≥ 5", rates.ratio(ours, one), lambda value: value >= 5),
        (f"{ours}: share of the raw floor", "≥ 0.8", rates.ratio(ours, floor), lambda value: value >= 0.8),
        ("commits per request, SQLite", "≤ 1", max(commits, default=None), lambda value: value <= 1),
        # a transaction of autovacuum may fall into a run
        ("commits per request, PostgreSQL", "≤ 1.01", max(postgres_commits, default=None), lambda value: value <= 1.01),
    ]
    return [
        {"section": "stores", "what": what, "bar": bar, "value": None if value is None else round(value, 3),
         "met": None if value is None else met(value)}
        for what, bar, value, met in judged
    ]  # fmt: skip
