"""The file of alert rules: read and checked as a whole, each mistake at its line and column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.model import Violation
from formicary.engine.jobs.notices import is_address
from formicary.engine.jobs.policy_reader import read_mapping
from formicary.engine.jobs.readers import Context, join
from formicary.engine.jobs.templates.masking import mask
from formicary.engine.jobs.yaml_nodes import Node, YamlError, compose
from formicary.problems import FieldError, problem
from formicary.server.alerts.condition import Condition, WrongCondition, parse
from formicary.server.metrics.catalogue import CATALOGUE

SCALE, CONSOLIDATE, WEBHOOK, NOTIFY = ACTIONS = ("scale_workers", "consolidate_workers", "webhook", "notify")
MOST_RULES: Final = 100
MOST_BYTES: Final = 256 * 1024
METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    row.name: row.labels for row in CATALOGUE if row.kind in ("gauge", "counter")
}
_TOP: Final = (
    Field("alerts", "any", "the rules", required=True),
    Field("interval", "duration", "How often they are asked."),
)
_RULE: Final = (
    Field("name", "name", "a name of its own", most=100),
    Field("condition", "text", "when it fires", required=True, most=1000),
    Field("for", "duration", "How long the condition has to hold before."),
    Field("action", "choice", "what is done", required=True, choices=ACTIONS),
    Field("repeat", "duration", "The action again each time that it has held for so long; absent = once."),
    Field("by", "int", "Ants that are added or taken away.", least=1, most=64),
    Field("most", "int", "Local ants at most, for scale_workers.", least=1, most=256),
    Field("least", "int", "Local ants at least, for consolidate_workers.", least=0, most=256),
    Field("url", "text", "Where it is told, as a POST of JSON.", most=2000),
    Field("recipients", "text_list", "Who is to be told."),
    Field("message", "text", "What they are told.", most=2000),
)
_FOR: Final = {"by": (SCALE, CONSOLIDATE), "most": (SCALE,), "least": (CONSOLIDATE,), "recipients": (NOTIFY,)}
_NAME: Final = re.compile(r"[^\x00-\x1f{}\"\\]+\Z")


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One rule.

    Attributes:
        name: Its own.
        text: The condition as it was written.
        condition: The same, to be asked.
        action: scale_workers, consolidate_workers, webhook or notify.
        for_s: Seconds that the condition holds before it fires.
        repeat_s: Seconds after which the action is done again while it fires; 0 = once per episode.
        by: Ants that are added or taken away at a time.
        most: Local ants at most.
        least: Local ants at least.
        url: Where it is told; empty = only the log and the metrics know.
        recipients: Who is to be told.
        message: What they are told.
    """

    name: str
    text: str
    condition: Condition
    action: str
    for_s: float = 0.0
    repeat_s: float = 0.0
    by: int = 1
    most: int = 8
    least: int = 1
    url: str = ""
    recipients: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class AlertRules:
    """All rules of a server, and how often they are asked in seconds."""

    rules: tuple[AlertRule, ...] = ()
    interval_s: float = 5.0


