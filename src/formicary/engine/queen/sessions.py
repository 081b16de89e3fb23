"""Streams with ants and with clients, whatever carries them.

A session coalesces what it has to say: while one message is being sent, the rest gathers in the next. Reading and
sending are two tasks of one session; when either ends, the session ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from formicary.engine.jobs.configs import may_hold_secrets
from formicary.engine.jobs.fan_out import definition_position, definition_task
from formicary.engine.queen.core.batch import Assignment, JobEnded, Outgoing, Welcome
from formicary.engine.queen.core.leases import Hello
from formicary.engine.queen.core.outcome import FAILED, Outcome
from formicary.engine.queen.keyring import CannotDecrypt
from formicary.engine.storage.log_port import LogRecord
from formicary.problems import Problem, problem
from formicary.v1 import ants_pb2 as ants
from formicary.v1 import jobs_pb2 as jobs

if TYPE_CHECKING:
    from formicary.engine.queen.runtime import Queen

_numbers = itertools.count(1)
_NO_TEXTS: list[str] = []
MAX_ASSIGNMENTS = 2000
"""Assignments of one message; keeps it far below gRPC's size limit for ordinary parameters."""
MAX_MESSAGE_BYTES = 2 * 1024 * 1024
ACKNOWLEDGE_AFTER_S = 0.001
"""Acknowledgements hold up nobody: they leave with the next grants, or after this time, so that the ends of the same
commit reach the clients first."""


