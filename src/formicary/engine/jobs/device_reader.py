"""Reads `devices` of a task: what it uses alone of what its ant has."""

from __future__ import annotations

from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.model import QUEEN_METHODS
from formicary.engine.jobs.placement_reader import read_expressions
from formicary.engine.jobs.readers import ABSENT, READERS, Context, entries, is_null, join
from formicary.engine.jobs.yaml_nodes import Node

KNOWN = ("name", "match", "expressions", "count")
MOST = 64
"""Devices of one request, and requests of one task."""
_ANY = Field("", "object", "")


def read_devices(ctx: Context, node: Node, path: str, row: Field) -> object:
    """A list of requests, or one alone."""
    if is_null(node):
        return ABSENT
    if node.kind == "scalar":
        return ABSENT if ctx.is_masked(node) else ctx.wrong_type(node, path, "a list of {match, count}")
    items = node.items if node.kind == "seq" else [node]
    if len(items) > MOST:
        ctx.add(node, path, "OUT_OF_RANGE", f"A task asks at most {MOST} times, not {len(items)}.")
        return ABSENT
    found = [_request(ctx, item, f"{path}[{at}]" if node.kind == "seq" else path) for at, item in enumerate(items)]
    return tuple(one for one in found if one is not None) or ABSENT


def _request(ctx: Context, node: Node, path: str) -> dict[str, object] | None:
    if node.kind != "map":
        ctx.wrong_type(node, path, "a mapping of match, expressions and count")
        return None
    found: dict[str, object] = {}
    for name, key, value in entries(ctx, node, path):
        here = join(path, name)
        if name == "match":
            read = READERS["text_map"](ctx, value, here, _ANY)
        elif name == "expressions":
            read = read_expressions(ctx, value, here)
        elif name == "count":
            read = READERS["int"](ctx, value, here, Field("count", "int", "", least=1, most=MOST))
        elif name == "name":
            read = READERS["text"](ctx, value, here, Field("name", "text", "", most=100))
        else:
            read = ABSENT
            if not ctx.is_masked(key):
                message = f"There is no field {name[:60]!r} here.{ctx.hint(name, KNOWN)}"
                ctx.add(key, here, "UNKNOWN_FIELD", message)
        if read is not ABSENT:
            found[name] = read
    return found


def check_devices(ctx: Context, method: str, node: Node, path: str) -> None:
    """Notes devices of a task that no ant runs."""
    if method in QUEEN_METHODS or method == "KUBERNETES":
        whose = "its cluster, by limits of its container" if method == "KUBERNETES" else "nobody"
        ctx.add(node, path, "METHOD_MISMATCH", f"Ants have devices; a task of {method} gets them from {whose}.")
