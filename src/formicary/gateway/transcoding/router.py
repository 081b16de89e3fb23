"""From an HTTP method and a path to what serves it: a trie of path templates.

At every segment a literal is tried before ``*``, and ``*`` before ``**``; where several ``**`` stand at the same place
the one with the longest tail of literals is tried first. A leaf without the HTTP method is passed over, so that a less
specific template with it is found; what was passed over is the answer to OPTIONS and the ``Allow`` of a 405.

A path that ends in ``:verb`` belongs to the templates with that verb, if one matches; only otherwise is the colon part
of the last segment. Empty segments are matched by ``**`` alone, and never as its first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from formicary.gateway.transcoding.path_template import STAR, PathTemplate

T = TypeVar("T")
ANY = "*"
"""The HTTP method of a rule that leaves it open (``custom { kind: "*" }``)."""

_PLAIN_KEPT = 1024
"""Paths without variables whose matches are remembered."""

_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SLASH = re.compile(r"(%2[fF])")
_RESERVED = re.compile(r"(%(?:2[13467-9A-CFa-cf]|3[ABDFabdf]|40|5[BDbd]))")


class PathError(ValueError):
    """The path is not percent-encoded UTF-8; carries what is wrong."""


@dataclass(frozen=True, slots=True)
class Match(Generic[T]):
    """What serves a request.

    Attributes:
        target: As it was added.
        values: Field path of each variable with its decoded text.
    """

    target: T
    values: tuple[tuple[tuple[str, ...], str], ...]


@dataclass(slots=True)
class _Leaf(Generic[T]):
    methods: dict[str, tuple[PathTemplate, T]] = field(default_factory=dict)


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: dict[str, _Node[T]] = field(default_factory=dict)
    star: _Node[T] | None = None
    deep: list[tuple[tuple[str, ...], _Leaf[T]]] = field(default_factory=list)
    leaf: _Leaf[T] = field(default_factory=_Leaf)


class Router(Generic[T]):
    """Finds the target of a request.

    Args:
        keep_reserved: Whether a variable of several segments keeps every reserved character of RFC 6570 encoded, and
            not ``%2F`` alone.
    """

    def __init__(self, *, keep_reserved: bool = False) -> None:
        self._roots: dict[str, _Node[T]] = {}
        self._kept = _RESERVED if keep_reserved else _SLASH
        self._plain: dict[tuple[str, str], Match[T]] = {}

    def add(self, method: str, template: PathTemplate, target: T) -> None:
        """Adds a template.

        Raises:
            ValueError: Another target has the same method and matches the same paths.
        """
        node = self._roots.setdefault(template.verb, _Node())
        leaf = None
        for index, segment in enumerate(template.segments):
            if segment.literal:
                node = node.literals.setdefault(segment.text, _Node())
            elif segment.text == STAR:
                node.star = node.star or _Node()
                node = node.star
            else:
                leaf = _deep_leaf(node, tuple(after.text for after in template.segments[index + 1 :]))
                break
        leaf = leaf or node.leaf
        if method in leaf.methods:
            raise ValueError(f"{leaf.methods[method][1]} and {target} answer the same requests")
        leaf.methods[method] = (template, target)
        self._plain.clear()

    def find(self, method: str, path: str) -> Match[T] | set[str]:
        """Finds the target of a request.

        Args:
            method: HTTP method, upper case.
            path: As it was sent, percent-encoded, without query.

        Returns:
            The match; or the HTTP methods that the path has, empty where the path is unknown.

        Raises:
            PathError: Bad percent-encoding or no UTF-8.
        """
        known = self._plain.get((method, path))
        if known is not None:
            return known
        found = self._find(method, path)
        if isinstance(found, Match) and not found.values and len(self._plain) < _PLAIN_KEPT and len(path) < 256:
            self._plain[method, path] = found
        return found

    def _find(self, method: str, path: str) -> Match[T] | set[str]:
        parts = _split(path)
        if parts is None:
            return set()
        allowed: set[str] = set()
        for raw, verb in _readings(parts, self._roots):
            texts = [decode(part) for part in raw] if "%" in path else raw
            for leaf in _leaves(self._roots[verb], texts, 0):
                hit = leaf.methods.get(method) or leaf.methods.get(ANY)
                if hit is not None:
                    template, target = hit
                    return Match(target, tuple(self._values(template, raw)))
                allowed.update(leaf.methods)
            if allowed:
                break
        return allowed

    def _values(self, template: PathTemplate, raw: list[str]) -> Iterator[tuple[tuple[str, ...], str]]:
        more = len(raw) - len(template.segments)
        deep = template.deep_at
        for variable in template.variables:
            start, end = variable.start, variable.end
            if deep is not None:
                start += more if start > deep else 0
                end += more if end > deep else 0
            if variable.multi:
                yield variable.field_path, self._multi("/".join(raw[start:end]))
            else:
                yield variable.field_path, decode(raw[start])

    def _multi(self, text: str) -> str:
        if "%" not in text:
            return text
        pieces = self._kept.split(text)
        kept = [piece if index % 2 else decode(piece) for index, piece in enumerate(pieces)]
        return "".join(kept)


def decode(text: str) -> str:
    """Decodes percent-encoding.

    Raises:
        PathError: It is not percent-encoded UTF-8.
    """
    if "%" not in text and text.isascii():
        return text
    if _BAD_PERCENT.search(text):
        raise PathError("a % must be followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise PathError("the percent-encoded bytes are not UTF-8") from None


def _deep_leaf(node: _Node[T], tail: tuple[str, ...]) -> _Leaf[T]:
    for known, leaf in node.deep:
        if known == tail:
            return leaf
    fresh: _Leaf[T] = _Leaf()
    node.deep.append((tail, fresh))
    node.deep.sort(key=lambda entry: -len(entry[0]))
    return fresh


def _split(path: str) -> list[str] | None:
    if not path.startswith("/"):
        return None
    return path[1:].split("/") if len(path) > 1 else []


def _readings(parts: list[str], verbs: Iterable[str]) -> Iterator[tuple[list[str], str]]:
    """The segments and verb of the path, first with the verb taken off, then as they stand."""
    last = parts[-1] if parts else ""
    rest, colon, verb = last.rpartition(":")
    if colon and rest and decode(verb) in verbs and verb:
        yield [*parts[:-1], rest], decode(verb)
    if "" in verbs:
        yield parts, ""


def _leaves(node: _Node[T], texts: list[str], at: int) -> Iterator[_Leaf[T]]:
    """Leaves that match, the most specific first."""
    if at == len(texts):
        if node.leaf.methods:
            yield node.leaf
    elif texts[at]:
        after = node.literals.get(texts[at])
        if after is not None:
            yield from _leaves(after, texts, at + 1)
        if node.star is not None:
            yield from _leaves(node.star, texts, at + 1)
    for tail, leaf in node.deep:
        end = len(texts) - len(tail)
        if end >= at and tuple(texts[end:]) == tail and (end == at or texts[at] or end == len(texts) == at + 1):
            yield leaf
