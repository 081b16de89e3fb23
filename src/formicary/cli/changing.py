"""`formicary cancel`, `retry` (`restart`), `pause` and `resume`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, write

if TYPE_CHECKING:
    from formicary.client import Client

Command = Callable[["Client", str], Awaitable[dict[str, Any]]]


def _change(ids: tuple[str, ...], server: str, timeout_s: float, output: str, command: Command) -> None:
    """Does it to each job in turn and shows what it is now."""
    address = options.read_address(server, "--server")

    async def work() -> list[dict[str, Any]]:
        async with options.client(address, timeout_s) as client:
            return [await command(client, options.read_id(job_id)) for job_id in ids]

    documents = asyncio.run(work())
    if output == "table":
        write("".join(f"{document['id']} {document['state']}\n" for document in documents))
    else:
        emit(documents[0] if len(documents) == 1 else documents, output)


@click.command(short_help="Cancel a job; its always_run tasks still run.", epilog=exits.EXIT_HELP)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--reason", default="", help="Shown with the job.")
@options.server
@options.timeout
@options.output
def cancel(ids: tuple[str, ...], reason: str, server: str, timeout_s: float, output: str) -> None:
    r"""Cancels jobs. Running tasks are ended, `always_run` tasks still run; a job that has ended stays as it is.

    \b
    Example:
      formicary cancel ID --reason "wrong input"
    """
    _change(ids, server, timeout_s, output, lambda client, job_id: client.cancel(job_id, reason))


@click.command(short_help="Run an ended job again.", epilog=exits.EXIT_HELP)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--hard", is_flag=True, help="Run every task again instead of keeping the completed ones.")
@click.option(
    "--version",
    default="",
    metavar="VERSION",
    help="Go on with this version of the job: a number, latest, its sem_version or its id.",
)
@click.option("--idempotency-key", "key", default="", metavar="KEY", help="The same key again changes nothing.")
@options.server
@options.timeout
@options.output
def retry(ids: tuple[str, ...], hard: bool, version: str, key: str, server: str, timeout_s: float, output: str) -> None:
    r"""Runs ended jobs again, from the tasks that did not complete, with the version of the job that they had.

    \b
    Examples:
      formicary retry ID
      formicary retry ID --hard
      formicary retry ID --version latest

    With another version, tasks of the same name that completed are kept; what it changes or adds runs, and the job's
    variables are rendered anew.
    """
    if key and len(ids) > 1:
        raise click.UsageError("--idempotency-key is for one job.")

    def again(client: Client, job_id: str) -> Awaitable[dict[str, Any]]:
        return client.retry(job_id, hard=hard, version=version, idempotency_key=key)

    _change(ids, server, timeout_s, output, again)


restart = click.Command(
    "restart",
    params=retry.params,
    callback=retry.callback,
    help=(retry.help or "").replace("formicary retry", "formicary restart"),
    short_help="The same as retry.",
    epilog=exits.EXIT_HELP,
)


@click.command(short_help="Let a job pause until it is resumed.", epilog=exits.EXIT_HELP)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@options.server
@options.timeout
@options.output
def pause(ids: tuple[str, ...], server: str, timeout_s: float, output: str) -> None:
    r"""Lets jobs that have begun pause: what runs finishes, nothing new starts, the job's clock stands still.

    \b
    Example:
      formicary pause ID
    """
    _change(ids, server, timeout_s, output, lambda client, job_id: client.pause(job_id))


@click.command(short_help="Let a paused job go on now.", epilog=exits.EXIT_HELP)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@options.server
@options.timeout
@options.output
def resume(ids: tuple[str, ...], server: str, timeout_s: float, output: str) -> None:
    r"""Lets paused jobs go on now instead of at the end of their pause.

    \b
    Example:
      formicary resume ID
    """
    _change(ids, server, timeout_s, output, lambda client, job_id: client.resume(job_id))
