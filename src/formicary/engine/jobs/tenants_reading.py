"""Reads `tenant_limits` of a file of queues or of a job file; what is wrong is told with line and column.

In the file of queues limits stand below the tenants that they hold for, and count all their jobs. Those of a job file
count the jobs of its type; they may also stand there without a tenant, and hold for each organisation then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Protocol

from formicary.engine.jobs.durations import parse_duration
from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.readers import ABSENT, Context, did_you_mean, is_null
from formicary.engine.jobs.tenants import EVERY, HOURS, JOBS, NAMES, STORAGE, TASKS, Limit, Tenant
from formicary.engine.jobs.yaml_nodes import Node, to_json

MOST_TENANTS = 10_000
MOST_TENANTS_OF_TYPE = 1_000
"""That a job file may name."""
USERS = "users"
_FIELDS = ("hard", "soft", "burst", "burst_for")
_BURSTS = (JOBS, TASKS)


class Reader(Protocol):
    """What collects mistakes."""

    def wrong(self, node: Node, path: str, code: str, message: str) -> None:
        """A mistake and its place."""
        ...


@dataclass(frozen=True, slots=True)
class Words:
    """What a kind of file calls the limits.

    Attributes:
        known: Names of the limits.
        aliases: Other names of limits.
        elsewhere: What is said of limits that have their place in another file, by name.
        most: Tenants.
    """

    known: tuple[str, ...] = NAMES
    aliases: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    most: int = MOST_TENANTS


OF_QUEUES = Words()
_STORAGE = (
    "Storage is counted for whole organisations, not for the jobs of a type: write max_storage_gb under tenant_limits "
    "of the server's file of queues (formicary queues apply)."
)
OF_JOB_FILE = Words(
    tuple(name for name in NAMES if name != STORAGE),
    {name.removeprefix("max_"): name for name in (JOBS, TASKS, *HOURS)},
    dict.fromkeys((STORAGE, "storage_gb", "storage"), _STORAGE),
    MOST_TENANTS_OF_TYPE,
)


def read_tenants(
    reader: Reader, node: Node, path: str = "tenant_limits", words: Words = OF_QUEUES
) -> dict[str, Tenant]:
    """The limits by organisation."""
    return {
        name: _tenant(reader, value, f"{path}.{name}", words)
        for name, (_, value) in _entries(reader, node, path, words.most).items()
    }


def read_type_limits(ctx: Context, node: Node, path: str, row: Field) -> object:
    """The limits of a job file by organisation, `*` for those that stand there without one; ABSENT = there are none."""
    if is_null(node):
        return ABSENT
    names = list(_templates_as_names(ctx, node))
    for key in names:
        ctx.add(key, path, "BAD_VALUE", _TEMPLATE)
    if names:  # whatever stands below them has no path
        return ABSENT
    reader = _InJobFile(ctx)
    if node.kind == "map" and _is_without_tenants(node):
        found = {EVERY: _tenant(reader, node, path, OF_JOB_FILE, more=_EITHER)}
    else:
        found = read_tenants(reader, node, path, OF_JOB_FILE)
    return found if any(one.limits or one.users for one in found.values()) else ABSENT


_TEMPLATE = (
    "Limits of tenants hold for all jobs of the type and are read when it is defined: no template is rendered here. "
    "Write the number or the name itself."
)
_EITHER = " Limits of each organisation stand here, or below the names of organisations ('*' is every other one)."


class _InJobFile:
    """Notes mistakes as those of a job file."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def wrong(self, node: Node, path: str, code: str, message: str) -> None:
        """A mistake and its place."""
        if self._ctx.is_masked(node):
            code, message = "BAD_VALUE", _TEMPLATE
        self._ctx.add(node, path, code, message)


def _templates_as_names(ctx: Context, node: Node) -> Iterator[Node]:
    """The keys that hold templates."""
    for key, value in node.entries() if node.kind == "map" else ():
        if ctx.is_masked(key):
            yield key
        yield from _templates_as_names(ctx, value)