def read_file(path: Path) -> AlertRules:
    """Reads a file of rules. Raises Problem VALIDATION_FAILED with everything that is wrong, by line and column."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise problem("VALIDATION_FAILED", f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise problem("VALIDATION_FAILED", f"{path} is not UTF-8: save it as UTF-8.") from error
    if len(data) > MOST_BYTES:
        raise problem("VALIDATION_FAILED", f"{path} has {len(data)} bytes, at most {MOST_BYTES} are read.")
    rules, wrong = read_rules(text)
    if wrong:
        lines = [f"{path}:{one.line}:{one.column}: {one.message}" for one in wrong]
        errors = [FieldError(one.path, one.code, one.message, one.line, one.column) for one in wrong]
        raise problem("VALIDATION_FAILED", "; ".join(lines), errors=errors, lines=lines)
    return rules


def read_rules(text: str) -> tuple[AlertRules, list[Violation]]:
    """The rules of a text, and all that is wrong with it."""
    ctx = Context(mask(text, "none"))
    try:
        root = compose(text)
    except YamlError as error:
        ctx.add_at(error.line, error.column, "", error.code, error.message)
        return AlertRules(), ctx.violations
    if root is None or (root.kind == "scalar" and not root.text):
        ctx.add_at(0, 0, "", "EMPTY_FILE", "The file is empty: write 'alerts:' and a list of rules.")
        return AlertRules(), ctx.violations
    top = read_mapping(ctx, root, "the file", {row.name: row for row in _TOP})
    found: list[AlertRule] = []
    names: set[str] = set()
    nodes = {key.text: value for key, value in root.pairs} if root.kind == "map" else {}
    listed = nodes.get("alerts")
    if top is not None and listed is not None:
        if listed.kind != "seq" or len(listed.items) > MOST_RULES:
            ctx.wrong_type(listed, "alerts", f"a list of at most {MOST_RULES} rules")
        for at, item in enumerate(listed.items):
            _take(ctx, item, at, names, found)
    interval_s = float((top or {}).get("interval") or AlertRules().interval_s)
    return AlertRules(tuple(found), interval_s), sorted(ctx.violations, key=lambda one: (one.line, one.column))


def _take(ctx: Context, node: Node, at: int, names: set[str], found: list[AlertRule]) -> None:
    path = f"alerts[{at}]"
    values = read_mapping(ctx, node, path, {row.name: row for row in _RULE})
    if values is None or node.kind != "map":
        return
    nodes = {key.text: value for key, value in node.pairs}
    name = str(values.get("name") or f"alert-{at + 1}")
    if name in names or not _NAME.match(name):
        message = f"{name!r} is taken or holds quotes or braces: give each alert a name of its own."
        ctx.add(nodes.get("name", node), join(path, "name"), "DUPLICATE_NAME", message)
    names.add(name)
    _check_action(ctx, node, nodes, path, values)
    condition = _condition(ctx, nodes.get("condition"), join(path, "condition"), values.get("condition"))
    if condition is None or "action" not in values:
        return
    given: dict[str, Any] = {key: values[key] for key in ("by", "most", "least", "url", "message") if key in values}
    found.append(
        AlertRule(
            name,
            str(values["condition"]),
            condition,
            str(values["action"]),
            for_s=float(values.get("for") or 0.0),
            repeat_s=float(values.get("repeat") or 0.0),
            recipients=tuple(values.get("recipients") or ()),
            **given,
        )
    )


def _check_action(ctx: Context, node: Node, nodes: Mapping[str, Node], path: str, values: Mapping[str, Any]) -> None:
    action = values.get("action")
    for name, actions in _FOR.items():
        if name in values and action is not None and action not in actions:
            message = f"{name} belongs to {' and '.join(actions)}, not to {action}: remove it."
            ctx.add(nodes[name], join(path, name), "WRONG_FIELD", message)
    url = values.get("url")
    if url is not None and (urlsplit(str(url)).scheme not in ("http", "https") or not urlsplit(str(url)).hostname):
        ctx.add(nodes["url"], join(path, "url"), "BAD_URL", f"Write {path}.url as http://HOST/… or https://HOST/….")
    if action == WEBHOOK and url is None:
        ctx.add(node, join(path, "url"), "MISSING_FIELD", f"{path} needs url: where {action} tells of the alert.")
    recipients = values.get("recipients") or ()
    if action == NOTIFY and url is None and not any(is_address(str(one)) for one in recipients):
        message = f"{path} needs url, or recipients with addresses of mailboxes: where notify tells of the alert."
        ctx.add(node, join(path, "url"), "MISSING_FIELD", message)


def _condition(ctx: Context, node: Node | None, path: str, text: object) -> Condition | None:
    if node is None or not isinstance(text, str):
        return None
    try:
        return parse(text, METRICS)
    except WrongCondition as error:
        is_one_line = node.line == node.end_line
        quote = is_one_line and node.end_column - node.column > len(text)
        ctx.add_at(node.line, node.column + (error.at + quote) * is_one_line, path, "BAD_CONDITION", error.message)
        return None
