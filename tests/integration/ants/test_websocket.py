"""WEBSOCKET tasks against real servers of web sockets, and with workers that register at an ant's port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.worker_port import WorkerPort
from formicary.engine.ants.workers import TaskFailedError, WorkerTask, join_websocket, serve_websocket
from formicary.engine.jobs.model import TaskDefinition
from formicary.engine.jobs.parse import parse_source
from formicary.v1.ants_pb2 import TaskResult
from tests.integration.ants.fake_queen import FakeQueen, colony, shell
from tests.integration.ants.loop import in_loop

METHODS = frozenset({"SHELL", "WEBSOCKET"})
Handler = Callable[[ServerConnection], Awaitable[None]]


def config(**fields: Any) -> AntConfig:
    return AntConfig("ant-1", slots=2, methods=METHODS, **fields)


def ask(url: str, **fields: Any) -> TaskDefinition:
    return TaskDefinition(task_type="ask", method="WEBSOCKET", url=url, **fields)


@asynccontextmanager
async def server(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """A server of web sockets."""
    async with serve(handler, "127.0.0.1", 0, **options) as running:
        yield f"ws://127.0.0.1:{next(iter(running.sockets)).getsockname()[1]}"


@asynccontextmanager
async def ended(task: asyncio.Task[Any]) -> AsyncIterator[None]:
    """Ends a task of the test's with it."""
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@in_loop
async def test_the_task_goes_out_and_log_progress_and_outputs_come_back() -> None:
    seen: list[Any] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append((connection.request, json.loads(await connection.recv())))
        for message in (
            {"type": "log", "text": "::set-output name=half::yes\none"},
            {"type": "log", "text": "careful\n", "is_error": True},
            {"type": "progress", "fraction": 1.0, "message": "done"},
            {"type": "log", "correlation_id": "of another", "text": "not ours"},
            {"type": "result", "outputs": {"sum": 6}},
        ):
            await connection.send(json.dumps(message))

    async with colony(config=config()) as (queen, _), server(handler) as url:
        task = ask(f"{url}/work?a=1", query={"b": "2 3"}, headers={"X-Own": "x"}, script=("s",))
        result = await queen.run(task, variables={"n": 1, "JobID": "built in"})
        assert (result.outcome, result.exit_code) == (TaskResult.COMPLETED, 0)
        assert queen.outputs(result.token) == {"half": "yes", "sum": 6}
        assert queen.text(result.token)[-1] == "one" and queen.text(result.token, 2) == ["careful"]
        assert (result.token, 1.0, "done") in queen.progress
        ((request, message),) = seen
        key = f"job{result.token}/1/ask"
        assert request.path == "/work?a=1&b=2+3"
        assert (request.headers["Idempotency-Key"], request.headers["X-Own"]) == (key, "x")
        assert (message["key"], message["correlation_id"]) == (key, f"{key}#1")
        assert (message["variables"], message["script"]) == ({"n": 1}, ["s"])


@in_loop
async def test_a_worker_leaves_a_checkpoint_and_is_given_the_last_one() -> None:
    seen: list[str] = []

    async def work(task: WorkerTask) -> dict[str, object]:
        seen.append(task.last_checkpoint)
        await task.checkpoint("row 5")
        return {}

    where: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_websocket(work, ready=where.set_result))
    async with colony(config=config()) as (queen, _), ended(serving):
        result = await queen.run(ask(f"ws://127.0.0.1:{await where}"), checkpoint="row 4")
        assert result.outcome == TaskResult.COMPLETED
        assert seen == ["row 4"] and queen.checkpoints == [(result.token, b"row 5")]


