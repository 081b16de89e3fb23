"""`formicary alerts`: the file of alert rules."""

from __future__ import annotations

from pathlib import Path

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, write


@click.group(short_help="Check alert rules.", epilog=exits.EXIT_HELP)
def alerts() -> None:
    r"""Works with alert rules, which `formicary up --alerts FILE` looks at.

    \b
    Example:
      formicary alerts check alerts.yaml
    """


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
