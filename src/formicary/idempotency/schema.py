"""The one table of every SQL store, ``formicary_idempotency``, and what its rows are.

Stores and transactions of one's own use the same table, so that an operation may change from one to the other. Times
are whole milliseconds since 1970; an answer and the data of a recovery point are bytes::

    id                             32 bytes, primary key: SHA-256 of tenant, method, route and key
    client_key                     the client's key
    fingerprint                    32 bytes: what was asked for
    tenant, method, route, parent  the scope, and the workflow that it is a step of
    state                          IN_PROGRESS, COMPLETED or RELEASED
    token                          fencing token, 64 bits
    attempts                       how often execution began
    created_ms, lease_ms, expires_ms
    response                       the answer; NULL until COMPLETED
    point, data                    last recovery point and what was kept there

A second index finds what is to be purged, a third the steps of a workflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from formicary.idempotency.model import Record, State
from formicary.idempotency.refusals import store_unavailable

Dialect = Literal["sqlite", "postgresql", "mysql"]

TABLE: Final = "formicary_idempotency"
COLUMNS: Final = tuple("client_key" if name == "key" else name for name in Record.__struct_fields__)
COLUMN_LIST: Final = ", ".join(COLUMNS)
SETUP_LOCK: Final = 0x666F726D69636172
"""Number of PostgreSQL's advisory lock under which the table is made: two that make it at once would fail."""
NUMBERS: Final = ("token", "attempts", "created_ms", "lease_ms", "expires_ms")
_BYTES: Final = ("id", "fingerprint", "data")
TEXTS: Final = tuple(name for name in COLUMNS if name not in (*NUMBERS, *_BYTES, "response"))
_TYPES: Final[dict[Dialect, tuple[str, str, str]]] = {
    "sqlite": ("BLOB", "TEXT", "INTEGER"),
    "postgresql": ("BYTEA", "TEXT", "BIGINT"),
    "mysql": ("LONGBLOB", "VARCHAR(1024) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "BIGINT"),
}
_STATES: Final = {state.value: state for state in State}
_NAMES: Final = {state: state.value for state in State}
"""Quicker than the attribute of an enumeration's member."""


def table_statements(dialect: Dialect) -> tuple[str, ...]:
    """The statements that make the table and its indexes where they are missing."""
    octets, text, number = _TYPES[dialect]
    columns = []
    for name in COLUMNS:
        kind = number if name in NUMBERS else octets if name in (*_BYTES, "response") else text
        if dialect == "mysql" and name == "id":
            kind = "BINARY(32)"
        columns.append(f"{name} {kind}{'' if name == 'response' else ' NOT NULL'}")
    states = ", ".join(f"'{state}'" for state in _STATES)
    columns += ["PRIMARY KEY (id)", f"CHECK (state IN ({states}))"]
    if dialect == "mysql":
        columns += [f"INDEX {TABLE}_expires (expires_ms)", f"INDEX {TABLE}_parent (parent(64))"]
        return (f"CREATE TABLE IF NOT EXISTS {TABLE} ({', '.join(columns)}) ENGINE=InnoDB",)
    return (
        f"CREATE TABLE IF NOT EXISTS {TABLE} ({', '.join(columns)})",
        f"CREATE INDEX IF NOT EXISTS {TABLE}_expires ON {TABLE} (expires_ms)",
        f"CREATE INDEX IF NOT EXISTS {TABLE}_parent ON {TABLE} (parent) WHERE parent <> ''",
    )


def lock_number(record_id: bytes) -> int:
    """The number of PostgreSQL's advisory lock for a record: its first 64 bits."""
    return int.from_bytes(record_id[:8], "big", signed=True)


def listing(
    tenant: str | None, state: State | None, parent: str | None, key: str | None, after: bytes, limit: int
) -> tuple[str, dict[str, object]]:
    """The statement (``%(name)s`` parameters) and values that list records; None = any."""
    asked = {"tenant": tenant, "state": state and state.value, "parent": parent, "client_key": key}
    values: dict[str, object] = {name: value for name, value in asked.items() if value is not None}
    where = "".join(f" AND {name} = %({name})s" for name in values)
    statement = f"SELECT {COLUMN_LIST} FROM {TABLE} WHERE id > %(after)s{where} ORDER BY id LIMIT %(limit)s"
    return statement, {**values, "after": after, "limit": limit}


def to_row(record: Record) -> tuple[object, ...]:
    """The values of :data:`COLUMNS`."""
    r = record
    return (
        r.id, r.key, r.fingerprint, r.tenant, r.method, r.route, r.parent, _NAMES[r.state], r.token, r.attempts,
        r.created_ms, r.lease_ms, r.expires_ms, r.response, r.point, r.data,
    )  # fmt: skip


def from_row(row: Sequence[object]) -> Record:
    """The record of a row.

    Raises:
        Problem: IDEMPOTENCY_STORE_UNAVAILABLE, the row is damaged: what it stands for cannot be known, so nothing may
            run under its key.
    """
    state = _STATES.get(row[7])  # type: ignore[call-overload]  # a damaged row may hold anything
    if state is None or not all(map(isinstance, row, _KINDS)):
        raise damaged(row[0])
    if state is State.COMPLETED and row[13] is None:
        raise damaged(row[0])
    return Record(*row[:7], state, *row[8:])  # type: ignore[arg-type,call-arg]  # the kinds were checked just now


def damaged(record_id: object) -> Exception:
    """The refusal to go on under a row that cannot be read."""
    name = record_id.hex() if isinstance(record_id, bytes) else repr(record_id)[:80]
    return store_unavailable(f"the row {name} of {TABLE} is damaged: repair or delete it")


_KINDS: Final = tuple(
    int if name in NUMBERS else bytes if name in _BYTES else (bytes, type(None)) if name == "response" else str
    for name in COLUMNS
)
