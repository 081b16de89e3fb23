"""One ant: its session, its foreman and its end. It runs in a process of its own or in the queen's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from secrets import token_hex

from formicary.engine.ants.artifact_link import ArtifactLink
from formicary.engine.ants.attempt import Attempt, Stop
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.session import Ending, Session
from formicary.engine.ants.transport import TransportFactory

_LOG = logging.getLogger(__name__)

__all__ = ["Ant", "AntConfig", "Ending"]


class Ant:
    """A worker that runs tasks for a queen.

    Args:
        config: Its configuration.
        on_ready: Called once, after the queen's first welcome.
        link: How artifacts come and go; None = tasks that need some fail.
    """

    def __init__(
        self, config: AntConfig, *, on_ready: Callable[[], None] | None = None, link: ArtifactLink | None = None
    ) -> None:
        self.config = config
        self.incarnation = token_hex(8)
        self._on_ready = on_ready
        self._link = link
        self._session: Session | None = None

    @property
    def held(self) -> list[int]:
        """Tokens that are queued or running."""
        return self._session.foreman.held() if self._session is not None else []

    @property
    def running(self) -> int:
        """Slots in use."""
        return self._session.foreman.running if self._session is not None else 0

    @property
    def window(self) -> int:
        """How many tasks it is willing to hold."""
        return self._session.foreman.window if self._session is not None else self.config.slots

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of its PYTHON workers."""
        return self._session.foreman.worker_pids if self._session is not None else []

    @property
    def is_connected(self) -> bool:
        """Whether the queen has welcomed it on the present stream."""
        return self._session is not None and self._session.is_connected

    def progressed(self, attempt: Attempt, fraction: float, message: str) -> None:
        """Passes on how far a running attempt is."""
        if self._session is not None:
            self._session.foreman.progressed(attempt, fraction, message)

    async def run(
        self,
        transport_factory: TransportFactory,
        stop_event: asyncio.Event,
        kill_event: asyncio.Event | None = None,
    ) -> Ending:
        """Works until it is stopped.

        Args:
            transport_factory: Opens a connection to the queen; called again whenever one is lost.
            stop_event: Set it to have what runs finished, results acknowledged, and the ant end.
            kill_event: Set it to have what runs killed.

        Returns:
            Why it ended.
        """
        session = self._session = Session(self.config, self.incarnation, transport_factory, self._on_ready, self._link)
        talking = asyncio.create_task(session.run(), name="session")
        killed = asyncio.create_task((kill_event or asyncio.Event()).wait(), name="kill")
        stopped = asyncio.create_task(stop_event.wait(), name="stop")
        ending = Ending.STOPPED
        try:
            waited = (talking, killed, stopped, session.orphaned)
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if talking.done():
                talking.result()
            if killed.done():
                ending = Ending.KILLED
            elif session.orphaned.done():
                ending = Ending.ORPHANED
            else:
                ending = await self._stop(session, killed)
        finally:
            for task in (killed, stopped, talking):
                task.cancel()
            await asyncio.wait([killed, stopped, talking])
            await session.close()
        return ending

    async def _stop(self, session: Session, killed: asyncio.Task[bool]) -> Ending:
        """Lets what runs finish within the grace, then has every result acknowledged."""
        session.drain()
        stopping = asyncio.create_task(self._finish(session), name="finish")
        await asyncio.wait((stopping, killed, session.orphaned), return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            stopping.result()
            return Ending.STOPPED
        stopping.cancel()
        return Ending.KILLED if killed.done() else Ending.ORPHANED

    async def _finish(self, session: Session) -> None:
        config, foreman = self.config, session.foreman
        try:
            async with asyncio.timeout(config.stop_grace_s):
                await foreman.until_idle()
        except TimeoutError:
            held = foreman.held()
            _LOG.warning("%d tasks did not end within %g s and are ended", len(held), config.stop_grace_s)
            foreman.cancel(held, reason=Stop.ANT_STOPS)
            await foreman.until_idle()
        try:
            async with asyncio.timeout(config.flush_s):
                await session.flushed()
        except TimeoutError:
            _LOG.warning("the queen did not acknowledge %d results", len(session.outbox.unacknowledged))