class AntSession:
    """One stream with one ant; a Peer of the pump."""

    def __init__(self, queen: Queen, send: Callable[[ants.QueenMessage], Awaitable[None]]) -> None:
        self._queen = queen
        self._send = send
        self._number = next(_numbers)
        self._specs: dict[tuple[str, int], int] = {}
        self._out = Outgoing()
        self._beat = 0
        self._welcome: ants.Welcome | None = None
        self._news = asyncio.Event()
        self._later: asyncio.TimerHandle | None = None
        self._over = False

    async def run(self, messages: AsyncIterator[ants.AntMessage]) -> None:
        """Serves the stream to its end. Raises Problem where the first message is not a hello."""
        sender = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read(messages))
        try:
            done, _ = await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._over = True
            if self._later is not None:
                self._later.cancel()
            for task in (sender, reader):
                task.cancel()
            await asyncio.gather(sender, reader, return_exceptions=True)
            self._queen.ant_left(self._number)

    def deliver(self, outgoing: Outgoing) -> None:
        """Takes what a commit has let out."""
        out = self._out
        if outgoing.welcome is not None:
            self._welcome = self._welcome_message(outgoing.welcome)
        out.assignments += outgoing.assignments
        out.acknowledged += outgoing.acknowledged
        out.cancelled += outgoing.cancelled
        out.at_once += outgoing.at_once
        out.grace_s.update(outgoing.grace_s)
        out.observe = out.observe if outgoing.observe is None else outgoing.observe
        if outgoing.is_urgent:
            self._news.set()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(ACKNOWLEDGE_AFTER_S, self._acknowledge)

    def _acknowledge(self) -> None:
        self._later = None
        self._news.set()

    def shut(self) -> None:
        """Ends the session from the queen's side."""
        self._over = True
        self._news.set()

    async def _read(self, messages: AsyncIterator[ants.AntMessage]) -> None:
        known = False
        async for message in messages:
            if not known:
                self._hello(message)
                known = True
            self._take(message)
            if self._over:
                return

    def _hello(self, message: ants.AntMessage) -> None:
        if not message.HasField("hello"):
            raise problem("VALIDATION_FAILED", "the first message of an ant's session has to be its hello")
        hello = message.hello
        self._queen.ant_joined(
            self._number,
            self,
            Hello(
                hello.ant_id,
                hello.incarnation,
                frozenset(hello.methods),
                frozenset(tag.lower() for tag in hello.tags),
                hello.slots,
                hello.window,
                tuple(hello.held),
                hello.stream,
                dict(hello.resources),
                dict(hello.labels),
                {device.name: dict(device.attributes) for device in hello.devices},
                {held.token: tuple(held.names) for held in hello.held_devices},
            ),
        )

    def _welcome_message(self, welcome: Welcome) -> ants.Welcome:
        config = self._queen.config.core
        return ants.Welcome(
            epoch=welcome.epoch,
            lease_s=config.lease_s,
            reconnect_grace_s=config.reconnect_grace_s,
            beat_interval_s=config.beat_interval_s,
            keep=welcome.keep,
            kill=welcome.kill,
        )

    def _take(self, message: ants.AntMessage) -> None:
        """One message of the ant becomes events of the core."""
        core, session, tracer = self._queen.pump.now(), self._number, self._queen.tracer
        if message.logs:
            self._take_logs(message)
        if message.beat:
            core.beat(session)
            self._beat = message.beat
            self._news.set()
        if message.window:
            core.set_window(session, message.window)
        if message.draining:
            core.drain(session)
        if message.uses:
            core.observing.take(session, [(one.token, one.cpu, one.memory_bytes) for one in message.uses])
        for started in message.started:
            core.started(session, started.token, started.started_at)
        for left in message.checkpoints:
            self._queen.checkpointed(session, left.token, left.value)
        for result in message.results:
            core.result(session, _outcome(result))
            if tracer is not None:
                tracer.ended(result)
        for token in message.returned:
            core.returned(session, token)
            if tracer is not None:
                tracer.returned(token)
        for progress in message.progress:
            self._queen.progressed(session, progress.token, progress.fraction, progress.message)
        self._queen.pump.wake()

    def _take_logs(self, message: ants.AntMessage) -> None:
        for chunk in message.logs:
            records = [LogRecord(chunk.task_type, chunk.attempt, x.time, x.stream, x.text) for x in chunk.lines]
            self._queen.logged(chunk.job_id, records)

    async def _write(self) -> None:
        while not self._over:
            await self._news.wait()
            self._news.clear()
            while (message := self._next()) is not None:
                await self._send(message)

    def _next(self) -> ants.QueenMessage | None:
        """The next message to send, or None: nothing to say."""
        out, welcome, beat = self._out, self._welcome, self._beat
        is_more = out.assignments or out.acknowledged or out.cancelled or out.observe is not None
        if welcome is None and not beat and not is_more:
            return None
        self._welcome, self._beat = None, 0
        message = ants.QueenMessage(
            beat=beat,
            acknowledged=out.acknowledged,
            cancelled=out.cancelled,
            at_once=out.at_once,
            grace_s=out.grace_s or None,
            observe=out.observe,
        )
        out.observe = None
        if welcome is not None:
            message.welcome.CopyFrom(welcome)
        out.acknowledged, out.cancelled, out.at_once = [], [], []
        if out.grace_s:
            out.grace_s = {}
        room, taken = MAX_MESSAGE_BYTES, 0
        for assignment in out.assignments[:MAX_ASSIGNMENTS]:
            taken += 1
            found = self._assignment(assignment, message)
            if found is None:
                continue
            message.assignments.append(found)
            room -= len(found.variables) + len(found.task) + len(found.checkpoint)
            if room <= 0:
                break
        out.assignments = out.assignments[taken:]
        return message

    def _assignment(self, grant: Assignment, message: ants.QueenMessage) -> ants.Assignment | None:
        """The assignment as it is sent, None where a secret of it cannot be read and the attempt has failed here."""
        task, variables, secrets = grant.rendered or b"", grant.variables, _NO_TEXTS
        if grant.secrets or may_hold_secrets(task, variables):
            try:
                task, variables, secrets = self._queen.configs.filled(grant)
            except CannotDecrypt as error:
                self._fail(grant, str(error))
                return None
        key = (grant.definition_id, definition_position(grant.position))
        spec = self._specs.get(key)
        if spec is None:
            spec = self._specs[key] = len(self._specs) + 1
            what = self._queen.task_spec(*key)
            message.specs.append(
                ants.TaskSpec(id=spec, task=what.task, job_type=what.job_type, path=what.path, inputs=what.inputs)
            )
        return ants.Assignment(
            token=grant.token,
            spec=spec,
            task=task,
            job_id=grant.job_id,
            attempt=grant.attempt,
            variables=variables,
            secrets=secrets,
            timeout_s=grant.timeout_s,
            execution=grant.execution,
            traceparent=self._traced(grant) if self._queen.tracer is not None else "",
            checkpoint=grant.checkpoint,
            devices=grant.devices,
        )

    def _fail(self, grant: Assignment, why: str) -> None:
        """The attempt ends before the ant has heard of it."""
        core, now = self._queen.pump.now(), time.time()
        core.result(
            self._number,
            Outcome(grant.token, FAILED, error_code="ERR_SECRET", error_message=why, started_at=now, ended_at=now),
        )
        self._queen.pump.wake()

    def _traced(self, grant: Assignment) -> str:
        queen = self._queen
        core, tracer = queen.pump.core, queen.tracer
        definition, ant = core.definitions.get(grant.definition_id), core.leases.sessions.get(self._number)
        if tracer is None or definition is None or ant is None:
            return ""
        task = definition_task(definition.model, grant.position)
        return tracer.granted(grant, definition.job_type, task.task_type, ant.id)


