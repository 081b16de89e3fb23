"""Label selectors as Kubernetes writes them: ``a=b,c!=d,e in (f,g),!h``. Pure.

Source: Kubernetes documentation, "Labels and Selectors".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_PART = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<name0>[\w./-]+)"
    r"|(?P<name1>[\w./-]+)\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\)"
    r"|(?P<name2>[\w./-]+)\s*(?P<sign>==|=|!=)\s*(?P<value>[\w.-]*)"
    r"|(?P<name3>[\w./-]+))\s*(?:,|\Z)"
)
Labels = Mapping[str, frozenset[str]]
"""Values by name; a label may have several, any of which counts."""
Selector = Callable[[Labels], bool]


def parse_selector(text: str) -> Selector:
    """Reads a selector; an empty one takes all. Raises ValueError naming the part that is none."""
    parts: list[Selector] = []
    at = 0
    while text[at:].strip():
        match = _PART.match(text, at)
        if match is None:
            raise ValueError(f"{text[at:][:60]!r} is no label selector: write name=value, name in (a,b), name or !name")
        parts.append(_part(match))
        at = match.end()
    return lambda labels: all(part(labels) for part in parts)


def _part(match: re.Match[str]) -> Selector:
    if (name := match["name0"]) is not None:
        return lambda labels: not labels.get(name)
    if (name := match["name1"]) is not None:
        values = frozenset(value.strip() for value in match["values"].split(","))
        wanted = match["set"] == "in"
        return lambda labels: bool(labels.get(name, frozenset()) & values) is wanted
    if (name := match["name2"]) is not None:
        value, equal = match["value"], match["sign"] != "!="
        return lambda labels: (value in (labels.get(name) or {""})) is equal
    name = match["name3"]
    return lambda labels: bool(labels.get(name))
