"""`formicary events`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

from formicary.cli import exits, options
from formicary.cli.output import emit, write

if TYPE_CHECKING:
    from formicary.client import Event


@click.command(short_help="Show what happens to jobs, tasks and ants.", epilog=exits.EXIT_HELP)
@click.option("--job", "job_id", default="", metavar="ID", help="Only this job and its tasks.")
@click.option("--job-type", default="", metavar="TYPE", help="Only jobs of this type.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Like job.failed, or job, task, ant; repeatable.")
@click.option("--state", "states", multiple=True, metavar="STATE", help="Only events that tell of it; repeatable.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, over restarts of the server too.")
@click.option("--after", type=click.IntRange(0), metavar="N", help="Go on after this sequence; default: see below.")
@options.server
@options.timeout
@options.output
def events(
    job_id: str,
    job_type: str,
    kinds: tuple[str, ...],
    states: tuple[str, ...],
    follow: bool,
    after: int | None,
    server: str,
    timeout_s: float,
    output: str,
) -> None:
    r"""Shows events. With --output json every line is one JSON document.

    Without --after it begins with the oldest event that the server keeps, with --follow alone with what happens from
    now on. A server keeps events while somebody watches and ten minutes longer; `gap` says that some are missing.

    \b
    Examples:
      formicary events --follow
      formicary events --job ID --follow --output json
    """
    address = options.read_address(server, "--server")
    start = 0 if after is None and not follow else after

    async def work() -> None:
        from formicary.client import Client

        async with Client(address, timeout_s=timeout_s) as client:
            found = client.events(
                after=start, job_id=job_id, job_type=job_type, kinds=kinds, states=states, follow=follow
            )
            async for event in found:
                _show(event, output)

    asyncio.run(work())


def _show(event: Event, output: str) -> None:
    time = "-"
    if event.time:
        time = datetime.fromtimestamp(event.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if output == "table":
        attempt = f"#{event.attempt}" if event.attempt else ""
        missed = f"missed={event.missed or 'unknown'}" if event.kind == "gap" else ""
        words = (event.job_id, event.job_type, event.task_type, attempt, event.ant, event.error_code, missed)
        write(f"{event.sequence} {time} {event.kind:<16} {' '.join(word for word in words if word)}".rstrip() + "\n")
        return
    document = asdict(event) | {"time": time}
    if output == "yaml":
        write("---\n")
        emit(document, output)
    else:
        write(msgspec.json.encode(document).decode() + "\n")
