"""`formicary deadletters`: jobs that no retry will help."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write

if TYPE_CHECKING:
    from formicary.client import Client
    from formicary.client.dead_letters import DeadLetterFilter

T = TypeVar("T")
_FIELDS = ("id", "job_type", "queue", "reason", "task_type", "error_code", "execution", "attempts", "dead_at")
_REASONS = click.Choice(["POISON", "RETRIES_EXHAUSTED", "FATAL", "TIMED_OUT"], case_sensitive=False)


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """What all of these commands take."""
    for option in (
        click.option("--reason", type=_REASONS, help="Only those that died of this."),
        click.option("--queue", default="", metavar="NAME", help="Only those in this queue."),
        click.option("--job", "job_type", default="", metavar="TYPE", help="Only those of this job type."),
    ):
        command = option(command)
    return command


def _ask(server: str, timeout_s: float, command: Callable[[Client], Awaitable[T]]) -> T:
    address = options.read_address(server, "--server")

    async def work() -> T:
        async with options.client(address, timeout_s) as client:
            return await command(client)

    return asyncio.run(work())


def _wanted(ids: tuple[str, ...], everything: bool, job_type: str, queue: str, reason: str | None) -> DeadLetterFilter:
    """The filter of a command that changes something: nothing given is not all. Raises UsageError."""
    from formicary.client.dead_letters import DeadLetterFilter

    filtered = bool(job_type or queue or reason)
    if bool(ids) == (filtered or everything):
        raise click.UsageError("Name the jobs, or choose them with --job, --queue, --reason, or take --all of them.")
    return DeadLetterFilter(job_type=job_type, queue=queue, reason=(reason or "").upper())


@click.group(short_help="Show, redrive and purge jobs that no retry will help.", epilog=exits.EXIT_HELP)
def deadletters() -> None:
    r"""Works with the dead-letter queue.

    A job goes there when its ant was lost with it too often (ERR_POISON), and when it has FAILED for good and its file
    says `error_handling: {dead_letter_queue: NAME}`.

    \b
    Examples:
      formicary deadletters list
      formicary deadletters show ID
      formicary deadletters redrive ID
      formicary deadletters redrive --queue imports --rate 5
    """


@deadletters.command("list", short_help="List dead letters.", epilog=exits.EXIT_HELP)
@_filters
@click.option(
    "--state",
    type=click.Choice(["DEAD", "REDRIVEN", "PURGED"], case_sensitive=False),
    default="DEAD",
    show_default=True,
    help="What has become of them.",
)
@click.option("--limit", type=click.IntRange(0), default=0, help="Most letters; 0 = all.")
@options.server
@options.timeout
@options.output
def list_them(
    job_type: str, queue: str, reason: str | None, state: str, limit: int, server: str, timeout_s: float, output: str
) -> None:
    """Lists dead letters, newest jobs first, each with its reason."""
    from formicary.client.dead_letters import DeadLetterFilter, list_dead_letters

    wanted = DeadLetterFilter(job_type=job_type, queue=queue, reason=(reason or "").upper())
    found = _ask(server, timeout_s, lambda client: list_dead_letters(client, wanted, state=state.upper(), limit=limit))
    if output == "table":
        emit_table([name.upper() for name in _FIELDS], [[row[name] or "-" for name in _FIELDS] for row in found])
    else:
        emit(found, output)


@deadletters.command(short_help="Show why a job is a dead letter.", epilog=exits.EXIT_HELP)
@click.argument("job_id", metavar="ID")
@options.server
@options.timeout
@options.output
def show(job_id: str, server: str, timeout_s: float, output: str) -> None:
    """Shows the last dead letter of a job."""
    from formicary.client.dead_letters import get_dead_letter

    wanted = options.read_id(job_id)
    found = _ask(server, timeout_s, lambda client: get_dead_letter(client, wanted))
    if output == "table":
        emit_table(["FIELD", "VALUE"], [[name, "-" if value is None else value] for name, value in found.items()])
    else:
        emit(found, output)


@deadletters.command(short_help="Run dead jobs again.", epilog=exits.EXIT_HELP)
@click.argument("job_ids", metavar="[ID]...", nargs=-1)
@_filters
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@click.option("--rate", type=click.FloatRange(0, 10000), default=0.0, metavar="N", help="Jobs a second; 0 = at once.")
@click.option("--limit", type=click.IntRange(0), default=0, help="Most jobs, oldest first; 0 = all.")
@click.option("--hard", is_flag=True, help="Run completed tasks again as well.")
@click.option("--idempotency-key", "key", default="", metavar="KEY", help="The same key again redrives nothing more.")
@options.server
@options.timeout
@options.output
def redrive(
    job_ids: tuple[str, ...],
    job_type: str,
    queue: str,
    reason: str | None,
    everything: bool,
    rate: float,
    limit: int,
    hard: bool,
    key: str,
    server: str,
    timeout_s: float,
    output: str,
) -> None:
    r"""Runs dead jobs again from their failed tasks, each exactly once, and prints their ids.

    \b
    Examples:
      formicary deadletters redrive ID
      formicary deadletters redrive --job import --reason POISON --hard
      formicary deadletters redrive --all --rate 5
    """
    from formicary.client.dead_letters import DeadLetterFilter, redrive_dead_letters

    wanted = _wanted(job_ids, everything, job_type, queue, reason)
    wishes = [DeadLetterFilter(id=options.read_id(one)) for one in job_ids] or [wanted]
    key = key or str(uuid.uuid4())

    async def work(client: Client) -> list[str]:
        found: list[str] = []
        for at, wish in enumerate(wishes):
            found += await redrive_dead_letters(
                client,
                wish,
                rate_per_s=rate,
                limit=limit,
                hard=hard,
                idempotency_key=f"{key}/{at}" if len(wishes) > 1 else key,
            )
        return found

    _tell(_ask(server, timeout_s, work), output)


@deadletters.command(short_help="Take letters out of the queue.", epilog=exits.EXIT_HELP)
@click.argument("job_ids", metavar="[ID]...", nargs=-1)
@_filters
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@click.option("--limit", type=click.IntRange(0), default=0, help="Most letters, oldest first; 0 = all.")
@options.server
@options.timeout
@options.output
def purge(
    job_ids: tuple[str, ...],
    job_type: str,
    queue: str,
    reason: str | None,
    everything: bool,
    limit: int,
    server: str,
    timeout_s: float,
    output: str,
) -> None:
    """Takes letters out of the queue and prints the ids of their jobs, which stay FAILED."""
    from formicary.client.dead_letters import DeadLetterFilter, purge_dead_letters

    wanted = _wanted(job_ids, everything, job_type, queue, reason)
    wishes = [DeadLetterFilter(id=options.read_id(one)) for one in job_ids] or [wanted]

    async def work(client: Client) -> list[str]:
        return [one for wish in wishes for one in await purge_dead_letters(client, wish, limit=limit)]

    _tell(_ask(server, timeout_s, work), output)


def _tell(ids: list[str], output: str) -> None:
    if output == "table":
        write("".join(f"{one}\n" for one in ids))
    else:
        emit({"ids": ids}, output)
