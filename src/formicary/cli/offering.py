"""Options that say what an ant offers: tags, resources, labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Offered(TypedDict):
    """What an ant offers, by the names of its configuration."""

    tags: frozenset[str]
    resources: dict[str, float]
    labels: dict[str, str]


def offering_options(command: F) -> F:
    """Adds the options; the command gets them as one argument, `offered`."""
    for name, read, how, text in reversed(_OPTIONS):
        command = click.option(
            name, default="", metavar=how, expose_value=False, callback=_keep(name, read), help=text
        )(command)
    return command


def offered() -> Offered:
    """What the options of the command that runs say."""
    given = click.get_current_context().meta.get(__name__, {})
    return {"tags": given["--tags"], "resources": given["--resources"], "labels": given["--labels"]}


def _keep(name: str, read: Callable[[str], object]) -> Callable[[click.Context, click.Parameter, str], None]:
    def keep(context: click.Context, parameter: click.Parameter, text: str) -> None:
        try:
            context.meta.setdefault(__name__, {})[name] = read(text)
        except ValueError as error:
            raise click.UsageError(f"{name}: {error}.", context) from None

    return keep


def _tags(text: str) -> frozenset[str]:
    return frozenset(tag.strip().lower() for tag in text.split(",") if tag.strip())


def _resources(text: str) -> dict[str, float]:
    from formicary.engine.jobs.amounts import read_amounts

    return read_amounts(text) if text else {}


def _labels(text: str) -> dict[str, str]:
    from formicary.engine.jobs.amounts import read_labels

    return read_labels(text) if text else {}


_OPTIONS: tuple[tuple[str, Callable[[str], object], str, str], ...] = (
    ("--tags", _tags, "A,B", "What each ant offers (* = all); a task with tags runs where all are offered."),
    (
        "--resources",
        _resources,
        "NAME=AMOUNT,…",
        "What each ant has for tasks to hold, like gpu=1; by default cpu and memory of the machine.",
    ),
    ("--labels", _labels, "NAME=VALUE,…", "Values that the placement of a task may ask for, like zone=eu,cuda=12.4."),
)
