"""Reads YAML 1.2 into nodes that know their line and column, bounded in size and depth.

The C parser delivers events; the nodes are put together here without recursion, because the library's own composer
overflows the C stack on deeply nested input. Aliases share their node, and what they would expand to is counted.
Scalars are typed by the core schema: ``on`` and ``yes`` are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

MAX_DEPTH = 64
"""Nesting of one document."""

MAX_NODES = 500_000
"""Nodes of one document, with every alias expanded."""

_TAG = "tag:yaml.org,2002:"
_TAGS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "seq", "map"))
_INT = re.compile(r"[-+]?[0-9]+\Z")
_RADIX = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


class YamlError(Exception):
    """The text is no YAML, or more of it than we take; ``line`` and ``column`` count from 0."""

    def __init__(self, code: str, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line
        self.column = column


def _at(event: Event) -> tuple[int, int]:
    """Returns line and column of an event, from 0."""
    mark = event.start_mark
    return (mark.line, mark.column) if mark is not None else (0, 0)


class Node:
    """A scalar, a sequence or a mapping with its place in the text.

    Attributes:
        kind: ``scalar``, ``seq`` or ``map``.
        text: Text of a scalar.
        plain: Whether a scalar is unquoted, so that the core schema types it.
        tag: Explicit tag, or None.
        items: Children of a sequence.
        pairs: Children of a mapping, in order, duplicates kept.
        flow: Whether a collection is written in brackets.
        line: Line of the start, from 0.
        column: Column of the start, from 0.
        end_line: Line of the end, from 0.
        end_column: Column behind the end, from 0.
    """

    __slots__ = (
        "column",
        "end_column",
        "end_line",
        "flow",
        "height",
        "items",
        "kind",
        "line",
        "pairs",
        "plain",
        "size",
        "tag",
        "text",
    )

    def __init__(self, kind: str, event: Event) -> None:
        self.kind = kind
        self.line, self.column = _at(event)
        end = event.end_mark
        self.end_line, self.end_column = (end.line, end.column) if end is not None else (self.line, self.column)
        self.text = ""
        self.plain = False
        self.flow = False
        self.tag: str | None = None
        self.items: list[Node] = []
        self.pairs: list[tuple[Node, Node]] = []
        self.size = 1
        self.height = 1

    def entries(self) -> list[tuple[Node, Node]]:
        """Returns the pairs of a mapping with merge keys (``<<``) resolved; own keys win."""
        if not any(key.text == "<<" and key.plain for key, _ in self.pairs):
            return self.pairs
        own = [pair for pair in self.pairs if not (pair[0].text == "<<" and pair[0].plain)]
        seen = {key.text for key, _ in own}
        for key, value in self.pairs:
            if key.text == "<<" and key.plain:
                for source in value.items if value.kind == "seq" else [value]:
                    for name, item in source.pairs:
                        if name.text not in seen:
                            seen.add(name.text)
                            own.append((name, item))
        return own

    def walk(self) -> Iterator[Node]:
        """Yields this node and everything below it, each shared node as often as it is used."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.items)
            for key, value in node.pairs:
                stack += (key, value)


def scalar_value(node: Node) -> object:
    """Returns the value of a scalar: text, int, float, bool or None."""
    tag = node.tag
    if tag is not None:
        return _tagged(node, tag)
    if not node.plain:
        return node.text
    return plain_value(node.text)


def plain_value(text: str) -> object:
    """Types an unquoted text by the core schema."""
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first.isdigit() or first in "+-.":
        if len(text) > 400:
            return text
        if _INT.match(text):
            return int(text)
        if _FLOAT.match(text):
            return float(text)
        if _RADIX.match(text):
            return int(text, 0)
    return text


def _tagged(node: Node, tag: str) -> object:
    value = plain_value(node.text)
    if tag == _TAG + "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float,), "bool": (bool,)}
    for name, types in wanted.items():
        if tag == _TAG + name and isinstance(value, types):
            return value
    return None if tag == _TAG + "null" else node.text


def to_json(node: Node) -> object:
    """Returns a node as JSON values; keys become text, the last of equal keys wins."""
    if node.kind == "scalar":
        return scalar_value(node)
    if node.kind == "seq":
        return [to_json(item) for item in node.items]
    return {key.text: to_json(value) for key, value in node.entries()}


