"""`formicary idempotency`: the records of a store of idempotency keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table
from formicary.problems import problem

if TYPE_CHECKING:
    from formicary.idempotency import Record, Store

T = TypeVar("T")
PAGE = 500
_FIELDS = ("key", "tenant", "method", "route", "state", "attempts", "created_at", "expires_at")
_STATES = ["IN_PROGRESS", "COMPLETED", "RELEASED"]
store_option = click.option(
    "--store",
    "url",
    required=True,
    envvar="FORMICARY_IDEMPOTENCY_STORE",
    metavar="URL",
    help="sqlite:PATH, postgresql://…, mysql://… or redis://…; a password belongs into FORMICARY_IDEMPOTENCY_STORE.",
)


@click.group(short_help="Look at idempotency keys; purge those whose time is over.", epilog=exits.EXIT_HELP)
def idempotency() -> None:
    r"""Looks at the records of a store of idempotency keys, whatever service has written them.

    \b
    Example:
      formicary idempotency list --store sqlite:payments.db --state IN_PROGRESS
    """


@idempotency.command("list", short_help="List records.", epilog=exits.EXIT_HELP)
@store_option
@click.option("--tenant", metavar="NAME", help="Only keys of this tenant.")
@click.option("--state", type=click.Choice(_STATES), help="Only records in this state.")
@click.option("--key", metavar="KEY", help="Only this key, of any tenant and route.")
@click.option("--parent", metavar="ID", help="Only steps of this workflow.")
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="At most so many; 0 = all.")
@options.output
def list_records(
    url: str, tenant: str | None, state: str | None, key: str | None, parent: str | None, limit: int, output: str
) -> None:
    """Lists records in the order of their ids, those whose time is over as well until they are purged."""

    async def work(store: Store) -> list[dict[str, Any]]:
        found = []
        async for record in _records(store, tenant=tenant, state=state, key=key, parent=parent):
            found.append(_shown(record))
            if len(found) == limit:
                break
        return found

    rows = _with(url, work)
    if output == "table":
        emit_table([name.upper() for name in _FIELDS], [[str(row[name] or "-") for name in _FIELDS] for row in rows])
    else:
        emit(rows, output)


@idempotency.command(short_help="Show the records of one key.", epilog=exits.EXIT_HELP)
@click.argument("key")
@store_option
@click.option("--tenant", metavar="NAME", help="Only of this tenant.")
@options.output
def show(key: str, url: str, tenant: str | None, output: str) -> None:
    """Shows every record of a key with the status of its kept answer. Bodies and headers are not shown."""

    async def work(store: Store) -> list[dict[str, Any]]:
        return [_shown(record) | _answer(record) async for record in _records(store, tenant=tenant, key=key)]

    rows = _with(url, work)
    if not rows:
        raise problem("NOT_FOUND", f"The store has no key {key!r}.")
    if output != "table":
        emit(rows, output)
        return
    for row in rows:
        emit_table(
            ["FIELD", "VALUE"], [[name, "-" if value in (None, "") else str(value)] for name, value in row.items()]
        )


@idempotency.command(short_help="Delete records whose time is over.", epilog=exits.EXIT_HELP)
@store_option
@click.option("--batch", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Most in one commit.")
@options.output
def purge(url: str, batch: int, output: str) -> None:
    """Deletes records whose time is over, in batches, and says how many. A record under a live lease stays."""

    async def work(store: Store) -> int:
        deleted = 0
        while (count := await store.purge(batch)) > 0:
            deleted += count
        return deleted

    deleted = _with(url, work)
    if output == "table":
        emit_table(["DELETED"], [[str(deleted)]])
    else:
        emit({"deleted": deleted}, output)


def _with(url: str, work: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        from formicary.idempotency.opening import open_store

        store = await open_store(url, make=False)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


async def _records(
    store: Store,
    *,
    tenant: str | None = None,
    state: str | None = None,
    key: str | None = None,
    parent: str | None = None,
) -> AsyncIterator[Record]:
    """Page by page, so that no store has to hold them all."""
    from formicary.idempotency import State

    wanted, after = None if state is None else State(state), b""
    while True:
        page = await store.records(tenant=tenant, state=wanted, key=key, parent=parent, after=after, limit=PAGE)
        for record in page:
            yield record
        if len(page) < PAGE:
            return
        after = page[-1].id


def _shown(record: Record) -> dict[str, Any]:
    return {
        "id": record.id.hex(),
        "key": record.key,
        "tenant": record.tenant,
        "method": record.method,
        "route": record.route,
        "parent": record.parent,
        "state": record.state.value,
        "attempts": record.attempts,
        "token": record.token,
        "point": record.point,
        "created_at": _time(record.created_ms),
        "lease_until": _time(record.lease_ms) if record.state.value == "IN_PROGRESS" else None,
        "expires_at": _time(record.expires_ms),
    }


def _answer(record: Record) -> dict[str, Any]:
    from formicary.idempotency import decode_response

    if record.response is None:
        return {"status": None, "body_bytes": None}
    try:
        answer = decode_response(record.response)
    except ValueError as error:
        raise problem("DATA_CORRUPT", f"The answer of {record.key!r}: {error}.") from error
    return {"status": answer.status, "body_bytes": len(answer.body)}


def _time(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
