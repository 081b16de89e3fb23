"""`formicary version`, `schema` and `completion`."""

from __future__ import annotations

import platform
import sys

import click

from formicary import __version__
from formicary.cli import options
from formicary.cli.output import emit, write


@click.command(short_help="Print the version.")
@options.output
def version(output: str) -> None:
    """Prints the versions of Formicary and of what it runs on."""
    found = {"formicary": __version__, "python": platform.python_version(), "system": platform.system().lower()}
    if output == "table":
        write(f"formicary {__version__} (Python {found['python']}, {found['system']})\n")
    else:
        emit(found, output)


@click.command(short_help="Print the JSON Schema of job files, for editors.")
def schema() -> None:
    r"""Prints the JSON Schema of job files; editors check and complete with it.

    \b
    Example:
      formicary schema > formicary.schema.json
    """
    from formicary.engine.jobs.schema import job_schema

    emit(job_schema(), "json")


@click.command(short_help="Print what a shell needs to complete commands.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Prints what a shell needs to complete commands and options.

    \b
    Examples:
      eval "$(formicary completion bash)"
      formicary completion fish > ~/.config/fish/completions/formicary.fish
    """
    from click.shell_completion import get_completion_class

    from formicary.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"Completion for {shell} is not available.")
    sys.stdout.write(found(cli, {}, "formicary", "_FORMICARY_COMPLETE").source() + "\n")
