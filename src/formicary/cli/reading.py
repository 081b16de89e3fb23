"""`formicary list`, `get` and `logs`."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_job, emit_table, to_json, write

if TYPE_CHECKING:
    from formicary.client import LogLine

_COLUMNS = ("ID", "STATE", "TYPE", "SUBMITTED", "ENDED")
_ELEMENT_FIELDS = ("task_type", "state", "exit_code", "attempts", "ant", "ended_at")
_FIELDS = ("id", "state", "job_type", "submitted_at", "ended_at")


@click.command("list", short_help="List jobs, newest first.", epilog=exits.EXIT_HELP)
@click.option("--state", "states", multiple=True, metavar="STATE", help="Only jobs in this state; repeatable.")
@click.option("--job-type", default="", metavar="TYPE", help="Only jobs of this type.")
@click.option("--limit", type=click.IntRange(0), default=0, help="At most so many; 0 = all.")
@options.server
@options.timeout
@options.output
def list_jobs(states: tuple[str, ...], job_type: str, limit: int, server: str, timeout_s: float, output: str) -> None:
    r"""Lists jobs, newest first.

    \b
    Examples:
      formicary list --state FAILED --limit 20
      formicary list --job-type nightly --output json
    """
    address = options.read_address(server, "--server")

    async def work() -> None:
        rows: list[dict[str, Any]] = []
        async with options.client(address, timeout_s) as client:
            first = True
            async for document in client.list(states=states, job_type=job_type, limit=limit):
                if output == "json":
                    write(("[\n" if first else ",\n") + to_json(document))
                    first = False
                else:
                    rows.append(document)
        if output == "json":
            write("[]\n" if first else "\n]\n")
        elif output == "yaml":
            emit(rows, output)
        else:
            emit_table(_COLUMNS, [[row.get(name) for name in _FIELDS] for row in rows])

    asyncio.run(work())


@click.command(short_help="Show one job with its tasks and outputs.", epilog=exits.EXIT_HELP)
@click.argument("job_id", metavar="ID")
@options.server
@options.timeout
@options.output
def get(job_id: str, server: str, timeout_s: float, output: str) -> None:
    r"""Shows one job with its tasks and outputs.

    \b
    Example:
      formicary get 01m85ekc7j6eavmzh9dmc0872r --output json
    """
    address = options.read_address(server, "--server")

    async def work() -> dict[str, Any]:
        async with options.client(address, timeout_s) as client:
            return await client.get(options.read_id(job_id))

    document = asyncio.run(work())
    if output == "table":
        emit_job(document)
    else:
        emit(document, output)


@click.command(short_help="Show the elements of a task that fans out.", epilog=exits.EXIT_HELP)
@click.argument("job_id", metavar="ID")
@click.argument("task_type", metavar="TASK")
@click.option("--state", "states", multiple=True, metavar="STATE", help="Only elements in this state; repeatable.")
@click.option("--limit", type=click.IntRange(0), default=0, help="At most so many; 0 = all.")
@options.server
@options.timeout
@options.output
def elements(
    job_id: str, task_type: str, states: tuple[str, ...], limit: int, server: str, timeout_s: float, output: str
) -> None:
    r"""Shows the elements of a task that have begun, in the order of its list.

    \b
    Examples:
      formicary elements ID measure --state FAILED
      formicary elements ID measure --output json
    """
    address = options.read_address(server, "--server")

    async def work() -> list[dict[str, Any]]:
        async with options.client(address, timeout_s) as client:
            found = client.elements(options.read_id(job_id), task_type, states=states, limit=limit)
            return [document async for document in found]

    documents = asyncio.run(work())
    if output != "table":
        emit(documents, output)
        return
    rows = [[*(one.get(name) for name in _ELEMENT_FIELDS), _why(one)] for one in documents]
    emit_table(("ELEMENT", "STATE", "EXIT", "ATTEMPTS", "ANT", "ENDED", "ERROR"), rows)


def _why(element: dict[str, Any]) -> str:
    error = element.get("error") or {}
    return str(error.get("message") or error.get("code") or "").partition("\n")[0][:120]


@click.command(short_help="Say why a job is not running now.", epilog=exits.EXIT_HELP)
@click.argument("job_id", metavar="ID")
@options.server
@options.timeout
@options.output
def explain(job_id: str, server: str, timeout_s: float, output: str) -> None:
    r"""Says why a job is not running now: each gate with its figures, its place in the order, what placement lacks.

    \b
    Example:
      formicary explain 01m85ekc7j6eavmzh9dmc0872r
    """
    address = options.read_address(server, "--server")

    async def work() -> dict[str, Any]:
        async with options.client(address, timeout_s) as client:
            return await client.explain(options.read_id(job_id))

    document = asyncio.run(work())
    if output != "table":
        emit(document, output)
        return
    write(f"{document['state']}: {document['summary']}\n")
    found = document.get("estimate")
    if found and not found["reason"]:
        write(f"starts about {found['starts_at']}, between {found['earliest_at']} and {found['latest_at']}\n")
    rows = [
        [one["task_type"] or "(job)", one["gate"], "yes" if one["passed"] else "no", one["message"]]
        for one in document["reasons"]
    ]
    emit_table(("TASK", "GATE", "PASSED", "REASON"), rows)


@click.command(short_help="Show the log lines of a job.", epilog=exits.EXIT_HELP)
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--task", "task_type", default="", metavar="TASK", help="Only this task's lines.")
@options.server
@options.timeout
@options.output
def logs(job_id: str, follow: bool, task_type: str, server: str, timeout_s: float, output: str) -> None:
    r"""Shows what the tasks of a job wrote. With --output json every line is one JSON document.

    \b
    Examples:
      formicary logs ID -f
      formicary logs ID --task extract
    """
    address = options.read_address(server, "--server")

    async def work() -> None:
        async with options.client(address, timeout_s) as client:
            async for line in client.logs(options.read_id(job_id), task_type=task_type, follow=follow):
                _show(line, output)

    asyncio.run(work())


def _show(line: LogLine, output: str) -> None:
    if output == "table":
        try:
            write(f"{line.task_type} | {line.text}\n")
        except UnicodeEncodeError:
            sys.stdout.buffer.write(f"{line.task_type} | {line.text}\n".encode("utf-8", "replace"))
        return
    document = {
        "task_type": line.task_type,
        "attempt": line.attempt,
        "time": datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "stream": {1: "stdout", 2: "stderr"}.get(line.stream, "engine"),
        "text": line.text,
    }
    if output == "yaml":
        write("---\n")
        emit(document, output)
    else:
        write(msgspec.json.encode(document).decode() + "\n")
