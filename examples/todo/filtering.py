"""The filter language of ListTasks: a subset of AIP-160, parsed to a tree and from there to SQL with parameters.

    status = PENDING AND (tags:urgent OR due_date < "2030-01-01T00:00:00Z") AND NOT title:"weekly *"

OR binds tighter than AND, as AIP-160 has it; terms side by side mean AND; a word alone is looked for in title and
description. A comparison with a field that has no value is false.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from examples.todo.instants import InvalidInstant, parse_instant
from examples.todo.v1 import todo_pb2

MAX_TERMS = 50
MAX_DEPTH = 20

STRINGS = {"name", "title", "description", "created_by"}
INSTANTS = {"due_date", "create_time", "update_time"}
ENUMS = {"status": todo_pb2.Status, "priority": todo_pb2.Priority}
FIELDS = (*sorted(STRINGS), *sorted(INSTANTS), *ENUMS, "tags")

_TOKENS = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<instant>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))
    |(?P<op><=|>=|!=|[=<>:()])
    |(?P<minus>-(?=[^\s\d]))
    |(?P<word>[^\s"'()=<>!:]+)
    )""",
    re.X,
)
_COMPARATORS = {"=", "!=", "<", "<=", ">", ">=", ":"}
_KEYWORDS = {"AND", "OR", "NOT"}


class InvalidFilter(ValueError):
    """The filter cannot be understood; the text says where and what to write instead."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """``field op value``; ``value`` is text, an instant in its stored form, or the number of an enum value."""

    field: str
    op: str
    value: str | int


@dataclass(frozen=True, slots=True)
class Word:
    """A word to be found in title or description, whatever its case."""

    text: str


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    term: Node


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of them."""

    terms: tuple[Node, ...]


Node = Restriction | Word | Not | And | Or


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKENS.match(text, at)
        if found is None:
            rest = text[at:].lstrip()
            if rest[:1] in "\"'":
                raise InvalidFilter(f"the quote at position {end - len(rest.rstrip()) + 1} is not closed")
            raise InvalidFilter(f"{rest[:1]!r} at position {end - len(rest.rstrip()) + 1} has no meaning here")
        kind = found.lastgroup or ""
        value = found[kind]
        if kind == "string":
            value = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.S)
        if any(ord(letter) < 32 for letter in value):
            raise InvalidFilter("control characters are not allowed")
        yield _Token(kind, value, found.start(kind) + 1)
        at = found.end()


class _Parser:
    """Recursive descent over the grammar of AIP-160; each method is one of its rules."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), _Token("end", "", len(text) + 1)]
        self._next = 0
        self._terms = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._expression()
        if self._peek.kind != "end":
            raise InvalidFilter(f"{self._peek.text!r} at position {self._peek.at} is one too many")
        return node

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek
        self._next += token.kind != "end"
        return token

    def _is(self, *texts: str) -> bool:
        return self._peek.kind in ("op", "word", "minus") and self._peek.text in texts

    def _expression(self) -> Node:
        """Sequences joined by AND; what stands side by side is joined by AND too."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidFilter(f"parentheses and NOT go more than {MAX_DEPTH} deep")
        terms = [self._factor()]
        while self._peek.kind != "end" and not self._is(")"):
            if self._is("AND"):
                self._take()
            terms.append(self._factor())
        self._depth -= 1
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _factor(self) -> Node:
        terms = [self._term()]
        while self._is("OR"):
            self._take()
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _term(self) -> Node:
        if self._is("NOT", "-"):
            self._take()
            if self._is("NOT", "-"):
                raise InvalidFilter(f"NOT NOT at position {self._peek.at}: leave both out")
            return Not(self._simple())
        return self._simple()

    def _simple(self) -> Node:
        if self._is("("):
            opening = self._take()
            node = self._expression()
            if not self._is(")"):
                raise InvalidFilter(f"the parenthesis at position {opening.at} is not closed")
            self._take()
            return node
        return self._restriction()

    def _restriction(self) -> Node:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise InvalidFilter(f"more than {MAX_TERMS} comparisons")
        first = self._take()
        if first.kind == "end":
            raise InvalidFilter("it ends where a comparison is expected")
        if first.kind not in ("word", "string") or (first.kind == "word" and first.text in _KEYWORDS):
            raise InvalidFilter(f"{first.text!r} at position {first.at}: a field is expected")
        if not (self._peek.kind == "op" and self._peek.text in _COMPARATORS):
            return Word(first.text)
        if first.kind == "string" or first.text not in FIELDS:
            raise InvalidFilter(f"there is no field {first.text!r}; fields are {', '.join(FIELDS)}")
        op = self._take().text
        value = self._take()
        if value.kind not in ("word", "string", "instant") or (value.kind == "word" and value.text in _KEYWORDS):
            raise InvalidFilter(f"after {first.text} {op} at position {value.at}, a value is expected")
        return _restriction(first.text, op, value)


def _restriction(field: str, op: str, token: _Token) -> Restriction:
    """Checks that the field has such values and such comparisons."""
    value = token.text
    if op == ":" and value == "*" and token.kind == "word":
        return Restriction(field, "has", "")
    if field == "tags":
        if op not in (":", "=", "!="):
            raise InvalidFilter(f"tags cannot be compared by {op}; write tags:{value}")
        return Restriction(field, "=" if op == ":" else op, value)
    if field in ENUMS:
        ordered = field == "priority"
        if op not in ("=", "!=", ":") and not ordered:
            raise InvalidFilter(f"{field} has no order; compare it by = or !=")
        return Restriction(field, "=" if op == ":" else op, _enum_value(field, value))
    if field in INSTANTS:
        try:
            return Restriction(field, "=" if op == ":" else op, parse_instant(value))
        except InvalidInstant as error:
            raise InvalidFilter(
                f'{field} is compared with a time like "2030-01-31T12:00:00Z", not {value!r}'
            ) from error
    return Restriction(field, op, value)


