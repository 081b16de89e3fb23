"""Row images for the storage tests, and strategies that draw them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from formicary.engine.jobs.lifecycle import JOB_STATES, TASK_STATES
from formicary.engine.storage.column_types import COLUMN_TYPES
from formicary.engine.storage.port import (
    DEFINITION_COLUMNS,
    JOB_COLUMNS,
    KEY_COLUMNS,
    PARAMS_COLUMNS,
    TASK_COLUMNS,
    Changes,
    Row,
)

REQUIRED = {"id", "org", "definition_id", "job_type", "state", "fingerprint", "job_id", "key", "version"}


def row(columns: Sequence[str], **values: Any) -> Row:
    assert set(values) <= set(columns)
    return tuple(values.get(column) for column in columns)


def job_id(number: int) -> str:
    return f"01hx{number:022d}"


def job(number: int, state: str = "PENDING", **values: Any) -> Row:
    given = {"id": job_id(number), "org": "default", "definition_id": "d1", "job_type": "noop", "execution": 0}
    return row(JOB_COLUMNS, number=number, state=state, **{**given, **values})


def task(number: int, position: int = 0, state: str = "EXECUTING", **values: Any) -> Row:
    return row(TASK_COLUMNS, job=number, position=position, state=state, **values)


def params(number: int, value: bytes = b"{}", variables: bytes | None = None) -> Row:
    return row(PARAMS_COLUMNS, number=number, params=value, variables=variables)


def definition(name: str, version: int = 1, **values: Any) -> Row:
    given = {"org": "default", "job_type": "noop", "source": "job_type: noop", "methods": b"[]", "created_at": 1.0}
    return row(DEFINITION_COLUMNS, id=name, version=version, **{**given, **values})


def key(name: str, number: int, org: str = "default", fingerprint: str = "f") -> Row:
    return row(
        KEY_COLUMNS, org=org, key=name, fingerprint=fingerprint, job=number, job_id=job_id(number), created_at=1.5
    )


def is_job(each: Row) -> bool:
    """Whether a row is one of a job; a task's second column is its position."""
    return isinstance(each[0], int) and isinstance(each[1], str)


def changes(*rows: Row, counter: int = 0, definitions: Sequence[Row] = (), values: Sequence[Row] = ()) -> Changes:
    """A batch of rows of jobs, tasks and keys, told apart by their first columns; `values` are rows of parameters."""
    batch = Changes(counter=counter)
    for each in rows:
        if is_job(each):
            batch.jobs[each[0]] = each  # type: ignore[index]  # a key column is never null
        elif isinstance(each[0], int):
            batch.tasks[each[0], each[1]] = each  # type: ignore[index]  # a key column is never null
        else:
            batch.keys[each[0], each[1]] = each  # type: ignore[index]  # a key column is never null
    batch.definitions = {str(each[0]): each for each in definitions}
    batch.params = {each[0]: each for each in values}  # type: ignore[misc]  # a key column is never null
    return batch


def values_of(column: str, *, nul: bool) -> st.SearchStrategy[Any]:
    """Everything that a column may hold."""
    kind = COLUMN_TYPES.get(column, str)
    some: st.SearchStrategy[Any]
    if kind is int:
        some = st.integers(-(2**63), 2**63 - 1)
    elif kind is float:
        some = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**40), 2**40)
    elif kind is bytes:
        some = st.binary(max_size=300)
    else:
        exclude = "" if nul else "\0"
        some = st.text(st.characters(codec="utf-8", exclude_characters=exclude), max_size=40)
    return some if column in REQUIRED else st.none() | some


def images(columns: Sequence[str], *, nul: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Random rows, as dictionaries so that a test can give them their keys."""
    return st.fixed_dictionaries({column: values_of(column, nul=nul) for column in columns})


__all__ = [
    "JOB_STATES",
    "TASK_STATES",
    "changes",
    "definition",
    "images",
    "job",
    "job_id",
    "key",
    "params",
    "row",
    "task",
]
