"""What a scheduling pass costs the store: nothing for what waits, and a few statements for all that it starts."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.batch import Outgoing
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.leases import Hello
from formicary.engine.queen.core.outcome import Outcome
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.edge import new_id
from formicary.engine.queen.queues import QueueBook
from formicary.engine.queen.runtime import Queen, QueenConfig
from formicary.engine.storage.backends import open_logs, open_store
from formicary.engine.storage.sqlite import SqliteStore

FEW, MANY = 120, 3000
TYPES = 12
SLOTS = 8
MOST_STATEMENTS, MOST_COMMITS = 16, 3
PLAIN = """job_type: type{number}
max_concurrency: {limit}
required_params: [n]
job_variables: {{region: eu}}
tasks:
- task_type: work
  tags: [{tag}]
  script: ['true']
"""
QUEUES = """policy: fair
tenant_limits:
  local: {max_concurrent_jobs: 8, users: {ann: {max_concurrent_jobs: 7}}}
"""
SESSION = 1_000_001


class Held:
    """The stream of an ant that never ends a task by itself."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def deliver(self, outgoing: Outgoing) -> None:
        """Keeps what it is granted."""
        self.tokens += [one.token for one in outgoing.assignments]

    def shut(self) -> None:
        """Nobody waits for its end."""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Where a queen of a name keeps its data."""
    if request.param == "sqlite":
        return lambda name: str(tmp_path / name)
    url: str = request.getfixturevalue("postgres_url")
    return lambda name: f"{url}{'&' if '?' in url else '?'}schema={name}"


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every SQL statement that any connection of a store runs, as the driver runs it."""
    seen: list[str] = []
    connect_sqlite = SqliteStore._connect

    def traced(store: SqliteStore, uri: str, **options: Any) -> sqlite3.Connection:
        connection = connect_sqlite(store, uri, **options)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr(SqliteStore, "_connect", traced)
    try:
        import psycopg

        from formicary.engine.storage import postgres
    except ImportError:  # then there is no such store either
        return seen

    class Cursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **options: Any) -> Any:
            seen.append(query.decode() if isinstance(query, bytes) else str(query))
            return super().execute(query, *args, **options)

        def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
            rows = list(params_seq)
            seen.extend([str(query)] * len(rows))
            super().executemany(query, rows, **options)

    connect_postgres = postgres.connect

    def counted(*args: Any) -> Any:
        connection = connect_postgres(*args)
        connection.cursor_factory = Cursor
        return connection

    monkeypatch.setattr(postgres, "connect", counted)
    return seen


def kinds(statements: list[str]) -> list[str]:
    """What each statement does to which table."""
    return [" ".join(text.split()[:3]) for text in statements]


async def passes(
    target: str, statements: list[str], pending: int, hot_bytes: int, queues: str
) -> dict[str, tuple[list[str], int]]:
    """Statements and commits of each pass while so many jobs wait: most of them may not start, and few of the others
    find room.
    """
    core = CoreConfig(lease_s=3600.0, hot_params_bytes=hot_bytes, prefetch=64)
    queen = Queen(open_store(target), open_logs(target), QueenConfig(core=core))
    await queen.start()
    try:
        await queen.configs.put("local", "org", "", "limit", 3, secret=False)
        await queen.configs.put("local", "user", "ann", "limit", 4, secret=False)
        if queues:
            await QueueBook(queen).put(queues, by="test")
        for number in range(TYPES):
            tag = "nowhere" if number % 3 == 2 else "here"
            source = PLAIN.format(number=number, limit=1 + number % 2, tag=tag)
            key = await queen.register(source)
            each = range(pending // TYPES)
            await queen.submit(key, [Submission(new_id(), b'{"n": "%d"}' % one, user="ann") for one in each])
        found: dict[str, tuple[list[str], int]] = {}
        commits = queen.counters()["commits"]

        async def costs(name: str) -> None:
            nonlocal commits
            await queen.pump.settle()
            while queen.pump.core.wanted:  # parameters that were stored are on their way
                await asyncio.sleep(0.001)
                await queen.pump.settle()
            before, commits = commits, queen.counters()["commits"]
            found[name] = kinds(statements), commits - before
            statements.clear()

        statements.clear()
        assert not queen.pump.now().schedule() and not queen.pump.core.dirty()
        await costs("nobody has room")
        ant = queen.pump.peers[SESSION] = Held()
        hello = Hello("x", "1", frozenset({"SHELL"}), frozenset({"here"}), SLOTS, SLOTS)
        queen.pump.now().connect(SESSION, hello)
        queen.pump.wake()
        await costs("an ant has come")
        begun = len(ant.tokens)
        assert 1 < begun <= SLOTS
        for which in range(3):
            queen.pump.now().result(SESSION, Outcome(ant.tokens[which], ends.COMPLETED, 0))
            queen.pump.wake()
            await costs(f"end {which}")
        assert len(ant.tokens) == begun + 3, "each end lets another one begin"
        queen.pump.wake()
        await costs("all that runs is at its limit")
        assert len(queen.pump.core.jobs) == pending - 3
        return found
    finally:
        await queen.stop()


@pytest.mark.parametrize("queues", ["", QUEUES], ids=["plain", "queues"])
@pytest.mark.parametrize("hot_bytes", [0, 4 * 1024 * 1024], ids=["stored", "at hand"])
def test_a_pass_over_thousands_of_pending_jobs_costs_a_few_statements(
    place: Callable[[str], str], statements: list[str], hot_bytes: int, queues: str
) -> None:
    """No statement for what waits; the same few for what starts, whether a hundred or thousands wait behind it."""

    async def test() -> None:
        few = await passes(place("few"), statements, FEW, hot_bytes, queues)
        many = await passes(place("many"), statements, MANY, hot_bytes, queues)
        for name, (seen, commits) in many.items():
            assert len(seen) <= MOST_STATEMENTS and commits <= MOST_COMMITS, (name, seen, commits)
        if hot_bytes:  # what is stored is read ahead, and more of it where more waits
            assert many == few
        assert many["nobody has room"] == many["all that runs is at its limit"] == ([], 0)
        assert many["an ant has come"][0] and many["end 0"][0]

    asyncio.run(asyncio.wait_for(test(), 120))
