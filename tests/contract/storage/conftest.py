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
    return f"{postgres_database}{'&' if '?' in postgres_database else '?'}schema=test_{next(_numbers)}"


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
        return Place(kind, request.getfixturevalue("schema_url"))
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
