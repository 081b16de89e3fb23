"""`formicary validate`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, write
from formicary.engine.jobs.model import JobDefinition, Violation
from formicary.engine.jobs.places import place_of_field, place_of_remark

if TYPE_CHECKING:
    from formicary.cli.job_files import Checked
    from formicary.client import Client


def _on_the_ants(checked: Sequence[Checked], server: str, timeout_s: float) -> list[Checked]:
    """The files with a warning for what none of the ants of a server could run."""
    address = options.read_address(server, "--server")

    async def ask(client: Client, definition: JobDefinition) -> list[Violation]:
        found = await client.estimate(source=definition.source, dry_run=True)
        remarks = [(place_of_remark(definition, text), text) for text in found["dry_run"]["never"]]
        return [Violation(at.line, at.column, "tasks", "NO_ANT", text, "warning") for at, text in remarks]

    async def no_queue(client: Client, definition: JobDefinition) -> list[Violation]:
        from formicary.client.queues import get_queues

        known = await get_queues(client) if definition.queue else {}
        parents = {queue["parent"] for queue in known.get("queues", ())}
        leaves = [queue["name"] for queue in known.get("queues", ()) if queue["name"] not in parents]
        if not known.get("source") or definition.queue in leaves:
            return []
        text = f"There is no queue {definition.queue} for jobs on this server; there is {', '.join(leaves)}."
        place = place_of_field(definition, "queue")
        return [Violation(place.line, place.column, "queue", "UNKNOWN_VALUE", text, "warning")]

    async def work() -> list[Checked]:
        async with options.client(address, timeout_s) as client:
            found = []
            for file in checked:
                jobs = file.definitions if file.valid else ()
                more = [v for one in jobs for v in (*await ask(client, one), *await no_queue(client, one))]
                every = sorted((*file.violations, *more), key=lambda v: (v.line, v.column))
                found.append(replace(file, violations=tuple(every)))
            return found

    return asyncio.run(work())


@click.command(short_help="Show every mistake in job files, with line and column.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.method
@click.option("--server", default="", metavar="HOST:PORT", help="Ask this server too whether its ants could run it.")
@options.timeout
@options.output
def validate(files: tuple[str, ...], methods: tuple[str, ...], server: str, timeout_s: float, output: str) -> int:
    r"""Checks files of jobs or queues and shows every mistake at once; stores nothing. `-` reads standard input.

    A method that cannot run here is a warning: the file is right, and `--method KUBERNETES=SHELL` shows what a run
    with another method would say. So is a job to fork that is in none of the files: validate them together. With
    `--server` so is a task that none of its ants could run, a gang that is larger than all of them, a queue that there
    is not, and one whose share or limit is too small.

    \b
    Examples:
      formicary validate job.yaml
      formicary validate jobs/*.yaml --method KUBERNETES=SHELL --output json
      formicary validate train.yaml --server 127.0.0.1:7778

    Exit status: 0 when every file is valid, else 2.
    """
    from formicary.cli.job_files import check_file

    replaced = options.read_methods(methods)
    checked = [check_file(file, replaced).as_a_file() for file in files]
    known = {definition.job_type for file in checked for definition in file.definitions}
    checked = [file.among(known) for file in checked]
    valid = all(file.valid for file in checked)
    if server:
        checked = _on_the_ants(checked, server, timeout_s)
    if output != "table":
        emit(
            [
                {
                    "file": file.file,
                    "valid": file.valid,
                    "violations": [
                        {
                            "line": v.line,
                            "column": v.column,
                            "path": v.path,
                            "code": v.code,
                            "message": v.message,
                            "severity": v.severity,
                        }
                        for v in file.violations
                    ],
                }
                for file in checked
            ],
            output,
        )
        return exits.OK if valid else exits.INVALID
    for file in checked:
        for v in file.violations:
            kind = "error" if v.is_error else "warning"
            print(f"{kind}: {file.file}:{v.line}:{v.column}: {v.message}", file=sys.stderr)
        jobs = "queues" if file.is_queues else ", ".join(definition.job_type for definition in file.definitions)
        write(f"{file.file}: valid ({jobs})\n" if file.valid else f"{file.file}: not valid\n")
    return exits.OK if valid else exits.INVALID
