"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click
import msgspec

from formicary.problems import problem

if TYPE_CHECKING:
    from formicary.client import Client

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
_TLS: dict[str, Any] = {"is_flag": True, "envvar": "FORMICARY_TLS", "help": "Encrypt the connection (FORMICARY_TLS)."}
_CA: dict[str, Any] = {
    "default": "",
    "envvar": "FORMICARY_CA",
    "metavar": "FILE",
    "help": "Certificates to trust instead of the well-known ones; implies --tls (FORMICARY_CA).",
}
_INSECURE: dict[str, Any] = {"is_flag": True, "help": "Send the token as plain text to another machine."}
tls = click.option("--tls", **_TLS)
ca = click.option("--ca", **_CA)
insecure = click.option("--insecure", **_INSECURE)
_server = click.option(
    "--server",
    envvar="FORMICARY_SERVER",
    default=DEFAULT_SERVER,
    show_default=True,
    metavar="HOST:PORT",
    help="The queen's gRPC address, or https://HOST:PORT (FORMICARY_SERVER).",
)
_WAY = "formicary.way"
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
queues = click.option(
    "--queues",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="FORMICARY_QUEUES",
    callback=lambda _context, _parameter, path: read_queues_file(path),
    help="File of queues to put in place (FORMICARY_QUEUES); default those that are stored.",
)
path = click.option(
    "--path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of PYTHON modules and relative working directories; default the job file's.",
)
job_type = click.option(
    "--job", "job_type", default="", metavar="TYPE", help="Which job, where the file holds several."
)


def server(command: F) -> F:
    """The options that say where the server is and how to get there; only `--server` is an argument of the command."""

    def keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
        context.meta.setdefault(_WAY, {})[parameter.name] = value

    for name, settings in (("--insecure", _INSECURE), ("--ca", _CA), ("--tls", _TLS)):
        command = click.option(name, expose_value=False, callback=keep, **settings)(command)
    return _server(command)


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
    from formicary.engine.jobs.model import METHODS, is_third_party

    found = {name.upper(): value.strip().upper() for name, value in pairs(values, "--method").items()}
    for name in (*found, *found.values()):
        if name not in METHODS and not is_third_party(name):
            raise click.UsageError(f"--method: there is no method {name}; there are {', '.join(sorted(METHODS))}.")
    return found


class QueuesFile(TypedDict, total=False):
    """A file of queues as the server's configuration has it."""

    queues: str
    queues_file: str


def read_queues_file(path: Path | None) -> QueuesFile:
    """Reads and checks ``--queues``. Raises Problem with every violation."""
    if path is None:
        return {}
    from formicary.engine.queen.queues import checked

    source = path.read_text("utf-8", "replace")
    checked(source, str(path))
    return {"queues": source, "queues_file": str(path)}


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


def client(address: str, timeout_s: float) -> Client:
    """A client that goes the way that the command's options say.

    Args:
        address: As `read_address` returned it.
        timeout_s: How long to keep trying while no server answers.
    """
    from formicary.client import Client

    way = click.get_current_context().meta.get(_WAY, {})
    return Client(
        address,
        timeout_s=timeout_s,
        tls=bool(way.get("tls")) or None,
        ca=str(way.get("ca") or "") or None,
        insecure=bool(way.get("insecure")),
    )


def read_address(text: str, option: str) -> str:
    """Checks ``HOST:PORT``, ``https://HOST:PORT`` or ``unix:PATH``. Raises click.UsageError."""
    if text.startswith("unix:"):
        return text
    host, separator, port = text.removeprefix("https://").removeprefix("http://").rstrip("/").rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise click.UsageError(f"{option} {text}: write HOST:PORT, like {DEFAULT_SERVER}.")
    return text


def read_id(text: str) -> str:
    """A job id as it is printed; blanks around it and upper case do not matter. Raises Problem."""
    job_id = text.strip().lower()
    if not job_id or len(job_id) > 200:
        raise problem("VALIDATION_FAILED", f"{text[:40]!r} is not a job id; `formicary list` shows them.")
    return job_id
