"""Renders a text in either dialect; the one entrance to templates for the rest of the room."""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import lru_cache
from random import Random

from formicary.engine.jobs.templates.budget import DEADLINE_S, Budget, Clock, TemplateError
from formicary.engine.jobs.templates.go_ast import Template
from formicary.engine.jobs.templates.go_eval import Mark, render_go
from formicary.engine.jobs.templates.go_functions import FUNCTIONS
from formicary.engine.jobs.templates.go_parser import parse_go
from formicary.engine.jobs.templates.lookup import Environment, Lookup

__all__ = ["Lookup", "TemplateError", "has_template", "is_true", "render_text"]


_SHORT = 4096
"""Characters of the longest template whose tree is kept."""


@lru_cache(maxsize=256)
def _kept(text: str, is_yaml: bool) -> Template:
    """The tree of a template: each attempt of a task renders the same one."""
    return parse_go(text, FUNCTIONS, is_yaml=is_yaml)


def has_template(text: str, dialect: str = "go") -> bool:
    """Says whether a text holds a template action."""
    return (dialect != "none" and "{{" in text) or (dialect == "jinja" and ("{%" in text or "{#" in text))


def is_true(text: str | None) -> bool:
    """Says whether what ``skip_if`` or ``except`` rendered to counts as true."""
    return text is not None and "true" in text.lower()


def render_text(
    text: str,
    variables: Mapping[str, object],
    dialect: str = "go",
    *,
    now: float,
    rng: Random,
    lookup: Lookup | None = None,
    clock: Clock | None = None,
    deadline_s: float = DEADLINE_S,
    marks: list[Mark] | None = None,
    later: Set[str] | None = None,
    is_yaml: bool = False,
) -> str:
    """Renders a text.

    Args:
        text: At most 256 KB.
        variables: Values by name.
        dialect: ``go``, ``jinja`` or ``none``.
        now: Seconds since the epoch, UTC.
        rng: Source of randomness.
        lookup: Port for functions that ask for something outside.
        clock: Monotonic seconds; with it, rendering ends in time.
        deadline_s: Time of the rendering in seconds.
        marks: Receives where each printed piece comes from (Go dialect only).
        later: Where the result is rendered once more (Go dialect only): the names that have a value only then. Actions
            that ask for them stay as they are, and so do names without a value.
        is_yaml: Whether the text is one of a job file, with comments (Go dialect only).

    Raises:
        TemplateError: The template is wrong, or a bound was exceeded.
    """
    env = Environment(now, rng, Budget(clock, deadline_s), lookup, later)
    if dialect == "jinja":
        from formicary.engine.jobs.templates.jinja import render_jinja

        return render_jinja(text, variables, env)
    if dialect == "none" or "{{" not in text:
        return text
    template = _kept(text, is_yaml) if len(text) <= _SHORT else parse_go(text, FUNCTIONS, is_yaml=is_yaml)
    return render_go(template, variables, env, marks)
