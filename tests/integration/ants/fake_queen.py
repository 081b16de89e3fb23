"""A queen that speaks the protocol and decides nothing: tests tell her what to grant, acknowledge and take away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import grpc.aio
import msgspec

from formicary.engine.ants.ant import Ant, Ending
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.grpc_transport import grpc_factory
from formicary.engine.ants.transport import (
    LocalTransport,
    QueenTransport,
    TransportClosedError,
    TransportFactory,
    local_pair,
)
from formicary.engine.jobs.model import TaskDefinition, task_to_json
from formicary.v1.ants_pb2 import AntMessage, Assignment, Hello, QueenMessage, TaskResult, TaskSpec, TaskUse, Welcome
from formicary.v1.ants_pb2_grpc import AntServiceServicer, add_AntServiceServicer_to_server

PATIENCE_S = 90.0


class FakeQueen:
    """The queen's end of the sessions of one ant."""

    def __init__(self, *, lease_s: float = 10.0, beat_interval_s: float = 1.0) -> None:
        self.lease_s = lease_s
        self.beat_interval_s = beat_interval_s
        self.is_up = True
        self.acknowledges = True
        self.answers_beats = True
        self.kill: set[int] = set()
        self.hellos: list[Hello] = []
        self.results: dict[int, TaskResult] = {}
        self.deliveries: list[int] = []
        self.logs: dict[int, list[tuple[int, str]]] = {}
        self.started: set[int] = set()
        self.progress: list[tuple[int, float, str]] = []
        self.checkpoints: list[tuple[int, bytes]] = []
        self.returned: list[int] = []
        self.uses: dict[int, list[TaskUse]] = {}
        self.window = 0
        self.windows: list[int] = []
        self.beats = 0
        self.is_draining = False
        self.message_sizes: list[int] = []
        self._token = 0
        self._changed = asyncio.Event()
        self._transport: QueenTransport | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    # connections

    async def connect(self) -> LocalTransport[AntMessage, QueenMessage]:
        if not self.is_up:
            raise TransportClosedError("the queen is down")
        ant_side, queen_side = local_pair()
        session = asyncio.create_task(self.serve(queen_side))
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)
        return ant_side

    async def cut(self) -> None:
        """Closes the present stream."""
        if self._transport is not None:
            await self._transport.close()

    async def close(self) -> None:
        self.is_up = False
        await self.cut()
        if self._sessions:
            await asyncio.wait(self._sessions)

    async def serve(self, transport: QueenTransport) -> None:
        try:
            async for message in transport:
                if message.HasField("hello"):
                    await self._welcome(transport, message.hello)
                await self._take(transport, message)
                self._changed.set()
        except OSError:
            pass
        finally:
            if self._transport is transport:
                self._transport = None

    async def _welcome(self, transport: QueenTransport, hello: Hello) -> None:
        self.hellos.append(hello)
        self.window = hello.window
        self._transport = transport
        await transport.send(
            QueenMessage(
                welcome=Welcome(
                    epoch=1,
                    lease_s=self.lease_s,
                    reconnect_grace_s=3.0,
                    beat_interval_s=self.beat_interval_s,
                    keep=[token for token in hello.held if token not in self.kill],
                    kill=[token for token in hello.held if token in self.kill],
                )
            )
        )

    async def _take(self, transport: QueenTransport, message: AntMessage) -> None:
        self.message_sizes.append(message.ByteSize())
        for chunk in message.logs:
            lines = self.logs.setdefault(chunk.token, [])
            lines.extend((line.stream, line.text) for line in chunk.lines)
        self.checkpoints.extend((left.token, left.value) for left in message.checkpoints)
        for result in message.results:
            self.results[result.token] = result
            self.deliveries.append(result.token)
        self.started.update(started.token for started in message.started)
        self.progress.extend((p.token, p.fraction, p.message) for p in message.progress)
        self.returned.extend(message.returned)
        for use in message.uses:
            self.uses.setdefault(use.token, []).append(use)
        if message.window:
            self.window = message.window
            self.windows.append(message.window)
        self.is_draining = self.is_draining or message.draining
        answer = QueenMessage()
        if message.results and self.acknowledges:
            answer.acknowledged.extend(result.token for result in message.results)
        if message.beat:
            self.beats = message.beat
            if self.answers_beats:
                answer.beat = message.beat
        if answer.ByteSize():
            await transport.send(answer)

    # orders

    async def grant(
        self,
        task: TaskDefinition,
        *,
        count: int = 1,
        variables: dict[str, object] | None = None,
        timeout_s: float = 0.0,
        path: str = "",
        attempt: int = 1,
        checkpoint: str = "",
        secrets: Sequence[str] = (),
    ) -> int:
        """Grants attempts of a task; returns the first token."""
        await self.until(lambda: self._transport is not None)
        first = self._token + 1
        self._token += count
        encoded = msgspec.json.encode(variables) if variables else b""
        message = QueenMessage(specs=[TaskSpec(id=first, task=task_to_json(task), job_type="j", path=path)])
        for token in range(first, first + count):
            message.assignments.add(
                token=token,
                spec=first,
                job_id=f"job{token}",
                attempt=attempt,
                execution=1,
                variables=encoded,
                timeout_s=timeout_s,
                checkpoint=checkpoint.encode(),
                secrets=secrets,
            )
        assert self._transport is not None
        await self._transport.send(message)
        return first

    async def say(self, message: QueenMessage) -> None:
        assert self._transport is not None
        await self._transport.send(message)

    async def assign(self, assignment: Assignment) -> None:
        await self.say(QueenMessage(assignments=[assignment]))

    async def cancel(self, token: int, *, grace_s: float | None = None) -> None:
        given = None if grace_s is None else {token: grace_s}
        await self.say(QueenMessage(cancelled=[token], grace_s=given))

    # waiting

    async def until(self, condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Waits until the condition holds, looking whenever something arrives and every 10 ms."""
        async with asyncio.timeout(patience_s):
            while not condition():
                self._changed.clear()
                try:
                    async with asyncio.timeout(0.01):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    async def result(self, token: int) -> TaskResult:
        await self.until(lambda: token in self.results)
        return self.results[token]

    async def run(self, task: TaskDefinition, **options: object) -> TaskResult:
        return await self.result(await self.grant(task, **options))  # type: ignore[arg-type]  # the test passes what fits

    def outputs(self, token: int) -> object:
        data = self.results[token].outputs
        return msgspec.json.decode(data) if data else None

    def text(self, token: int, stream: int = 1) -> list[str]:
        return [text for number, text in self.logs.get(token, []) if number == stream]


class _Servicer(AntServiceServicer):
    def __init__(self, queen: FakeQueen) -> None:
        self._queen = queen

    async def Session(self, request_iterator, context):  # type: ignore[no-untyped-def]  # the shape is gRPC's
        transport = _ServerTransport(request_iterator)
        serving = asyncio.create_task(self._queen.serve(transport))
        try:
            while (message := await transport.outgoing.get()) is not None:
                yield message
        finally:
            await transport.close()
            serving.cancel()


class _ServerTransport:
    def __init__(self, incoming: AsyncIterator[AntMessage]) -> None:
        self._incoming = incoming
        self.outgoing: asyncio.Queue[QueenMessage | None] = asyncio.Queue()

    async def send(self, message: QueenMessage) -> None:
        self.outgoing.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[AntMessage]:
        try:
            async for message in self._incoming:
                yield message
        except grpc.aio.AioRpcError:
            pass
        self.outgoing.put_nowait(None)

    async def close(self) -> None:
        self.outgoing.put_nowait(None)


@asynccontextmanager
async def grpc_server(queen: FakeQueen, port: int = 0) -> AsyncIterator[int]:
    """Serves a fake queen over gRPC; gives the port."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 * 1024 * 1024), ("grpc.so_reuseport", 0)])
    add_AntServiceServicer_to_server(_Servicer(queen), server)  # type: ignore[no-untyped-call]  # generated code is untyped
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(0)


@asynccontextmanager
async def running_ant(
    queen: FakeQueen, config: AntConfig | None = None, *, factory: TransportFactory | None = None
) -> AsyncIterator[tuple[Ant, asyncio.Event, asyncio.Task[Ending]]]:
    """An ant at work in this process; it is killed at the end if it has not stopped."""
    ant = Ant(config or AntConfig("ant-1", slots=2))
    stop, kill = asyncio.Event(), asyncio.Event()
    working = asyncio.create_task(ant.run(factory or queen.connect, stop, kill))
    try:
        yield ant, stop, working
    finally:
        kill.set()
        stop.set()
        await asyncio.wait([working])
        if not working.cancelled():
            working.result()


@asynccontextmanager
async def colony(
    *, config: AntConfig | None = None, transport: str = "local", **options: float
) -> AsyncIterator[tuple[FakeQueen, Ant]]:
    """A fake queen and an ant that she has welcomed."""
    queen = FakeQueen(**options)
    if transport == "local":
        async with running_ant(queen, config) as (ant, _, _):
            await queen.until(lambda: ant.is_connected)
            yield queen, ant
        await queen.close()
        return
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(grpc_server(queen))
        factory = grpc_factory(f"127.0.0.1:{port}")
        ant, _, _ = await stack.enter_async_context(running_ant(queen, config, factory=factory))
        await queen.until(lambda: ant.is_connected)
        yield queen, ant


def shell(*lines: str, **fields: object) -> TaskDefinition:
    return TaskDefinition(task_type="t", method="SHELL", script=lines, **fields)  # type: ignore[arg-type]  # the test passes what fits


def python(function: str, **fields: object) -> TaskDefinition:
    return TaskDefinition(task_type="t", method="PYTHON", function=function, **fields)  # type: ignore[arg-type]  # the test passes what fits
