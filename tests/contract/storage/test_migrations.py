"""Data of every earlier version opens, upgraded, with everything that was in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from formicary.engine.storage.migrations import BOOTSTRAP, in_dialect, migrations
from formicary.engine.storage.port import DEFINITION_COLUMNS, JOB_COLUMNS, PARAMS_COLUMNS, TASK_COLUMNS, Row
from tests.contract.storage.conftest import Place
from tests.contract.storage.rows import changes, definition, job, job_id, key, params, task

_JOB_COLUMNS = JOB_COLUMNS[:-1]
"""Without `submitted_by`, which came later."""

AT_VERSION_1: Sequence[tuple[str, tuple[str, ...], Row]] = (
    ("definitions", DEFINITION_COLUMNS, definition("d1", 3)),
    ("jobs", _JOB_COLUMNS, job(1, "EXECUTING", execution=1, submitted_at=1.7e9 + 0.123456)[:-1]),
    ("jobs", _JOB_COLUMNS, job(2)[:-1]),
    ("jobs", _JOB_COLUMNS, job(3, "COMPLETED")[:-1]),
    ("params", PARAMS_COLUMNS, params(1, b'{"a": 1}', b"{}")),
    ("tasks", TASK_COLUMNS, task(1, 0, "EXECUTING", token=5 << 40 | 17, outputs=b"{}", error_message="ä\n")),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where no store has been."""
    url = request.getfixturevalue("schema_url") if request.param == "postgresql" else str(tmp_path / "data")
    place = Place(request.param, url)
    yield place
    place.close()


def make_old(place: Place, version: int) -> None:
    """Data as the first release left it, written without the adapters."""
    statements: list[tuple[str, tuple[Any, ...]]] = [(in_dialect(BOOTSTRAP, place.kind), ())]
    mark = "?" if place.kind == "sqlite" else "%s"
    for step in migrations()[:version]:
        statements += [(text, ()) for text in step.statements(place.kind)]
        record = f"INSERT INTO schema_version VALUES ({', '.join([mark] * 4)})"
        statements.append((record, (step.version, step.name, 1.0, "0.1.0")))
    for table, columns, row in AT_VERSION_1:
        marks = ", ".join([mark] * len(columns))
        statements.append((f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", tuple(row)))
    statements.append(("UPDATE colony SET epoch = 5, seq = 9, last_number = 3, last_order = 2", ()))
    if place.kind == "sqlite":
        Path(place.target).mkdir()
        connection = sqlite3.connect(Path(place.target) / "formicary.db")
        for text, values in statements:
            connection.execute(text, values)
        connection.commit()
        connection.close()
    else:
        import psycopg

        url, _, schema = place.target.rpartition("schema=")
        with psycopg.connect(url.rstrip("?&")) as session:
            session.execute(f"CREATE SCHEMA {schema}".encode())
            session.execute(f"SET search_path TO {schema}".encode())
            for text, values in statements:
                session.execute(text.encode(), values or None)


@pytest.mark.parametrize("version", range(1, len(migrations()) + 1))
def test_data_of_an_earlier_version_is_upgraded_and_whole(durable: Place, version: int) -> None:
    make_old(durable, version)
    store = durable.open()
    snapshot = store.load()
    jobs = [(*row, None) for table, _, row in AT_VERSION_1 if table == "jobs"]
    assert (snapshot.epoch, snapshot.last_number, snapshot.last_order) == (5, 3, 2)
    assert list(snapshot.definitions) == [AT_VERSION_1[0][2]]
    assert list(snapshot.jobs) == jobs[:2]
    assert list(snapshot.tasks) == [AT_VERSION_1[-1][2]]
    assert snapshot.params == {1: (b'{"a": 1}', b"{}")}
    assert store.job("default", job_id(3)) == jobs[2]
    epoch = store.acquire("upgraded")
    assert epoch == 6
    more = changes(key("k", 1), job(4))
    more.checkpoints = {(1, 0): (1, 0, 2, b"half", 7.5)}
    store.commit(epoch, more)
    assert durable.open().find_keys("default", ["k"]) == {"k": ("f", job_id(1))}
    assert list(durable.open().load().checkpoints) == [(1, 0, 2, b"half", 7.5)]


def test_a_step_that_fails_leaves_the_data_as_it_was(
    durable: Place, monkeypatch: pytest.MonkeyPatch, make_place: Callable[[str], Place]
) -> None:
    make_old(durable, 1)
    step = migrations()[1]
    broken = type(step)(step.version, step.name, step.text + ";\nCREATE TABLE nonsense (")
    with monkeypatch.context() as patched:
        found = (migrations()[0], broken)
        patched.setattr("formicary.engine.storage.migrations.migrations", lambda: found)
        with pytest.raises(Exception, match=r"nonsense|syntax|incomplete"):
            durable.open()
    assert len(list(durable.open().load().jobs)) == 2
