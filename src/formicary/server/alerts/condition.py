"""Conditions over figures: `queue_depth > 1000 and utilization >= 90%`; read once, asked each time. Pure.

Grammar, loosest first: `or`, `and`, comparison, parentheses. A comparison has a figure on its left and a number on its
right. A figure is a metric of the server's catalogue, with matches of its labels where they matter
(`queue_depth_by_priority{priority="10"}`), alone or within sum, avg, min, max or count; alone it holds where any of its
samples does, as in Prometheus. Short names stand for the figures that are asked for most. A number may end in `%` (80%
is 0.8), `k`, `M`, or a unit of time (`90s`, `5m`, `2h`).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

Sample = tuple[Mapping[str, str], float]
Figures = Mapping[str, Iterable[Sample]]
"""Samples by metric: labels and value."""

SHORT: Final[Mapping[str, str]] = {
    "queue_depth": "sum(formicary_backlog)",
    "wait_time": "max(average_wait_time_by_tag)",
    "average_wait_time": "max(average_wait_time_by_tag)",
    "utilization": "avg(resource_utilization_by_worker)",
    "worker_utilization": "avg(resource_utilization_by_worker)",
    "resource_utilization": "avg(resource_utilization_by_worker)",
    "completion_rate": "min(job_completion_rate_by_tenant)",
    "job_completion_rate": "min(job_completion_rate_by_tenant)",
    "workers": "sum(formicary_ants_connected)",
    "dead_letters": "sum(formicary_dead_letters)",
    "alerting_dead_letters": "sum(formicary_dead_letters_to_tell)",
    "open_breakers": "count(formicary_breaker_open)",
}
"""Short names and what they stand for; of workers without a sample the average is 0."""
FUNCTIONS: Final[Mapping[str, Callable[[list[float]], float]]] = {
    "sum": sum,
    "avg": lambda values: sum(values) / len(values) if values else 0.0,
    "min": lambda values: min(values, default=0.0),
    "max": lambda values: max(values, default=0.0),
    "count": lambda values: float(sum(value != 0 for value in values)),
}
_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_UNITS: Final = {"%": 0.01, "k": 1e3, "M": 1e6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>%|ms\b|[kMsmhd]\b)?"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<compare>>=|<=|==|!=|>|<)|(?P<text>\"[^\"]*\"|'[^']*')|(?P<mark>[(){},=]))"
)
_MOST_CHARS: Final = 1000
_DEEPEST: Final = 20


class WrongCondition(ValueError):
    """What is wrong, and where.

    Attributes:
        at: Character of the text, from 0.
        message: One sentence with the fix.
    """

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at
        self.message = message


class Condition(Protocol):
    """A condition that can be asked."""

    def holds(self, figures: Figures) -> bool:
        """Whether it holds for these figures."""
        ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure against a number; `function` empty = any sample."""

    metric: str
    labels: tuple[tuple[str, str], ...]
    function: str
    compare: str
    number: float

    def samples(self, figures: Figures) -> list[float]:
        """The values that the labels take."""
        found = figures.get(self.metric, ())
        return [value for labels, value in found if all(labels.get(name) == text for name, text in self.labels)]

    def holds(self, figures: Figures) -> bool:
        """Whether the figure, or any of its samples, compares so."""
        values = self.samples(figures)
        compare = _COMPARE[self.compare]
        if self.function:
            return compare(FUNCTIONS[self.function](values), self.number)
        return any(compare(value, self.number) for value in values)


