"""The stores that every contract test runs on."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from formicary.engine.storage import open_store
from formicary.engine.storage.memory import MemoryStore
from formicary.engine.storage.port import Store

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_database(postgres_admin_url: str) -> Iterator[str]:
    """A fresh database for the storage tests of this run; each test has its own schema in it."""
    import psycopg

    name = f"formicary_storage_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_admin_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    base, _, query = postgres_admin_url.partition("?")
    yield base.rsplit("/", 1)[0] + "/" + name + (f"?{query}" if query else "")
    with psycopg.connect(postgres_admin_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def schema_url(postgres_database: str) -> str:
    """The address of an empty schema."""
    return _schema_url(postgres_database, f"test_{next(_numbers)}")


@pytest.fixture
def migrated_url(postgres_database: str, migrated_schemas: list[Migrated]) -> Iterator[str]:
    """The address of a schema that is as after its migrations, which take a third of a second: it is used again."""
    schema = migrated_schemas.pop() if migrated_schemas else Migrated(postgres_database, f"test_{next(_numbers)}")
    yield _schema_url(postgres_database, schema.name)
    schema.clear()
    migrated_schemas.append(schema)


@pytest.fixture(scope="session")
def migrated_schemas() -> list[Migrated]:
    """Those that no test uses now."""
    return []


class Migrated:
    """A schema with the tables of a store."""

    def __init__(self, database: str, name: str) -> None:
        import psycopg

        self.name = name
        self._database = database
        open_store(_schema_url(database, name)).close()
        with psycopg.connect(database, autocommit=True) as connection:
            found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (name,)).fetchall()
            self._tables = [f'"{name}"."{table}"' for (table,) in found]
            self._rows = {
                table: rows
                for table in self._tables
                if (rows := connection.execute(f"SELECT * FROM {table}".encode()).fetchall())
            }

    def clear(self) -> None:
        """Makes it what it was after its migrations."""
        import psycopg

        with psycopg.connect(self._database) as connection:
            connection.execute(b"SET session_replication_role = replica")  # whatever refers to what
            connection.execute("; ".join(f"DELETE FROM {table}" for table in self._tables).encode())
            connection.execute(
                "SELECT setval(format('%%I.%%I', schemaname, sequencename), start_value, false) FROM pg_sequences "
                "WHERE schemaname = %s",
                (self.name,),
            )
            for table, rows in self._rows.items():
                places = ", ".join(["%s"] * len(rows[0]))
                connection.cursor().executemany(f"INSERT INTO {table} VALUES ({places})".encode(), rows)


def _schema_url(database: str, schema: str) -> str:
    return f"{database}{'&' if '?' in database else '?'}schema={schema}"


@dataclass
class Place:
    """Where a store keeps its data: `open` gives a new store object on it, as after a restart."""

    kind: str
    target: str
    kept: MemoryStore = field(default_factory=lambda: MemoryStore(strict=True))
    opened: list[Store] = field(default_factory=list)

    def open(self) -> Store:
        store: Store = self.kept.clone() if self.kind == "memory" else open_store(self.target)
        if isinstance(store, MemoryStore):
            self.kept = store
        self.opened.append(store)
        return store

    def close(self) -> None:
        for store in self.opened:
            store.close()


def _place(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    if kind == "postgresql":
        return Place(kind, request.getfixturevalue("migrated_url"))
    return Place(kind, str(tmp_path / "data"))


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each store in turn."""
    place = _place(request.param, tmp_path, request)
    yield place
    place.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each store that outlives its process."""
    place = _place(request.param, tmp_path, request)
    yield place
    place.close()


@pytest.fixture
def store(place: Place) -> Store:
    """An open store without data."""
    return place.open()


@pytest.fixture
def epoch(store: Store) -> int:
    """The epoch under which the store was taken."""
    return store.acquire("test")


@pytest.fixture
def make_place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Place]]:
    """Further places by kind."""
    made: list[Place] = []

    def make(kind: str) -> Place:
        made.append(_place(kind, tmp_path, request))
        return made[-1]

    yield make
    for place in made:
        place.close()
