"""`formicary approve`, `reject` and `approvals`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write

Decorated = Callable[..., Any]

_user = click.option(
    "--as", "voter", default="", metavar="USER", help="In whose name, on a server that knows no callers (--auth none)."
)
_roles = click.option("--role", "roles", multiple=True, metavar="ROLE", help="What that user is; repeatable.")


def _ballot(command: Decorated) -> Decorated:
    """What both votes take."""
    for option in (
        options.output,
        options.timeout,
        options.server,
        click.option("--idempotency-key", "key", default="", metavar="KEY", help="The same key again changes nothing."),
        _roles,
        _user,
        click.option("--comment", default="", metavar="TEXT", help="Kept with the vote."),
        click.argument("task_type", metavar="[TASK]", default=""),
        click.argument("job_id", metavar="ID"),
    ):
        command = option(command)
    return command


@click.command(short_help="Vote for what a job waits for.", epilog=exits.EXIT_HELP)
@_ballot
def approve(**given: Any) -> None:
    r"""Votes for it. TASK may be left out where only one task of the job waits. A vote stands.

    \b
    Examples:
      formicary approve ID
      formicary approve ID production --comment "looks good"
    """
    _vote(approve=True, **given)


@click.command(short_help="Vote against what a job waits for.", epilog=exits.EXIT_HELP)
@_ballot
def reject(**given: Any) -> None:
    r"""Votes against it. TASK may be left out where only one task of the job waits. A vote stands.

    \b
    Example:
      formicary reject ID production --comment "not on a Friday"
    """
    _vote(approve=False, **given)


def _vote(
    *,
    approve: bool,
    job_id: str,
    task_type: str,
    comment: str,
    voter: str,
    roles: tuple[str, ...],
    key: str,
    server: str,
    timeout_s: float,
    output: str,
) -> None:
    from formicary.client.approvals import vote

    address, job_id = options.read_address(server, "--server"), options.read_id(job_id)

    async def work() -> dict[str, Any]:
        async with options.client(address, timeout_s) as client:
            return await vote(
                client,
                job_id,
                approve=approve,
                task_type=task_type,
                comment=comment,
                voter=voter,
                roles=roles,
                idempotency_key=key or str(uuid.uuid4()),
            )

    document = asyncio.run(work())
    if output == "table":
        missing = f", missing: {document['missing']}" if document["missing"] else ""
        write(f"{document['id']} {document['task_type']} {document['state']}{missing}\n")
    else:
        emit(document, output)


@click.group(short_help="Show what waits for votes.", epilog=exits.EXIT_HELP)
def approvals() -> None:
    r"""Works with tasks that wait for people.

    \b
    Example:
      formicary approvals list
    """


@approvals.command("list", short_help="List what waits for votes.", epilog=exits.EXIT_HELP)
@click.argument("job_id", metavar="[ID]", default="")
@click.option("--all", "everybody", is_flag=True, help="Also what you may not vote on, or have voted on.")
@_user
@_roles
@options.server
@options.timeout
@options.output
def list_them(
    job_id: str, everybody: bool, voter: str, roles: tuple[str, ...], server: str, timeout_s: float, output: str
) -> None:
    r"""Lists the tasks that wait for your vote, oldest jobs first; with ID all questions of that job.

    \b
    Examples:
      formicary approvals list
      formicary approvals list --all --output json
    """
    from formicary.client.approvals import list_approvals

    address = options.read_address(server, "--server")
    wanted = options.read_id(job_id) if job_id else ""

    async def work() -> list[dict[str, Any]]:
        async with options.client(address, timeout_s) as client:
            return await list_approvals(client, wanted, mine=not everybody and not wanted, voter=voter, roles=roles)

    found = asyncio.run(work())
    if output == "table":
        fields = ("id", "job_type", "task_type", "state", "asked_at", "deadline_at", "missing")
        emit_table([name.upper() for name in fields], [[row[name] or "-" for name in fields] for row in found])
        if not found and not everybody and not wanted:
            who = f"of {voter}" if voter else "of yours"
            click.echo(
                f"Nothing waits for a vote {who}; --all shows what waits for others, --as USER asks for somebody.",
                err=True,
            )
    else:
        emit(found, output)
