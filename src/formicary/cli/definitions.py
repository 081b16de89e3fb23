"""`formicary definitions`: the versions of jobs that a server knows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write

_FIELDS = ("job_type", "version", "id", "created_at")


@click.group(short_help="Register, list and show versions of job definitions.", epilog=exits.EXIT_HELP)
def definitions() -> None:
    r"""Works with definitions: each that is registered is kept as it was, with a number of its own.

    \b
    Examples:
      formicary definitions register nightly.yaml
      formicary definitions list nightly
      formicary definitions show nightly --version 3
    """


@definitions.command(short_help="Register jobs without starting them.", epilog=exits.EXIT_HELP)
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@options.method
@options.path
@options.server
@options.timeout
@options.output
def register(
    files: tuple[str, ...], methods: tuple[str, ...], path: Path | None, server: str, timeout_s: float, output: str
) -> None:
    r"""Registers every job of job files: schedules and triggers begin to count, other jobs can start them, and nothing
    runs now.

    \b
    Examples:
      formicary definitions register nightly.yaml
      formicary definitions register jobs/*.yaml --method KUBERNETES=DOCKER

    Every file is checked before the first is registered. What is registered already, word for word, keeps its version;
    the newest version counts, so that whoever wants an earlier text back changes its sem_version.
    """
    from formicary.cli.job_files import load_all
    from formicary.cli.registering import register_each

    replaced = options.read_methods(methods)
    address = options.read_address(server, "--server")
    loaded = load_all(files, replaced, path=path)

    async def work() -> list[dict[str, Any]]:
        found = []
        async with options.client(address, timeout_s) as client:
            for one in loaded:
                for ref in await register_each(client.register, one, replaced):
                    for warning in ref.warnings:
                        click.echo(f"warning: {warning}", err=True)
                    found.append({"job_type": ref.job_type, "version": ref.version, "id": ref.id})
        return found

    found = asyncio.run(work())
    if output == "table":
        emit_table([name.upper() for name in _FIELDS[:3]], [[str(one[name]) for name in _FIELDS[:3]] for one in found])
    else:
        emit(found, output)


@definitions.command("list", short_help="List definitions, newest version first.", epilog=exits.EXIT_HELP)
@click.argument("job_type", default="", metavar="[JOB]")
@options.server
@options.timeout
@options.output
def list_them(job_type: str, server: str, timeout_s: float, output: str) -> None:
    """Lists the versions of JOB, or of every job, newest first."""
    address = options.read_address(server, "--server")

    async def work() -> list[dict[str, Any]]:
        async with options.client(address, timeout_s) as client:
            return [one async for one in client.definitions(job_type=job_type)]

    found = asyncio.run(work())
    if output == "table":
        emit_table([name.upper() for name in _FIELDS], [[str(one[name]) for name in _FIELDS] for one in found])
    else:
        emit(found, output)


@definitions.command(short_help="Show a definition as it was registered.", epilog=exits.EXIT_HELP)
@click.argument("job_type", metavar="JOB")
@click.option("--version", default="", metavar="VERSION", help="A number, latest (default), a sem_version or an id.")
@options.server
@options.timeout
@options.output
def show(job_type: str, version: str, server: str, timeout_s: float, output: str) -> None:
    r"""Prints the text of a definition, exactly as it was registered; with --output json number and time too.

    \b
    Examples:
      formicary definitions show nightly > nightly.yaml
      formicary definitions show nightly --version 2
    """
    from formicary.client.operations import get_definition

    address = options.read_address(server, "--server")

    async def work() -> dict[str, Any]:
        async with options.client(address, timeout_s) as client:
            return await get_definition(client, job_type, version)

    found = asyncio.run(work())
    if output == "table":
        source = str(found.get("source", ""))
        write(source if source.endswith("\n") else source + "\n")
    else:
        emit(found, output)
