"""How much work there is for ants of some kind: what waits, and what runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from formicary.engine.queen.census import Backlog

METRIC = "formicary_work"


class WrongWish(ValueError):
    """What a scaled object asks for cannot be; the text names every field."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which work is wanted, and how much of it one ant is for.

    Attributes:
        method: Only what needs this method, or none that is known yet; empty = any.
        tags: Only what asks for all of these.
        without: Only what asks for none of these.
        target: Tasks per ant.
        activation: Up to so much, nothing is to be done.
        running: Whether tasks that run count: else ants go away while they work.
    """

    method: str = ""
    tags: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    target: float = 1.0
    activation: float = 0.0
    running: bool = True

    def takes(self, method: str, tags: frozenset[str]) -> bool:
        """Whether such work is wanted."""
        fits = not (self.method and method) or method == self.method
        return fits and self.tags <= tags and self.without.isdisjoint(tags)

    def of(self, backlog: Backlog, running: Backlog) -> int:
        """How much of it there is."""
        parts = (backlog, running) if self.running else (backlog,)
        return sum(number for part in parts for need, number in part.items() if self.takes(*need))


def read_wish(given: Mapping[str, str]) -> Wish:
    """The wish of a scaled object's metadata; names that KEDA itself uses are left alone. Raises WrongWish."""
    wrong: list[str] = []

    def number(name: str, default: float, least: float) -> float:
        text = given.get(name, "")
        try:
            value = float(text) if text else default
        except ValueError:
            value = -1.0
        if not least <= value < 1e12:
            wrong.append(f"{name} is {text[:40]!r}: write a number from {least:g} on")
        return value

    flag = given.get("running", "true").lower()
    if flag not in ("true", "false"):
        wrong.append(f"running is {flag[:40]!r}: write true or false")
    found = Wish(
        given.get("method", "").strip().upper() if "." not in given.get("method", "") else given["method"].strip(),
        _tags(given.get("tags", "")),
        _tags(given.get("without", "")),
        number("targetSize", 1.0, 0.001),
        number("activation", 0.0, 0.0),
        flag == "true",
    )
    if wrong:
        raise WrongWish("; ".join(wrong))
    return found


def _tags(text: str) -> frozenset[str]:
    return frozenset(tag.strip().lower() for tag in text.split(",") if tag.strip())
