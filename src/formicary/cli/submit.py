"""`formicary submit`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, write


@click.command(short_help="Submit a job to the server.", epilog=exits.EXIT_HELP)
@click.argument("target", metavar="FILE|MODULE:JOB")
@options.param
@click.option("--count", type=click.IntRange(1, 1_000_000), help="Submit so many jobs with the same parameters.")
@click.option("--idempotency-key", "key", default="", help="Submitting again with the same key gives the same job.")
@click.option("--priority", type=click.IntRange(0, 10), help="Higher first; default the definition's.")
@click.option("--at", "at", default="", metavar="TIME", help="Earliest start, RFC 3339 like 2030-01-31T08:00:00Z.")
@options.job_type
@options.method
@options.path
@options.server
@options.timeout
@options.output
def submit(
    target: str,
    params: tuple[str, ...],
    count: int | None,
    key: str,
    priority: int | None,
    at: str,
    job_type: str,
    methods: tuple[str, ...],
    path: Path | None,
    server: str,
    timeout_s: float,
    output: str,
) -> None:
    r"""Submits a job and prints its id once it is stored: from then on it is not lost.

    \b
    Examples:
      formicary submit job.yaml -p year=2020
      formicary submit job.yaml --count 100 --idempotency-key monday --output json
      formicary submit jobs.yaml --job nightly

    With --count N and a key K the jobs get the keys K/0 to K/N-1.
    """
    from formicary.cli.job_files import load
    from formicary.cli.registering import register

    replaced = options.read_methods(methods)
    address = options.read_address(server, "--server")
    scheduled_at = moment(at, "--at") if at else None
    loaded = load(target, params, replaced, job_type=job_type, path=path, elsewhere=True)

    async def work() -> list[str]:
        async with options.client(address, timeout_s) as client:
            ref = await register(client.register, loaded, replaced)
            for warning in ref.warnings:
                click.echo(f"warning: {warning}", err=True)
            number = count or 1
            keys = None
            if key:
                keys = [f"{key}/{i}" for i in range(number)] if count is not None else [key]
            return await client.submit_many(
                ref,
                (loaded.params for _ in range(number)),
                idempotency_keys=keys,
                priority=priority,
                scheduled_at=scheduled_at,
            )

    ids = asyncio.run(work())
    if output == "table":
        write("".join(f"{job_id}\n" for job_id in ids))
    else:
        emit({"ids": ids}, output)


def moment(text: str, option: str) -> float:
    """Seconds since the epoch. Raises click.UsageError."""
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{option} {text}: write a time like 2030-01-31T08:00:00Z.") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