@pytest.mark.parametrize(
    ("said", "outcome", "code", "text"),
    [
        ('{"type": "result", "exit_code": 3, "error": "No."}', TaskResult.FAILED, "ERR_EXIT_CODE", "No."),
        ("hello", TaskResult.COMPLETED, "", ""),
        ('{"type": "result", "outputs": 5}', TaskResult.FAILED, "ERR_WEBSOCKET", "outputs"),
        (None, TaskResult.FAILED, "ERR_WEBSOCKET", "closed the connection before a result: code 1000"),
        (1011, TaskResult.FAILED, "ERR_WEBSOCKET", "code 1011, too bad"),
        ("x" * 3000, TaskResult.FAILED, "ERR_RESULT_TOO_LARGE", "larger than 2,000 bytes"),
        ("x" * 9000, TaskResult.FAILED, "ERR_RESULT_TOO_LARGE", "a message of more than 8,000 bytes"),
    ],
)
@in_loop
async def test_whatever_a_server_says_ends_the_task(said: str | int | None, outcome: int, code: str, text: str) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.recv()
        if isinstance(said, str):
            await connection.send(said)
            await connection.wait_closed()
        elif isinstance(said, int):
            await connection.close(said, "too bad")

    async with colony(config=config(max_outputs_bytes=2000)) as (queen, _), server(handler) as url:
        result = await queen.run(ask(url))
        assert (result.outcome, result.error_code) == (outcome, code)
        assert text in result.error_message
        if said == "hello":
            assert queen.outputs(result.token) == {"reply": "hello"}


@pytest.mark.parametrize(
    ("url", "code", "text"),
    [
        ("ws://me:hunter22@127.0.0.1:1/x?token=hunter33", "ERR_WEBSOCKET", "ws://127.0.0.1:1/x cannot be reached"),
        ("http://127.0.0.1:1", "ERR_VALIDATION", "ws:// or wss://"),
        ("ws://", "ERR_VALIDATION", "is no web socket"),
        ("", "ERR_VALIDATION", "websocket-worker"),
    ],
)
@in_loop
async def test_an_address_that_leads_nowhere_is_said_without_its_password(url: str, code: str, text: str) -> None:
    async with colony(config=config()) as (queen, _):
        result = await queen.run(ask(url))
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, code)
        assert text in result.error_message and "hunter" not in result.error_message


@in_loop
async def test_a_server_that_refuses_gives_its_status_as_exit_code() -> None:
    async def handler(connection: ServerConnection) -> None:
        raise AssertionError("nobody comes so far")

    def refuse(connection: ServerConnection, request: Any) -> Any:
        return connection.respond(403, "no\n")

    async with colony(config=config()) as (queen, _), server(handler, process_request=refuse) as url:
        result = await queen.run(ask(url))
        assert (result.error_code, result.exit_code) == ("ERR_WEBSOCKET", 403)


@pytest.mark.parametrize("way", ["time-out", "cancel"])
@in_loop
async def test_the_function_behind_a_url_hears_that_nobody_waits_any_more(way: str) -> None:
    begun, heard = asyncio.Event(), asyncio.Event()
    where: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work(task: WorkerTask) -> None:
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            heard.set()
            raise

    serving = asyncio.create_task(serve_websocket(work, ready=where.set_result))
    async with ended(serving), colony(config=config()) as (queen, _):
        url = f"ws://127.0.0.1:{await where}"
        token = await queen.grant(ask(url), timeout_s=4.0 if way == "time-out" else 30.0)
        await begun.wait()
        if way == "cancel":
            await queen.cancel(token)
        assert (await queen.result(token)).outcome == (
            TaskResult.TIMED_OUT if way == "time-out" else TaskResult.CANCELLED
        )
        await heard.wait()
        assert (await queen.run(shell("true"))).outcome == TaskResult.COMPLETED


# workers that register


@asynccontextmanager
async def port(queen: FakeQueen, token: str = "", **fields: Any) -> AsyncIterator[tuple[WorkerPort, str]]:
    """A port for workers, and its address."""
    found = WorkerPort(config(**fields), queen.connect, "127.0.0.1", 0, token)
    await found.open()
    try:
        yield found, f"ws://127.0.0.1:{found.port}"
    finally:
        await found.close()
        await queen.close()


