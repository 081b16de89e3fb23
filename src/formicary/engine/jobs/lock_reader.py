"""Reads virtual resources: licences, locks and quotas, as a mapping with a resource_type or a list of them."""

from __future__ import annotations

from formicary.engine.jobs.amounts import WHAT, parse_amount
from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.locks import MOST_NAME
from formicary.engine.jobs.readers import ABSENT, READERS, Context, is_null, join
from formicary.engine.jobs.yaml_nodes import Node

KNOWN = ("resource_type", "value", "description", "platform", "category", "tags", "extract_config")
"""`resource_type` names what is taken, `value` says how much (absent: 1); the others describe."""


def read_locks(ctx: Context, node: Node, path: str, row: Field) -> object:
    """One mapping, or a list of them."""
    if is_null(node):
        return ABSENT
    for at, item in enumerate(node.items if node.kind == "seq" else [node]):
        _check(ctx, item, f"{path}[{at}]" if node.kind == "seq" else path)
    return READERS["demands"](ctx, node, path, row)


def _check(ctx: Context, node: Node, path: str) -> None:
    if node.kind != "map":
        return  # the reader of mappings says so
    values = {ctx.text(key): (key, value) for key, value in node.entries()}
    for name, (key, _) in values.items():
        if name not in KNOWN and "resource_type" in values:
            ctx.unknown(key, join(path, name), name, KNOWN)
    if "resource_type" not in values:
        message = f"{path} names no resource_type: it has no effect. Amounts of an ant are given by its tasks."
        ctx.add(node, path, "MISSING_FIELD", message, "warning")
        return
    named = values["resource_type"][1]
    if not ctx.is_masked(named) and not (named.kind == "scalar" and 0 < len(named.text.strip()) <= MOST_NAME):
        ctx.add(named, f"{path}.resource_type", "BAD_NAME", f"Write a name of at most {MOST_NAME} characters.")
    value = values.get("value", (node, None))[1]
    if value is None or ctx.is_masked(value) or is_null(value):
        return
    try:
        parse_amount(ctx.json(value))
    except ValueError:
        ctx.add(value, f"{path}.value", "BAD_AMOUNT", f"{ctx.text(value)[:60]!r} is no amount: write {WHAT}.")
