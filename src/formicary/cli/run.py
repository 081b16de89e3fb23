"""`formicary run`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from formicary.cli import exits, options
from formicary.cli.display import Display, make_display
from formicary.cli.output import emit, emit_outputs
from formicary.problems import Problem, problem

if TYPE_CHECKING:
    from formicary.cli.job_files import Loaded
    from formicary.engine.queen.runtime import Queen
    from formicary.server.api.serving import GrpcServer

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
LOGS_LIMIT_S = 5.0
"""How long the last log lines may take after the job has ended."""


class LogLike(Protocol):
    """A log line of an embedded colony or of a server."""

    @property
    def task_type(self) -> str:
        """The task."""
        ...

    @property
    def stream(self) -> int:
        """1 = standard output, 2 = standard error, 3 = the engine's own words."""
        ...

    @property
    def text(self) -> str:
        """The line."""
        ...


class ReadLogs(Protocol):
    """Reads log lines that are there."""

    async def __call__(self, job_id: str, task_type: str, offset: int, /) -> tuple[Sequence[LogLike], int]:
        """Lines from `offset` on, and the next offset."""
        ...


class Jobs(Protocol):
    """What following a job needs: an embedded colony or a client."""

    async def get(self, job_id: str) -> dict[str, Any]:
        """The document."""
        ...

    def follow(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        """The document at each change."""
        ...

    def logs(self, job_id: str, *, task_type: str = "", follow: bool = False) -> AsyncIterator[LogLike]:
        """The log lines."""
        ...

    async def cancel(self, job_id: str, reason: str = "") -> dict[str, Any]:
        """Cancels it."""
        ...


@click.command(short_help="Run a job here and show it; the exit status is the job's.", epilog=exits.EXIT_HELP)
@click.argument("target", metavar="FILE|MODULE:JOB", required=False)
@options.param
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory; default the user's state directory. If a server holds it, the job runs there.",
)
@click.option(
    "--slots", type=click.IntRange(1, 1024), help="Tasks at the same time; default the processors, at least 4."
)
@click.option("--resume", "resume_id", default="", metavar="ID", help="Go on with a job that was interrupted.")
@options.job_type
@options.method
@options.path
@options.output
def run(
    target: str | None,
    params: tuple[str, ...],
    data: Path | None,
    slots: int | None,
    resume_id: str,
    job_type: str,
    methods: tuple[str, ...],
    path: Path | None,
    output: str,
) -> int:
    r"""Runs a job here, with queen and ants inside, and shows its tasks and what they write.

    \b
    Examples:
      formicary run job.yaml
      formicary run job.yaml -p year=2020 --output json
      formicary run package.module:job
      formicary run --resume 01m85ekc7j6eavmzh9dmc0872r

    Jobs that it forks come from the same file, from the job files beside it, or were registered before.

    Ctrl-C cancels the job (its `always_run` tasks still run), a second Ctrl-C kills what runs. Nothing that has
    completed is lost either way: --resume goes on where it stopped.
    """
    if bool(target) == bool(resume_id):
        raise click.UsageError("Name a job file (or module:job), or a job to go on with: --resume ID.")
    replaced = options.read_methods(methods)
    loaded = None
    if target:
        from formicary.cli.job_files import load

        loaded = load(target, params, replaced, job_type=job_type, path=path)
    display = make_display(output)
    runner = _Runner(loaded, options.read_id(resume_id) if resume_id else "", replaced, display)
    try:
        asyncio.run(runner.run(data, slots or 0, path))
    finally:
        display.close()
    return runner.report(output)


async def _same(address: str) -> str:
    return address


class _People:
    """The port on which others vote, opened when somebody is asked.

    Args:
        queen: Whose jobs are served.
    """

    def __init__(self, queen: Queen) -> None:
        self._queen = queen
        self._server: GrpcServer | None = None

    async def address(self) -> str:
        """Where it is."""
        if self._server is None:
            from formicary.server.people import serve_people

            self._server = await serve_people(self._queen)
        return f"127.0.0.1:{self._server.port}"

    async def stop(self) -> None:
        """Closes the port, if it is open."""
        if self._server is not None:
            await self._server.stop(0.5)


