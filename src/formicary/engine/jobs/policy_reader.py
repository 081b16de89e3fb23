"""Reads mappings whose fields a table names: `error_handling`, `circuit_breaker`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.model import Json
from formicary.engine.jobs.readers import ABSENT, READERS, Context, entries, is_null, join
from formicary.engine.jobs.yaml_nodes import Node, scalar_value

MAX_RETRIES: Final = "max_retries"
DEAD_LETTER_QUEUE: Final = "dead_letter_queue"
DEFAULT_QUEUE: Final = "default"
ERROR_HANDLING: Final = (
    Field(MAX_RETRIES, "int", "The same as retry.", least=0, most=1000),
    Field(DEAD_LETTER_QUEUE, "queue", "Where the job goes when it has failed for good: a name, or true.", most=100),
    Field("alert_on_dlq", "bool", "Tell somebody when that happens."),
)
CIRCUIT_BREAKER: Final = (
    Field("downstream", "queue", "What the breaker guards; job types or tasks that name the same share one.", most=100),
    Field("consecutive_failures", "int", "Failures in a row that open it.", least=1, most=1_000_000),
    Field("failure_rate", "share", "Share of failures within the window that opens it, like 50% or 0.5."),
    Field("window", "duration", "Length of that window."),
    Field("minimum_jobs", "int", "Ends within the window without which no share is judged.", least=1, most=1_000_000),
    Field("open_for", "duration", "How long it stays open."),
    Field("trials", "int", "Jobs, or attempts, that are let through half open.", least=1, most=1000),
)
_SHARE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)\s*\Z")
_QUEUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def _read_queue(ctx: Context, node: Node, path: str, row: Field) -> object:
    value = scalar_value(node) if node.kind == "scalar" and not ctx.is_masked(node) else None
    if value is True:
        return DEFAULT_QUEUE
    if value is False or is_null(node):
        return ABSENT
    if not isinstance(value, str) or not _QUEUE.match(value) or len(value) > (row.most or 100):
        message = f"Write true or a name of letters, digits, '.', '_' and '-' (at most 100) for {path}; no template."
        ctx.add(node, path, "BAD_NAME", message)
        return ABSENT
    return value


def _read_share(ctx: Context, node: Node, path: str, row: Field) -> object:
    """A share from above 0 to 1; 50% is 0.5."""
    found = _SHARE.match(node.text) if node.kind == "scalar" else None
    share = float(found.group(1)) / (100 if found.group(2) else 1) if found is not None else -1.0
    if not 0 < share <= 1:
        ctx.add(node, path, "OUT_OF_RANGE", f"Write a share for {path}: above 0% and at most 100%, or up to 1.")
        return ABSENT
    return share


_READERS: Final = {**READERS, "queue": _read_queue, "share": _read_share}


def read_mapping(ctx: Context, node: Node, path: str, fields: Mapping[str, Field]) -> dict[str, Any] | None:
    """The values of a mapping by name; notes what is unknown, missing or wrong. None where it is no mapping."""
    if is_null(node):
        return None
    if node.kind != "map":
        ctx.wrong_type(node, path, f"a mapping of {', '.join(fields)}")
        return None
    values: dict[str, Any] = {}
    named: set[str] = set()
    for name, key, value in entries(ctx, node, path):
        named.add(name)
        row, here = fields.get(name), join(path, name)
        if row is None:
            if not ctx.is_masked(key):
                known = ", ".join(fields)
                message = f"There is no field {name[:60]!r} here; possible are {known}.{ctx.hint(name, fields)}"
                ctx.add(key, here, "UNKNOWN_FIELD", message)
            continue
        found = _READERS[row.kind](ctx, value, here, row)
        if found is not ABSENT:
            values.setdefault(name, found)
    for row in fields.values():
        if row.required and row.name not in named:
            ctx.add(node, join(path, row.name), "MISSING_FIELD", f"{path} needs {row.name}: {row.doc}")
    return values


def read_error_handling(ctx: Context, node: Node, path: str, row: Field) -> object:
    """Reads `error_handling` of a job or a task; a mapping."""
    found = read_mapping(ctx, node, path, {one.name: one for one in ERROR_HANDLING})
    if found is None:
        return ABSENT
    if found.get("alert_on_dlq") is True and DEAD_LETTER_QUEUE not in found:
        message = f"{path}.alert_on_dlq tells of dead letters only: add 'dead_letter_queue: true' or its name."
        ctx.add(node, join(path, DEAD_LETTER_QUEUE), "MISSING_FIELD", message)
    return found


def read_circuit_breaker(ctx: Context, node: Node, path: str, row: Field) -> object:
    """Reads `circuit_breaker` of a job or a task; a mapping, durations in seconds."""
    found = read_mapping(ctx, node, path, {one.name: one for one in CIRCUIT_BREAKER})
    if found is None:
        return ABSENT
    for name in ("window", "open_for"):
        if found.get(name) == 0:
            ctx.add(node, join(path, name), "OUT_OF_RANGE", f"Write a time above 0 for {path}.{name}.")
    for name in ("window", "minimum_jobs"):
        if name in found and "failure_rate" not in found:
            message = f"{path}.{name} belongs to failure_rate: add 'failure_rate: 50%', or remove it."
            ctx.add(node, join(path, name), "MISSING_FIELD", message)
    return found


def with_retries(values: dict[str, Any]) -> None:
    """`error_handling.max_retries` counts as `retry` where that is not given."""
    handling: Mapping[str, Json] = values.get("error_handling") or {}
    if handling.get(MAX_RETRIES) is not None:
        values.setdefault("retry", handling[MAX_RETRIES])
