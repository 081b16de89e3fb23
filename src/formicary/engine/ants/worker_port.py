"""The port at which workers register over a web socket: each of them becomes an ant.

Theory of operation. A worker connects and says ``hello`` with its name, tags and slots. For the time of its connection
it is an ant to the queen, which offers WEBSOCKET, its tags and :data:`WORKER_TAG`, so that all that holds for ants
holds for it: leases, slots, drain, the list of ants. Its tasks go over the connection side by side, told apart by their
``correlation_id``. When the connection is lost, what it held is lost as with a dead ant, and runs elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from secrets import token_hex
from typing import TYPE_CHECKING

import msgspec

from formicary.engine.ants.ant import Ant
from formicary.engine.ants.attempt import Attempt, Result, failure
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.remote_wire import (
    LOG,
    PROGRESS,
    PROTOCOL,
    RESULT,
    Hearing,
    cancel_message,
    correlation_of,
    encode,
    kind_of,
    task_message,
)
from formicary.engine.ants.transport import TransportFactory
from formicary.engine.ants.websocket import CODE, PING_S, message_limit
from formicary.engine.jobs.model import WORKER_TAG

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection

_LOG = logging.getLogger(__name__)
MOST_WORKERS = 256
MOST_SLOTS = 64
HELLO_S = 10.0
_QUEUED = 256
_CANCEL_S = 1.0
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_REFUSED = 1008


class HelloMessage(msgspec.Struct, kw_only=True):
    """The first thing a worker says.

    Attributes:
        type: Always ``hello``.
        name: For people: letters, digits, ``_``, ``.`` and ``-``, at most 60.
        tags: What it offers.
        slots: Tasks at a time, 1 to 64.
        token: What the operator of the port gave to the worker.
    """

    type: str = ""
    name: str = "worker"
    tags: tuple[str, ...] = ()
    slots: int = 1
    token: str = ""


class WorkerPort:
    """Listens for workers.

    Args:
        config: Of the ant whose process this is; workers get its sizes.
        connect: Opens a stream to the queen.
        host: Address to listen on.
        port: 0 = any free one.
        token: What workers have to know; empty = nothing, then pages of browsers are refused.
    """

    def __init__(self, config: AntConfig, connect: TransportFactory, host: str, port: int, token: str = "") -> None:
        self._config = config
        self._connect = connect
        self._address = (host, port)
        self._token = token
        self._stop = asyncio.Event()
        self._workers = 0
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "it has been opened"
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def open(self) -> str:
        """Begins to listen; returns where. Raises OSError."""
        from websockets.asyncio.server import serve

        self._server = await serve(
            self._serve,
            *self._address,
            origins=None if self._token else [None],
            ping_interval=PING_S,
            ping_timeout=PING_S,
            max_size=message_limit(self._config),
            server_header=None,
        )
        return f"ws://{self._address[0]}:{self.port}"

    async def close(self) -> None:
        """Lets what runs finish within the ant's grace, then closes every connection."""
        self._stop.set()
        if self._server is not None:
            self._server.close(close_connections=False)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.stop_grace_s + self._config.flush_s + HELLO_S):
                    await self._server.wait_closed()
            self.kill()

    def kill(self) -> None:
        """Closes every connection; what workers hold is lost to them."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, connection: ServerConnection) -> None:
        """One worker from its hello to its end."""
        hello = await self._hello(connection)
        if isinstance(hello, str):
            await connection.close(_REFUSED, hello)
            return
        self._workers += 1
        try:
            await self._work(connection, hello)
        finally:
            self._workers -= 1

    async def _hello(self, connection: ServerConnection) -> HelloMessage | str:
        """What the worker says of itself, or why it is refused."""
        if self._workers >= MOST_WORKERS or self._stop.is_set():
            return "There are too many workers here, or this ant is about to end."
        try:
            async with asyncio.timeout(HELLO_S):
                hello = _HELLO.decode(await connection.recv(decode=False))
        except TimeoutError:
            return f"Say hello within {HELLO_S:g} seconds."
        except msgspec.DecodeError as error:
            return f"The hello cannot be read: {error}."[:120]
        if self._token and not compare_digest(hello.token.encode(), self._token.encode()):
            return "The token is not the one of this port."
        if hello.type != "hello" or not _NAME.fullmatch(hello.name) or not 1 <= hello.slots <= MOST_SLOTS:
            return f'Say {{"type": "hello", "name": "a-Z0-9_.-", "slots": 1 to {MOST_SLOTS}}} first.'
        return hello

    async def _work(self, connection: ServerConnection, hello: HelloMessage) -> None:
        config, stop, kill = self._config, self._stop, asyncio.Event()
        executor = WorkerExecutor(lambda data: connection.send(data, text=True), config.max_outputs_bytes)
        worker = AntConfig(
            f"{config.ant_id}:{hello.name}-{token_hex(3)}",
            slots=hello.slots,
            tags=frozenset({tag.strip().lower() for tag in hello.tags if tag.strip()} | {WORKER_TAG}),
            methods=frozenset({"WEBSOCKET"}),
            executors={"WEBSOCKET": executor},
            stop_grace_s=config.stop_grace_s,
            exit_when_orphaned=config.exit_when_orphaned,
            reconnect_max_s=config.reconnect_max_s,
            nats="",
        )
        loop = asyncio.get_running_loop()
        said: set[asyncio.Task[None]] = set()

        def ready() -> None:
            said.add(loop.create_task(_say(connection, {"type": "welcome", "protocol": PROTOCOL, "id": worker.ant_id})))

        ant = Ant(worker, on_ready=ready)
        executor.progressed = ant.progressed
        working = asyncio.create_task(ant.run(self._connect, stop, kill), name=f"worker {hello.name}")
        hearing = asyncio.create_task(self._hear(connection, executor))
        try:
            await asyncio.wait({working, hearing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            kill.set()
            hearing.cancel()
            await asyncio.wait({working, hearing, *said})
        working.result()
        await connection.close()

    async def _hear(self, connection: ServerConnection, executor: WorkerExecutor) -> None:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):
            while True:
                await executor.heard(await connection.recv(decode=False))


async def _say(connection: ServerConnection, message: object) -> None:
    with contextlib.suppress(Exception):  # a lost connection is heard of elsewhere
        await connection.send(encode(message), text=True)


class WorkerExecutor:
    """Runs WEBSOCKET attempts on one registered worker.

    Args:
        send: Sends text to the worker.
        max_outputs_bytes: Outputs of one attempt as JSON; more fail it.
    """

    def __init__(self, send: Callable[[bytes], Awaitable[None]], max_outputs_bytes: int) -> None:
        self._send = send
        self._max_outputs = max_outputs_bytes
        self._waiting: dict[str, asyncio.Queue[bytes]] = {}
        self.progressed: Callable[[Attempt, float, str], None] = lambda attempt, fraction, message: None

    async def run(self, attempt: Attempt) -> Result:
        """Sends the task of one attempt and waits for its result."""
        correlation = f"{attempt.key}#{attempt.number}"
        try:
            body = task_message(attempt, correlation)
        except msgspec.DecodeError as error:
            return failure("ERR_VALIDATION", f"The variables are not a JSON object: {error}.")
        hearing = Hearing(attempt, correlation, CODE, self._max_outputs, lambda *said: self.progressed(*said))
        heard = self._waiting[correlation] = asyncio.Queue()
        try:
            await self._tell(body)
            while True:
                result = hearing.take(await heard.get())
                if result is not None:
                    return result
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):  # a lost connection is heard of elsewhere
                async with asyncio.timeout(_CANCEL_S):
                    await self._send(cancel_message(correlation))
            raise
        finally:
            del self._waiting[correlation]

    async def heard(self, data: bytes) -> None:
        """Takes what the worker said; what belongs to no running attempt is dropped."""
        correlation = correlation_of(data) or (next(iter(self._waiting)) if len(self._waiting) == 1 else "")
        queue = self._waiting.get(correlation)
        if queue is None or kind_of(data) not in (LOG, PROGRESS, RESULT):
            _LOG.info("what a worker said belongs to no task that runs")
            return
        queue.put_nowait(data)
        if queue.qsize() > _QUEUED:
            await asyncio.sleep(0)  # whoever reads comes first

    async def close(self) -> None:
        """The connection is its owner's."""

    async def _tell(self, body: bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._send(body)
        except ConnectionClosed:
            await asyncio.Event().wait()  # the attempt is lost with the connection, and this is cancelled


_HELLO = msgspec.json.Decoder(HelloMessage)
