"""`formicary queues`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write

if TYPE_CHECKING:
    from formicary.client import Client

_FIELDS = ("name", "parent", "policy", "guaranteed", "maximum", "running", "waiting", "share")
_USAGE = ("org", "user", "job_type", "limit", "used", "soft", "hard", "burst", "resets_at")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _ask(server: str, timeout_s: float, command: Callable[[Client], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    address = options.read_address(server, "--server")

    async def work() -> dict[str, Any]:
        async with options.client(address, timeout_s) as client:
            return await command(client)

    return asyncio.run(work())


@click.group(short_help="Show, change and check the queues of a server.", epilog=exits.EXIT_HELP)
def queues() -> None:
    r"""Works with queues: which jobs go where, who goes first, and what each queue has for sure.

    \b
    Examples:
      formicary queues validate queues.yaml
      formicary up --queues queues.yaml
      formicary queues show
      formicary queues apply queues.yaml

    A change holds from the next decision on, without a restart; it is stored with the jobs.
    """


@queues.command(short_help="Show the queues and what each holds.", epilog=exits.EXIT_HELP)
@click.option("--source", "as_source", is_flag=True, help="Print the YAML as it was given.")
@options.server
@options.timeout
@options.output
def show(as_source: bool, server: str, timeout_s: float, output: str) -> None:
    r"""Shows the configuration that holds, and what runs and waits in each queue.

    \b
    Examples:
      formicary queues show
      formicary queues show --source > queues.yaml

    `share` is the part of the colony that a queue holds, in per cent.
    """
    from formicary.client.queues import get_queues

    found = _ask(server, timeout_s, get_queues)
    if as_source:
        write(found["source"])
    else:
        _print(found, output)


@queues.command(short_help="Put a file of queues in place.", epilog=exits.EXIT_HELP)
@click.argument("file", type=_FILE)
@options.server
@options.timeout
@options.output
def apply(file: Path, server: str, timeout_s: float, output: str) -> None:
    r"""Puts the queues of a file in place of those that hold, from the next decision on.

    \b
    Examples:
      formicary queues apply queues.yaml

    What waits moves to its new queue; what runs goes on. Everything that is wrong is told with its line, and then
    nothing is changed (exit status 2).
    """
    from formicary.client.queues import put_queues
    from formicary.engine.queen.queues import checked

    source = file.read_text("utf-8", "replace")
    checked(source, str(file))
    _print(_ask(server, timeout_s, lambda client: put_queues(client, source, filename=str(file))), output)


@queues.command(short_help="Check a file of queues.", epilog=exits.EXIT_HELP)
@click.argument("files", nargs=-1, required=True, type=_FILE)
@options.output
def validate(files: tuple[Path, ...], output: str) -> int:
    r"""Says everything that is wrong with files of queues, each with line and column; no server is asked.

    \b
    Examples:
      formicary queues validate queues.yaml

    The exit status is 2 where something is wrong.
    """
    from formicary.engine.scheduling.queues.reading import read_queues

    documents, is_valid = [], True
    for file in files:
        found = read_queues(file.read_text("utf-8", "replace")).violations
        is_valid = is_valid and not found
        violations = [
            {"line": one.line, "column": one.column, "path": one.path, "code": one.code, "message": one.message}
            for one in found
        ]
        documents.append({"file": str(file), "valid": not found, "violations": violations})
        for one in found if output == "table" else ():
            click.echo(f"{file}:{one.line}:{one.column}: {one.message}", err=True)
    if output == "table":
        for document in documents:
            write(f"{document['file']}: {'valid' if document['valid'] else 'not valid'}\n")
    else:
        emit(documents, output)
    return exits.OK if is_valid else exits.INVALID


def _print(found: dict[str, Any], output: str) -> None:
    if output == "table":
        by = f", by {found['updated_by']}" if found["updated_by"] else ""
        since = f", since {found['updated_at']}{by}" if found["updated_at"] else ""
        click.echo(f"policy {found['policy']}, placement {found['placement']}{since}", err=True)
        emit_table([name.upper() for name in _FIELDS], [[one[name] for name in _FIELDS] for one in found["queues"]])
        if found["usage"]:
            write("\n")
            rows = [["-" if one[name] is None else one[name] for name in _USAGE] for one in found["usage"]]
            emit_table([name.upper() for name in _USAGE], rows)
    else:
        emit(found, output)
