"""`formicary estimate`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write
from formicary.cli.submit import moment


@click.command(short_help="Say when a job would start.", epilog=exits.EXIT_HELP)
@click.argument("target", metavar="FILE|JOB")
@click.option("--priority", type=click.IntRange(0, 10), help="Of a file: higher first; default the definition's.")
@click.option("--at", default="", metavar="TIME", help="Of a file: earliest start, like 2030-01-31T08:00:00Z.")
@click.option("--deadline", default="", metavar="TIME", help="Say how likely it has ended by then.")
@click.option("--dry-run", is_flag=True, help="Of a file: look for places for all its tasks at once, as a gang.")
@options.server
@options.timeout
@options.output
def estimate(
    target: str, priority: int | None, at: str, deadline: str, dry_run: bool, server: str, timeout_s: float, output: str
) -> None:
    r"""Says when a job would start, with an interval that holds nine of ten starts. Nothing is submitted or reserved.

    FILE is a job file of one job that is not submitted yet; JOB is the id of one that waits.

    \b
    Examples:
      formicary estimate job.yaml
      formicary estimate job.yaml --priority 9 --deadline 2030-01-31T08:00:00Z
      formicary estimate job.yaml --dry-run
      formicary estimate 01m85ekc7j6eavmzh9dmc0872r --output json

    Where ants offer different tags, each pool of them is listed, the least congested first.

    It goes by the run times of jobs that have ended, what runs, what waits before it and later scheduled starts. What
    nobody can know: jobs of higher priority that will still come; their rate of the last hour is allowed for.
    """
    address = options.read_address(server, "--server")
    asked: dict[str, Any] = {"dry_run": dry_run, "priority": priority}
    asked["scheduled_at"] = moment(at, "--at") if at else None
    asked["deadline"] = moment(deadline, "--deadline") if deadline else None
    file = Path(target)
    if file.suffix.lower() in (".yaml", ".yml", ".json") or file.is_file():
        from formicary.cli.job_files import load

        loaded = load(target, (), {}, job_type="", path=None, elsewhere=True)
        asked["source"] = loaded.documents[-1].source
    elif dry_run or at or priority is not None:
        raise click.UsageError("--dry-run, --at and --priority are for a job file: a job that waits has its own.")
    else:
        asked = {"job_id": options.read_id(target), "deadline": asked["deadline"]}

    async def work() -> dict[str, Any]:
        async with options.client(address, timeout_s) as client:
            return await client.estimate(**asked)

    document = asyncio.run(work())
    if output == "table":
        _show(document)
    else:
        emit(document, output)


def _show(document: dict[str, Any]) -> None:
    if document["reason"]:
        write(f"{document['job_type']}: no estimate: {document['reason']}\n")
    else:
        rows = [
            ["starts", document["starts_at"], f"in {document['wait_s']:.1f} s"],
            ["earliest", document["earliest_at"], ""],
            ["latest", document["latest_at"], "nine of ten start in between"],
            ["ahead", document["ahead"], f"{document['slots']} slots"],
        ]
        if document["limited"]:
            rows.append(["limit", "", document["limited_by"]])
        if document["run_s"] is not None:
            rows.append(["run time", f"{document['run_s']:.1f} s", "mean of this type"])
        if "in_time" in document:
            rows.append(["in time", f"{document['in_time']:.0%}", "likely to have ended by the deadline"])
        emit_table((document["job_type"].upper(), "VALUE", ""), rows)
    pools = document.get("pools")
    if pools:
        rows = [
            [
                ",".join(pool["tags"]) or "(none)",
                f"{pool['busy']} of {pool['slots']}",
                pool["ahead"],
                f"in {pool['wait_s']:.1f} s",
                "" if pool["serves"] else "only with other tags",
            ]
            for pool in pools
        ]
        emit_table(("ANTS WITH", "BUSY", "AHEAD", "STARTS", ""), rows)
    dry = document.get("dry_run")
    if dry is not None:
        write("all tasks would fit now\n" if dry["fits"] else "not all tasks would fit now\n")
        write("".join(f"  {task}: {ant}\n" for task, ant in dry["places"].items()))
        write("".join(f"  {sentence}\n" for sentence in dry["lacks"]))
