"""The schema says the same as the life-cycle tables and the port's column tuples."""

from __future__ import annotations

import re
import sqlite3

import pytest

from formicary.engine.jobs.lifecycle import JOB_ENDED, JOB_STATES, TASK_STATES
from formicary.engine.storage import port, schema
from formicary.engine.storage.memory import MemoryStore
from formicary.engine.storage.migrations import DIALECTS, migrations


@pytest.fixture
def tables() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    for step in migrations():
        for statement in step.statements("sqlite"):
            connection.execute(statement)
    return connection


def test_the_states_of_the_check_constraints_are_those_of_the_life_cycles(tables: sqlite3.Connection) -> None:
    for table, states in (("jobs", JOB_STATES), ("tasks", TASK_STATES)):
        text = tables.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        check = re.search(r"CHECK \(state IN \((.*?)\)\)", text, re.DOTALL)
        assert check is not None
        assert re.findall(r"'(\w+)'", check[1]) == list(states)
    tables.close()


def test_live_states_are_those_that_do_not_end_a_job() -> None:
    assert set(port.LIVE_JOB_STATES) == set(JOB_STATES) - JOB_ENDED


def test_tables_have_the_columns_of_the_port(tables: sqlite3.Connection) -> None:
    for table in (schema.DEFINITIONS, schema.JOBS, schema.PARAMS, schema.TASKS, schema.KEYS):
        found = tables.execute(f"PRAGMA table_info({table.name})").fetchall()
        assert [column[1] for column in found] == list(table.columns)
        affinity = {"INTEGER": int, "REAL": float, "TEXT": str, "BLOB": bytes}
        assert [affinity[column[2]] for column in found] == list(table.types)
    tables.close()


def test_every_dialect_spells_every_placeholder() -> None:
    assert {frozenset(words) for words in DIALECTS.values()} == {frozenset(DIALECTS["sqlite"])}
    for step in migrations():
        for dialect in DIALECTS:
            assert all("{" not in statement for statement in step.statements(dialect))


def test_faults_on_order_strike_once_and_in_turn() -> None:
    store = MemoryStore()
    epoch = store.acquire("x")
    store.fail_next("before")
    store.fail_next("unknown")
    for number in (1, 2):
        with pytest.raises(port.StoreUnavailable):
            store.commit(epoch, port.Changes(params={number: (number, b"", None)}))
    copy = store.clone()
    store.commit(epoch, port.Changes(params={3: (3, b"", None)}))
    assert set(store.params([1, 2, 3])) == {2, 3}
    assert set(copy.params([1, 2, 3])) == {2}
