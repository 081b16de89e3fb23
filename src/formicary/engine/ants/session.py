"""The ant's session with the queen: one stream at a time, renewed for as long as the ant lives.

Theory of operation. A stream begins with the ant's hello, which lists every token it holds; the queen's welcome says
which of them it may keep. From then on results flow until they are acknowledged (after the queen's commit), and beats
renew the lease. When a stream is lost the tasks go on and another stream is opened, with growing pauses. When the
ant's copy of the lease ends it fences itself: every task is killed at once and its token forgotten. Results that were
ready before are kept and resent; the queen refuses them if they are stale.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum

import msgspec

import formicary
from formicary.engine.ants.artifact_link import ArtifactLink
from formicary.engine.ants.attempt import Attempt, failure
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.foreman import Foreman
from formicary.engine.ants.lease import Lease
from formicary.engine.ants.masking import Mask
from formicary.engine.ants.outbox import Outbox
from formicary.engine.ants.transport import AntTransport, TransportFactory
from formicary.engine.jobs.model import TaskDefinition, task_from_json
from formicary.v1.ants_pb2 import AntMessage, Assignment, Device, HeldDevices, Hello, QueenMessage, TaskSpec, Welcome

_LOG = logging.getLogger(__name__)
_ORPHAN_LAST_TRY_S = 2.0


class Ending(Enum):
    """Why an ant ended."""

    STOPPED = "stopped"
    """It was told to, and finished what ran."""
    KILLED = "killed"
    """It was told to twice."""
    ORPHANED = "orphaned"
    """Its lease has ended and no queen answers."""


class Session:
    """Speaks with the queen for one ant.

    Args:
        config: The ant's configuration.
        incarnation: Made anew by each ant process.
        connect: Opens a connection.
        on_welcome: Called after the first welcome.
        link: How artifacts come and go; None = they cannot.
    """

    def __init__(
        self,
        config: AntConfig,
        incarnation: str,
        connect: TransportFactory,
        on_welcome: Callable[[], None] | None = None,
        link: ArtifactLink | None = None,
    ) -> None:
        self._config = config
        self._incarnation = incarnation
        self._connect = connect
        self._on_welcome = on_welcome
        self._loop = asyncio.get_running_loop()
        self._has_news = asyncio.Event()
        self.outbox = Outbox(max_pending_log_bytes=config.max_pending_log_bytes, wake=self._has_news.set)
        self._lease = Lease(config.lease_margin_s)
        self.foreman = Foreman(config, self.outbox, self._may_begin, link)
        self._specs: dict[int, tuple[TaskDefinition | None, TaskSpec]] = {}
        self._transport: AntTransport | None = None
        self._is_welcomed = False
        self._observes = False
        """The queen wants to know what running attempts use."""
        self._hello_at = 0.0
        self._streams = 0
        self._beat_interval_s = 1.0
        self._beater: asyncio.TimerHandle | None = None
        self._fence: asyncio.TimerHandle | None = None
        self._orphan: asyncio.TimerHandle | None = None
        self._is_draining = False
        self._acknowledged = asyncio.Event()
        self.orphaned: asyncio.Future[None] = self._loop.create_future()
        if config.exit_when_orphaned:
            self._orphan = self._loop.call_later(config.orphan_after_s, self._orphaned)

    @property
    def is_connected(self) -> bool:
        """Whether the queen has welcomed the ant on the present stream."""
        return self._is_welcomed

    # connections ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps a stream open until it is cancelled."""
        pause = self._config.reconnect_min_s
        while True:
            was_welcomed = False
            try:
                transport = await self._connect()
                was_welcomed = await self._serve(transport)
            except OSError as error:
                _LOG.info("no session with the queen: %s", error)
            pause = self._config.reconnect_min_s if was_welcomed else pause
            await asyncio.sleep(pause * random.uniform(0.75, 1.0))
            pause = min(pause * 2, self._config.reconnect_max_s)

    async def _serve(self, transport: AntTransport) -> bool:
        """Speaks on one stream until it is lost; returns whether the queen welcomed the ant."""
        self._transport = transport
        self._observes = False
        self._specs.clear()
        was_welcomed = False
        writer: asyncio.Task[None] | None = None
        try:
            incoming = aiter(transport)
            async with asyncio.timeout(self._config.welcome_timeout_s):
                self._hello_at = time.monotonic()
                self._streams += 1
                await transport.send(AntMessage(hello=self._hello()))
                first = await anext(incoming)
            if not first.HasField("welcome"):
                _LOG.error("the queen did not answer the hello with a welcome")
                return False
            self._welcomed(first.welcome)
            was_welcomed = True
            writer = asyncio.create_task(self._write(transport), name="session writer")
            writer.add_done_callback(lambda task: self._writer_ended(task, transport))
            self._handle(first)
            async for message in incoming:
                self._handle(message)
        except (TimeoutError, StopAsyncIteration):
            _LOG.info("the queen did not answer the hello")
        finally:
            self._is_welcomed = False
            self._transport = None
            if self._beater is not None:
                self._beater.cancel()
            if writer is not None:
                writer.cancel()
            await transport.close()
        return was_welcomed

    def _writer_ended(self, task: asyncio.Task[None], transport: AntTransport) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if not isinstance(error, OSError):
            _LOG.error("the session's writer failed", exc_info=error)
        self._closing = self._loop.create_task(transport.close(), name="session close")

    async def _write(self, transport: AntTransport) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            while (message := self.outbox.next_message()) is not None:
                await transport.send(message)

    def _hello(self) -> Hello:
        config = self._config
        held = dict.fromkeys(self.foreman.held())
        held.update(dict.fromkeys(self.outbox.unacknowledged))
        return Hello(
            ant_id=config.ant_id,
            incarnation=self._incarnation,
            methods=sorted(config.methods),
            tags=sorted(config.tags),
            slots=config.slots,
            window=self.foreman.window,
            held=list(held),
            version=formicary.__version__,
            pid=os.getpid(),
            stream=self._streams,
            resources=dict(config.resources),
            labels=dict(config.labels),
            devices=[Device(name=name, attributes=dict(one.attributes)) for name, one in config.devices.items()],
            held_devices=[HeldDevices(token=token, names=names) for token, names in self.foreman.devices().items()],
        )

    # what the queen says ----------------------------------------------------------------------------------------------

    def _welcomed(self, welcome: Welcome) -> None:
        self._is_welcomed = True
        self._beat_interval_s = welcome.beat_interval_s or 1.0
        self._lease.welcomed(self._hello_at, welcome.lease_s, welcome.reconnect_grace_s)
        if self._orphan is not None:
            self._orphan.cancel()
            self._orphan = None
        kept = set(welcome.keep)
        kill = set(welcome.kill)
        kill.update(token for token in self.foreman.held() if token not in kept)
        if kill:
            _LOG.warning("the queen takes %d tasks away", len(kill))
            self.foreman.forget(kill)
            self.outbox.acknowledged(welcome.kill)
        self.foreman.announce_again()
        self.outbox.resend()
        if self._is_draining:
            self.outbox.set_draining()
        self._beat_later()
        self._watch_lease()
        self.foreman.go_on()
        if self._on_welcome is not None:
            self._on_welcome()
            self._on_welcome = None

    def _handle(self, message: QueenMessage) -> None:
        if message.beat:
            self._lease.acknowledged(message.beat)
            self.foreman.go_on()
        if message.acknowledged:
            self.outbox.acknowledged(message.acknowledged)
            self._acknowledged.set()
        if message.HasField("observe"):
            self._observes = message.observe
        for spec in message.specs:
            self._specs[spec.id] = (_parse(spec.task), spec)
        if message.assignments:
            self._accept(message)
        if message.cancelled:
            self._cancel(list(message.cancelled), frozenset(message.at_once), message.grace_s)

    def _accept(self, message: QueenMessage) -> None:
        attempts: list[Attempt] = []
        for assignment in message.assignments:
            if self.foreman.holds(assignment.token):
                continue
            if self.outbox.holds(assignment.token):
                self.outbox.resend_one(assignment.token)
                continue
            attempt = self._attempt(assignment)
            if attempt is not None:
                attempts.append(attempt)
        self.foreman.accept(attempts)

    def _attempt(self, assignment: Assignment) -> Attempt | None:
        job_type = path = ""
        inputs: tuple[str, ...] = ()
        task: TaskDefinition | None
        if assignment.spec:
            task, spec = self._specs.get(assignment.spec, (None, _NO_SPEC))
            job_type, path, inputs = spec.job_type, spec.path, tuple(spec.inputs)
        if assignment.task or not assignment.spec:
            task = _parse(assignment.task)  # as rendered for this attempt
        devices = tuple(assignment.devices)
        if devices and task is not None:
            task = replace(task, environment={**task.environment, **self._config.device_environment(devices)})
        attempt = Attempt(
            assignment.token,
            task or _UNREADABLE,
            job_id=assignment.job_id,
            job_type=job_type,
            number=assignment.attempt,
            execution=assignment.execution or 1,
            variables=assignment.variables,
            timeout_s=assignment.timeout_s or (task and task.timeout_s) or self._config.default_timeout_s,
            path=path,
            traceparent=assignment.traceparent,
            inputs=inputs,
            checkpoint=assignment.checkpoint.decode("utf-8", "replace"),
            devices=devices,
        )
        if assignment.secrets:
            attempt.mask = Mask(assignment.secrets)
        if task is not None:
            return attempt
        message = "The ant cannot read the task's definition; ant and queen may be of different versions."
        result = failure("ERR_VALIDATION", message)
        result.started_at = result.ended_at = time.time()
        self.outbox.add_result(attempt, result)
        return None

    def _cancel(self, tokens: list[int], at_once: frozenset[int], grace_s: Mapping[int, float]) -> None:
        held = [token for token in tokens if self.foreman.holds(token)]
        self.foreman.cancel(held, at_once=at_once, grace_s=grace_s)
        for token in tokens:
            if self.outbox.holds(token):
                self.outbox.resend_one(token)

    # the lease --------------------------------------------------------------------------------------------------------

    def _may_begin(self) -> bool:
        return self._lease.is_fresh(time.monotonic())

    def _beat_later(self) -> None:
        if self._beater is not None:
            self._beater.cancel()
        self._beater = self._loop.call_later(self._beat_interval_s, self._beat)

    def _beat(self) -> None:
        if self._is_welcomed:
            if self._observes:
                self.outbox.set_uses(self.foreman.uses())
            self.outbox.set_beat(self._lease.sent(time.monotonic()))
            self._beat_later()

    def _watch_lease(self) -> None:
        if self._fence is not None:
            self._fence.cancel()
        if self._lease.end is not None:
            delay = max(self._lease.end - time.monotonic(), 0.0)
            self._fence = self._loop.call_later(delay, self._check_lease)

    def _check_lease(self) -> None:
        self._fence = None
        if not self._lease.has_ended(time.monotonic()):
            self._watch_lease()
            return
        self._lease.lose()
        count = self.foreman.forget_all()
        _LOG.warning("the lease has ended: %d tasks killed", count)
        if self._transport is not None:
            self._closing = self._loop.create_task(self._transport.close(), name="session close")
        if self._config.exit_when_orphaned:
            self._orphan = self._loop.call_later(_ORPHAN_LAST_TRY_S, self._orphaned)

    def _orphaned(self) -> None:
        self._orphan = None
        if not self.orphaned.done():
            self.orphaned.set_result(None)

    # the end ----------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Takes nothing more and gives back what has not started."""
        self._is_draining = True
        self.outbox.set_draining()
        self.foreman.drain()

    async def flushed(self) -> None:
        """Waits until the queen has acknowledged every result."""
        while self.outbox.unacknowledged:
            self._acknowledged.clear()
            await self._acknowledged.wait()

    async def close(self) -> None:
        """Ends what still runs; the stream is closed by cancelling :meth:`run`."""
        for timer in (self._fence, self._beater, self._orphan):
            if timer is not None:
                timer.cancel()
        await self.foreman.close()


_NO_SPEC = TaskSpec()
_UNREADABLE = TaskDefinition(task_type="unreadable")


def _parse(data: bytes) -> TaskDefinition | None:
    try:
        return task_from_json(data)
    except msgspec.DecodeError as error:
        _LOG.error("a task cannot be read: %s", error)
        return None
