"""`formicary audit`."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table

_FIELDS = ("time", "principal", "org", "method", "resource", "code", "remote", "trace_id")


@click.group(short_help="Show who changed what, and who was refused.", epilog=exits.EXIT_HELP)
def audit() -> None:
    r"""Shows the audit log; for callers whose own token has the role admin.

    \b
    Example:
      formicary audit list --method CancelJob
    """


@audit.command("list", short_help="List records, newest first.", epilog=exits.EXIT_HELP)
@click.option("--principal", default="", metavar="ID", help="Only calls of this caller: the id of a token, or a name.")
@click.option("--method", default="", metavar="NAME", help="Only calls of this method, like CancelJob.")
@click.option("--resource", default="", metavar="ID", help="Only calls that concern this job, definition or token.")
@click.option("--code", default="", help="Only calls with this outcome: OK, or the code of a problem.")
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="At most so many; 0 = all.")
@options.server
@options.timeout
@options.output
def list_records(
    principal: str, method: str, resource: str, code: str, limit: int, server: str, timeout_s: float, output: str
) -> None:
    """Lists calls that changed something or were refused, newest first. A record is there a tenth of a second later."""
    address = options.read_address(server, "--server")

    async def work() -> list[dict[str, Any]]:
        from formicary.client import Client

        async with Client(address, timeout_s=timeout_s) as client:
            found = client.audit(principal=principal, method=method, resource=resource, code=code, limit=limit)
            return [record async for record in found]

    rows = asyncio.run(work())
    if output == "table":
        emit_table([name.upper() for name in _FIELDS], [[row[name] or "-" for name in _FIELDS] for row in rows])
    else:
        emit(rows, output)
