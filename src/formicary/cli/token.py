"""`formicary token`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write

if TYPE_CHECKING:
    from formicary.client import Client
    from formicary.server.auth.tokens import Token

T = TypeVar("T")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FIELDS = ("id", "org", "role", "name", "last4", "created_at", "expires_at", "revoked_at")


@click.group(short_help="Make, list and revoke the API tokens of a server.", epilog=exits.EXIT_HELP)
def token() -> None:
    r"""Administers API tokens; for callers whose own token has the role admin.

    \b
    Example:
      formicary token create --role viewer --expires 30d
    """


def _ask(server: str, timeout_s: float, work: Callable[[Client], Awaitable[T]]) -> T:
    address = options.read_address(server, "--server")

    async def asking() -> T:
        async with options.client(address, timeout_s) as client:
            return await work(client)

    return asyncio.run(asking())


@token.command(short_help="Make a token.", epilog=exits.EXIT_HELP)
@click.option(
    "--role", type=click.Choice(["admin", "operator", "submitter", "viewer", "ant"]), required=True, help="Its role."
)
@click.option("--org", default="", help="Its organisation; default the caller's.")
@click.option("--expires", default="", metavar="30d", help="How long it is valid (s, m, h, d); default until revoked.")
@click.option("--name", default="", help="What it is for.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write to this data directory while no server holds it: for the first token.",
)
@click.option("--database", default="", metavar="URL", help="With --data: postgresql://… instead of the SQLite file.")
@options.server
@options.timeout
@options.output
def create(
    role: str,
    org: str,
    expires: str,
    name: str,
    data: Path | None,
    database: str,
    server: str,
    timeout_s: float,
    output: str,
) -> None:
    r"""Makes a token and prints it on standard output. Nobody can show it again.

    \b
    Examples:
      formicary token create --data /var/lib/formicary --role admin
      export FORMICARY_TOKEN=$(formicary token create --role submitter --org acme --expires 30d)
    """
    lifetime_s = _lifetime(expires)
    if data is not None:
        made = _create_in(data.absolute(), database, role, org, name, lifetime_s)
    else:
        made = _ask(server, timeout_s, lambda one: one.make_token(role, org=org, name=name, lifetime_s=lifetime_s))
    if output == "table":
        write(f"{made['token']}\n")
    else:
        emit(made, output)


def _create_in(data: Path, database: str, role: str, org: str, name: str, lifetime_s: float) -> dict[str, object]:
    from formicary.embedded.opening import as_problems
    from formicary.engine.storage.backends import open_store
    from formicary.engine.storage.data_lock import DataLock
    from formicary.server.auth.tokens import as_row, new_token

    text, made = new_token(role, org, name, lifetime_s)
    lock = DataLock(data)
    with as_problems():
        lock.acquire(http_port=0, grpc_port=0)
        try:
            store = open_store(database or str(data))
            try:
                store.add_token(as_row(made))
            finally:
                store.close()
        finally:
            lock.release()
    return {**{field: getattr(made, field) for field in _FIELDS}, **_times(made), "token": text}


def _times(made: Token) -> dict[str, str | None]:
    """Times as the server's documents have them."""
    times = {name: getattr(made, name) for name in ("created_at", "expires_at")}
    return {
        name: None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        for name, at in times.items()
    }


@token.command("list", short_help="List the tokens.", epilog=exits.EXIT_HELP)
@click.option("--revoked", is_flag=True, help="Those that were revoked, too.")
@options.server
@options.timeout
@options.output
def list_tokens(revoked: bool, server: str, timeout_s: float, output: str) -> None:
    """Lists the tokens that the caller administers, by their public parts and last four characters."""
    found = _ask(server, timeout_s, lambda client: client.list_tokens(revoked=revoked))
    if output == "table":
        fields = _FIELDS if revoked else _FIELDS[:-1]
        emit_table([field.upper() for field in fields], [[one[field] or "-" for field in fields] for one in found])
    else:
        emit(list(found), output)


@token.command(short_help="End a token at once.", epilog=exits.EXIT_HELP)
@click.argument("token_id", metavar="ID")
@options.server
@options.timeout
def revoke(token_id: str, server: str, timeout_s: float) -> None:
    """Ends a token: whoever sends it is refused from now on."""
    found = _ask(server, timeout_s, lambda client: client.revoke_token(token_id))
    write(f"{found['id']} revoked\n")


def _lifetime(text: str) -> float:
    """Seconds of a text like 30d, 0 for none."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if text and found is None:
        raise click.BadParameter("write a number and s, m, h or d, like 30d.", param_hint="--expires")
    return float(int(found[1]) * _SECONDS[found[2]]) if found else 0.0