@in_loop
async def test_a_registered_worker_is_an_ant_with_its_tags_and_carries_out_tasks_side_by_side() -> None:
    queen, ready, running, both = FakeQueen(), asyncio.Event(), [0], asyncio.Event()

    async def work(task: WorkerTask) -> Mapping[str, object]:
        running[0] += 1
        if running[0] == 2:
            both.set()
        await both.wait()
        await task.log("working")
        await task.progress(1.0)
        if task.variables["n"] == 2:
            raise TaskFailedError("No.", 9)
        return {"n": task.variables["n"]}

    async with port(queen) as (_, url):
        joined = asyncio.create_task(join_websocket(work, url, name="page", tags=["Web"], slots=2, ready=ready.set))
        async with ended(joined):
            await ready.wait()
            (hello,) = queen.hellos
            assert hello.ant_id.startswith("ant-1:page-") and list(hello.methods) == ["WEBSOCKET"]
            assert (sorted(hello.tags), hello.slots) == (["web", "websocket-worker"], 2)
            first = await queen.grant(ask(""), variables={"n": 1})
            second = await queen.grant(ask(""), variables={"n": 2})
            assert (await queen.result(first)).outcome == TaskResult.COMPLETED
            assert queen.outputs(first) == {"n": 1} and queen.text(first) == ["working"]
            failed = await queen.result(second)
            assert (failed.exit_code, failed.error_message) == (9, "No.")
            assert (first, 1.0, "") in queen.progress


@in_loop
async def test_what_a_lost_worker_held_has_no_result_and_its_session_ends() -> None:
    queen, begun = FakeQueen(), asyncio.Event()
    async with port(queen) as (_, url):
        connection = await connect(url)
        await connection.send('{"type": "hello"}')
        assert json.loads(await connection.recv())["type"] == "welcome"
        token = await queen.grant(ask(""))
        task = json.loads(await connection.recv())
        assert task["key"] == f"job{token}/1/ask"
        begun.set()
        connection.transport.abort()
        await queen.until(lambda: queen._transport is None)
        assert token not in queen.results


@in_loop
async def test_a_worker_hears_of_a_cancel_and_finishes_when_the_ant_stops() -> None:
    queen = FakeQueen()
    async with port(queen) as (found, url), connect(url) as connection:
        await connection.send('{"type": "hello", "slots": 2}')
        await connection.recv()
        token = await queen.grant(ask(""))
        await connection.recv()
        await queen.cancel(token)
        cancel = json.loads(await connection.recv())
        assert cancel == {"type": "cancel", "correlation_id": f"job{token}/1/ask#1"}
        assert (await queen.result(token)).outcome == TaskResult.CANCELLED
        last = await queen.grant(ask(""))
        task = json.loads(await connection.recv())
        closing = asyncio.create_task(found.close())
        await queen.until(lambda: queen.is_draining)
        await connection.send("what is no message of ours")
        await connection.send(json.dumps({"type": "result", "correlation_id": task["correlation_id"]}))
        assert (await queen.result(last)).outcome == TaskResult.COMPLETED
        await closing
        with pytest.raises(ConnectionClosed):
            await connection.recv()


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        ('{"type": "hello", "token": "wrong"}', "token"),
        ('{"type": "hello"}', "token"),
        ('{"type": "hello", "token": "right", "slots": 0}', "slots"),
        ('{"type": "hello", "token": "right", "name": "a b"}', "name"),
        ('{"token": "right"}', "first"),
        ("[]", "cannot be read"),
    ],
)
@in_loop
async def test_a_stranger_is_refused_with_the_reason(hello: str, why: str) -> None:
    async with port(FakeQueen(), "right") as (_, url), connect(url) as connection:
        await connection.send(hello)
        with pytest.raises(ConnectionClosed) as caught:
            await connection.recv()
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1008
        assert why in caught.value.rcvd.reason


@in_loop
async def test_a_page_of_a_browser_needs_the_token() -> None:
    """Any page that somebody looks at could connect to his own machine."""
    async with port(FakeQueen()) as (_, url):
        with pytest.raises(InvalidStatus):
            await connect(url, origin="https://evil.example")  # type: ignore[arg-type]  # a new type of the library's
    async with port(FakeQueen(), "right") as (_, url):
        connection = await connect(url, origin="https://app.example")  # type: ignore[arg-type]  # the same
        await connection.send('{"type": "hello", "token": "right"}')
        assert json.loads(await connection.recv())["type"] == "welcome"
        await connection.close()


@pytest.mark.parametrize(("url", "expected"), [("", {"a", "websocket-worker"}), ("url: ws://h", {"a"})])
def test_a_task_without_a_url_needs_a_worker(url: str, expected: set[str]) -> None:
    source = f"job_type: j\ntasks:\n- task_type: t\n  method: WEBSOCKET\n  tags: [A]\n  {url}\n"
    (parsed,) = parse_source(source)
    assert parsed.definition is not None and parsed.definition.tasks[0].tags == expected
