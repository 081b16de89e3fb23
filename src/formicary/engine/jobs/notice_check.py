"""Checks the fields `notify` and `webhook`, each mistake at its line and column."""

from __future__ import annotations

import re

from formicary.engine.jobs.notices import read_channels
from formicary.engine.jobs.readers import Context
from formicary.engine.jobs.yaml_nodes import Node

NOTICE_FIELDS = ("notify", "webhook")
_STEP = re.compile(r"[^.\[\]]+")


def check_notices(ctx: Context, name: str, node: Node, path: str, *, of_task: bool = False) -> None:
    """Notes what is wrong with one of the two fields.

    Args:
        ctx: Receives the violations.
        name: notify or webhook.
        node: Its value.
        path: Of the job (empty) or the task.
        of_task: It stands at a task.
    """
    if node.kind != "map":
        return  # its reader has said so

    def note(where: str, text: str, is_error: bool) -> None:
        place = _find(ctx, node, _STEP.findall(where)[1:])
        is_error = is_error and not ctx.is_masked(place)  # what a template makes of it is not known yet
        ctx.add(place, f"{path}.{where}" if path else where, "WRONG_VALUE", text, "error" if is_error else "warning")

    value = ctx.json(node)
    read_channels(value if name == "notify" else None, value if name == "webhook" else None, note, of_task=of_task)


def _find(ctx: Context, node: Node, steps: list[str]) -> Node:
    """The node at the end of the path, or the last one on the way there."""
    for step in steps:
        if node.kind == "map":
            found = next((value for key, value in node.entries() if ctx.text(key) == step), None)
        elif node.kind == "seq" and step.isdigit() and int(step) < len(node.items):
            found = node.items[int(step)]
        else:
            found = None
        if found is None:
            return node
        node = found
    return node