def _enum_value(field: str, text: str) -> int:
    enum, prefix = ENUMS[field], f"{field.upper()}_"
    names = {name.removeprefix(prefix): number for name, number in enum.items() if number}
    found = names.get(text.removeprefix(prefix))
    if found is None:
        raise InvalidFilter(f"there is no {field} {text!r}; there are {', '.join(names)}")
    return found


def parse(text: str) -> Node | None:
    """Reads a filter.

    Returns:
        Its tree, None for an empty filter.

    Raises:
        InvalidFilter: It is not of the language, or names a field, value or comparison that is not there.
    """
    return _Parser(text).parse() if text.strip() else None


# ------------------------------------------------------------------------------------------------------------------ SQL

Sql = tuple[str, list[str | int]]

FOLD = "fold"
"""SQL function that the connection must have: text without its case."""


def to_sql(node: Node | None) -> Sql:
    """A condition over the table of tasks, never NULL, and its parameters; user text is only ever a parameter."""
    match node:
        case None:
            return "1", []
        case Word(text):
            wanted = text.casefold()
            return f"(instr({FOLD}(title), ?) > 0 OR instr({FOLD}(description), ?) > 0)", [wanted, wanted]
        case Not(term):
            sql, values = to_sql(term)
            return f"NOT {sql}", values
        case And(terms):
            return _joined(" AND ", terms)
        case Or(terms):
            return _joined(" OR ", terms)
        case Restriction():
            return _restriction_sql(node)


def _joined(word: str, terms: tuple[Node, ...]) -> Sql:
    parts = [to_sql(term) for term in terms]
    return f"({word.join(sql for sql, _ in parts)})", [value for _, values in parts for value in values]


def _restriction_sql(node: Restriction) -> Sql:
    field, op, value = node.field, node.op, node.value
    if field == "tags":
        some = "EXISTS (SELECT 1 FROM json_each(tasks.tags) AS tag"
        if op == "has":
            return f"{some})", []
        sql = f"{some} WHERE tag.value GLOB ?)"
        return (f"NOT {sql}" if op == "!=" else sql), [glob(str(value))]
    if field == "name":
        field = "('tasks/' || id)"
    if field in INSTANTS:
        if op == "has":
            return f"({field} IS NOT NULL)", []
        return f"({field} IS NOT NULL AND {field} {op} ?)", [value]
    if field in ENUMS:
        return (f"({field} <> 0)", []) if op == "has" else (f"({field} {op} ?)", [value])
    if op == "has":
        return f"({field} <> '')", []
    if op == ":":
        return f"(instr({FOLD}({field}), ?) > 0)", [str(value).casefold()]
    if op in ("=", "!=") and "*" in str(value):
        return f"({field} {'NOT ' if op == '!=' else ''}GLOB ?)", [glob(str(value))]
    return f"({field} {op} ?)", [value]


def glob(text: str) -> str:
    """The text as a GLOB pattern in which ``*`` alone is special."""
    return re.sub(r"[?\[]", lambda found: f"[{found[0]}]", text)


# ------------------------------------------------------------------------------------------------------------- ordering

SORTABLE: dict[str, str] = {
    "title": "title",
    "status": "status",
    "priority": "priority",
    "due_date": "COALESCE(due_date, '~')",  # without one sorts as the latest
    "create_time": "create_time",
    "update_time": "update_time",
}
DEFAULT_ORDER: tuple[tuple[str, bool], ...] = (("create_time", True),)


class InvalidOrder(ValueError):
    """The order cannot be understood."""


def parse_order(text: str) -> tuple[tuple[str, bool], ...]:
    """Reads ``field [asc|desc], …``.

    Returns:
        (field, descending) for each, newest first where the text is empty.

    Raises:
        InvalidOrder: A field is not there or is named twice, or a direction is none.
    """
    if not text.strip():
        return DEFAULT_ORDER
    found: dict[str, bool] = {}
    for part in text.split(","):
        field, _, direction = part.strip().partition(" ")
        direction = direction.strip().lower()
        if field not in SORTABLE:
            raise InvalidOrder(f"tasks cannot be ordered by {field!r}; order them by {', '.join(SORTABLE)}")
        if direction not in ("", "asc", "desc"):
            raise InvalidOrder(f"after {field}, asc or desc is expected, not {direction!r}")
        if field in found:
            raise InvalidOrder(f"{field} is named twice")
        found[field] = direction == "desc"
    return tuple(found.items())


def after_sql(order: tuple[tuple[str, bool], ...], values: list[str | int]) -> Sql:
    """The condition for rows after the one with these values of the order's fields and, last, its id."""
    keys: list[tuple[str, bool]] = [(SORTABLE[field], descending) for field, descending in order] + [("id", False)]
    alternatives, parameters = [], list[str | int]()
    for last, (key, descending) in enumerate(keys):
        equal = [f"{earlier} = ?" for earlier, _ in keys[:last]]
        alternatives.append("(" + " AND ".join([*equal, f"{key} {'<' if descending else '>'} ?"]) + ")")
        parameters += values[: last + 1]
    return f"({' OR '.join(alternatives)})", parameters
