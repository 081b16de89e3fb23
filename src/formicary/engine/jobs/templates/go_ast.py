"""The syntax tree of the Go template dialect. ``pos`` is the offset in the source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(slots=True)
class Text:
    """Plain text."""

    text: str
    pos: int


@dataclass(slots=True)
class Literal:
    """A constant: text, number, bool or nil."""

    value: object
    pos: int


@dataclass(slots=True)
class Field:
    """``.a.b``: a chain of names on dot; no names is dot itself."""

    names: tuple[str, ...]
    pos: int


@dataclass(slots=True)
class Variable:
    """``$x.a.b``."""

    name: str
    names: tuple[str, ...]
    pos: int


@dataclass(slots=True)
class Identifier:
    """Name of a function."""

    name: str
    pos: int


@dataclass(slots=True)
class Chain:
    """``(pipeline).a.b``."""

    operand: Operand
    names: tuple[str, ...]
    pos: int


@dataclass(slots=True)
class Command:
    """An operand with arguments."""

    args: list[Operand]
    pos: int


@dataclass(slots=True)
class Pipe:
    """Commands joined by ``|``, with the variables that receive the result."""

    commands: list[Command]
    variables: tuple[str, ...]
    assigns: bool
    pos: int


Operand: TypeAlias = "Literal | Field | Variable | Identifier | Chain | Pipe"


@dataclass(slots=True)
class Output:
    """``{{pipeline}}``."""

    pipe: Pipe
    pos: int


@dataclass(slots=True)
class Branch:
    """``if`` or ``with``."""

    kind: str
    pipe: Pipe
    body: list[Node]
    otherwise: list[Node]
    pos: int


@dataclass(slots=True)
class Range:
    """``range``."""

    pipe: Pipe
    body: list[Node]
    otherwise: list[Node]
    pos: int


@dataclass(slots=True)
class Call:
    """``template "name" pipeline``."""

    name: str
    pipe: Pipe | None
    pos: int


@dataclass(slots=True)
class Jump:
    """``break`` or ``continue``."""

    kind: str
    pos: int


Node: TypeAlias = "Text | Output | Branch | Range | Call | Jump"


@dataclass(frozen=True, slots=True)
class Arm:
    """The stretch of source that one arm of one ``if`` or ``with`` covers."""

    branch: int
    arm: int
    start: int
    end: int


@dataclass(slots=True)
class Template:
    """A parsed text.

    Attributes:
        source: The text itself.
        nodes: What it prints.
        defines: Bodies of ``define`` and ``block``.
        spans: (start, end) of every action and comment.
        arms: Arms of all branches, outer ones first.
        functions: Names of functions that it calls, with the offset of the first call.
    """

    source: str
    nodes: list[Node]
    defines: dict[str, list[Node]]
    spans: list[tuple[int, int]]
    arms: list[Arm] = field(default_factory=list)
    functions: dict[str, int] = field(default_factory=dict)
