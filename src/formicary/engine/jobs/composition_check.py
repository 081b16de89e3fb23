"""Checks the fields of tasks that fork jobs, wait for them, or fan out, each at its line and column."""

from __future__ import annotations

from collections.abc import Mapping

from formicary.engine.jobs.arguments import wrong_arguments
from formicary.engine.jobs.fan_out import MAX_ELEMENTS
from formicary.engine.jobs.model import COMPOSING_METHODS
from formicary.engine.jobs.readers import Context, entries, is_null, join
from formicary.engine.jobs.yaml_nodes import Node, scalar_value, to_json

_FAN_OUT = ("source", "item_var", "max_parallel", "fail_fast", "fork_job_type", "fork_job_version")
_SUB_WORKFLOW = ("input_params", "output_variables", "wait_for_completion")
_PAIR = ("name", "value")


def check_composition(
    ctx: Context,
    method: str,
    nodes: Mapping[str, Node],
    path: str,
    node: Node,
    routes: Mapping[str, str],
    *,
    static: bool,
) -> None:
    """Notes what is missing or wrong.

    Args:
        ctx: Receives the violations.
        method: The effective method.
        nodes: Value nodes of the task by field name.
        path: Like ``tasks[2]``.
        node: The task.
        routes: Its exit codes and states with their targets.
        static: Whether the task holds no template, so that what is missing is really missing.
    """
    fan_out, forks = nodes.get("fan_out"), method in ("FORK_JOB", "FAN_OUT_JOB")
    fields = _mapping(ctx, fan_out, join(path, "fan_out"), _FAN_OUT) if fan_out is not None else {}
    sub_workflow = nodes.get("sub_workflow")
    if sub_workflow is not None:
        _check_sub_workflow(ctx, sub_workflow, join(path, "sub_workflow"))
    if sub_workflow is not None and not is_null(sub_workflow) and not forks:
        message = "sub_workflow needs a job to fork; add 'method: FORK_JOB' and 'fork_job_type: NAME'."
        ctx.add(sub_workflow, join(path, "sub_workflow"), "METHOD_MISMATCH", message)
    if fan_out is not None and fan_out.kind == "map":
        _check_fan_out(ctx, method, fan_out, fields, join(path, "fan_out"), routes)
    if not static:
        return
    at = nodes.get("method", node)
    if forks and _is_empty(nodes.get("fork_job_type")) and _is_empty(fields.get("fork_job_type")):
        message = f"A {method} task needs the job to fork; add 'fork_job_type: NAME'."
        ctx.add(at, join(path, "fork_job_type"), "MISSING_FORK_JOB_TYPE", message)
    if method == "FAN_OUT_JOB" and _is_empty(fan_out):
        message = "A FAN_OUT_JOB task needs what to fan out over; add 'fan_out:' with a source."
        ctx.add(at, join(path, "fan_out"), "MISSING_FAN_OUT", message)
    source = fields.get("source")
    if fan_out is not None and fan_out.kind == "map" and _is_empty(source) and (source is None or source.kind != "seq"):
        message = "A fan-out needs a source: the name of a variable that holds a list, or the list itself."
        ctx.add(fan_out, join(path, "fan_out.source"), "MISSING_SOURCE", message)
    _check_parallel(ctx, fields.get("max_parallel"), join(path, "fan_out.max_parallel"))
    if method == "AWAIT_FORKED_JOB" and _is_empty(nodes.get("await_forked_tasks")):
        message = "An AWAIT_FORKED_JOB task needs the tasks to wait for; add 'await_forked_tasks: [NAME]'."
        ctx.add(at, join(path, "await_forked_tasks"), "MISSING_FORKED_TASKS", message)


def _is_empty(node: Node | None) -> bool:
    return node is None or is_null(node) or not (node.text or node.items or node.pairs)


def _mapping(ctx: Context, node: Node, path: str, known: tuple[str, ...]) -> dict[str, Node]:
    """The fields of a mapping; unknown ones are noted."""
    found: dict[str, Node] = {}
    if node.kind != "map":
        return found
    for name, key, value in entries(ctx, node, path):
        if name == "fan_out":
            message = "A fan-out inside of a fan-out is not possible; fork a job per element, and fan out in that."
            ctx.add(key, join(path, name), "NESTED_FAN_OUT", message)
        elif name not in known and not ctx.is_masked(key):
            ctx.unknown(key, join(path, name), name, known)
        found[name] = value
    return found