def compose(text: str, anchors: dict[str, Node] | None = None) -> Node | None:
    """Reads the first document of a text; None when there is none.

    Args:
        text: The text.
        anchors: What aliases may name besides; receives the anchors of the text.

    Raises:
        YamlError: Syntax error, forbidden character, too deep, too many nodes, unknown alias or tag, second document.
    """
    loader = None
    try:
        loader = yaml.CSafeLoader(text)
        return _Composer(loader, {} if anchors is None else anchors).run()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text) from None
    except yaml.reader.ReaderError as error:
        at = text.find(chr(error.character)) if isinstance(error.character, int) else -1
        before = text[: max(at, 0)]
        line = before.count("\n")
        raise YamlError(
            "BAD_CHARACTER",
            "The file holds a control character; save it as plain UTF-8 text.",
            line,
            len(before) - before.rfind("\n") - 1,
        ) from None
    except UnicodeEncodeError as error:
        before = text[: error.start]
        line = before.count("\n")
        raise YamlError(
            "BAD_CHARACTER",
            "The file holds half a surrogate pair; save it as UTF-8.",
            line,
            len(before) - before.rfind("\n") - 1,
        ) from None
    finally:
        if loader is not None:
            loader.dispose()


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> YamlError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    problem = (error.problem or "it cannot be read").strip()
    lines = text.split("\n")
    shown = lines[line] if line < len(lines) else ""
    if "cannot start any token" in problem and "\t" in shown[: column + 1]:
        return YamlError("YAML_TAB", "YAML is not indented with tabs; use spaces.", line, column)
    hint = ""
    if "mapping values are not allowed" in problem:
        hint = "; put the text in quotes if it holds ': '"
    elif "expected ':'" in problem:
        hint = "; is a ':' missing?"
    elif "cannot start any token" in problem:
        hint = "; put the text in quotes"
    elif "end of stream" in problem:
        hint = "; is a closing quote missing?"
    elif "expected <block end>" in problem or "expected <block" in problem:
        hint = "; check the indentation"
    return YamlError("YAML_SYNTAX", f"This is no valid YAML: {problem}{hint}.", line, column)


class _Composer:
    def __init__(self, loader: yaml.CSafeLoader, anchors: dict[str, Node]) -> None:
        self.loader = loader
        self.stack: list[Node] = []
        self.open: list[str | None] = []
        self.keys: list[Node | None] = []
        self.anchors = anchors
        self.root: Node | None = None
        self.documents = 0

    def run(self) -> Node | None:
        get: Callable[[], Any] = self.loader.get_event  # the kind of an event is looked at below
        while self.loader.check_event():
            event = get()
            kind = type(event)
            if kind is ScalarEvent:
                self.scalar(event)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                self.start("map" if kind is MappingStartEvent else "seq", event)
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                self.end(event)
            elif kind is AliasEvent:
                self.alias(event)
            elif kind is DocumentStartEvent:
                self.documents += 1
                if self.documents > 1:
                    raise YamlError("YAML_SYNTAX", "Separate several jobs with a line '---'.", *_at(event))
        return self.root

    def scalar(self, event: ScalarEvent) -> None:
        node = Node("scalar", event)
        node.text = event.value
        node.plain = not event.style
        self.tag(node, event.tag)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self.add(node)

    def start(self, kind: str, event: MappingStartEvent | SequenceStartEvent) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise YamlError("YAML_TOO_DEEP", f"More than {MAX_DEPTH} levels are not read.", *_at(event))
        node = Node(kind, event)
        node.flow = bool(event.flow_style)
        self.tag(node, event.tag)
        self.stack.append(node)
        self.open.append(event.anchor)
        self.keys.append(None)

    def end(self, event: MappingEndEvent | SequenceEndEvent) -> None:
        node = self.stack.pop()
        anchor = self.open.pop()
        self.keys.pop()
        end = event.end_mark
        if end is not None:
            node.end_line, node.end_column = end.line, end.column
        if anchor is not None:
            self.anchors[anchor] = node
        self.add(node)

    def alias(self, event: AliasEvent) -> None:
        node = self.anchors.get(event.anchor or "")
        if node is None:
            raise YamlError("YAML_SYNTAX", f"There is no finished anchor &{event.anchor}.", *_at(event))
        self.add(node)

    def add(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        if parent.size > MAX_NODES:
            raise YamlError("YAML_TOO_LARGE", f"More than {MAX_NODES:,} values are not read.", node.line, node.column)
        if parent.height > 2 * MAX_DEPTH:
            raise YamlError("YAML_TOO_DEEP", "The aliases are nested too deep.", node.line, node.column)
        if parent.kind == "seq":
            parent.items.append(node)
            return
        key = self.keys[-1]
        if key is None:
            if node.kind != "scalar":
                raise YamlError("YAML_SYNTAX", "Only text can be a key here.", node.line, node.column)
            self.keys[-1] = node
        else:
            parent.pairs.append((key, node))
            self.keys[-1] = None

    def tag(self, node: Node, tag: str | None) -> None:
        if tag is None or tag == "!":
            node.tag = None if tag is None else _TAG + "str"
            return
        if tag not in _TAGS:
            raise YamlError("YAML_TAG", f"The tag {tag} is not known; remove it.", node.line, node.column)
        node.tag = tag if node.kind == "scalar" else None
