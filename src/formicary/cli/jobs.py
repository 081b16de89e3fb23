"""`formicary jobs`: what concerns jobs as a whole."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write

_FIELDS = ("organization", "job_type", "state", "jobs", "oldest_ended_at")


@click.group(short_help="Remove ended jobs whose retention is over.", epilog=exits.EXIT_HELP)
def jobs() -> None:
    r"""Works with jobs as a whole.

    \b
    Examples:
      formicary jobs purge --dry-run
      formicary jobs purge
    """


@jobs.command(short_help="Remove ended jobs whose retention is over.", epilog=exits.EXIT_HELP)
@click.option("--dry-run", is_flag=True, help="Remove nothing: say what would be removed.")
@options.server
@options.timeout
@options.output
def purge(dry_run: bool, server: str, timeout_s: float, output: str) -> None:
    r"""Removes ended jobs whose `retention_days_for_…` are over, with their tasks, logs, parameters and keys.

    \b
    Examples:
      formicary jobs purge --dry-run
      formicary jobs purge

    A server does so by itself every hour unless it was started with --keep-jobs. It is for administrators of the
    server's own organisation. A job of a family of which one still runs is kept.
    """
    from formicary.client.operations import purge_jobs

    address = options.read_address(server, "--server")

    async def work() -> dict[str, Any]:
        async with options.client(address, timeout_s) as client:
            return await purge_jobs(client, dry_run=dry_run)

    found = asyncio.run(work())
    if output != "table":
        emit(found, output)
        return
    if found["groups"]:
        rows = [[str(one[name]) for name in _FIELDS] for one in found["groups"]]
        emit_table([name.upper() for name in _FIELDS], rows)
    write(f"{found['jobs']} jobs {'would be' if dry_run else 'were'} removed\n")
