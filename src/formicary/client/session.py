"""The stream to the queen: submissions coalesced one way, answers and ends of watched jobs the other.

Theory of operation. A submission joins the open group (same definition, same `watch`); the writer sends all groups that
have gathered in one message as soon as the last one is out. A unary call costs the server ten times as much as one more
job in a message of a stream, so callers that submit one job at a time are nearly as cheap as one that submits many.

A group stays here until it is answered. When the stream breaks it is sent again with the same ids and `resend`, so that
the queen recognises what it has committed already. A group of several callers that is refused is taken apart and every
submission sent alone: one caller's mistake fails only that caller. Everything has a deadline; ends of watched jobs wait
as long as the server can be reached.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import grpc
import grpc.aio

from formicary.client.ends import Ends, Gathering
from formicary.client.failures import backoff_s, decoded, from_rpc, unreachable
from formicary.problems import Problem, problem
from formicary.v1 import jobs_pb2 as pb

MAX_GROUP_JOBS = 1000
MAX_GROUP_BYTES = 1024 * 1024
MAX_MESSAGE_BYTES = 2 * 1024 * 1024
MAX_IN_FLIGHT_JOBS = 20_000
"""Jobs that are sent and not answered; more wait in the client."""
MAX_WATCH_IDS = 10_000
"""Ids of one message."""

Call = grpc.aio.StreamStreamCall[Any, Any]


class Group:
    """Submissions that are answered together.

    Attributes:
        submit: the message.
        futures: one per submission, or a single one for all.
        size_bytes: of the parameters.
        deadline: on the loop's clock.
    """

    __slots__ = ("attempts", "deadline", "futures", "shared", "size_bytes", "submit")

    def __init__(self, submit: pb.ClientMessage.Submit, deadline: float, *, shared: bool) -> None:
        self.submit = submit
        self.deadline = deadline
        self.futures: list[asyncio.Future[Any]] = []
        self.shared = shared
        self.size_bytes = 0
        self.attempts = 0

    def fail(self, error: Problem) -> None:
        """Tells every caller."""
        for future in self.futures:
            if not future.done():
                future.set_exception(error)

    def answer(self, ids: Sequence[str]) -> None:
        """Tells every caller its id, or the only caller all of them."""
        if self.shared:
            if not self.futures[0].done():
                self.futures[0].set_result(list(ids))
            return
        for future, job_id in zip(self.futures, ids, strict=True):
            if not future.done():
                future.set_result(job_id)


class Session:
    """One client's stream; opened when it is first needed, opened again when it breaks.

    Args:
        open_stream: begins a stream.
        address: for messages.
        timeout_s: how long a submission keeps trying, and how long the server may be away while jobs are watched.
    """

    def __init__(self, open_stream: Callable[[], Call], address: str, timeout_s: float) -> None:
        self._open_stream = open_stream
        self._address = address
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self.ends = Ends()
        self._groups: dict[int, Group] = {}  # sent and not answered, by sequence
        self._queue: deque[Group] = deque()
        self._open: Group | None = None
        self._to_watch: deque[str] = deque()
        self._sequence = 0
        self._in_flight = 0
        self._wake = asyncio.Event()
        self._down_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._runner: asyncio.Task[None] | None = None
        self._call: Call | None = None

    # --- what callers ask for ---------------------------------------------------------------------------------------

    def submit(self, definition_id: str, job: pb.JobSubmission, *, watch: bool) -> asyncio.Future[str]:
        """Puts one job into the open group; the future's result is its id."""
        group = self._open
        if (
            group is None
            or group.submit.request.definition_id != definition_id
            or group.submit.watch != watch
            or len(group.futures) >= MAX_GROUP_JOBS
            or group.size_bytes + len(job.params) > MAX_GROUP_BYTES
        ):
            group = self._open = self._begin(definition_id, watch=watch, shared=False)
        group.submit.request.jobs.append(job)
        group.size_bytes += len(job.params)
        future: asyncio.Future[str] = self._loop.create_future()
        group.futures.append(future)
        return future

    def submit_all(
        self, definition_id: str, jobs: Sequence[pb.JobSubmission], size_bytes: int, *, watch: bool
    ) -> asyncio.Future[list[str]]:
        """Sends jobs that are accepted or refused together; the future's result is their ids."""
        group = self._begin(definition_id, watch=watch, shared=True)
        group.submit.request.jobs.extend(jobs)
        group.size_bytes = size_bytes
        future: asyncio.Future[list[str]] = self._loop.create_future()
        group.futures.append(future)
        return future

    def watch(self, ids: Sequence[str]) -> None:
        """Asks for the ends of jobs that exist."""
        self.ends.watch(ids)
        self._to_watch.extend(ids)
        self._need()

    def gather(self, ids: list[str]) -> Gathering:
        """Begins to wait for jobs that are watched or have ended."""
        gathering = self.ends.gather(ids)
        if gathering.missing:
            self._need()
        return gathering

    async def close(self) -> None:
        """Ends the stream; whoever waits gets CANCELLED."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            await asyncio.gather(runner, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        self._fail_all(problem("CANCELLED", "The client was closed."))

    # --- the stream -------------------------------------------------------------------------------------------------

    def _begin(self, definition_id: str, *, watch: bool, shared: bool) -> Group:
        request = pb.SubmitJobsRequest(definition_id=definition_id)
        group = Group(
            pb.ClientMessage.Submit(request=request, watch=watch), self._loop.time() + self._timeout_s, shared=shared
        )
        self._open = None
        self._queue.append(group)
        self._need()
        return group

    def _need(self) -> None:
        self._wake.set()
        if self._runner is None:
            self._runner = self._loop.create_task(self._run())
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._expire)

    async def _run(self) -> None:
        attempt = 0
        while True:
            call = self._open_stream()
            self._call = call
            writer = self._loop.create_task(self._write(call))
            try:
                while (message := await call.read()) is not grpc.aio.EOF:
                    attempt = 0
                    self._down_since = None
                    self._take(cast(pb.ServerMessage, message))
                error = unreachable(self._address)
            except grpc.aio.AioRpcError as failure:
                error = from_rpc(failure, self._address)
            finally:
                self._call = None
                writer.cancel()
                call.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            self._broken(error)
            while not (self._queue or self.ends.watched or self.ends.awaited):
                self._down_since = None
                self._wake.clear()
                await self._wake.wait()
            attempt += 1
            await asyncio.sleep(backoff_s(attempt))

    async def _write(self, call: Call) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader sees it too
            while True:
                message = self._next()
                if message is not None:
                    await call.write(message)
                    continue
                self._wake.clear()
                await self._wake.wait()

    def _next(self) -> pb.ClientMessage | None:
        """Everything that has gathered, as far as it fits; None: nothing to send."""
        submits, room = [], MAX_MESSAGE_BYTES
        queue = self._queue
        while queue and room > 0 and self._in_flight < MAX_IN_FLIGHT_JOBS:
            group = queue.popleft()
            if group is self._open:
                self._open = None
            self._sequence = sequence = self._sequence + 1
            group.submit.sequence = sequence
            self._groups[sequence] = group
            count = len(group.submit.request.jobs)
            self._in_flight += count
            room -= group.size_bytes + 64 * count
            submits.append(group.submit)
        watch: list[str] = []
        if self._to_watch and not submits:
            while self._to_watch and len(watch) < MAX_WATCH_IDS:
                watch.append(self._to_watch.popleft())
        if not submits and not watch:
            return None
        return pb.ClientMessage(submits=submits, watch=watch)

    def _take(self, message: pb.ServerMessage) -> None:
        for accepted in message.accepted:
            group = self._groups.pop(accepted.sequence, None)
            if group is None:
                continue
            self._in_flight -= len(group.submit.request.jobs)
            if accepted.problem:
                self._refused(group, decoded(accepted.problem))
                continue
            ids = accepted.ids
            if group.submit.watch:
                self.ends.watch(ids)
            group.answer(ids)
        if message.ended:
            self.ends.take(message.ended)
        if self._queue:
            self._wake.set()

    # --- failures ---------------------------------------------------------------------------------------------------

    def _refused(self, group: Group, error: Problem) -> None:
        if error.retryable:
            delay = backoff_s(group.attempts + 1)
            if self._loop.time() + delay < group.deadline:
                group.attempts += 1
                group.submit.request.resend = True
                self._loop.call_later(delay, self._again, group)
                return
        elif not group.shared and len(group.futures) > 1:
            for job, future in zip(group.submit.request.jobs, group.futures, strict=True):
                alone = self._begin(group.submit.request.definition_id, watch=group.submit.watch, shared=False)
                alone.deadline = group.deadline
                alone.submit.request.jobs.append(job)
                alone.submit.request.resend = group.submit.request.resend
                alone.size_bytes = len(job.params)
                alone.futures.append(future)
            return
        group.fail(error)

    def _again(self, group: Group) -> None:
        self._queue.append(group)
        self._need()

    def _broken(self, error: Problem) -> None:
        """The stream has ended: what was sent and not answered is sent again, what is watched is watched again."""
        now = self._loop.time()
        self._open = None
        unanswered = list(self._groups.values())
        self._groups.clear()
        self._in_flight = 0
        if error.code not in ("UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "NOT_LEADER"):
            for group in unanswered:
                group.fail(error)
            self.ends.fail(error)
            return
        for group in unanswered:
            group.submit.request.resend = True
        self._queue.extendleft(reversed(unanswered))
        self._to_watch = deque(self.ends.watched)
        if self._down_since is None:
            self._down_since = now
        if now - self._down_since > self._timeout_s:
            self.ends.fail(error)
            self._to_watch.clear()
        self._expire()

    def _expire(self) -> None:
        """Fails what is past its deadline."""
        now = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        error = unreachable(self._address)
        waiting = [group for group in self._queue if group.deadline > now]
        late = [group for group in self._queue if group.deadline <= now]
        self._queue = deque(waiting)
        for sequence, group in list(self._groups.items()):
            if group.deadline <= now:
                late.append(group)
                del self._groups[sequence]
                self._in_flight -= len(group.submit.request.jobs)
        for group in late:
            if group is self._open:
                self._open = None
            group.fail(error)
        left = [group.deadline for group in (*self._queue, *self._groups.values())]
        if left:
            self._timer = self._loop.call_later(min(left) - now, self._expire)

    def _fail_all(self, error: Problem) -> None:
        for group in (*self._queue, *self._groups.values()):
            group.fail(error)
        self._queue.clear()
        self._groups.clear()
        self.ends.fail(error)
