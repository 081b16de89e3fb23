"""Reads a file of queues; everything that is wrong comes back at once, with line and column."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from formicary.engine.jobs.amounts import is_resource, needs_of, parse_amount
from formicary.engine.jobs.durations import parse_duration
from formicary.engine.jobs.model import Violation
from formicary.engine.jobs.readers import did_you_mean
from formicary.engine.jobs.tenants_reading import read_tenants
from formicary.engine.jobs.yaml_nodes import Node, YamlError, compose, to_json
from formicary.engine.scheduling.policies import capacity_tree, degrade
from formicary.engine.scheduling.policies.reservation import MEASURED, Observed
from formicary.engine.scheduling.queues.ledger import SLOTS
from formicary.engine.scheduling.queues.model import (
    BETWEEN,
    DEFAULT,
    ORDERS,
    PLACEMENTS,
    SHARES,
    Hours,
    Match,
    Queue,
    Queues,
    Rule,
)

MAX_BYTES = 256 * 1024
MAX_QUEUES = 1000
MAX_OVERCOMMIT = 100.0
OBSERVED = "observed"
MAX_GRACE_S = 3600.0
"""What waits would wait for it."""
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "fcfs": (),
    "priority": ("aging", "cap", "floor", "preemptive", "degrade"),
    "sjf": ("preemptive",),
    "edf": ("preemptive", "overload", "fair_by", "weights"),
    "llf": ("preemptive", "overload"),
    "multilevel": ("mode", "weights", "preemptive", "quantum", "levels", "boost"),
    "capacity": ("reclaim",),
    "fair": ("by", "weights", "resource"),
    "drf": ("by", "weights"),
    "lottery": ("by", "weights"),
}
"""Parameters of each policy that the live queen follows."""
CHOICES = {
    "mode": ("strict", "weighted", "feedback"),
    "reclaim": ("none", "graceful", "aggressive"),
    "by": ("user", "org", "queue"),
    "degrade": ("none", *degrade.HOW),
    "fair_by": ("user", "org"),
    "overload": ("continue", "shed", "demote", "reject"),
}
_FEEDBACK = ("quantum", "levels", "boost")
_TOP = (
    "policy", "set", "placement", "default", "queues", "tenant_limits", "preemption_grace", "overcommit",
    "quality_of_service",
)  # fmt: skip
_QUEUE = (
    "name", "parent", "weight", "priority", "guaranteed", "maximum", "limit", "policy", "set", "match", "hours",
    "preemption_grace",
)  # fmt: skip
_MATCH = ("job_types", "users", "tags", "labels", "shorter_than", "longer_than", "resources")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\s*-\s*([01][0-9]|2[0-3]):([0-5][0-9])")
T = TypeVar("T")


@dataclass(slots=True)
class Read:
    """A file as it was read: a configuration, unless something is wrong."""

    queues: Queues | None
    violations: tuple[Violation, ...]


@dataclass(slots=True)
class _Reader:
    violations: list[Violation] = field(default_factory=list)

    def wrong(self, node: Node, path: str, code: str, message: str) -> None:
        self.violations.append(Violation(node.line + 1, node.column + 1, path, code, message))

    def fields(self, node: Node, path: str, known: tuple[str, ...]) -> dict[str, Node]:
        """Values of a mapping by name; unknown and repeated names are told."""
        found: dict[str, Node] = {}
        if node.kind != "map":
            self.wrong(node, path, "WRONG_TYPE", f"Write a mapping of {', '.join(known)}.")
            return found
        for key, value in node.entries():
            here = f"{path}.{key.text}" if path else key.text
            if key.text not in known:
                hint = did_you_mean(key.text, known)
                self.wrong(key, here, "UNKNOWN_FIELD", f"There is no field {key.text[:60]!r} here.{hint}")
            elif key.text in found:
                self.wrong(key, here, "DUPLICATE_FIELD", f"{key.text} is there twice; keep one.")
            else:
                found[key.text] = value
        return found

    def number(self, node: Node | None, path: str, default: T, *, least: float = 0.0, above: bool = False) -> float | T:
        if node is None:
            return default
        value = to_json(node)
        if isinstance(value, str) and value.endswith("%"):
            value = value[:-1].strip()
            value = float(value) if re.fullmatch(r"[0-9.]+", value) and value.count(".") < 2 else None
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 1e12:
            self.wrong(node, path, "WRONG_TYPE", f"Write a number for {path}.")
        elif value < least or (above and value == least):
            limit = f"above {least:g}" if above else f"{least:g} or more"
            self.wrong(node, path, "OUT_OF_RANGE", f"{path} is {value:g}: write {limit}.")
        else:
            return float(value)
        return default

    def text(self, node: Node | None, path: str, default: str = "") -> str:
        if node is None:
            return default
        if node.kind != "scalar" or not node.text:
            self.wrong(node, path, "WRONG_TYPE", f"Write a text for {path}.")
            return default
        return node.text

    def texts(self, node: Node | None, path: str) -> tuple[str, ...]:
        if node is None:
            return ()
        return tuple(
            self.text(item, f"{path}[{at}]") for at, item in enumerate(node.items if node.kind == "seq" else [node])
        )

    def choice(self, node: Node | None, path: str, known: tuple[str, ...], default: str) -> str:
        found = self.text(node, path, default)
        if node is not None and found not in known:
            message = f"{found[:60]!r} is none of {', '.join(known)}.{did_you_mean(found, known)}"
            self.wrong(node, path, "UNKNOWN_VALUE", message)
            return default
        return found

    def labels(self, node: Node | None, path: str) -> dict[str, str]:
        if node is None:
            return {}
        if node.kind != "map":
            self.wrong(node, path, "WRONG_TYPE", f"Write a mapping of names to texts for {path}.")
            return {}
        return {key.text: self.text(value, f"{path}.{key.text}") for key, value in node.entries()}

    def parsed(self, node: Node | None, path: str, parse: Callable[[object], T]) -> T | None:
        if node is None:
            return None
        try:
            return parse(to_json(node))
        except ValueError as error:
            self.wrong(node, path, "BAD_VALUE", f"{path}: {error}.")
            return None


def read_queues(source: str) -> Read:
    """Reads a file of queues.

    Args:
        source: Its text.

    Returns:
        The configuration, or what is wrong in the order of the file.
    """
    reader = _Reader()
    if len(source.encode("utf-8", "replace")) > MAX_BYTES:
        return Read(None, (Violation(1, 1, "", "FILE_TOO_LARGE", f"It is larger than {MAX_BYTES // 1024} KB."),))
    try:
        root = compose(source)
    except YamlError as error:
        return Read(None, (Violation(error.line + 1, error.column + 1, "", error.code, error.message),))
    if root is None or root.kind != "map":
        message = "Write a mapping that starts with 'policy: NAME', and 'queues:' below it."
        return Read(None, (Violation(1, 1, "", "NOT_A_MAPPING", message),))
    queues = _top(reader, root)
    found = tuple(sorted(reader.violations, key=lambda one: (one.line, one.column)))
    return Read(None if found else queues, found)


def _top(reader: _Reader, root: Node) -> Queues:
    fields = reader.fields(root, "", _TOP)
    rule = _rule(reader, fields, "", BETWEEN, "priority")
    placement = reader.choice(fields.get("placement"), "placement", PLACEMENTS, "least_loaded")
    listed = fields.get("queues")
    items = listed.items if listed is not None and listed.kind == "seq" else []
    if listed is not None and listed.kind != "seq":
        reader.wrong(listed, "queues", "WRONG_TYPE", "Write a list of queues: '- name: NAME'.")
    if len(items) > MAX_QUEUES and listed is not None:
        reader.wrong(listed, "queues", "OUT_OF_RANGE", f"There are {len(items)} queues; at most {MAX_QUEUES}.")
    queues = [_queue(reader, item, f"queues[{at}]") for at, item in enumerate(items[:MAX_QUEUES])]
    _check_tree(reader, queues, items)
    _check_weights(reader, rule, queues, fields.get("set") or root)
    default = reader.text(fields.get("default"), "default", DEFAULT)
    parents = {queue.parent for queue in queues}
    named = {queue.name for queue in queues}
    if "default" in fields and (default not in named or default in parents):
        reader.wrong(fields["default"], "default", "UNKNOWN_VALUE", f"There is no queue {default[:60]!r} for jobs.")
    elif default in parents:
        reader.wrong(root, "default", "UNKNOWN_VALUE", f"The queue {default} holds others: name one for other jobs.")
    if default not in named:
        queues.append(Queue(default))
    tenants = read_tenants(reader, fields["tenant_limits"]) if "tenant_limits" in fields else {}
    grace_s = reader.parsed(fields.get("preemption_grace"), "preemption_grace", _grace)
    overcommit, observed = _overcommit(reader, fields["overcommit"]) if "overcommit" in fields else ({}, {})
    given = fields.get("quality_of_service")
    classes = given is not None and _flag(reader, given, "quality_of_service")
    return Queues(rule, placement, tuple(queues), default, tenants, grace_s, overcommit, classes, observed)


def _overcommit(reader: _Reader, node: Node) -> tuple[dict[str, float], dict[str, Observed]]:
    """How often what ants have of a resource is given out; and by what rule, where that follows its use."""
    fixed: dict[str, float] = {}
    observed: dict[str, Observed] = {}
    if node.kind != "map":
        reader.wrong(
            node, "overcommit", "WRONG_TYPE", "Write a mapping of resources to numbers: 'overcommit: {cpu: 2}'."
        )
        return fixed, observed
    for key, value in node.entries():
        place = f"overcommit.{key.text}"
        if not is_resource(key.text) or key.text == SLOTS:
            text = (
                f"{key.text[:60]!r} is no resource of an ant: write it like cpu or memory; slots are given by --slots."
            )
            reader.wrong(key, place, "BAD_NAME", text)
        elif value.kind == "map" or (value.kind == "scalar" and value.text == OBSERVED):
            if key.text not in MEASURED:
                reader.wrong(key, place, "BAD_VALUE", f"Ants observe {' and '.join(MEASURED)} alone: write a number.")
            observed[key.text] = _observed(reader, value, place)
        else:
            fixed[key.text] = _at_most(reader, value, place, 1.0, MAX_OVERCOMMIT, least=1.0)
    return fixed, observed


def _observed(reader: _Reader, node: Node, path: str) -> Observed:
    if node.kind != "map":
        return Observed()
    usual, fields = Observed(), reader.fields(node, path, (OBSERVED, "most", "after"))
    if OBSERVED not in fields:
        message = f"Write how much of what is set aside tasks may use: '{{{OBSERVED}: {usual.target:g}}}'."
        reader.wrong(node, f"{path}.{OBSERVED}", "MISSING_FIELD", message)
    after_s = reader.parsed(fields.get("after"), f"{path}.after", _after)
    return Observed(
        _at_most(reader, fields.get(OBSERVED), f"{path}.{OBSERVED}", usual.target, 1.0, least=0.1),
        _at_most(reader, fields.get("most"), f"{path}.most", usual.most, MAX_OVERCOMMIT, least=1.0),
        usual.after_s if after_s is None else after_s,
    )


def _at_most(reader: _Reader, node: Node | None, path: str, default: float, most: float, *, least: float) -> float:
    found = reader.number(node, path, default, least=least)
    if node is not None and found > most:
        reader.wrong(node, path, "OUT_OF_RANGE", f"{path} is {found:g}: write {most:g} or less.")
    return found


def _after(value: object) -> float:
    seconds = parse_duration(value)
    if not 0 < seconds <= MAX_GRACE_S:
        raise ValueError(f"it is {seconds:g} s; write more than none and at most {MAX_GRACE_S:g} s")
    return seconds


def _rule(reader: _Reader, fields: Mapping[str, Node], path: str, known: tuple[str, ...], default: str) -> Rule:
    here = f"{path}." if path else ""
    policy = reader.choice(fields.get("policy"), f"{here}policy", known, default)
    given = fields.get("set")
    named = fields.get("policy")
    if given is None or (named is not None and named.text not in known):  # that has been told
        return Rule(policy)
    values: dict[str, object] = {}
    if given.kind != "map":
        reader.wrong(given, f"{here}set", "WRONG_TYPE", "Write the parameters as a mapping: 'set: {aging: 0.1}'.")
        return Rule(policy)
    for key, node in given.entries():
        name, place = key.text, f"{here}set.{key.text}"
        if name not in PARAMETERS[policy]:
            has = ", ".join(PARAMETERS[policy]) or "none"
            reader.wrong(
                key, place, "UNKNOWN_PARAMETER", f"The policy {policy} has no parameter {name!r}; it has {has}."
            )
        elif name in CHOICES:
            choices = CHOICES[name] if not path or name != "by" else ("user", "org")
            values[name] = reader.choice(node, place, choices, choices[0])
        elif name == "weights":
            values[name] = _weights(reader, node, place)
        elif name == "preemptive":
            values[name] = _flag(reader, node, place)
        elif name == "levels":
            values[name] = int(reader.number(node, place, 3.0, least=1.0))
        elif name == "floor":
            values[name] = reader.number(node, place, 0.0)
            if float(values[name]) > 50:  # type: ignore[arg-type]  # it is a number
                reader.wrong(node, place, "OUT_OF_RANGE", f"{place} is {values[name]:g} %: write 50 or less.")
        elif name == "quantum":
            values[name] = reader.number(node, place, 8.0, above=True)
        elif name == "resource":
            values[name] = reader.text(node, place, "slots")
        else:
            values[name] = reader.number(node, place, 0.0)
    mode = values.get("mode", "strict")
    for name in _FEEDBACK if policy == "multilevel" and mode != "feedback" else ():
        if name in values:
            message = f"{name} is for mode: feedback, and the mode is {mode}."
            reader.wrong(given, f"{here}set.{name}", "UNKNOWN_PARAMETER", message)
    if policy == "multilevel" and mode == "weighted" and values.get("preemptive"):
        message = "Turns by weight have no order that could preempt: leave preemptive out, or take mode: strict."
        reader.wrong(given, f"{here}set.preemptive", "BAD_VALUE", message)
    if values.get("floor") and values.get("preemptive"):
        message = "What the floor starts, preemptive would take off again at once: leave one of them out."
        reader.wrong(given, f"{here}set.floor", "BAD_VALUE", message)
    contradictions = {
        "degrade": ("aging", "floor", "preemptive"),
        "fair_by": ("preemptive", "overload"),
    }
    for name, others in contradictions.items():
        against = [other for other in others if values.get(other) not in (None, False, 0.0, "continue")]
        if values.get(name, "none") != "none" and against:
            message = f"{name} does not go with {', '.join(against)}: leave one of them out."
            reader.wrong(given, f"{here}set.{name}", "BAD_VALUE", message)
    if "weights" in values and policy == "edf" and "fair_by" not in values:
        message = "weights are for fair_by: say who is to miss alike many deadlines, 'fair_by: user'."
        reader.wrong(given, f"{here}set.weights", "BAD_VALUE", message)
    return Rule(policy, **values)  # type: ignore[arg-type]  # by the names of PARAMETERS


def _flag(reader: _Reader, node: Node, path: str) -> bool:
    value = to_json(node)
    if not isinstance(value, bool):
        reader.wrong(node, path, "WRONG_TYPE", f"Write true or false for {path}.")
    return value is True


def _weights(reader: _Reader, node: Node, path: str) -> dict[str, float]:
    if node.kind != "map":
        reader.wrong(node, path, "WRONG_TYPE", "Write the weights as a mapping: 'weights: {alice: 2}'.")
        return {}
    return {key.text: reader.number(value, f"{path}.{key.text}", 1.0, above=True) for key, value in node.entries()}


def _queue(reader: _Reader, node: Node, path: str) -> Queue:
    if node.kind == "scalar" and node.text:
        return Queue(node.text)
    fields = reader.fields(node, path, _QUEUE)
    name = reader.text(fields.get("name"), f"{path}.name")
    if "name" not in fields:
        reader.wrong(node, f"{path}.name", "MISSING_FIELD", "A queue needs a name.")
    elif name and not _NAME.fullmatch(name):
        message = f"{name[:60]!r} is no name of a queue: letters, digits and . _ -, at most 100."
        reader.wrong(fields["name"], f"{path}.name", "BAD_NAME", message)
    limit = reader.number(fields.get("limit"), f"{path}.limit", None, least=1)
    return Queue(
        name,
        reader.text(fields.get("parent"), f"{path}.parent") or None,
        reader.number(fields.get("weight"), f"{path}.weight", 1.0, above=True),
        reader.number(fields.get("priority"), f"{path}.priority", 0.0, least=-1e9),
        reader.number(fields.get("guaranteed"), f"{path}.guaranteed", 0.0),
        reader.number(fields.get("maximum"), f"{path}.maximum", 100.0),
        None if limit is None else int(limit),
        _rule(reader, fields, path, (*ORDERS, *SHARES), "priority"),
        _match(reader, fields["match"], f"{path}.match") if "match" in fields else None,
        reader.parsed(fields.get("hours"), f"{path}.hours", _hours),
        reader.parsed(fields.get("preemption_grace"), f"{path}.preemption_grace", _grace),
    )


def _grace(value: object) -> float:
    seconds = parse_duration(value)
    if seconds > MAX_GRACE_S:
        raise ValueError(f"it is {seconds:g} s; at most {MAX_GRACE_S:g} s, for so long others wait")
    return seconds


def _hours(value: object) -> Hours:
    found = _HOURS.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found.group(1, 2) == found.group(3, 4):
        raise ValueError("write the hours, UTC, like 22:00-06:00")
    begin, first, end, last = map(int, found.groups())
    return Hours(begin * 60 + first, end * 60 + last)


def _match(reader: _Reader, node: Node, path: str) -> Match:
    fields = reader.fields(node, path, _MATCH)
    needs = fields.get("resources")
    for key, value in needs.entries() if needs is not None and needs.kind == "map" else ():
        reader.parsed(value, f"{path}.resources.{key.text}", parse_amount)
    if needs is not None and needs.kind != "map":
        reader.wrong(needs, f"{path}.resources", "WRONG_TYPE", "Write a mapping of resources to amounts.")
    return Match(
        reader.texts(fields.get("job_types"), f"{path}.job_types"),
        reader.texts(fields.get("users"), f"{path}.users"),
        frozenset(tag.lower() for tag in reader.texts(fields.get("tags"), f"{path}.tags")),
        reader.labels(fields.get("labels"), f"{path}.labels"),
        reader.parsed(fields.get("shorter_than"), f"{path}.shorter_than", parse_duration),
        reader.parsed(fields.get("longer_than"), f"{path}.longer_than", parse_duration),
        needs_of(to_json(needs)) if needs is not None and needs.kind == "map" else (),
    )


def _check_tree(reader: _Reader, queues: list[Queue], items: list[Node]) -> None:
    """What `capacity_tree` says of the queues together, at the place of the field that it names."""
    nodes = [capacity_tree.Queue(one.name, one.parent, one.guaranteed, one.maximum) for one in queues]
    for violation in capacity_tree.check(nodes):
        found = re.match(r"queues\[(\d+)\](?:\.(\w+))?", violation.place)
        item = items[int(found.group(1))] if found is not None else None
        node = item or (items[0] if items else None)
        if item is not None and found is not None and item.kind == "map":
            node = next((value for key, value in item.entries() if key.text == found.group(2)), item)
        if node is not None:
            message = f"{violation.message[0].upper()}{violation.message[1:]}."
            reader.wrong(node, violation.place, "BAD_QUEUES", message)


def _check_weights(reader: _Reader, rule: Rule, queues: list[Queue], node: Node) -> None:
    by_queue = rule.policy == "multilevel" or (rule.policy in SHARES and rule.by == "queue")
    for name in rule.weights if by_queue else ():
        if name not in {queue.name for queue in queues}:
            reader.wrong(node, "set.weights", "UNKNOWN_VALUE", f"There is no queue {name[:60]!r}.")