def _is_without_tenants(node: Node) -> bool:
    """Whether limits stand where organisations may: by their names, or as nothing but a limit is written."""
    names = (*OF_JOB_FILE.known, *OF_JOB_FILE.aliases, *OF_JOB_FILE.elsewhere, USERS)
    return any(key.text in names or value.kind == "scalar" or _is_limit(value) for key, value in node.entries())


def _is_limit(node: Node) -> bool:
    keys = [key.text for key, _ in node.entries()] if node.kind == "map" else []
    return bool(keys) and all(key in _FIELDS for key in keys)


def _entries(reader: Reader, node: Node, path: str, most: int) -> dict[str, tuple[Node, Node]]:
    """Keys and values of a mapping by name."""
    if node.kind != "map":
        reader.wrong(node, path, "WRONG_TYPE", f"Write a mapping of names to limits for {path}; '*' is every other.")
        return {}
    found: dict[str, tuple[Node, Node]] = {}
    for key, value in node.entries():
        if key.text in found:
            reader.wrong(key, f"{path}.{key.text}", "DUPLICATE_FIELD", f"{key.text} is there twice; keep one.")
        found[key.text] = (key, value)
    if len(found) > most:
        reader.wrong(node, path, "OUT_OF_RANGE", f"There are {len(found)} tenants; at most {most}.")
    return dict(list(found.items())[:most])


def _tenant(reader: Reader, node: Node, path: str, words: Words, more: str = "") -> Tenant:
    users: dict[str, dict[str, Limit]] = {}
    limits: dict[str, Limit] = {}
    for name, (key, value) in _entries(reader, node, path, words.most).items():
        if name == USERS:
            given = _entries(reader, value, f"{path}.{USERS}", words.most)
            users = {user: _user(reader, of, f"{path}.{USERS}.{user}", words) for user, (_, of) in given.items()}
        else:
            _take(reader, limits, name, (key, value), path, words, more)
    for user, own in users.items():
        for name, limit in own.items():
            whole = limits.get(name)
            if whole is not None and user != EVERY and limit.hard > max(whole.hard, whole.burst):
                message = f"{name} of the user {user} is above that of the organisation: it would never count."
                reader.wrong(node, f"{path}.{USERS}.{user}.{name}", "OUT_OF_RANGE", message)
    return Tenant(limits, users)


def _user(reader: Reader, node: Node, path: str, words: Words) -> dict[str, Limit]:
    limits: dict[str, Limit] = {}
    known = tuple(one for one in words.known if one != STORAGE)
    for name, (key, value) in _entries(reader, node, path, words.most).items():
        if name == STORAGE and name in words.known:
            message = "Storage is counted for whole organisations: write max_storage_gb beside 'users'."
            reader.wrong(value, f"{path}.{name}", "UNKNOWN_FIELD", message)
        else:
            _take(reader, limits, name, (key, value), path, replace(words, known=known))
    return limits


def _take(
    reader: Reader,
    limits: dict[str, Limit],
    name: str,
    pair: tuple[Node, Node],
    path: str,
    words: Words,
    more: str = "",
) -> None:
    key, value = pair
    meant = words.aliases.get(name, name)
    here = f"{path}.{name}"
    if name in words.elsewhere:
        reader.wrong(key, here, "UNKNOWN_FIELD", words.elsewhere[name])
    elif meant not in words.known:
        hint = did_you_mean(name, (*words.known, *words.aliases))
        message = f"There is no limit {name[:60]!r}; there are {', '.join(words.known)}.{hint}"
        reader.wrong(key, here, "UNKNOWN_FIELD", message + (more if value.kind == "map" and not hint else ""))
    elif meant in limits:
        reader.wrong(key, here, "DUPLICATE_FIELD", f"{name} is {meant}, which is there already; keep one.")
    else:
        limits[meant] = _limit(reader, value, here, meant)


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
    if not {"hard", "soft"} & {key.text for key, _ in node.entries()}:
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
