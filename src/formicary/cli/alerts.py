"""`formicary alerts`: the file of alert rules."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write

_FIELDS = ("name", "state", "since", "episodes", "action", "acted_at", "condition")


@click.group(short_help="Check alert rules.", epilog=exits.EXIT_HELP)
def alerts() -> None:
    r"""Works with alert rules, which `formicary up --alerts FILE` looks at.

    \b
    Examples:
      formicary alerts check alerts.yaml
      formicary alerts list --state FIRING
    """


@alerts.command("list", short_help="List the alerts of a server.", epilog=exits.EXIT_HELP)
@click.option("--state", type=click.Choice(["QUIET", "PENDING", "FIRING"]), default=None, help="Only those in it.")
@options.server
@options.timeout
@options.output
def list_them(state: str | None, server: str, timeout_s: float, output: str) -> None:
    """Lists the alert rules of a server by name: state, since when, episodes so far, when its action was last due."""
    from formicary.client.alerts import list_alerts

    address = options.read_address(server, "--server")

    async def work() -> list[dict[str, Any]]:
        async with options.client(address, timeout_s) as client:
            return await list_alerts(client, state or "")

    found = asyncio.run(work())
    if output == "table":
        emit_table([name.upper() for name in _FIELDS], [[one[name] or "-" for name in _FIELDS] for one in found])
    else:
        emit(found, output)


@alerts.command(short_help="Show every mistake in a file of alert rules.", epilog=exits.EXIT_HELP)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options.output
def check(file: Path, output: str) -> int:
    r"""Shows every mistake in a file of alert rules, with line and column.

    \b
    Example:
      formicary alerts check examples/alerts.yaml

    Exit status: 0 when the file is valid, else 2.
    """
    from formicary.server.alerts.rules import read_file

    rules = read_file(file)
    shown = [{"name": one.name, "condition": one.text, "action": one.action, "for_s": one.for_s} for one in rules.rules]
    if output == "table":
        write(f"{file}: valid ({', '.join(one.name for one in rules.rules)})\n")
    else:
        emit(shown, output)
    return exits.OK
