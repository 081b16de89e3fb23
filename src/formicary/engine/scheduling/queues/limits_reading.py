"""Reads `tenant_limits` of a file of queues; everything that is wrong is told with line and column."""

from __future__ import annotations

from math import inf
from typing import Protocol

from formicary.engine.jobs.durations import parse_duration
from formicary.engine.jobs.readers import did_you_mean
from formicary.engine.jobs.yaml_nodes import Node, to_json
from formicary.engine.scheduling.queues.limits import EVERY, JOBS, NAMES, STORAGE, TASKS, Limit, Tenant

MOST_TENANTS = 10_000
_FIELDS = ("hard", "soft", "burst", "burst_for")
_BURSTS = (JOBS, TASKS)


class Reader(Protocol):
    """What collects mistakes."""

    def wrong(self, node: Node, path: str, code: str, message: str) -> None:
        """A mistake and its place."""
        ...


def read_tenants(reader: Reader, node: Node, path: str = "tenant_limits") -> dict[str, Tenant]:
    """The limits by organisation."""
    return {name: _tenant(reader, value, f"{path}.{name}") for name, value in _entries(reader, node, path)}


def _entries(reader: Reader, node: Node, path: str) -> list[tuple[str, Node]]:
    if node.kind != "map":
        reader.wrong(node, path, "WRONG_TYPE", f"Write a mapping of names to limits for {path}; '*' is every other.")
        return []
    found: dict[str, Node] = {}
    for key, value in node.entries():
        if key.text in found:
            reader.wrong(key, f"{path}.{key.text}", "DUPLICATE_FIELD", f"{key.text} is there twice; keep one.")
        found[key.text] = value
    if len(found) > MOST_TENANTS:
        reader.wrong(node, path, "OUT_OF_RANGE", f"There are {len(found)} tenants; at most {MOST_TENANTS}.")
    return list(found.items())[:MOST_TENANTS]


def _tenant(reader: Reader, node: Node, path: str) -> Tenant:
    users: dict[str, dict[str, Limit]] = {}
    limits: dict[str, Limit] = {}
    for name, value in _entries(reader, node, path):
        if name == "users":
            given = _entries(reader, value, f"{path}.users")
            users = {user: _user(reader, of, f"{path}.users.{user}") for user, of in given}
        else:
            _take(reader, limits, name, value, path, (*NAMES, "users"))
    for user, own in users.items():
        for name, limit in own.items():
            whole = limits.get(name)
            if whole is not None and user != EVERY and limit.hard > max(whole.hard, whole.burst):
                message = f"{name} of the user {user} is above that of the organisation: it would never count."
                reader.wrong(node, f"{path}.users.{user}.{name}", "OUT_OF_RANGE", message)
    return Tenant(limits, users)


def _user(reader: Reader, node: Node, path: str) -> dict[str, Limit]:
    limits: dict[str, Limit] = {}
    for name, value in _entries(reader, node, path):
        if name == STORAGE:
            message = "Storage is counted for whole organisations: write max_storage_gb beside 'users'."
            reader.wrong(value, f"{path}.{name}", "UNKNOWN_FIELD", message)
        else:
            _take(reader, limits, name, value, path, tuple(one for one in NAMES if one != STORAGE))
    return limits


def _take(reader: Reader, limits: dict[str, Limit], name: str, node: Node, path: str, known: tuple[str, ...]) -> None:
    if name not in NAMES:
        hint = did_you_mean(name, known)
        message = f"There is no limit {name[:60]!r}; there are {', '.join(known)}.{hint}"
        reader.wrong(node, f"{path}.{name}", "UNKNOWN_FIELD", message)
    else:
        limits[name] = _limit(reader, node, f"{path}.{name}", name)


def _limit(reader: Reader, node: Node, path: str, name: str) -> Limit:
    if node.kind != "map":
        return Limit(_number(reader, node, path) or 0.0)
    given: dict[str, float] = {}
    for key, value in node.entries():
        here = f"{path}.{key.text}"
        if key.text not in _FIELDS:
            hint = did_you_mean(key.text, _FIELDS)
            reader.wrong(key, here, "UNKNOWN_FIELD", f"A limit has {', '.join(_FIELDS)}, not {key.text[:60]!r}.{hint}")
        elif key.text in ("burst", "burst_for") and name not in _BURSTS:
            reader.wrong(key, here, "UNKNOWN_FIELD", f"{name} has no burst; {' and '.join(_BURSTS)} have.")
        else:
            number = (_seconds if key.text == "burst_for" else _number)(reader, value, here)
            if number is not None:
                given[key.text] = number
    limit = Limit(
        given.get("hard", inf), given.get("soft", inf),
        given.get("burst", 0.0), given.get("burst_for", 0.0),
    )  # fmt: skip
    _check(reader, node, path, limit, given)
    return limit


def _check(reader: Reader, node: Node, path: str, limit: Limit, given: dict[str, float]) -> None:
    """How the parts of one limit relate."""
    if not {"hard", "soft"} & set(given):
        reader.wrong(node, path, "MISSING_FIELD", "Write hard, soft or both.")
    if {"hard", "soft"} <= set(given) and limit.soft > limit.hard:
        reader.wrong(node, f"{path}.soft", "OUT_OF_RANGE", f"soft {limit.soft:g} is above hard {limit.hard:g}.")
    if ("burst" in given) != ("burst_for" in given):
        reader.wrong(node, path, "MISSING_FIELD", "burst and burst_for go together: how much, and for how long.")
    elif "burst" in given and ("hard" not in given or limit.burst <= limit.hard):
        reader.wrong(node, f"{path}.burst", "OUT_OF_RANGE", "burst has to be above hard, which has to be given.")


def _number(reader: Reader, node: Node, path: str) -> float | None:
    value = to_json(node) if node.kind == "scalar" else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e12:
        reader.wrong(node, path, "WRONG_TYPE", f"Write a number, 0 or more, for {path}.")
        return None
    return float(value)


def _seconds(reader: Reader, node: Node, path: str) -> float | None:
    try:
        found = parse_duration(to_json(node))
    except ValueError as error:
        reader.wrong(node, path, "BAD_VALUE", f"{path}: {error}.")
        return None
    if found <= 0:
        reader.wrong(node, path, "OUT_OF_RANGE", f"{path} is {found:g} s: write more than 0.")
        return None
    return found