class _Runner:
    """One job from here to its end."""

    def __init__(self, loaded: Loaded | None, job_id: str, methods: Mapping[str, str], display: Display) -> None:
        self._loaded = loaded
        self._job_id = job_id
        self._methods = methods
        self._display = display
        self._interrupts = 0
        self._killed = asyncio.Event()
        self._cancelling: asyncio.Task[None] | None = None
        self._data = Path()
        self._document: dict[str, Any] | None = None
        self._asked: set[tuple[str, int]] = set()
        self._address: Callable[[], Awaitable[str]] | None = None
        """Where another terminal can vote."""

    async def run(self, data: Path | None, slots: int, path: Path | None) -> None:
        """Runs it in the data directory, or on the server that holds it."""
        from formicary.embedded.choosing import MAX_RUNS, choose_data_dir

        for attempt in range(MAX_RUNS + 1):
            chosen = choose_data_dir(data, self._job_id)
            self._data = chosen.directory
            if chosen.server:
                await self._run_there(chosen.server)
                return
            try:
                await self._run_here(slots, path)
                return
            except Problem as error:
                # Another run took the directory between the look and the lock: look again.
                if error.code != "DATA_IN_USE" or data is not None or attempt == MAX_RUNS:
                    raise

    async def _run_here(self, slots: int, path: Path | None) -> None:
        from formicary.cli.job_files import check_methods
        from formicary.cli.registering import register
        from formicary.embedded.colony import Colony, ColonyConfig
        from formicary.engine.scheduling.demand import EVERY_TAG

        loaded = self._loaded
        if loaded is not None:
            check_methods(loaded)
        paths = tuple(dict.fromkeys([str(path.absolute())] if path else [loaded.path] if loaded else []))
        recover = frozenset([self._job_id] if self._job_id else [])
        # This is the whole colony: tags say where in a larger one a task belongs.
        config = ColonyConfig(self._data, slots, paths, tags=frozenset({EVERY_TAG}), recover=recover)
        async with Colony(config) as colony:
            if loaded is not None:
                definition = await register(colony.register, loaded, self._methods)
                self._job_id = await colony.submit(definition, loaded.params)
            people = _People(colony.queen)
            self._address = people.address
            try:
                await self._follow(colony, colony.read_logs)
            finally:
                await people.stop()
            if self._killed.is_set():
                colony.kill()

    async def _run_there(self, address: str) -> None:
        from formicary.cli.registering import register
        from formicary.client import Client

        exits.say(f"the data directory {self._data} is served at {address}: the job runs there")
        async with Client(address) as client:
            loaded = self._loaded
            if loaded is not None:
                ref = await register(client.register, loaded, self._methods)
                self._job_id = (await client.submit(ref, loaded.params)).id
            self._address = partial(_same, address)
            await self._follow(client)

    async def _follow(self, jobs: Jobs, read_logs: ReadLogs | None = None) -> None:
        """Shows the job until it has ended or a second signal came.

        With `read_logs`, what a task said is read before its end is shown; a server streams lines beside the job.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted, jobs)
        shown = asyncio.create_task(self._show(jobs, read_logs))
        lines = asyncio.create_task(self._show_logs(jobs) if read_logs is None else asyncio.sleep(0))
        killed = asyncio.create_task(self._killed.wait())
        try:
            await asyncio.wait({shown, killed}, return_when=asyncio.FIRST_COMPLETED)
            if shown.done():
                shown.result()
                await asyncio.wait({lines, killed}, timeout=LOGS_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
                if self._document is not None:
                    self._display.job(self._document)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            tasks = [task for task in (shown, lines, killed, self._cancelling) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _show(self, jobs: Jobs, read_logs: ReadLogs | None) -> None:
        offset = 0
        async for document in jobs.follow(self._job_id):
            if read_logs is not None:
                offset = await self._show_lines(read_logs, offset)
            self._document = document
            if document["state"] not in ENDED:  # the end is shown after the last log line
                self._display.job(document)
                await self._tell_asked(document)
        if read_logs is not None:
            await self._show_lines(read_logs, offset)

    async def _tell_asked(self, document: Mapping[str, Any]) -> None:
        """Says once for each task that waits for people how they vote."""
        for task in document.get("tasks", ()):
            asked = task.get("approval")
            if asked is None or asked["state"] != "OPEN" or (task["task_type"], asked["attempt"]) in self._asked:
                continue
            self._asked.add((task["task_type"], asked["attempt"]))
            server = await self._address() if self._address is not None else ""
            way = f"{document['id']} {task['task_type']} --server {server}"
            exits.say(f"{task['task_type']} waits for {asked['missing']}; in another terminal: formicary approve {way}")

    async def _show_lines(self, read_logs: ReadLogs, offset: int) -> int:
        lines, offset = await read_logs(self._job_id, "", offset)
        for line in lines:
            self._display.log(line.task_type, line.stream, line.text)
        return offset

    async def _show_logs(self, jobs: Jobs) -> None:
        async for line in jobs.logs(self._job_id, follow=True):
            self._display.log(line.task_type, line.stream, line.text)

    def _interrupted(self, jobs: Jobs) -> None:
        """The first signal cancels the job, the second one kills."""
        self._interrupts += 1
        if self._interrupts > 1:
            self._killed.set()
            return
        exits.say("cancelling the job; press Ctrl-C again to kill what runs")
        self._cancelling = asyncio.ensure_future(self._cancel(jobs))

    async def _cancel(self, jobs: Jobs) -> None:
        with suppress(Problem):
            await jobs.cancel(self._job_id, "interrupted")

    def report(self, output: str) -> int:
        """Prints the data and returns the exit status."""
        document = self._document
        if document is None:
            raise problem("INTERNAL", "The job was not followed to any state.")
        if output == "table":
            emit_outputs(document)
            if document.get("error"):
                exits.say(f"error: {document['error']['detail']}")
        else:
            emit(document, output)
        if document["state"] not in ENDED:
            place = "" if self._data == Path() else f" --data {self._data}"
            exits.say(f"the job has not ended; go on with: formicary run --resume {self._job_id}{place}")
        if self._interrupts:
            return exits.INTERRUPTED
        return exits.OK if document["state"] == "COMPLETED" else exits.FAILED
