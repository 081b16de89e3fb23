"""`formicary triggers`: what starts jobs by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write

if TYPE_CHECKING:
    from formicary.client import Client

T = TypeVar("T")
_FIELDS = (
    "job_type",
    "name",
    "type",
    "schedule",
    "source",
    "state",
    "next_at",
    "last_at",
    "last_job",
    "fired",
    "error",
)
_LETTER = ("created_at", "job_type", "name", "event", "reason")
_name = click.option("--name", default="", metavar="NAME", help="Which trigger of the job; cron if it is left out.")


@click.group(short_help="Show, start, pause, resume and reset what starts jobs by itself.", epilog=exits.EXIT_HELP)
def triggers() -> None:
    r"""Works with the triggers of the registered jobs: `cron_trigger` and `triggers`.

    \b
    Examples:
      formicary triggers list
      formicary triggers fire nightly-report
      formicary triggers pause nightly-report
    """


def _ask(server: str, timeout_s: float, command: Callable[[Client], Awaitable[T]]) -> T:
    address = options.read_address(server, "--server")

    async def work() -> T:
        async with options.client(address, timeout_s) as client:
            return await command(client)

    return asyncio.run(work())


@triggers.command("list", short_help="List the triggers.", epilog=exits.EXIT_HELP)
@click.option("--job", "job_type", default="", metavar="TYPE", help="Only those of this job type.")
@options.server
@options.timeout
@options.output
def list_them(job_type: str, server: str, timeout_s: float, output: str) -> None:
    """Lists triggers by job type: the planned time of the next run, what has started last, what is wrong."""
    from formicary.client.triggers import list_triggers

    found = _ask(server, timeout_s, lambda client: list_triggers(client, job_type))
    if output == "table":
        rows = [{**one, "state": "paused" if one["paused"] else "active"} for one in found]
        emit_table([name.upper() for name in _FIELDS], [[row[name] or "-" for name in _FIELDS] for row in rows])
    else:
        emit(found, output)


@triggers.command(short_help="Start the job of a trigger now.", epilog=exits.EXIT_HELP)
@click.argument("job_type", metavar="JOB")
@_name
@options.param
@click.option("--idempotency-key", "key", default="", metavar="KEY", help="The same key again starts nothing.")
@options.server
@options.timeout
def fire(job_type: str, name: str, params: tuple[str, ...], key: str, server: str, timeout_s: float) -> None:
    """Starts the job now, whatever the trigger's policies say, and prints its id."""
    from formicary.client.triggers import fire_trigger

    given = options.read_params(params, {})
    write(_ask(server, timeout_s, lambda client: fire_trigger(client, job_type, name, given, key)) + "\n")


@triggers.command(short_help="Let a trigger start nothing for now.", epilog=exits.EXIT_HELP)
@click.argument("job_type", metavar="JOB")
@_name
@options.server
@options.timeout
@options.output
def pause(job_type: str, name: str, server: str, timeout_s: float, output: str) -> None:
    """Nothing starts by itself until the trigger is resumed; runs that wait are dropped."""
    from formicary.client.triggers import pause_trigger

    _show(_ask(server, timeout_s, lambda client: pause_trigger(client, job_type, name)), output)


@triggers.command(short_help="Let a paused trigger go on.", epilog=exits.EXIT_HELP)
@click.argument("job_type", metavar="JOB")
@_name
@options.server
@options.timeout
@options.output
def resume(job_type: str, name: str, server: str, timeout_s: float, output: str) -> None:
    """Goes on with the next time or event; what fell into the pause of a schedule is not made up for."""
    from formicary.client.triggers import resume_trigger

    _show(_ask(server, timeout_s, lambda client: resume_trigger(client, job_type, name)), output)


@triggers.command(short_help="Let events start jobs anew.", epilog=exits.EXIT_HELP)
@click.argument("job_type", metavar="JOB")
@click.option("--name", required=True, metavar="NAME", help="Which trigger of the job.")
@options.server
@options.timeout
@options.output
def reset(job_type: str, name: str, server: str, timeout_s: float, output: str) -> None:
    """Forgets which events have been: all that its source still has start jobs anew."""
    from formicary.client.triggers import reset_trigger

    _show(_ask(server, timeout_s, lambda client: reset_trigger(client, job_type, name)), output)


@triggers.command(short_help="Show events that could start no job.", epilog=exits.EXIT_HELP)
@click.option("--job", "job_type", default="", metavar="TYPE", help="Only those of this job type.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Most letters.")
@options.server
@options.timeout
@options.output
def letters(job_type: str, limit: int, server: str, timeout_s: float, output: str) -> None:
    """Lists messages and objects that could start no job, newest first, with the reason."""
    from formicary.client.triggers import list_trigger_letters

    found = _ask(server, timeout_s, lambda client: list_trigger_letters(client, job_type, limit))
    if output == "table":
        emit_table([name.upper() for name in _LETTER], [[row[name] or "-" for name in _LETTER] for row in found])
    else:
        emit(found, output)


def _show(found: dict[str, Any], output: str) -> None:
    if output == "table":
        active = f"next at {found['next_at'] or '-'}" if found["type"] == "cron" else "active"
        state = "paused" if found["paused"] else active
        write(f"{found['job_type']} {found['name']} {state}\n")
    else:
        emit(found, output)
