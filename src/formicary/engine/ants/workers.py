"""A helper for workers that are no ants: a function that carries out tasks, over NATS or a web socket.

    async def pack(task: WorkerTask) -> dict[str, object]:
        await task.log("packing")
        return {"parcel": 7}

    asyncio.run(serve_nats(pack, "nats://127.0.0.1:4222", "orders.pack"))

A repeated attempt comes with the same ``task.key``. Tasks run side by side, at most ``slots``; one that nobody waits
for any more is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from formicary.engine.ants.output import checkpoint_line
from formicary.engine.ants.remote_wire import (
    ALIVE,
    CANCEL,
    CORRELATION_HEADER,
    LOG,
    PROGRESS,
    RESULT,
    Said,
    TaskMessage,
    correlation_of,
    encode,
    kind_of,
)

_LOG = logging.getLogger(__name__)
BEAT_S = 5.0
"""Seconds between a worker's signs of life over NATS."""
_TASK = msgspec.json.Decoder(TaskMessage)


class TaskFailedError(Exception):
    """Raise it to fail the task.

    Args:
        message: One sentence for people.
        exit_code: What ``on_exit_code`` of the job file can take; not 0.
        outputs: JSON values by name.
    """

    def __init__(self, message: str, exit_code: int = 1, outputs: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code or 1
        self.outputs = dict(outputs or {})


class WorkerTask:
    """The task that a worker carries out.

    Attributes:
        message: All that was sent.
        key: The same for every attempt of this task: use it as idempotency key.
        attempt: From 1.
        variables: The task's variables.
        script: Lines of ``script``.
        last_checkpoint: What an earlier attempt has left, empty = nothing.
    """

    def __init__(self, message: TaskMessage, send: Callable[[bytes], Awaitable[None]]) -> None:
        self.message = message
        self.key, self.attempt = message.key, message.attempt
        self.variables, self.script = message.variables, message.script
        self.last_checkpoint = message.checkpoint
        self._send = send

    async def log(self, text: str, *, is_error: bool = False) -> None:
        """Adds lines to the task's log; ``::set-output name=KEY::VALUE`` sets an output."""
        await self._say(Said(type=LOG, text=text, is_error=is_error))

    async def checkpoint(self, text: str) -> None:
        """Leaves a line of at most 64 KiB for the next attempt; its log has it too. Raises ValueError."""
        await self.log(checkpoint_line(text))

    async def progress(self, fraction: float, message: str = "") -> None:
        """Says how far it is, from 0 to 1."""
        await self._say(Said(type=PROGRESS, fraction=fraction, message=message))

    async def _say(self, said: Said) -> None:
        said.correlation_id = self.message.correlation_id
        await self._send(encode(said))


Work = Callable[[WorkerTask], Awaitable[Mapping[str, object] | None]]
"""Carries out one task; returns outputs, JSON values by name."""


async def carry_out(work: Work, message: TaskMessage, send: Callable[[bytes], Awaitable[None]]) -> None:
    """Carries out one task and sends its result; whatever is raised but a cancellation fails the task."""
    result = Said(type=RESULT, correlation_id=message.correlation_id)
    try:
        result.outputs = dict(await work(WorkerTask(message, send)) or {})
    except TaskFailedError as error:
        result.exit_code, result.error, result.outputs = error.exit_code, str(error), error.outputs
    except Exception as error:
        _LOG.exception("the task %s failed", message.correlation_id)
        result.exit_code, result.error = 1, f"{type(error).__name__}: {error}"
    await send(encode(result))


def read_task(data: bytes) -> TaskMessage | None:
    """Reads what an ant sent; None where it is no task."""
    try:
        message = _TASK.decode(data)
    except msgspec.DecodeError:
        return None
    return message if message.type == "task" and message.correlation_id else None


async def serve_nats(
    work: Work,
    url: str,
    subject: str,
    *,
    group: str = "workers",
    slots: int = 4,
    beat_s: float = BEAT_S,
    ready: Callable[[], None] | None = None,
) -> None:
    """Carries out tasks of a subject until it is cancelled.

    Args:
        work: The function.
        url: Of the NATS server.
        subject: The ``messaging_request_queue``.
        group: Of the workers of one group each task goes to one.
        slots: Tasks at a time.
        beat_s: Seconds between signs of life, so that a worker that dies is found soon: one that is silent for three
            times as long is taken for dead, also while the function holds the loop. 0 = none.
        ready: Called once it listens.

    Raises:
        nats.errors.Error: The server cannot be reached, or is lost for good.
    """
    import nats

    client = await nats.connect(url, name=f"formicary worker {group}")
    waiting: asyncio.Queue[Any] = asyncio.Queue(slots)
    await client.subscribe(subject, queue=group, cb=waiting.put)
    await client.flush()
    if ready is not None:
        ready()
    try:
        async with asyncio.TaskGroup() as group_of_slots:
            for _ in range(slots):
                group_of_slots.create_task(_nats_slot(client, waiting, work, beat_s))
    finally:
        await client.close()


async def _nats_slot(client: Any, waiting: asyncio.Queue[Any], work: Work, beat_s: float) -> None:
    """Carries out one task after the other."""
    while True:
        asked = await waiting.get()
        message = read_task(asked.data)
        if message is None:
            _LOG.warning("what came on %s is no task", asked.subject)
            continue
        to, headers = message.reply_to or asked.reply, {CORRELATION_HEADER: message.correlation_id}

        async def send(data: bytes, to: str = to, headers: dict[str, str] = headers) -> None:
            await client.publish(to, data, headers=headers)

        starting = asyncio.Event()  # no cancel may come before it is listened for
        working = asyncio.create_task(_begin(starting, carry_out(work, message, send)))
        beating = asyncio.create_task(_beat(beat_s, message.correlation_id, send))

        async def cancelled(_: Any, working: asyncio.Task[None] = working) -> None:
            working.cancel()

        try:
            listening = None
            if message.cancel_subject:
                listening = await client.subscribe(message.cancel_subject, cb=cancelled)
                await client.flush()
            starting.set()
            await asyncio.wait({working})
            if not working.cancelled():
                working.result()
        finally:
            beating.cancel()
            working.cancel()
            if listening is not None:
                with contextlib.suppress(Exception):  # the connection may be gone
                    await listening.unsubscribe()


async def _beat(every_s: float, correlation_id: str, send: Callable[[bytes], Awaitable[None]]) -> None:
    """Says again and again that the worker lives."""
    while every_s > 0:
        try:
            await send(encode(Said(type=ALIVE, correlation_id=correlation_id, every_s=every_s)))
        except Exception:
            _LOG.warning("no sign of life could be sent for %s", correlation_id, exc_info=True)
            return  # the connection is gone; its loss is told by others
        await asyncio.sleep(every_s)


async def _begin(starting: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    try:
        await starting.wait()
        await work
    finally:
        work.close()


async def serve_websocket(
    work: Work, host: str = "127.0.0.1", port: int = 0, *, ready: Callable[[int], None] | None = None
) -> None:
    """Carries out tasks whose ``url`` leads here until it is cancelled; each comes over a connection of its own.

    Args:
        work: The function.
        host: Address to listen on.
        port: 0 = any free one.
        ready: Called with the port once it listens.

    Raises:
        OSError: The address cannot be used.
    """
    from websockets.asyncio.server import serve

    async def serve_one(connection: Any) -> None:
        await _hear(connection, work)

    async with serve(serve_one, host, port, server_header=None) as server:
        if ready is not None:
            ready(int(next(iter(server.sockets)).getsockname()[1]))
        await asyncio.get_running_loop().create_future()


async def join_websocket(
    work: Work,
    url: str,
    *,
    name: str = "worker",
    tags: Iterable[str] = (),
    slots: int = 1,
    token: str = "",
    ready: Callable[[], None] | None = None,
) -> None:
    """Registers at an ant's port (``formicary ant --workers``) and carries out tasks, until the ant ends.

    Args:
        work: The function.
        url: Of the port, ``ws://HOST:PORT``.
        name: For people.
        tags: What it offers.
        slots: Tasks at a time.
        token: What the port asks for.
        ready: Called once the queen knows the worker.

    Raises:
        OSError, websockets.exceptions.WebSocketException: The ant cannot be reached, or refuses.
    """
    from websockets.asyncio.client import connect

    hello = {"type": "hello", "name": name, "tags": list(tags), "slots": slots, "token": token}
    async with connect(url) as connection:
        await connection.send(encode(hello), text=True)
        while kind_of(await connection.recv(decode=False)) != "welcome":
            pass
        if ready is not None:
            ready()
        await _hear(connection, work)


async def _hear(connection: Any, work: Work) -> None:
    """Carries out what comes over a connection, until it is closed. Raises ConnectionClosedError where it is lost."""

    async def send(data: bytes) -> None:
        await connection.send(data, text=True)

    running: dict[str, asyncio.Task[None]] = {}
    try:
        async for data in connection:
            body = data.encode() if isinstance(data, str) else bytes(data)
            if kind_of(body) == CANCEL:
                if (found := running.get(correlation_of(body))) is not None:
                    found.cancel()
            elif (message := read_task(body)) is not None:
                working = asyncio.create_task(carry_out(work, message, send))
                running[message.correlation_id] = working
                working.add_done_callback(partial(_over, running, message.correlation_id))
            else:
                _LOG.warning("what came is no task")
    finally:
        for working in list(running.values()):
            working.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)


def _over(running: dict[str, asyncio.Task[None]], correlation_id: str, ended: asyncio.Task[None]) -> None:
    running.pop(correlation_id, None)
    if not ended.cancelled() and (error := ended.exception()) is not None:
        _LOG.warning("the result of %s could not be sent: %s", correlation_id, error)
