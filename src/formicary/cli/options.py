"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from formicary.problems import problem

DEFAULT_SERVER = "127.0.0.1:7778"
F = TypeVar("F", bound=Callable[..., Any])
_TEXTUAL = frozenset({"str"})

output = click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Form of the data on standard output.",
)
server = click.option(
    "--server",
    envvar="FORMICARY_SERVER",
    default=DEFAULT_SERVER,
    show_default=True,
    metavar="HOST:PORT",
    help="The queen's gRPC address (FORMICARY_SERVER).",
)
timeout = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to keep trying while no server answers.",
)
param = click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the job; repeat it for more. 5, true and JSON are read as such, everything else is text.",
)
method = click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="FROM=TO",
    help="Run tasks of one method with another one, like KUBERNETES=SHELL; repeatable.",
)
path = click.option(
    "--path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of PYTHON modules and relative working directories; default the job file's.",
)
job_type = click.option(
    "--job", "job_type", default="", metavar="TYPE", help="Which job, where the file holds several."
)


def pairs(values: Iterable[str], option: str) -> dict[str, str]:
    """Reads ``NAME=VALUE`` options; the last one of a name counts. Raises click.UsageError."""
    found: dict[str, str] = {}
    for text in values:
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise click.UsageError(f"{option} {text}: write {option} NAME=VALUE.")
        found[name.strip()] = value
    return found


def read_methods(values: Iterable[str]) -> dict[str, str]:
    """Reads ``--method FROM=TO``. Raises click.UsageError for a method that does not exist."""
    from formicary.engine.jobs.model import METHODS

    found = {name.upper(): value.strip().upper() for name, value in pairs(values, "--method").items()}
    for name in (*found, *found.values()):
        if name not in METHODS:
            raise click.UsageError(f"--method: there is no method {name}; there are {', '.join(sorted(METHODS))}.")
    return found


def typed(text: str) -> object:
    """A value as JSON where the text is exactly how JSON writes it (``1.10`` and ``007`` stay text), else the text."""
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    if isinstance(value, dict | list):
        return value
    return value if msgspec.json.encode(value) == text.encode() else text


def read_params(values: Iterable[str], types: Mapping[str, str] | None = None) -> dict[str, object]:
    """Reads ``-p NAME=VALUE``; what a definition declares as text stays text.

    Args:
        values: As given.
        types: Declared type by name.
    """
    declared = types or {}
    found = pairs(values, "-p")
    return {name: text if declared.get(name) in _TEXTUAL else typed(text) for name, text in found.items()}


def read_address(text: str, option: str) -> str:
    """Checks ``HOST:PORT``. Raises click.UsageError."""
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise click.UsageError(f"{option} {text}: write HOST:PORT, like {DEFAULT_SERVER}.")
    return text


def read_id(text: str) -> str:
    """A job id as it is printed; blanks around it and upper case do not matter. Raises Problem."""
    job_id = text.strip().lower()
    if not job_id or len(job_id) > 200:
        raise problem("VALIDATION_FAILED", f"{text[:40]!r} is not a job id; `formicary list` shows them.")
    return job_id
