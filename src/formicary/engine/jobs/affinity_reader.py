"""Reads `affinity` of a task into the form of the Kubernetes API, and checks what it says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from formicary.engine.jobs.container_reader import EXPRESSION_OPERATORS, Json, camel, plain_json, snake
from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.readers import ABSENT, Context, entries, is_null, join
from formicary.engine.jobs.yaml_nodes import Node, scalar_value

LABEL_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
"""Of selectors of labels; those of nodes also have Gt and Lt."""
_KINDS = ("nodeAffinity", "podAffinity", "podAntiAffinity")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_TERM = ("labelSelector", "topologyKey", "matchLabelKeys", "mismatchLabelKeys", "namespaces", "namespaceSelector")
_SELECTOR = ("matchLabels", "matchExpressions")
_OF_OTHERS = ("namespaces", "namespaceSelector")


def read_affinity(ctx: Context, node: Node, path: str, row: Field) -> object:
    """Reads ``affinity`` into the form of the Kubernetes API."""
    if is_null(node) or _masked(ctx, node):
        return ABSENT
    if node.kind != "map":
        return ctx.wrong_type(node, path, "a mapping with nodeAffinity, podAffinity or podAntiAffinity")
    found: dict[str, Json] = {}
    direct: dict[str, Json] = {}
    for name, key, value in entries(ctx, node, path):
        kind = camel(name)
        if kind in _KINDS:
            found[kind] = plain_json(ctx, value, camel)
            if kind != "nodeAffinity":
                _pods(ctx, value, join(path, name))
        elif kind.endswith("DuringSchedulingIgnoredDuringExecution"):
            direct[kind] = plain_json(ctx, value, camel)  # older files have it without nodeAffinity above
        elif not ctx.is_masked(key):
            ctx.unknown(key, join(path, name), name, _KINDS)
    if direct:
        found.setdefault("nodeAffinity", direct)
    _check_expressions(ctx, node, path)
    return found


def check_affinity(ctx: Context, node: Node, path: str) -> None:
    """Notes what means nothing for tasks on ants, though it does for pods."""
    for name, _, value in _entries(ctx, node):
        kind = camel(name)
        if kind in ("podAffinity", "podAntiAffinity"):
            for term, here in _terms(ctx, value, join(path, name), told=True):
                _check_term(ctx, term, here)
        elif kind == "nodeAffinity":
            for required in _values(ctx, value, _REQUIRED):
                _check_node_terms(ctx, required, join(join(path, name), _REQUIRED))


def _check_term(ctx: Context, term: Node, path: str) -> None:
    for name in _OF_OTHERS:
        for other in _values(ctx, term, name):
            message = f"{name} has no meaning on ants: only tasks of the own organisation are looked at."
            ctx.add(other, join(path, name), "BAD_VALUE", message)
    selectors = _values(ctx, term, "labelSelector")
    given = [part for selector in selectors for name in _SELECTOR for part in _values(ctx, selector, name)]
    keys = [part for name in ("matchLabelKeys", "mismatchLabelKeys") for part in _values(ctx, term, name)]
    if not any(part.items or part.pairs or part.text for part in (*given, *keys)):
        message = "The term selects no tasks; add 'labelSelector: {matchLabels: {NAME: VALUE}}'."
        ctx.add(selectors[0] if selectors else term, join(path, "labelSelector"), "MISSING_FIELD", message)


def _check_node_terms(ctx: Context, required: Node, path: str) -> None:
    for terms in _values(ctx, required, "nodeSelectorTerms"):
        for at, term in enumerate(terms.items):
            parts = [part for name in ("matchExpressions", "matchFields") for part in _values(ctx, term, name)]
            if term.kind == "map" and not any(part.items or part.text for part in parts):
                message = "An empty term fits no ant; give it matchExpressions."
                ctx.add(term, f"{join(path, 'nodeSelectorTerms')}[{at}]", "MISSING_FIELD", message)


def _pods(ctx: Context, node: Node, path: str) -> None:
    """Checks the form of what is said of other pods."""
    if node.kind != "map":
        if not (is_null(node) or _masked(ctx, node)):
            ctx.wrong_type(node, path, f"a mapping of {_REQUIRED} and {_PREFERRED}")
        return
    for name, key, _ in _entries(ctx, node):
        if camel(name) not in (_REQUIRED, _PREFERRED) and not ctx.is_masked(key):
            ctx.unknown(key, join(path, name), name, (_REQUIRED, _PREFERRED))
    for term, here in _terms(ctx, node, path):
        for name, key, _ in _entries(ctx, term):
            if camel(name) not in _TERM and not ctx.is_masked(key):
                ctx.unknown(key, join(here, name), name, _TERM)
        topology = _values(ctx, term, "topologyKey")
        if not any(part.text for part in topology):
            message = "The term needs a topology; add 'topologyKey: LABEL' (a label of ants, or 'ant' for each alone)."
            ctx.add(topology[0] if topology else term, join(here, "topologyKey"), "MISSING_FIELD", message)
        for selector in _values(ctx, term, "labelSelector"):
            _check_selector(ctx, selector, join(here, "labelSelector"))


def _terms(ctx: Context, node: Node, path: str, *, told: bool = False) -> list[tuple[Node, str]]:
    """All terms of an affinity to pods, with their paths; what has another form is noted unless it was `told`."""
    found: list[tuple[Node, str]] = []
    for name, _, value in _entries(ctx, node) if node.kind == "map" else ():
        here, kind = join(path, name), camel(name)
        if kind not in (_REQUIRED, _PREFERRED) or is_null(value) or _masked(ctx, value):
            continue
        if value.kind != "seq" and not told:
            ctx.wrong_type(value, here, "a list of terms")
        for at, item in enumerate(value.items):
            place = f"{here}[{at}]"
            if item.kind != "map":
                if not told:
                    ctx.wrong_type(item, place, "a mapping")
            elif kind == _REQUIRED:
                found.append((item, place))
            else:
                found += _preferred(ctx, item, place, told=told)
    return found


def _preferred(ctx: Context, node: Node, path: str, *, told: bool) -> list[tuple[Node, str]]:
    found = [(term, join(path, "podAffinityTerm")) for term in _values(ctx, node, "podAffinityTerm")]
    missing = [name for name in ("weight", "podAffinityTerm") if not _values(ctx, node, name)]
    for name in missing if not told else ():
        ctx.add(node, join(path, name), "MISSING_FIELD", f"A preferred term needs weight and podAffinityTerm: {name}.")
    return [(term, place) for term, place in found if term.kind == "map"]


def _check_selector(ctx: Context, node: Node, path: str) -> None:
    for name, key, value in _entries(ctx, node) if node.kind == "map" else ():
        kind = camel(name)
        if kind not in _SELECTOR and not ctx.is_masked(key):
            ctx.unknown(key, join(path, name), name, _SELECTOR)
        for at, item in enumerate(value.items if kind == "matchExpressions" else ()):
            here = f"{join(path, name)}[{at}]"
            for wanted in ("key", "operator"):
                if item.kind == "map" and not _values(ctx, item, wanted):
                    ctx.add(
                        item, join(here, wanted), "MISSING_FIELD", "A match expression needs a key and an operator."
                    )
            for operator in _values(ctx, item, "operator"):
                if not _masked(ctx, operator) and operator.text in ("Gt", "Lt"):
                    message = f"Labels of tasks are compared by {', '.join(LABEL_OPERATORS)}."
                    ctx.add(operator, join(here, "operator"), "BAD_VALUE", message)


def _entries(ctx: Context, node: Node) -> list[tuple[str, Node, Node]]:
    """The pairs of a mapping; that none is there twice has been looked at."""
    return [(ctx.text(key), key, value) for key, value in node.entries()]


def _values(ctx: Context, node: Node, name: str) -> list[Node]:
    """The value of a field in either spelling; none where it is absent or null."""
    pairs = node.entries() if node.kind == "map" else ()
    return [value for key, value in pairs if camel(ctx.text(key)) == name and not is_null(value)]


def _check_expressions(ctx: Context, node: Node, path: str) -> None:
    """Notes expressions whose operator is none, or has not the values that it needs; and weights out of range."""
    for i, item in enumerate(node.items):
        _check_expressions(ctx, item, f"{path}[{i}]")
    pairs: Mapping[str, Node] = {snake(ctx.text(key)): value for key, value in node.entries()}
    for key, value in node.entries():
        _check_expressions(ctx, value, join(path, ctx.text(key)))
    if "operator" in pairs and not _masked(ctx, pairs["operator"]):
        operator, values = pairs["operator"].text, pairs.get("values")
        is_open = values is not None and _masked(ctx, values)
        has_values = values is not None and values.kind == "seq" and len(values.items) > 0
        if operator not in EXPRESSION_OPERATORS:
            known = LABEL_OPERATORS if "labelselector" in path.replace("_", "").lower() else EXPRESSION_OPERATORS
            message = f"Write one of {', '.join(known)} for {path}.operator."
            ctx.add(pairs["operator"], f"{path}.operator", "BAD_VALUE", message)
        elif not is_open and operator in (("Exists", "DoesNotExist") if has_values else ("In", "NotIn", "Gt", "Lt")):
            message = f"{path}: In, NotIn, Gt and Lt need values, Exists and DoesNotExist take none."
            ctx.add(pairs["operator"], f"{path}.values", "BAD_VALUE", message)
        elif operator in ("Gt", "Lt") and values is not None and not is_open and not _is_whole(ctx, values):
            message = f"{path}: {operator} needs exactly one whole number."
            ctx.add(pairs["operator"], f"{path}.values", "BAD_VALUE", message)
    weight = scalar_value(pairs["weight"]) if "weight" in pairs and pairs["weight"].kind == "scalar" else 1
    if not _weight_is_good(weight) and not _masked(ctx, pairs["weight"]):
        ctx.add(pairs["weight"], f"{path}.weight", "OUT_OF_RANGE", f"Write a number from 1 to 100 for {path}.weight.")


def _is_whole(ctx: Context, values: Node) -> bool:
    if any(_masked(ctx, item) for item in values.items):
        return True
    return len(values.items) == 1 and re.fullmatch(r"[+-]?[0-9]+", values.items[0].text) is not None


def _weight_is_good(weight: object) -> bool:
    return isinstance(weight, int) and not isinstance(weight, bool) and 1 <= weight <= 100


def _masked(ctx: Context, node: Node) -> bool:
    return node.kind == "scalar" and ctx.is_masked(node)
