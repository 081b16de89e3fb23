"""`formicary artifacts`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, emit_table, write
from formicary.problems import problem

if TYPE_CHECKING:
    from formicary.client import Client

_FIELDS = ("id", "task_type", "attempt", "name", "form", "size_bytes", "expires_at")
_PART = ".part"


@click.group(short_help="List, fetch and put files of tasks.", epilog=exits.EXIT_HELP)
def artifacts() -> None:
    r"""Lists the files that the tasks of a job left on the server, fetches them, and keeps others for tasks.

    \b
    Examples:
      formicary artifacts list JOB
      formicary artifacts get ID -o report.html
      formicary artifacts put model.bin
    """


@artifacts.command("list", short_help="List the artifacts of a job.", epilog=exits.EXIT_HELP)
@click.argument("job_id", metavar="JOB")
@options.server
@options.timeout
@options.output
def list_artifacts(job_id: str, server: str, timeout_s: float, output: str) -> None:
    """Lists the artifacts of a job in the order of its tasks; those of a running task are there once it has ended."""
    address = options.read_address(server, "--server")

    async def work() -> Sequence[dict[str, Any]]:
        async with options.client(address, timeout_s) as client:
            return await client.artifacts(job_id)

    rows = asyncio.run(work())
    if output == "table":
        emit_table([name.upper() for name in _FIELDS], [[str(row[name]) for name in _FIELDS] for row in rows])
    else:
        emit(list(rows), output)


@artifacts.command("get", short_help="Fetch one artifact.", epilog=exits.EXIT_HELP)
@click.argument("artifact_id", metavar="ID")
@click.option(
    "-o", "--to", "target", default="", metavar="FILE", help="Where it goes; default its own name, - = stdout."
)
@options.server
@options.timeout
def get_artifact(artifact_id: str, target: str, server: str, timeout_s: float) -> None:
    """Fetches an artifact and prints where it is. Its digest is checked; a fetch that was interrupted is gone on with.

    What is not one plain file is a tar archive: `tar xf FILE` unpacks it.
    """
    address = options.read_address(server, "--server")

    async def work() -> str:
        async with options.client(address, timeout_s) as client:
            found = await client.artifact(artifact_id)
            if target == "-":
                async for piece in client.download(artifact_id):
                    sys.stdout.buffer.write(piece)
                return ""
            return str(await _fetch(client, found, Path(target or _file_name(found))))

    place = asyncio.run(work())
    if place:
        write(f"{place}\n")


@artifacts.command("put", short_help="Keep a file for tasks.", epilog=exits.EXIT_HELP)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default="", help="Where tasks get it in their working directory; default its own name.")
@click.option("--expires-after", default="", metavar="DURATION", help="When it is removed, like 12h; default 30d.")
@options.server
@options.timeout
@options.output
def put_artifact(file: Path, name: str, expires_after: str, server: str, timeout_s: float, output: str) -> None:
    r"""Keeps a file on the server and prints its id, which tasks name in `artifact_ids`.

    \b
    Examples:
      formicary artifacts put model.bin --expires-after 7d
      formicary submit score.yaml -p model=$(formicary artifacts put model.bin)
    """
    from formicary.engine.jobs.durations import parse_duration

    address = options.read_address(server, "--server")
    try:
        expires_s = parse_duration(expires_after) if expires_after else 0.0
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires-after") from error

    async def work() -> dict[str, Any]:
        async with options.client(address, timeout_s) as client:
            return await client.upload(file, name=name, expires_after_s=expires_s)

    found = asyncio.run(work())
    if output == "table":
        write(f"{found['id']}\n")
    else:
        emit(found, output)


def _file_name(found: dict[str, Any]) -> str:
    """The last part of its path; a pattern becomes a plain name."""
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in str(found["name"]).rstrip("/").rpartition("/")[2])
    return f"{name.strip('.') or 'artifact'}{'.tar' if found['form'] == 'tar' else ''}"


async def _fetch(client: Client, found: dict[str, Any], target: Path) -> Path:
    """Fetches into FILE.ID.part, checks, renames. Raises Problem: another digest, or a file that cannot be written."""
    from rich.console import Console
    from rich.progress import Progress

    part = target.with_name(f"{target.name}.{found['id']}{_PART}")
    digest, size = hashlib.sha256(), int(found["size_bytes"])
    try:
        with part.open("ab+") as file, Progress(console=Console(stderr=True), transient=True) as bar:
            file.seek(0)
            while piece := file.read(1024 * 1024):
                digest.update(piece)
            task = bar.add_task(target.name, total=size, completed=file.tell())
            if file.tell() < size:
                async for piece in client.download(str(found["id"]), file.tell()):
                    file.write(piece)
                    digest.update(piece)
                    bar.advance(task, len(piece))
        if digest.hexdigest() != found["sha256"]:
            part.unlink()
            raise problem(
                "CONFLICT", f"What came is not artifact {found['id']}: its SHA-256 is another. Fetch it again."
            )
        os.replace(part, target)
    except OSError as error:
        raise problem("VALIDATION_FAILED", f"{target} cannot be written: {error.strerror}.") from error
    return target
