"""A queen and one ant in this process, with the methods of the client."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from formicary.client.ids import IdMaker
from formicary.embedded.artifacts import DirectArtifactLink
from formicary.embedded.opening import OnlyTheseJobs, as_problems, open_data
from formicary.engine.ants.ant import Ant
from formicary.engine.ants.config import AntConfig, machine_resources
from formicary.engine.ants.executors import Executor
from formicary.engine.ants.transport import AntTransport, local_pair
from formicary.engine.queen.core.batch import JobEnded
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.keyring import Keyring
from formicary.engine.queen.notify.config import NotifyConfig
from formicary.engine.queen.runtime import Queen, QueenConfig
from formicary.engine.queen.sessions import AntSession
from formicary.engine.storage.artifacts import LocalArtifacts, artifacts_folder
from formicary.engine.storage.data_lock import DataLock
from formicary.engine.storage.log_port import LogRecord
from formicary.problems import Problem, problem

ANT_ID = "embedded"
STOP_LIMIT_S = 5.0
"""How long closing waits for an ant that has been told to kill what runs."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ColonyConfig:
    """What an embedded colony is told.

    Attributes:
        data: Data directory; None keeps everything in memory.
        slots: Tasks that run at the same time; 0 = the number of processors, at least 4.
        paths: Folders on the import path of PYTHON tasks.
        tags: What the ant offers.
        resources: What it has at least, beside the processors and the memory of the machine.
        recover: Ids of jobs of the data directory to go on with; no other job of it is touched.
        executors: Executors by method that are used instead of the built-in ones.
    """

    data: Path | None = None
    slots: int = 0
    paths: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    resources: Mapping[str, float] = field(default_factory=dict)
    recover: frozenset[str] = frozenset()
    executors: Mapping[str, Executor] = field(default_factory=dict)


class Colony:
    """Queen and ant of one process, for one event loop; use it as an asynchronous context manager.

    Raises:
        Problem: On entering: DATA_IN_USE (the text names the holder), UNSUPPORTED_DATA_VERSION, UNAVAILABLE.
    """

    def __init__(self, config: ColonyConfig | None = None) -> None:
        self.config = config or ColonyConfig()
        self._own = set(self.config.recover)
        self._lock: DataLock | None = None
        self._stop = asyncio.Event()
        self._kill = asyncio.Event()
        self._streams: set[asyncio.Task[None]] = set()
        self._working: asyncio.Task[Any] | None = None
        self._new_id = IdMaker()
        self._queen: Queen | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def queen(self) -> Queen:
        """The queen; only between entering and leaving."""
        if self._queen is None:
            raise problem("FAILED_PRECONDITION", "The colony is not open: use it as `async with Colony(…)`.")
        return self._queen

    async def __aenter__(self) -> Colony:
        data = self.config.data
        if data is not None:
            self._lock = DataLock(data)
            with as_problems():
                self._lock.acquire()
        try:
            store, logs = await asyncio.to_thread(open_data, data if data is not None else "memory:")
            if data is None:
                self._folder = tempfile.TemporaryDirectory(prefix="formicary-")
            contents = LocalArtifacts(artifacts_folder(data or Path(self._folder.name if self._folder else ".")))
            self._queen = Queen(
                OnlyTheseJobs(store, self._own).as_store(),
                logs,
                contents=contents,
                keyring=Keyring.open(None),
                config=QueenConfig(notify=NotifyConfig.from_environment(os.environ)),
            )
            with as_problems():
                await self._queen.start()
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise
        self._queen.bury_ant(ANT_ID)  # the process that held the directory before is dead, or it would be locked
        link = DirectArtifactLink(lambda: self.queen.artifacts, contents.address)
        self._working = asyncio.create_task(
            Ant(self._ant_config(), link=link).run(self._connect, self._stop, self._kill)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        self._kill.set()
        try:
            if self._working is not None:
                with suppress(TimeoutError, asyncio.CancelledError):
                    await asyncio.wait_for(self._working, STOP_LIMIT_S)
            for stream in list(self._streams):
                stream.cancel()
            await asyncio.gather(*self._streams, return_exceptions=True)
            await self.queen.stop()
        finally:
            if self._folder is not None:
                self._folder.cleanup()
            if self._lock is not None:
                self._lock.release()

    def kill(self) -> None:
        """Ends what runs at once; the jobs stay as they are and can be resumed."""
        self._kill.set()

    def _ant_config(self) -> AntConfig:
        slots = self.config.slots or max(4, os.cpu_count() or 1)
        return AntConfig(
            ANT_ID,
            slots=slots,
            tags=self.config.tags,
            resources=_at_least(machine_resources(), self.config.resources),
            paths=self.config.paths,
            executors=self.config.executors,
        )

    async def _connect(self) -> AntTransport:
        """One stream between the ant and the queen."""
        ant_side, queen_side = local_pair()

        async def serve() -> None:
            try:
                await AntSession(self.queen, queen_side.send).run(aiter(queen_side))
            except (Problem, OSError):
                pass  # the ant opens another stream, or has ended
            finally:
                await queen_side.close()

        stream = asyncio.create_task(serve())
        self._streams.add(stream)
        stream.add_done_callback(self._streams.discard)
        return ant_side

    # --- the client's methods ---------------------------------------------------------------------------------------

    async def register(
        self, source: str, *, methods: Mapping[str, str] | None = None, path: str = "", filename: str = ""
    ) -> str:
        """Stores a definition and returns its id. Raises Problem with every violation."""
        return await self.queen.register(source, methods=methods, path=path, filename=filename)

    async def submit(
        self, definition_id: str, params: Mapping[str, object] | None = None, *, idempotency_key: str = ""
    ) -> str:
        """Submits one job and returns its id after the commit. Raises Problem."""
        job_id = self._new_id()
        self._own.add(job_id)
        submission = Submission(job_id, _encode(params or {}), key=idempotency_key)
        return (await self.queen.submit(definition_id, [submission]))[0]

    async def get(self, job_id: str) -> dict[str, Any]:
        """The job's document. Raises Problem NOT_FOUND."""
        return await self.queen.document(job_id)

    def follow(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        """The document now and after each change, until the job has ended. Raises Problem NOT_FOUND."""
        return self.queen.follow(job_id)

    async def logs(self, job_id: str, *, task_type: str = "", follow: bool = False) -> AsyncIterator[LogRecord]:
        """Log lines; those of a running job as they come where `follow`."""
        offset = 0
        if follow:
            async for _ in self.queen.follow(job_id):
                records, offset = await self.read_logs(job_id, task_type, offset)
                for record in records:
                    yield record
        records, offset = await self.read_logs(job_id, task_type, offset)
        for record in records:
            yield record

    async def read_logs(self, job_id: str, task_type: str, offset: int) -> tuple[list[LogRecord], int]:
        """Log lines from `offset` on and the next offset; those of a task are all there once its end is shown."""
        return await asyncio.to_thread(self.queen.log_lines, job_id, task_type=task_type, offset=offset)

    async def cancel(self, job_id: str, reason: str = "") -> dict[str, Any]:
        """Cancels a job; its `always_run` tasks still run. Returns the document."""
        await self.queen.cancel(job_id, reason)
        return await self.get(job_id)

    async def ended(self, ids: Sequence[str]) -> dict[str, JobEnded]:
        """Waits until these jobs have ended."""
        return await self.queen.ended(ids)


def _at_least(has: Mapping[str, float], wanted: Mapping[str, float]) -> dict[str, float]:
    return {name: max(has.get(name, 0.0), wanted.get(name, 0.0)) for name in {**has, **wanted}}
