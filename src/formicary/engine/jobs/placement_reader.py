"""Reads `resources` and `placement` of a task: what it holds of an ant, and which ants suit it."""

from __future__ import annotations

import re

from formicary.engine.jobs.amounts import LIMITS, REQUESTS, WHAT, is_resource, parse_amount
from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.lock_reader import read_locks
from formicary.engine.jobs.readers import ABSENT, READERS, Context, entries, is_null, join
from formicary.engine.jobs.yaml_nodes import Node

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
"""Of match expressions, as in Kubernetes."""
_RANGE = re.compile(r"\s*((==|!=|>=|<=|>|<|=|\^|~)?\s*v?\d+(\.\d+){0,2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)\s*")
_PARTS = ("labels", "expressions", "versions", "preferred")
_PREFERRED = ("weight", "tags", "labels", "expressions", "wait")
_EXPRESSION = ("key", "operator", "values")
_ANY = Field("", "object", "")


def read_needs(ctx: Context, node: Node, path: str, row: Field) -> object:
    """Amounts by resource, or requests and limits of them; or licences and locks, with a resource_type each."""
    virtual = node.kind == "map" and any(key.text == "resource_type" for key, _ in node.entries())
    if is_null(node) or node.kind != "map" or virtual:
        return read_locks(ctx, node, path, row)
    found = _amounts(ctx, node, path, (REQUESTS, LIMITS))
    limits, requests = found.get(LIMITS), {**found, **_mapping(found.get(REQUESTS))}
    for name, most in _mapping(limits).items():
        asked = requests.get(name)
        if isinstance(most, float) and isinstance(asked, float) and asked > most:
            message = f"{path} requests more {name} than its limit; lower the request or raise the limit."
            ctx.add(node, path, "OUT_OF_RANGE", message)
    return found


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _amounts(ctx: Context, node: Node, path: str, parts: tuple[str, ...] = ()) -> dict[str, object]:
    """Amounts by resource; under the names of `parts` mappings of the same."""
    found: dict[str, object] = {}
    for name, key, value in entries(ctx, node, path):
        here = join(path, name)
        if name in parts:
            if value.kind == "map":
                found[name] = _amounts(ctx, value, here)
            elif not is_null(value) and not ctx.is_masked(value):
                ctx.wrong_type(value, here, "a mapping of resources to amounts")
            continue
        if not ctx.is_masked(key) and not is_resource(name):
            ctx.add(key, here, "BAD_NAME", f"{name[:60]!r} is no name of a resource: write it like cpu or gpu-memory.")
            continue
        if value.kind != "scalar":
            ctx.wrong_type(value, here, WHAT)
            continue
        given = ctx.json(value)
        if not ctx.is_masked(value):
            try:
                given = parse_amount(given)
            except ValueError:
                ctx.add(value, here, "BAD_AMOUNT", f"{ctx.text(value)[:60]!r} is no amount: write {WHAT}.")
                continue
        found[name] = given
    return found


def read_placement(ctx: Context, node: Node, path: str, row: Field) -> object:
    """Labels, match expressions and version ranges that an ant must meet, and weighted preferences."""
    if is_null(node):
        return ABSENT
    if node.kind != "map":
        return ctx.wrong_type(node, path, f"a mapping of {', '.join(_PARTS)}")
    found: dict[str, object] = {}
    for name, key, value in entries(ctx, node, path):
        here = join(path, name)
        if name == "labels":
            found[name] = READERS["text_map"](ctx, value, here, _ANY)
        elif name == "expressions":
            found[name] = read_expressions(ctx, value, here)
        elif name == "versions":
            found[name] = _versions(ctx, value, here)
        elif name == "preferred":
            found[name] = [
                _preferred(ctx, item, f"{here}[{at}]")
                for at, item in enumerate(value.items if value.kind == "seq" else [value])
            ]
        elif not ctx.is_masked(key):
            ctx.add(key, here, "UNKNOWN_FIELD", f"There is no field {name[:60]!r} here.{ctx.hint(name, _PARTS)}")
    return {name: value for name, value in found.items() if value not in (ABSENT, None, [], {})}


def read_expressions(ctx: Context, node: Node, path: str) -> list[object]:
    """Match expressions: key, operator, values."""
    if node.kind != "seq":
        ctx.wrong_type(node, path, "a list of {key, operator, values}")
        return []
    return [one for at, item in enumerate(node.items) if (one := _expression(ctx, item, f"{path}[{at}]"))]


