"""`formicary breakers`: job types that wait until their downstream works again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write

if TYPE_CHECKING:
    from formicary.client import Client

T = TypeVar("T")
_FIELDS = ("name", "state", "since", "half_open_at", "job_types", "failures_in_a_row", "failure_rate", "opened")


def _ask(server: str, timeout_s: float, command: Callable[[Client], Awaitable[T]]) -> T:
    address = options.read_address(server, "--server")

    async def work() -> T:
        async with options.client(address, timeout_s) as client:
            return await command(client)

    return asyncio.run(work())


@click.group(short_help="Show and reset the circuit breakers of jobs and tasks.", epilog=exits.EXIT_HELP)
def breakers() -> None:
    r"""Works with the circuit breakers of job files: `circuit_breaker`.

    While a breaker is OPEN, pending jobs of its types, or attempts of its tasks, wait; HALF_OPEN lets a few through to
    see whether they succeed.

    \b
    Examples:
      formicary breakers list
      formicary breakers reset payments-api
    """


@breakers.command("list", short_help="List the circuit breakers.", epilog=exits.EXIT_HELP)
@options.server
@options.timeout
@options.output
def list_them(server: str, timeout_s: float, output: str) -> None:
    """Lists circuit breakers by name: state, since when, which job types pass them, what they have counted."""
    from formicary.client.breakers import list_breakers

    found = _ask(server, timeout_s, list_breakers)
    if output == "table":
        rows = [{**one, "job_types": ", ".join(one["job_types"])} for one in found]
        emit_table([name.upper() for name in _FIELDS], [[row[name] or "-" for name in _FIELDS] for row in rows])
    else:
        emit(found, output)


@breakers.command(short_help="Close a circuit breaker.", epilog=exits.EXIT_HELP)
@click.argument("name", metavar="NAME")
@options.server
@options.timeout
@options.output
def reset(name: str, server: str, timeout_s: float, output: str) -> None:
    """Closes a breaker, whatever it was: jobs that wait for it begin, and its counts are zero."""
    from formicary.client.breakers import reset_breaker

    found = _ask(server, timeout_s, lambda client: reset_breaker(client, name))
    if output == "table":
        write(f"{found['name']} {found['state']}\n")
    else:
        emit(found, output)
