"""Path templates of ``google.api.http``, parsed.

Grammar (google/api/http.proto)::

    Template = "/" Segments [ Verb ] ;   Segments = Segment { "/" Segment } ;
    Segment  = "*" | "**" | LITERAL | Variable ;   Variable = "{" FieldPath [ "=" Segments ] "}" ;
    FieldPath = IDENT { "." IDENT } ;   Verb = ":" LITERAL ;

Two things more are taken, as other transcoders do: ``/`` alone, and literals after ``**``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

STAR = "*"
DEEP = "**"

_IDENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LITERAL = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()+,;=@]|%[0-9A-Fa-f]{2})+")


class TemplateError(ValueError):
    """The text is no path template."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: a literal, decoded, or a wildcard.

    Attributes:
        text: Text of a literal, ``*`` or ``**``.
        literal: Whether it is a literal.
    """

    text: str
    literal: bool


@dataclass(frozen=True, slots=True)
class Variable:
    """A part of the path that is the value of a field.

    Attributes:
        field_path: Names of the fields from the request message down.
        start: Index of its first segment.
        end: Index after its last segment, in the template.
        multi: Whether it may span several segments, so that ``%2F`` is left as it is.
    """

    field_path: tuple[str, ...]
    start: int
    end: int
    multi: bool


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A parsed template.

    Attributes:
        segments: Variables are replaced by the segments they stand for.
        variables: In order.
        verb: Text after the colon, decoded, without the colon; empty where there is none.
    """

    segments: tuple[Segment, ...]
    variables: tuple[Variable, ...]
    verb: str = ""

    @property
    def deep_at(self) -> int | None:
        """Index of ``**``, None where there is none."""
        for index, segment in enumerate(self.segments):
            if segment.text == DEEP and not segment.literal:
                return index
        return None

    @classmethod
    def parse(cls, text: str) -> PathTemplate:
        """Parses a template.

        Raises:
            TemplateError: It is none; the message says why and where.
        """
        return _Parser(text).template()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._segments: list[Segment] = []
        self._variables: list[Variable] = []

    def template(self) -> PathTemplate:
        if self._text == "/":
            return PathTemplate((), ())
        self._expect("/")
        self._run_of_segments(in_variable=False)
        verb = ""
        if self._peek() == ":":
            self._at += 1
            verb = self._literal()
        if self._at < len(self._text):
            raise self._error(f"{self._text[self._at]!r} is not expected")
        self._check()
        return PathTemplate(tuple(self._segments), tuple(self._variables), verb)

    def _run_of_segments(self, *, in_variable: bool) -> None:
        self._segment(in_variable=in_variable)
        while self._peek() == "/":
            self._at += 1
            self._segment(in_variable=in_variable)

    def _segment(self, *, in_variable: bool) -> None:
        if self._text.startswith(DEEP, self._at):
            self._at += 2
            self._segments.append(Segment(DEEP, False))
        elif self._peek() == STAR:
            self._at += 1
            self._segments.append(Segment(STAR, False))
        elif self._peek() == "{":
            if in_variable:
                raise self._error("a variable may not contain another one")
            self._variable()
        else:
            self._segments.append(Segment(self._literal(), True))
        if self._peek() not in ("", "/", ":", "}" if in_variable else ""):
            raise self._error(f"{self._peek()!r} may not follow a segment")

    def _variable(self) -> None:
        self._expect("{")
        path = [self._ident()]
        while self._peek() == ".":
            self._at += 1
            path.append(self._ident())
        start = len(self._segments)
        if self._peek() == "=":
            self._at += 1
            self._run_of_segments(in_variable=True)
        else:
            self._segments.append(Segment(STAR, False))
        self._expect("}")
        inner = self._segments[start:]
        multi = len(inner) > 1 or (inner[0].text == DEEP and not inner[0].literal)
        self._variables.append(Variable(tuple(path), start, len(self._segments), multi))

    def _ident(self) -> str:
        found = _IDENT.match(self._text, self._at)
        if found is None:
            raise self._error("a field name is expected")
        self._at = found.end()
        return found.group()

    def _literal(self) -> str:
        found = _LITERAL.match(self._text, self._at)
        if found is None:
            raise self._error("a literal, *, ** or {variable} is expected")
        self._at = found.end()
        try:
            return unquote(found.group(), errors="strict")
        except UnicodeDecodeError:
            raise self._error("a literal is not UTF-8") from None

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _expect(self, what: str) -> None:
        if self._peek() != what:
            raise self._error(f"{what!r} is expected")
        self._at += 1

    def _check(self) -> None:
        wild = [segment.text for segment in self._segments if not segment.literal]
        if DEEP in wild[:-1]:
            raise TemplateError(f"{self._text}: no wildcard may follow **")
        names = [variable.field_path for variable in self._variables]
        for index, name in enumerate(names):
            for other in names[:index]:
                if name[: len(other)] == other or other[: len(name)] == name:
                    raise TemplateError(f"{self._text}: {'.'.join(name)} is bound twice")

    def _error(self, why: str) -> TemplateError:
        return TemplateError(f"{self._text}: {why} at character {self._at + 1}")
