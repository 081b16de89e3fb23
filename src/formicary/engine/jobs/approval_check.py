"""Checks the approval policy of a task, each mistake at its line and column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from formicary.engine.jobs.approval import DECISIONS, POLICY_FIELDS, WrongPolicy, read_policy
from formicary.engine.jobs.model import Json
from formicary.engine.jobs.readers import Context, entries, is_null, join
from formicary.engine.jobs.yaml_nodes import Node


def check_approval(
    ctx: Context, method: str, nodes: Mapping[str, Node], path: str, routes: Mapping[str, str], *, static: bool
) -> None:
    """Notes what is wrong.

    Args:
        ctx: Receives the violations.
        method: The effective method.
        nodes: Value nodes of the task by field name.
        path: Like ``tasks[2]``.
        routes: The task's routes, by exit code or state.
        static: Whether the task holds no template.
    """
    asks = method == "MANUAL" or "WAIT_FOR_APPROVAL" in routes.values()
    policy = nodes.get("approval_policy")
    if policy is not None and not is_null(policy):
        _check_policy(ctx, policy, join(path, "approval_policy"), static=static)
        if static and not asks:
            message = "Nobody is asked here; add 'method: MANUAL', or a route to WAIT_FOR_APPROVAL."
            ctx.add(policy, join(path, "approval_policy"), "METHOD_MISMATCH", message, "warning")
    if static and not asks and "on_exit_code" in nodes and nodes["on_exit_code"].kind == "map":
        for key, item in nodes["on_exit_code"].entries():
            if ctx.text(key) in DECISIONS:
                message = f"{ctx.text(key)} is a decision of people; add 'method: MANUAL', or a route to "
                here = join(join(path, "on_exit_code"), ctx.text(key))
                ctx.add(item, here, "METHOD_MISMATCH", message + "WAIT_FOR_APPROVAL.", "warning")


def _check_policy(ctx: Context, node: Node, path: str, *, static: bool) -> None:
    if node.kind != "map":
        return  # its reader has said so
    fields: dict[str, Node] = {}
    unknown = False
    for name, key, value in entries(ctx, node, path):
        if name not in POLICY_FIELDS and not ctx.is_masked(key):
            message = f"There is no field {name[:60]!r} here; possible are {', '.join(POLICY_FIELDS)}."
            ctx.add(key, join(path, name), "UNKNOWN_FIELD", message + ctx.hint(name, POLICY_FIELDS))
            unknown = True
        fields[name] = value
    if unknown or not static:
        return  # what templates make is checked when the task's turn has come
    try:
        read_policy(cast("Mapping[str, Json]", ctx.json(node)))
    except WrongPolicy as error:
        text = str(error)
        ctx.add(
            fields.get(error.field, node), join(path, error.field), "WRONG_VALUE", text[:1].upper() + text[1:] + "."
        )