def _expression(ctx: Context, node: Node, path: str) -> dict[str, object] | None:
    if node.kind != "map":
        ctx.wrong_type(node, path, "a mapping of key, operator, values")
        return None
    nodes = {name: value for name, _, value in entries(ctx, node, path)}
    for name in nodes:
        if name not in _EXPRESSION:
            ctx.add(node, join(path, name), "UNKNOWN_FIELD", f"There is no field {name[:60]!r} here.")
    if "key" not in nodes or "operator" not in nodes:
        ctx.add(node, path, "MISSING_FIELD", "A match expression needs a key and an operator.")
        return None
    listed = nodes.get("values")
    items = [] if listed is None else listed.items if listed.kind == "seq" else [listed]
    values, operator = [ctx.text(item) for item in items], ctx.text(nodes["operator"])
    masked = any(ctx.is_masked(item) for item in (*items, nodes["operator"]))
    if not masked and (wrong := _wrong(operator, values)):
        ctx.add(nodes["operator"], join(path, "operator"), "BAD_VALUE", wrong)
        return None
    return {"key": ctx.text(nodes["key"]), "operator": operator, "values": values}


def _wrong(operator: str, values: list[str]) -> str:
    if operator not in OPERATORS:
        return f"{operator[:40]!r} is no operator: write one of {', '.join(OPERATORS)}."
    if operator in ("In", "NotIn") and not values:
        return f"{operator} needs at least one value."
    if operator in ("Exists", "DoesNotExist") and values:
        return f"{operator} takes no values."
    if operator in ("Gt", "Lt") and not (len(values) == 1 and re.fullmatch(r"[+-]?[0-9]+", values[0])):
        return f"{operator} needs exactly one whole number."
    return ""


def _versions(ctx: Context, node: Node, path: str) -> object:
    found = READERS["text_map"](ctx, node, path, _ANY)
    if isinstance(found, dict):
        for name, _, value in entries(ctx, node, path):
            if not ctx.is_masked(value) and not all(map(_RANGE.fullmatch, str(found.get(name, "")).split(","))):
                ctx.add(value, join(path, name), "BAD_VALUE", "Write a range of versions like '>=1.2,<2' or '^1.4'.")
    return found


def _preferred(ctx: Context, node: Node, path: str) -> object:
    if node.kind != "map":
        ctx.wrong_type(node, path, f"a mapping of {', '.join(_PREFERRED)}")
        return None
    found: dict[str, object] = {"weight": 1}
    for name, key, value in entries(ctx, node, path):
        here = join(path, name)
        if name == "weight":
            read: object = READERS["int"](ctx, value, here, Field("weight", "int", "", least=1, most=100))
        elif name == "tags":
            tags = READERS["tags"](ctx, value, here, _ANY)
            read = sorted(tags) if isinstance(tags, frozenset) else ABSENT
        elif name == "labels":
            read = READERS["text_map"](ctx, value, here, _ANY)
        elif name == "expressions":
            read = read_expressions(ctx, value, here)
        elif name == "wait":
            name, read = "wait_s", READERS["duration"](ctx, value, here, _ANY)
        else:
            read = ABSENT
            ctx.add(key, here, "UNKNOWN_FIELD", f"There is no field {name[:60]!r} here.{ctx.hint(name, _PREFERRED)}")
        if read is not ABSENT:
            found[name] = read
    return found


SPECULATION: dict[str, tuple[float, float]] = {
    "percentile": (1.0, 100.0),
    "delay_threshold": (0.1, 1000.0),
    "resource_threshold": (0.0, 1.0),
    "least_history": (1.0, 200.0),
    "cap": (0.0, 1.0),
    "extra_work": (0.0, 1.0),
}
"""What a task may say of its second copy, with the smallest and the largest value."""


def read_backup(ctx: Context, node: Node, path: str, row: Field) -> object:
    """True or false, or a mapping of thresholds."""
    if node.kind != "map":
        found = READERS["bool"](ctx, node, path, row)
        return ABSENT if found is False else found
    values: dict[str, object] = {}
    for name, key, value in entries(ctx, node, path):
        here = join(path, name)
        if name == "enabled":
            values[name] = READERS["bool"](ctx, value, here, row)
        elif name not in SPECULATION:
            ctx.add(key, here, "UNKNOWN_FIELD", f"There is no field {name[:60]!r} here.{ctx.hint(name, SPECULATION)}")
        else:
            least, most = SPECULATION[name]
            kind = "int" if name == "least_history" else "number"
            values[name] = READERS[kind](ctx, value, here, Field(name, kind, "", least=least, most=most))
    return ABSENT if values.get("enabled") is False else {k: v for k, v in values.items() if v is not ABSENT}
