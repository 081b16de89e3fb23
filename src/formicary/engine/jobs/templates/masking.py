"""Hides template actions from the YAML parser without moving anything that stands beside them.

A job file is not YAML before it is rendered. To validate it as it stands, an action alone on its line (or lines)
becomes a blank line and an inline one a placeholder of the same width, so that every line and column stays true. A line
of a text over several lines (`key: |`) is no line alone.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from formicary.engine.jobs.templates.budget import TemplateError
from formicary.engine.jobs.templates.go_ast import Arm, Template
from formicary.engine.jobs.templates.go_functions import FUNCTIONS
from formicary.engine.jobs.templates.go_lexer import lex
from formicary.engine.jobs.templates.go_parser import parse_go

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line, for YAML as well as for us."""

_ROUGH_GO = re.compile(r"\{\{.*?(?:\}\}|(?=[\"'][ \t]*$)|$)", re.MULTILINE)
"""Actions where the text is no template: to their end, that of the quoted text they stand in, or that of the line."""
_BLOCK = re.compile(r"(?:^|[:?-][ \t]+(?:[&!][^ \t]+[ \t]+)*)[|>](?:[1-9]?[-+]?|[-+][1-9])[ \t]*(?:#.*)?$")
"""What begins a text over several lines."""
_JINJA_OPEN = re.compile(r"\{[{%#]")
_JINJA_INSIDE = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+]?(?:%\}|\}\})""", re.DOTALL)
_JINJA_WORD = re.compile(r"\{%[-+]?\s*(\w+)")
_JINJA_ENDRAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")


@dataclass(slots=True)
class Masked:
    """A source with hidden actions.

    Attributes:
        source: The text as it was.
        text: The text for the YAML parser; its lines are those of the source, blank lines may be shorter.
        char: The placeholder's character; it does not occur in the source.
        spans: (start, end) of every hidden action, in order.
        arms: Arms of the branches.
        errors: What is wrong with the templates.
        parsed: The parsed template of the Go dialect, if it is right.
        line_starts: Offset of each line in the source.
        blanked: Where the hidden actions begin that left no placeholder.
    """

    source: str
    text: str
    char: str = "\ue000"
    spans: list[tuple[int, int]] = field(default_factory=list)
    arms: list[Arm] = field(default_factory=list)
    errors: list[TemplateError] = field(default_factory=list)
    parsed: Template | None = None
    line_starts: list[int] = field(default_factory=list)
    blanked: frozenset[int] = frozenset()

    def offset(self, line: int, column: int) -> int:
        """Returns the offset in the source of a line and column that count from 0."""
        if line >= len(self.line_starts):
            return len(self.source)
        return min(self.line_starts[line] + column, len(self.source))

    def has_action(self, start: int, end: int) -> bool:
        """Says whether an action lies in a stretch of the source."""
        at = bisect_left(self.spans, (start, -1))
        if at > 0 and self.spans[at - 1][1] > start:
            return True
        return at < len(self.spans) and self.spans[at][0] < end

    def excludes(self, first: int, second: int) -> bool:
        """Says whether two offsets lie in different arms of one branch, so that only one of them is ever rendered."""
        inside = {arm.branch: arm.arm for arm in self.arms if arm.start <= first < arm.end}
        return any(arm.start <= second < arm.end and inside.get(arm.branch, arm.arm) != arm.arm for arm in self.arms)

    def unmask(self, value: str, start: int, end: int) -> str:
        """Puts the actions between two offsets back into a value that was read from the masked text."""
        if self.char not in value:
            return value
        at = bisect_left(self.spans, (start, -1))
        out: list[str] = []
        pos = 0
        while pos < len(value):
            while self.blanked and at < len(self.spans) and self.spans[at][0] in self.blanked:
                at += 1
            if value[pos] != self.char or at >= len(self.spans) or self.spans[at][0] >= end:
                out.append(value[pos])
                pos += 1
                continue
            first, last = self.spans[at]
            out.append(self.source[first:last])
            width = sum(len(line) for line in LINE_BREAK.split(self.source[first:last]))
            while pos < len(value) and width > 0 and value[pos] == self.char:
                pos += 1
                width -= 1
            at += 1
        return "".join(out)


def line_starts(source: str) -> list[int]:
    """Returns the offset of each line."""
    return [0, *(match.end() for match in LINE_BREAK.finditer(source))]


def position(starts: list[int], offset: int) -> tuple[int, int]:
    """Returns line and column (from 1) of an offset."""
    line = bisect_left(starts, offset + 1)
    return line, offset - starts[line - 1] + 1


def mask(source: str, dialect: str) -> Masked:
    """Hides the actions of a source; never raises, errors are listed in the result."""
    masked = Masked(source, source, line_starts=line_starts(source))
    if dialect == "none" or ("{{" not in source and (dialect == "go" or not _JINJA_OPEN.search(source))):
        return masked
    if dialect == "go":
        _scan_go(masked)
    else:
        _scan_jinja(masked)
    _hide(masked)
    return masked


def _scan_go(masked: Masked) -> None:
    try:
        masked.parsed = parse_go(masked.source, FUNCTIONS, is_yaml=True)
        masked.spans, masked.arms = masked.parsed.spans, masked.parsed.arms
        return
    except TemplateError as error:
        masked.errors.append(error)
    try:
        masked.spans = [(s.start, s.end) for s in lex(masked.source) if s.kind != "text"]
    except TemplateError:
        masked.spans = [match.span() for match in _ROUGH_GO.finditer(masked.source)]


def _scan_jinja(masked: Masked) -> None:
    """Finds the tags of a Jinja template; whether it compiles is checked by the engine."""
    source, pos = masked.source, 0
    open_branches: list[list[int]] = []
    branches = 0
    while (match := _JINJA_OPEN.search(source, pos)) is not None:
        start = match.start()
        end = _jinja_end(source, start, match.group())
        masked.spans.append((start, end))
        pos = end
        word = _JINJA_WORD.match(source, start)
        name = word.group(1) if word is not None else ""
        if name == "raw":
            closing = _JINJA_ENDRAW.search(source, end)
            if closing is not None:
                masked.spans.append(closing.span())
                pos = closing.end()
        elif name == "if":
            branches += 1
            open_branches.append([branches, 0, end])
        elif name in ("elif", "else", "endif") and open_branches:
            branch, arm, since = open_branches[-1]
            masked.arms.append(Arm(branch, arm, since, start))
            if name == "endif":
                open_branches.pop()
            else:
                open_branches[-1] = [branch, arm + 1, end]
        elif name == "for":
            open_branches.append([-1 - branches, 0, end])
        elif name == "endfor" and open_branches:
            open_branches.pop()


def _jinja_end(source: str, start: int, opener: str) -> int:
    if opener == "{#":
        close = source.find("#}", start + 2)
        return close + 2 if close >= 0 else len(source)
    wanted = "%}" if opener == "{%" else "}}"
    for match in _JINJA_INSIDE.finditer(source, start + 2):
        if match.group().endswith(wanted) and match.group()[0] not in "'\"":
            return match.end()
    return len(source)


def _hide(masked: Masked) -> None:
    source = masked.source
    while masked.char in source:
        masked.char = chr(ord(masked.char) + 1)
    pieces: list[str] = []
    pos = 0
    for start, end in masked.spans:
        pieces.append(source[pos:start])
        pieces.append(_fill(source[start:end], masked.char))
        pos = end
    pieces.append(source[pos:])
    text = "".join(pieces)
    lines: list[tuple[str, str]] = []
    pos = 0
    for match in LINE_BREAK.finditer(text):
        lines.append((text[pos : match.start()], match.group()))
        pos = match.end()
    lines.append((text[pos:], ""))
    alone = _lines_alone([line for line, _ in lines], masked.char)
    masked.text = "".join(("" if number in alone else line) + end for number, (line, end) in enumerate(lines))
    if alone:
        starts = masked.line_starts
        masked.blanked = frozenset(start for start, _ in masked.spans if bisect_left(starts, start + 1) - 1 in alone)


def _lines_alone(lines: Sequence[str], char: str) -> set[int]:
    """Numbers of the lines that hold nothing but actions, unless they are lines of a text, as `key: |` begins one.

    A line of such a text has at least its indentation, which the first line with more than actions gives.
    """
    blank = char + " \t"
    found = {number for number, line in enumerate(lines) if char in line and not line.strip(blank)}
    number = 0
    while found and number < len(lines):
        header = _BLOCK.search(lines[number])
        number += 1
        if header is None or char in header.group() or lines[number - 1].lstrip().startswith("#"):
            continue
        parent, first = _indentation(lines[number - 1]), number
        while number < len(lines) and (
            number in found or not lines[number].strip() or _indentation(lines[number]) > parent
        ):
            number += 1
        _keep_text_lines(lines, range(first, number), parent, found)
    return found


def _keep_text_lines(lines: Sequence[str], block: range, parent: int, alone: set[int]) -> None:
    """Takes the lines of a text out of those that are left blank."""
    filled = [number for number in block if lines[number].strip()]
    plain = next((number for number in filled if number not in alone), None)
    inside = [number for number in filled if _indentation(lines[number]) > parent]
    if not inside:
        return
    indentation = _indentation(lines[inside[0] if plain is None else plain])
    for number in inside:
        own = _indentation(lines[number])
        if own == indentation or (own > indentation and (plain is None or number > plain)):
            alone.discard(number)


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _fill(action: str, char: str) -> str:
    out: list[str] = []
    pos = 0
    for match in LINE_BREAK.finditer(action):
        out.append(char * (match.start() - pos) + match.group())
        pos = match.end()
    out.append(char * (len(action) - pos))
    return "".join(out)
