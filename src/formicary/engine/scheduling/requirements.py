"""The `placement` of a task as matchmaking understands it: requirements, preferences, and how long to wait for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from formicary.engine.scheduling.affinity import mappings
from formicary.engine.scheduling.policies.matchmaking import HOST_KEYS, Expression, Preference, Requirements

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def as_text(placement: Mapping[str, object] | None, affinity: Mapping[str, Any] | None = None) -> str:
    """The placement, and the affinity to ants, as a text that is equal for equal ones; empty where nothing is asked."""
    nodes = (affinity or {}).get("nodeAffinity")
    found = {**(placement or {}), **{name: value for name, value in _of_nodes(nodes).items() if value}}
    return _encode(found).decode() if found else ""


def _of_nodes(nodes: object) -> dict[str, list[Any]]:
    """The terms of a node affinity, as Kubernetes has it: any of the required ones, and the preferred ones."""
    required = nodes.get("requiredDuringSchedulingIgnoredDuringExecution") if isinstance(nodes, Mapping) else None
    preferred = mappings(nodes, "preferredDuringSchedulingIgnoredDuringExecution")
    return {
        "any_of": [_node_term(one) for one in mappings(required, "nodeSelectorTerms")],
        "preferred_nodes": [
            {"weight": one.get("weight", 1), "expressions": _node_term(one.get("preference") or {})}
            for one in preferred
        ],
    }


def _node_term(term: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    fields = [{**one, "key": HOST_KEYS[-1]} for one in mappings(term, "matchFields")]  # metadata.name is all there is
    return [*mappings(term, "matchExpressions"), *fields]


@lru_cache(maxsize=4096)
def requirements(text: str) -> Requirements:
    """What a placement asks of an ant."""
    given = _decode(text)
    return Requirements(
        labels={str(key): str(value) for key, value in given.get("labels", {}).items()},
        expressions=_expressions(given),
        versions={str(key): str(value) for key, value in given.get("versions", {}).items()},
        preferred=tuple(
            Preference(_expressions(one), frozenset(one.get("tags", ())), int(one.get("weight", 1)))
            for one in (*given.get("preferred", ()), *given.get("preferred_nodes", ()))
        ),
        any_of=tuple(_expressions({"expressions": term}) for term in given.get("any_of", ())),
    )


@lru_cache(maxsize=4096)
def patience_s(text: str) -> float:
    """How long an ant that meets all preferences is waited for while others are free, in seconds."""
    return max((float(one.get("wait_s", 0.0)) for one in _decode(text).get("preferred", ())), default=0.0)


@lru_cache(maxsize=4096)
def best_score(text: str) -> int:
    """The score of an ant that meets all preferences."""
    return sum(one.weight for one in requirements(text).preferred)


def _expressions(given: Mapping[str, Any]) -> tuple[Expression, ...]:
    listed = [
        Expression(str(one["key"]), str(one["operator"]), tuple(map(str, one.get("values") or ())))
        for one in given.get("expressions", ())
    ]
    if "weight" in given:  # of a preference
        listed += [Expression(str(key), "In", (str(value),)) for key, value in given.get("labels", {}).items()]
    return tuple(listed)
