"""`formicary notifications`: what was told of the ends of jobs, and what could not be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write

if TYPE_CHECKING:
    from formicary.client import Client

T = TypeVar("T")
_FIELDS = ("id", "job_type", "event", "outcome", "kind", "to", "state", "attempts", "error")


def _ask(server: str, timeout_s: float, command: Callable[[Client], Awaitable[T]]) -> T:
    address = options.read_address(server, "--server")

    async def work() -> T:
        async with options.client(address, timeout_s) as client:
            return await command(client)

    return asyncio.run(work())


@click.group(short_help="Show what was told of the ends of jobs, and try again.", epilog=exits.EXIT_HELP)
def notifications() -> None:
    r"""Works with the notices that `notify` and `webhook` of jobs have made.

    \b
    Examples:
      formicary notifications list --job ID
      formicary notifications list --state DEAD
      formicary notifications retry NOTICE
    """


@notifications.command("list", short_help="List notices, newest first.", epilog=exits.EXIT_HELP)
@click.option("--job", "job_id", default="", metavar="ID", help="Only those of this job.")
@click.option(
    "--state",
    default="",
    type=click.Choice(["", "PENDING", "SENT", "DEAD"], case_sensitive=False),
    metavar="STATE",
    help="Only those that are PENDING, SENT, or DEAD: given up.",
)
@click.option("--limit", type=click.IntRange(0), default=0, help="At most so many; 0 = all.")
@options.server
@options.timeout
@options.output
def list_them(job_id: str, state: str, limit: int, server: str, timeout_s: float, output: str) -> None:
    """Lists notices: to whom they go, how often that was tried, and why it did not succeed."""
    from formicary.client.notifications import list_notifications

    found = _ask(server, timeout_s, lambda client: list_notifications(client, job_id=job_id, state=state, limit=limit))
    if output == "table":
        rows = [{**one, "to": ", ".join(one["to"])} for one in found]
        emit_table([name.upper() for name in _FIELDS], [[str(row[name] or "-") for name in _FIELDS] for row in rows])
    else:
        emit(found, output)


@notifications.command(short_help="Try a notice anew that was given up.", epilog=exits.EXIT_HELP)
@click.argument("ids", nargs=-1, required=True, metavar="NOTICE...")
@options.server
@options.timeout
def retry(ids: tuple[str, ...], server: str, timeout_s: float) -> None:
    """Tries notices anew that are DEAD, for example after the mail server was named."""
    from formicary.client.notifications import retry_notification

    for notice_id in ids:
        found = _ask(server, timeout_s, partial(retry_notification, notice_id=notice_id))
        write(f"{found['id']} {found['state']}\n")
