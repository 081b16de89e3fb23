"""Cuts a text in the Go template dialect into plain text, comments and actions, and actions into tokens.

Follows the documented syntax of Go's text/template: ``{{`` and ``}}`` delimit actions, ``{{- `` and `` -}}`` trim the
white space beside them, a comment fills a whole action. Written from that documentation.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, field

from formicary.engine.jobs.templates.budget import TemplateError, check_size

LEFT, RIGHT = "{{", "}}"
_SPACE = " \t\r\n"

_TOKEN = re.compile(
    r"""
      (?P<string>"(?:[^"\\\n]|\\.)*")
    | (?P<raw>`[^`]*`)
    | (?P<char>'(?:[^'\\\n]|\\[^\n][^'\n]*)')
    | (?P<declare>:=)
    | (?P<assign>=)
    | (?P<pipe>\|)
    | (?P<comma>,)
    | (?P<lparen>\()
    | (?P<rparen>\))
    | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+
        |(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?))
    | (?P<field>\.[^\W\d]\w*)
    | (?P<dot>\.)
    | (?P<variable>\$\w*)
    | (?P<word>[^\W\d]\w*)
    """,
    re.VERBOSE,
)
_WORDLIKE = frozenset({"number", "field", "variable", "word"})
_AFTER_WORD = frozenset(_SPACE + ".,|:)(=")


@dataclass(slots=True)
class Token:
    """One token of an action; ``spaced`` says that white space stands before it, ``width`` how long it is there."""

    kind: str
    text: str
    pos: int
    spaced: bool
    width: int = 0


@dataclass(slots=True)
class Segment:
    """A piece of the source.

    Attributes:
        kind: ``text``, ``comment`` or ``action``.
        start: Offset of the first character in the source, delimiters included.
        end: Offset behind the last one.
        text: What a text segment prints after trimming.
        at: Offset of the first character of ``text``.
        tokens: The tokens of an action.
    """

    kind: str
    start: int
    end: int
    text: str = ""
    at: int = 0
    tokens: list[Token] = field(default_factory=list)


def lex(source: str, plain: Set[int] = frozenset()) -> list[Segment]:
    """Returns the pieces of a template, in order and without gaps.

    Args:
        source: The template.
        plain: Offsets of ``{{`` that are text.

    Raises:
        TemplateError: Unclosed action or comment, unterminated string, character that fits nowhere.
    """
    check_size(source)
    segments: list[Segment] = []
    pos, trim_next = 0, False
    while True:
        left = source.find(LEFT, pos)
        while left in plain:
            left = source.find(LEFT, left + len(LEFT))
        end = left if left >= 0 else len(source)
        trim_left = left >= 0 and _trims_left(source, left)
        if end > pos:
            segments.append(_text(source, pos, end, trim_next, trim_left))
        if left < 0:
            return segments
        segment, trim_next = _action(source, left, trim_left)
        segments.append(segment)
        pos = segment.end


def _trims_left(source: str, left: int) -> bool:
    return source.startswith("-", left + 2) and source[left + 3 : left + 4] in tuple(_SPACE)


def _text(source: str, start: int, end: int, trim_start: bool, trim_end: bool) -> Segment:
    text, at = source[start:end], start
    if trim_start:
        text = text.lstrip(_SPACE)
        at = end - len(text)
    if trim_end:
        text = text.rstrip(_SPACE)
    return Segment("text", start, end, text, at)


def _action(source: str, left: int, trim_left: bool) -> tuple[Segment, bool]:
    pos = left + (4 if trim_left else 2)
    if source.startswith("/*", pos):
        return _comment(source, left, pos)
    tokens: list[Token] = []
    size = len(source)
    while True:
        start = pos
        while pos < size and source[pos] in _SPACE:
            pos += 1
        spaced = pos > start
        if pos >= size:
            raise TemplateError("This action is not closed: add '}}'.", left)
        if source.startswith(RIGHT, pos):
            return Segment("action", left, pos + 2, tokens=tokens), False
        if spaced and source.startswith("-}}", pos):
            return Segment("action", left, pos + 3, tokens=tokens), True
        token = _token(source, pos, left, spaced)
        tokens.append(token)
        pos += token.width or len(token.text)


def _comment(source: str, left: int, pos: int) -> tuple[Segment, bool]:
    close = source.find("*/", pos + 2)
    if close < 0:
        raise TemplateError("This comment is not closed: add '*/}}'.", left)
    after = close + 2
    if source.startswith(RIGHT, after):
        return Segment("comment", left, after + 2), False
    if source[after : after + 1] in tuple(_SPACE) and source.startswith("-}}", after + 1):
        return Segment("comment", left, after + 4), True
    raise TemplateError("A comment fills the whole action: put '}}' right behind '*/'.", left)


_NAME_OF_FILE = re.compile(r"'([^'\"\\\n]{2,})'")
"""The one place where text in single quotes is taken: ``checksum 'FILE'``, as job files write it."""
_ESCAPED = re.compile(r'\\"([^"\\\n`]*)\\"')
"""Text whose quotes are escaped, since the action stands in a YAML text that is in double quotes itself."""


def _token(source: str, pos: int, left: int, spaced: bool) -> Token:
    if source[pos] == "'" and source[max(0, pos - 20) : pos].rstrip(_SPACE).endswith("checksum"):
        name = _NAME_OF_FILE.match(source, pos)
        if name is not None:
            return Token("string", f'"{name[1]}"', pos, spaced)
    if source[pos] == "\\" and (escaped := _ESCAPED.match(source, pos)) is not None:
        return Token("raw", f"`{escaped[1]}`", pos, spaced, len(escaped[0]))
    match = _TOKEN.match(source, pos)
    if match is None or match.lastgroup is None:
        char = source[pos]
        if char == '"':
            raise TemplateError("This quoted string is not closed.", pos)
        if char == "`":
            raise TemplateError("This raw string is not closed.", pos)
        if char == "'":
            raise TemplateError("This is no character constant; use double quotes for text.", pos)
        raise TemplateError(f"Unexpected {char!r} in this action.", pos)
    kind = match.lastgroup
    if kind in _WORDLIKE:
        after = source[match.end() : match.end() + 1]
        if after and after not in _AFTER_WORD and not source.startswith(RIGHT, match.end()):
            hint = " (use index for names with dashes)" if after == "-" else ""
            raise TemplateError(f"Unexpected {after!r} after {match.group()}{hint}.", match.end())
    return Token(kind, match.group(), pos, spaced)