def _check_sub_workflow(ctx: Context, node: Node, path: str) -> None:
    fields = _mapping(ctx, node, path, _SUB_WORKFLOW)
    for name in ("input_params", "output_variables"):
        pairs = fields.get(name)
        if pairs is None or is_null(pairs):
            continue
        if pairs.kind != "seq":
            ctx.add(pairs, join(path, name), "WRONG_TYPE", "Write a list of '- {name: NAME, value: VALUE}'.")
            continue
        for i, pair in enumerate(pairs.items):
            here = f"{join(path, name)}[{i}]"
            given = _mapping(ctx, pair, here, _PAIR)
            if pair.kind != "map" or _is_empty(given.get("name")):
                ctx.add(pair, here, "WRONG_TYPE", "Write '{name: NAME, value: VALUE}'; the name is missing.")


def _check_fan_out(
    ctx: Context, method: str, node: Node, fields: Mapping[str, Node], path: str, routes: Mapping[str, str]
) -> None:
    """Checks what a fan-out goes over, and that its task can run once per element."""
    _check_source(ctx, fields.get("source"), join(path, "source"))
    fast, name = fields.get("fail_fast"), fields.get("item_var")
    is_plain = fast is not None and not is_null(fast) and not ctx.is_masked(fast)
    if fast is not None and is_plain and fast.text.lower() not in ("true", "false"):
        ctx.add(fast, join(path, "fail_fast"), "WRONG_TYPE", "fail_fast is true or false.")
    if name is not None and (name.kind != "scalar" or not name.text.strip()):
        ctx.add(name, join(path, "item_var"), "WRONG_TYPE", "item_var is the name of the variable with the element.")
    if method in ("MANUAL", "AWAIT_FORKED_JOB"):
        message = f"A {method} task cannot fan out; remove fan_out, or give each element a job with such a task."
        ctx.add(node, path, "METHOD_MISMATCH", message)
    if method in COMPOSING_METHODS:
        return
    if not _is_empty(fields.get("fork_job_type")):
        message = "fork_job_type forks a job per element; add 'method: FAN_OUT_JOB', or remove it to run this task."
        ctx.add(fields["fork_job_type"], join(path, "fork_job_type"), "METHOD_MISMATCH", message)
    if "WAIT_FOR_APPROVAL" in routes.values():
        message = "An element of a fan-out cannot wait for people; put the approval into a task behind it."
        ctx.add(node, path, "METHOD_MISMATCH", message)


def _check_source(ctx: Context, node: Node | None, path: str) -> None:
    if node is None or is_null(node):
        return
    if node.kind == "seq" and not node.items:
        message = "The list is empty: there is nothing to run; remove fan_out, or name a variable with a list."
        ctx.add(node, path, "EMPTY_LIST", message)
    elif node.kind == "seq" and len(node.items) > MAX_ELEMENTS:
        message = f"A fan-out has at most {MAX_ELEMENTS:,} elements, not {len(node.items):,}; split the list."
        ctx.add(node, path, "TOO_LONG", message)
    elif node.kind == "scalar" and not ctx.is_masked(node) and not isinstance(scalar_value(node), str):
        message = f"{node.text[:40]} is no list; write a list, or the name of a variable that holds one."
        ctx.add(node, path, "WRONG_TYPE", message)
    elif node.kind == "map" and (wrong := dict(wrong_arguments({"source": to_json(node)}))):
        ctx.add(node, path, "BAD_ARGUMENT", f"The source {wrong['source']}.")


def _check_parallel(ctx: Context, node: Node | None, path: str) -> None:
    if node is None or is_null(node) or ctx.is_masked(node):
        return
    if not (node.kind == "scalar" and node.text.isascii() and node.text.isdigit()):
        ctx.add(node, path, "WRONG_TYPE", "max_parallel is a whole number from 0 on; 0 means no limit.")