def _outcome(result: ants.TaskResult) -> Outcome:
    return Outcome(
        result.token,
        result.outcome,
        result.exit_code if result.has_exit_code else None,
        result.signal or None,
        result.outputs,
        result.error_code,
        result.error_message,
        result.traceback,
        result.started_at or None,
        result.ended_at or None,
        result.recent_output,
    )


class ClientSession:
    """One stream with one client: submissions in, answers and ends of watched jobs out."""

    def __init__(
        self, queen: Queen, org: str, send: Callable[[jobs.ServerMessage], Awaitable[None]], user: str = ""
    ) -> None:
        self._queen = queen
        self._user = user
        self._org = org
        self._send = send
        self._accepted: list[jobs.ServerMessage.Accepted] = []
        self._ended: list[JobEnded] = []
        self._news = asyncio.Event()
        self._over = False

    async def run(self, messages: AsyncIterator[jobs.ClientMessage]) -> None:
        """Serves the stream to its end; the client ends it by closing its side."""
        sender = asyncio.create_task(self._write())
        work: set[asyncio.Task[None]] = set()
        try:
            async for message in messages:
                for submit in message.submits:
                    task = asyncio.create_task(self._submit(submit))
                    work.add(task)
                    task.add_done_callback(work.discard)
                if message.watch:
                    await self._queen.watch(list(message.watch), self, org=self._org)
        finally:
            self._over = True
            self._queen.unwatch(self)
            sender.cancel()
            for task in work:
                task.cancel()
            await asyncio.gather(sender, *work, return_exceptions=True)

    def job_ended(self, end: JobEnded) -> None:
        """A watched job has ended."""
        self._ended.append(end)
        self._news.set()

    async def _submit(self, submit: jobs.ClientMessage.Submit) -> None:
        try:
            watcher = self if submit.watch else None
            ids = await self._queen.submit_request(submit.request, self._org, watcher, user=self._user)
            answer = jobs.ServerMessage.Accepted(sequence=submit.sequence, ids=ids)
        except Problem as refused:
            answer = jobs.ServerMessage.Accepted(
                sequence=submit.sequence, problem=self._queen.encode(refused.to_document())
            )
        self._accepted.append(answer)
        self._news.set()

    async def _write(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while not self._over:
                await self._news.wait()
                self._news.clear()
                while self._accepted or self._ended:
                    accepted, self._accepted = self._accepted, []
                    ended, self._ended = self._ended[:2000], self._ended[2000:]
                    await self._send(jobs.ServerMessage(accepted=accepted, ended=[_end(end) for end in ended]))


def _end(end: JobEnded) -> jobs.JobEnd:
    return jobs.JobEnd(
        id=end.id,
        state=end.state,
        outputs=end.outputs,
        error_code=end.error_code,
        error_message=end.error_message,
    )