@dataclass(frozen=True, slots=True)
class Several:
    """Conditions of which all hold, or any."""

    parts: tuple[Condition, ...]
    every: bool

    def holds(self, figures: Figures) -> bool:
        """Whether all, or any, of them hold."""
        return (all if self.every else any)(part.holds(figures) for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int
    number: float = 0.0


def parse(text: str, metrics: Mapping[str, tuple[str, ...]]) -> Condition:
    """Reads a condition.

    Args:
        text: Like ``queue_depth > 1000``.
        metrics: Names that there are, each with its labels.

    Raises:
        WrongCondition: It is none; says what and where.
    """
    if len(text) > _MOST_CHARS:
        raise WrongCondition(0, f"A condition has at most {_MOST_CHARS} characters: shorten it.")
    return _Parser(text, metrics).whole()


class _Parser:
    def __init__(self, text: str, metrics: Mapping[str, tuple[str, ...]]) -> None:
        self._metrics = metrics
        self._tokens = [*_tokens(text), _Token("end", "", len(text.rstrip()))]
        self._at = 0
        self._depth = 0

    def whole(self) -> Condition:
        found = self._any()
        token = self._tokens[self._at]
        if token.kind != "end":
            raise WrongCondition(token.at, f"Write 'and' or 'or' before {token.text!r}, or leave it out.")
        return found

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._word("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Several(tuple(parts), every=False)

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._word("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else Several(tuple(parts), every=True)

    def _one(self) -> Condition:
        if self._mark("("):
            self._depth += 1
            if self._depth > _DEEPEST:
                raise WrongCondition(self._tokens[self._at].at, f"At most {_DEEPEST} parentheses within each other.")
            found = self._any()
            self._expect(")")
            self._depth -= 1
            return found
        return self._comparison()

    def _comparison(self) -> Condition:
        metric, labels, function = self._figure()
        token = self._take()
        if token.kind != "compare":
            raise WrongCondition(token.at, "Write a comparison here: >, >=, <, <=, == or !=.")
        number = self._take()
        if number.kind != "number":
            raise WrongCondition(number.at, "Write a number here, like 1000, 80% or 5m.")
        return Comparison(metric, labels, function, token.text, number.number)

    def _figure(self) -> tuple[str, tuple[tuple[str, str], ...], str]:
        token = self._take()
        if token.kind != "name":
            raise WrongCondition(token.at, "Begin with a figure, like queue_depth or utilization.")
        if token.text in FUNCTIONS and self._mark("("):
            name = self._take()
            metric, labels = self._metric(name)
            self._expect(")")
            return metric, labels, token.text
        if (short := SHORT.get(token.text)) is not None:
            function, _, metric = short.partition("(")
            return metric.rstrip(")"), (), function
        metric, labels = self._metric(token)
        return metric, labels, ""

    def _metric(self, token: _Token) -> tuple[str, tuple[tuple[str, str], ...]]:
        known = self._metrics.get(token.text) if token.kind == "name" else None
        if known is None:
            short = ", ".join(SHORT)
            raise WrongCondition(
                token.at, f"There is no figure {token.text!r}: a metric of /metrics, or one of {short}."
            )
        labels: list[tuple[str, str]] = []
        if self._mark("{"):
            while not self._mark("}"):
                name = self._take()
                if name.text not in known:
                    has = ", ".join(known) or "none"
                    raise WrongCondition(name.at, f"{token.text} has no label {name.text!r}; its labels: {has}.")
                self._expect("=")
                value = self._take()
                if value.kind != "text":
                    raise WrongCondition(value.at, f'Write the label\'s value in quotes: {name.text}="…".')
                labels.append((name.text, value.text[1:-1]))
                if self._tokens[self._at].text != "}":
                    self._expect(",")
        return token.text, tuple(labels)

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _word(self, text: str) -> bool:
        token = self._tokens[self._at]
        found = token.kind == "name" and token.text.lower() == text
        self._at += found
        return found

    def _mark(self, text: str) -> bool:
        token = self._tokens[self._at]
        found = token.kind == "mark" and token.text == text
        self._at += found
        return found

    def _expect(self, text: str) -> None:
        if not self._mark(text):
            raise WrongCondition(self._tokens[self._at].at, f"Write {text!r} here.")


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        if text[at:].isspace():
            return
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            raise WrongCondition(start, f"{text[start]!r} has no meaning in a condition: leave it out.")
        if (number := match["number"]) is not None:
            value = float(number) * _UNITS.get(match["unit"] or "", 1.0)
            yield _Token("number", match[0].strip(), match.start("number"), value)
        else:
            kind = match.lastgroup
            yield _Token(kind, match[kind], match.start(kind))
        at = match.end()
