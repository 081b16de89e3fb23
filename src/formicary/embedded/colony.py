"""A whole colony in one process: a queen, one ant over an in-process connection, a store.

The messages are the same as between processes; only the network is missing. User functions still run in worker
processes of their own, so a function that crashes takes its worker with it and not the colony.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from formicary.engine.ants.ant import Ant
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.transport import AntTransport, TransportClosedError, local_pair
from formicary.engine.queen.runtime import Queen, QueenConfig
from formicary.engine.storage.backends import open_logs, open_store
from formicary.problems import Problem


class Colony:
    """A running queen with one ant beside it.

    Attributes:
        queen: The queen; everything that a client can do is one of its methods.
        ant: The ant.
    """

    def __init__(self, queen: Queen, ant: Ant) -> None:
        self.queen = queen
        self.ant = ant
        self._stop = asyncio.Event()
        self._kill = asyncio.Event()
        self._ant_task: asyncio.Task[object] | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Starts the queen, then the ant. Raises StoreError."""
        await self.queen.start()
        self._ant_task = asyncio.create_task(self.ant.run(self._connect, self._stop, self._kill))

    async def stop(self, *, kill: bool = False) -> None:
        """Ends the ant (what runs finishes first, unless `kill`), then the queen."""
        self._stop.set()
        if kill:
            self._kill.set()
        if self._ant_task is not None:
            with suppress(asyncio.CancelledError):
                await self._ant_task
        for session in list(self._sessions):
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        await self.queen.stop()

    async def _connect(self) -> AntTransport:
        if not self.queen.ready:
            raise TransportClosedError("the queen is not ready")
        ours, theirs = local_pair()

        async def serve() -> None:
            with suppress(Problem, TransportClosedError):
                await self.queen.serve_ant(aiter(theirs), theirs.send)
            await theirs.close()

        task = asyncio.create_task(serve())
        self._sessions.add(task)
        task.add_done_callback(self._sessions.discard)
        return ours


@asynccontextmanager
async def local_colony(
    target: str | os.PathLike[str] = "memory:",
    *,
    slots: int | None = None,
    tags: frozenset[str] = frozenset(),
    paths: tuple[str | Path, ...] = (),
    config: QueenConfig | None = None,
) -> AsyncIterator[Colony]:
    """A colony for the time of a block.

    Args:
        target: Data directory, database URL or `memory:`.
        slots: Tasks at the same time; None = number of processors.
        tags: What the ant offers.
        paths: Folders of PYTHON modules.
        config: The queen's configuration.

    Raises:
        StoreError: The store cannot be opened.
    """
    store = await asyncio.to_thread(open_store, target)
    queen = Queen(store, open_logs(target), config)
    count = slots or os.cpu_count() or 1
    ant = Ant(AntConfig(ant_id="local", slots=count, tags=tags, paths=tuple(str(path) for path in paths)))
    colony = Colony(queen, ant)
    await colony.start()
    try:
        yield colony
    finally:
        await colony.stop(kill=True)
