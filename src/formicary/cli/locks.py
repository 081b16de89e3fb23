"""`formicary locks`: licences, locks and quotas that jobs hold while they run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table

if TYPE_CHECKING:
    from formicary.client import Client

T = TypeVar("T")


def _ask(server: str, timeout_s: float, command: Callable[[Client], Awaitable[T]]) -> T:
    address = options.read_address(server, "--server")

    async def work() -> T:
        async with options.client(address, timeout_s) as client:
            return await command(client)

    return asyncio.run(work())


@click.group(short_help="Show and set licences, locks and quotas of jobs.", epilog=exits.EXIT_HELP)
def locks() -> None:
    r"""Works with virtual resources: what job files take by `resources: {resource_type: NAME, value: N}`.

    A name that nobody has set is a lock: one holder at a time.

    \b
    Examples:
      formicary locks set matlab-licence --capacity 5
      formicary locks list
      formicary locks get matlab-licence
      formicary locks delete matlab-licence
    """


@locks.command("list", short_help="List them.", epilog=exits.EXIT_HELP)
@options.server
@options.timeout
@options.output
def list_them(server: str, timeout_s: float, output: str) -> None:
    """Lists all that are set, held or waited for, by name."""
    from formicary.client.locks import list_locks

    _print(_ask(server, timeout_s, list_locks), output)


@locks.command(short_help="Show one and who holds it.", epilog=exits.EXIT_HELP)
@click.argument("name", metavar="NAME")
@options.server
@options.timeout
@options.output
def get(name: str, server: str, timeout_s: float, output: str) -> None:
    """Shows one of them; in a table: a line for each holder."""
    from formicary.client.locks import get_lock

    found = _ask(server, timeout_s, lambda client: get_lock(client, name))
    if output == "table":
        held = f"{found['held']:g} of {found['capacity']:g} held, {found['waiting']} waiting"
        click.echo(f"{found['name']}: {held}", err=True)
        rows = [[one["job_id"], one["job_type"], one["task_type"] or "-", one["amount"]] for one in found["holders"]]
        emit_table(["JOB", "JOB TYPE", "TASK", "AMOUNT"], rows)
    else:
        emit(found, output)


@locks.command("set", short_help="Say how much there is of one.", epilog=exits.EXIT_HELP)
@click.argument("name", metavar="NAME")
@click.option("--capacity", type=float, required=True, help="How much may be held at once.")
@click.option("--description", default="", help="What it is.")
@options.server
@options.timeout
@options.output
def set_one(name: str, capacity: float, description: str, server: str, timeout_s: float, output: str) -> None:
    """Says how much there is. What is held beyond it stays held until its holders end."""
    from formicary.client.locks import set_lock

    found = _ask(server, timeout_s, lambda client: set_lock(client, name, capacity, description=description))
    _print(found, output)


@locks.command(short_help="Forget what was set.", epilog=exits.EXIT_HELP)
@click.argument("name", metavar="NAME")
@options.server
@options.timeout
@options.output
def delete(name: str, server: str, timeout_s: float, output: str) -> None:
    """Forgets what was set: the name is a lock for one holder again."""
    from formicary.client.locks import delete_lock

    _print(_ask(server, timeout_s, lambda client: delete_lock(client, name)), output)


def _print(found: list[dict[str, Any]] | dict[str, Any], output: str) -> None:
    if output != "table":
        emit(found, output)
        return
    rows = [
        [one["name"], f"{one['held']:g}", f"{one['capacity']:g}", one["waiting"], one["description"] or "-"]
        for one in (found if isinstance(found, list) else [found])
    ]
    emit_table(["NAME", "HELD", "CAPACITY", "WAITING", "DESCRIPTION"], rows)
