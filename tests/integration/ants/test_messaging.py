"""MESSAGING tasks over a real NATS server, with workers that answer, fail, say nothing, or are not there."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import nats
import nats.errors
import pytest

from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.messaging import shown
from formicary.engine.ants.offers import methods_here
from formicary.engine.ants.workers import TaskFailedError, Work, WorkerTask, serve_nats
from formicary.engine.jobs.model import TaskDefinition
from formicary.problems import Problem
from formicary.v1.ants_pb2 import TaskResult
from tests import components
from tests.integration.ants.fake_queen import colony, shell
from tests.integration.ants.loop import in_loop

NATS = os.environ.get("FORMICARY_TEST_NATS", "nats://127.0.0.1:4222")
METHODS = frozenset({"SHELL", "MESSAGING"})


def config(url: str = NATS, **fields: Any) -> AntConfig:
    return AntConfig("ant-1", slots=2, methods=METHODS, nats=url, **fields)


def ask(subject: str, **fields: Any) -> TaskDefinition:
    return TaskDefinition(task_type="ask", method="MESSAGING", messaging_request_queue=subject, **fields)


def a_subject() -> str:
    return f"test.{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def nats_runs() -> None:
    async def look() -> None:
        async with asyncio.timeout(30):
            await (await nats.connect(NATS, allow_reconnect=False, connect_timeout=20)).close()

    try:
        asyncio.run(look())
    except (OSError, nats.errors.Error) as error:
        components.missing("nats-server", f"no answer at {NATS}: {error}")


@asynccontextmanager
async def worker(work: Work, subject: str, **options: Any) -> AsyncIterator[None]:
    """A worker of the helper."""
    ready = asyncio.Event()
    serving = asyncio.create_task(serve_nats(work, NATS, subject, ready=ready.set, **options))
    try:
        await ready.wait()
        yield
    finally:
        serving.cancel()
        await asyncio.wait({serving})


@asynccontextmanager
async def client() -> AsyncIterator[Any]:
    """A plain client of NATS."""
    import nats

    found = await nats.connect(NATS, allow_reconnect=False)
    try:
        yield found
    finally:
        await found.close()


@in_loop
async def test_a_worker_gets_the_task_and_its_log_progress_and_outputs_come_back() -> None:
    subject, seen = a_subject(), []

    async def work(task: WorkerTask) -> Mapping[str, object]:
        seen.append(task)
        await task.log("::set-output name=half::yes\nsecond line")
        await task.log("careful", is_error=True)
        await task.progress(1.0, "done")
        return {"sum": sum(task.variables["numbers"])}  # type: ignore[call-overload]  # a list of numbers, as below

    async with colony(config=config()) as (queen, _), worker(work, subject):
        task = ask(subject, script=("a", "b"), environment={"LEVEL": "info"}, headers={"X-Own": "1"})
        result = await queen.run(task, variables={"numbers": [1, 2, 3], "JobID": "x"})
        assert (result.outcome, result.exit_code) == (TaskResult.COMPLETED, 0)
        assert queen.outputs(result.token) == {"half": "yes", "sum": 6}
        assert queen.text(result.token)[-1] == "second line" and queen.text(result.token, 2) == ["careful"]
        assert (result.token, 1.0, "done") in queen.progress
        (got,) = seen
        assert got.key == f"job{result.token}/1/ask" and got.script == ("a", "b")
        assert got.variables == {"numbers": [1, 2, 3]} and got.message.environment == {"LEVEL": "info"}


@in_loop
async def test_a_repeated_attempt_has_another_correlation_and_the_same_key() -> None:
    subject = a_subject()
    async with colony(config=config()) as (queen, _), client() as plain:
        seen: list[Any] = []

        async def answer(message: Any) -> None:
            seen.append(message)
            await message.respond(b'{"type": "result"}')

        await plain.subscribe(subject, cb=answer)
        await plain.flush()
        for attempt in (1, 2):
            result = await queen.run(ask(subject, headers={"X-Own": "a\r\nb"}), attempt=attempt)
            assert result.outcome == TaskResult.COMPLETED
        headers = [message.headers for message in seen]
        bodies = [json.loads(message.data) for message in seen]
        for n in range(2):
            key = f"job{n + 1}/1/ask"
            assert headers[n]["Idempotency-Key"] == bodies[n]["key"] == key
            assert headers[n]["Formicary-Correlation-Id"] == bodies[n]["correlation_id"] == f"{key}#{n + 1}"
            assert headers[n]["X-Own"] == "a  b"


@pytest.mark.parametrize(
    ("reply", "outcome", "code", "exit_code", "text", "outputs"),
    [
        (b'{"type": "result", "exit_code": 7, "error": "No paper.", "outputs": {"tray": 2}}',
         TaskResult.FAILED, "ERR_EXIT_CODE", 7, "No paper.", {"tray": 2}),
        (b'{"type": "result", "error": "Bad."}', TaskResult.FAILED, "ERR_MESSAGING", None, "Bad.", None),
        (b'{"type": "result", "exit_code": "x"}', TaskResult.FAILED, "ERR_MESSAGING", None, "exit_code", None),
        (b'{"price": 3}', TaskResult.COMPLETED, "", 0, "", {"reply": {"price": 3}}),
        (b"plain text", TaskResult.COMPLETED, "", 0, "", {"reply": "plain text"}),
        (b"\xff\xfe", TaskResult.COMPLETED, "", 0, "", {"reply": "��"}),
        (b"", TaskResult.COMPLETED, "", 0, "", None),
        (b"x" * 20_000, TaskResult.FAILED, "ERR_RESULT_TOO_LARGE", None, "10,000", None),
    ],
)  # fmt: skip
@in_loop
async def test_a_reply_of_any_kind_ends_the_task(
    reply: bytes, outcome: int, code: str, exit_code: int | None, text: str, outputs: object
) -> None:
    subject = a_subject()
    async with colony(config=config(max_outputs_bytes=10_000)) as (queen, _), client() as plain:

        async def answer(message: Any) -> None:
            await message.respond(reply)

        await plain.subscribe(subject, cb=answer)
        await plain.flush()
        result = await queen.run(ask(subject))
        assert (result.outcome, result.error_code) == (outcome, code)
        assert (result.exit_code if result.has_exit_code else None) == exit_code
        assert text in result.error_message
        assert queen.outputs(result.token) == outputs


@in_loop
async def test_a_service_of_the_micro_protocol_may_say_what_is_wrong() -> None:
    subject = a_subject()
    async with colony(config=config()) as (queen, _), client() as plain:
        headers = {"Nats-Service-Error": "sold out", "Nats-Service-Error-Code": "410"}

        async def answer(message: Any) -> None:
            await plain.publish(message.reply, b"", headers=headers)

        await plain.subscribe(subject, cb=answer)
        await plain.flush()
        result = await queen.run(ask(subject))
        assert (result.error_code, result.exit_code, result.error_message) == ("ERR_MESSAGING", 410, "sold out")


@in_loop
async def test_nobody_there_is_said_at_once() -> None:
    subject = a_subject()
    async with colony(config=config()) as (queen, _):
        result = await queen.run(ask(subject))
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, "ERR_MESSAGING")
        assert result.error_message == f"Nobody listens on {subject}: start a worker for it."


@in_loop
async def test_on_a_shared_reply_queue_each_takes_its_own() -> None:
    subject, replies = a_subject(), a_subject()
    first: list[WorkerTask] = []

    async def work(task: WorkerTask) -> Mapping[str, object]:
        first.append(task)
        while len(first) < 2:  # both wait for the same queue at the same time
            await asyncio.sleep(0.01)
        return {"number": task.variables["number"]}

    async with colony(config=config()) as (queen, _), worker(work, subject), client() as plain:
        task = ask(subject, messaging_reply_queue=replies)
        tokens = [await queen.grant(task, variables={"number": number}) for number in (1, 2)]
        await plain.publish(replies, b"noise of somebody else")
        for number, token in enumerate(tokens, 1):
            await queen.result(token)
            assert queen.outputs(token) == {"number": number}
        assert {task.message.reply_to for task in first} == {replies}


@pytest.mark.parametrize("way", ["time-out", "cancel"])
@in_loop
async def test_a_worker_hears_that_nobody_waits_any_more(way: str) -> None:
    subject, cancelled, begun = a_subject(), asyncio.Event(), asyncio.Event()

    async def work(task: WorkerTask) -> None:
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with colony(config=config()) as (queen, _), worker(work, subject):
        token = await queen.grant(ask(subject), timeout_s=4.0 if way == "time-out" else 30.0)
        await begun.wait()
        if way == "cancel":
            await queen.cancel(token)
        result = await queen.result(token)
        assert result.outcome == (TaskResult.TIMED_OUT if way == "time-out" else TaskResult.CANCELLED)
        await cancelled.wait()
        assert (await queen.run(shell("true"))).outcome == TaskResult.COMPLETED


@in_loop
async def test_a_stream_keeps_the_request_until_a_worker_comes() -> None:
    subject = a_subject()
    async with colony(config=config()) as (queen, _), client() as plain:
        stream = plain.jetstream()
        name = subject.replace(".", "-")
        await stream.add_stream(name=name, subjects=[subject])
        try:
            token = await queen.grant(ask(subject))
            await queen.until(lambda: any("kept by a stream" in line for line in queen.text(token, 3)))
            pulled = await stream.pull_subscribe(subject, durable="w")
            (message,) = await pulled.fetch(1, timeout=60)
            task = json.loads(message.data)
            reply = {"type": "result", "correlation_id": task["correlation_id"], "outputs": {"late": True}}
            await plain.publish(task["reply_to"], json.dumps(reply).encode())
            await message.ack()
            assert (await queen.result(token)).outcome == TaskResult.COMPLETED
            assert queen.outputs(token) == {"late": True}
        finally:
            await stream.delete_stream(name)


@in_loop
async def test_a_worker_that_dies_is_found_by_its_silence() -> None:
    """It has promised signs of life; one that promised nothing is waited for, and messages of others do not count."""
    subject, shared = a_subject(), a_subject()
    async with client() as plain, colony(config=config()) as (queen, _):
        asked: asyncio.Queue[Any] = asyncio.Queue()
        await plain.subscribe(subject, cb=asked.put)
        token = await queen.grant(ask(subject, messaging_reply_queue=shared))
        request = await asked.get()
        told = {"type": "alive", "every_s": 0.1, "correlation_id": json.loads(request.data)["correlation_id"]}
        await plain.publish(request.reply, json.dumps(told).encode())
        result_of = asyncio.create_task(queen.result(token))
        while not result_of.done():  # of another attempt
            await plain.publish(shared, b'{"type": "log", "text": "x", "correlation_id": "other"}')
            await asyncio.wait({result_of}, timeout=0.05)
        result = result_of.result()
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, "ERR_WORKER_LOST")
        assert "0.3 s" in result.error_message


@in_loop
async def test_a_worker_that_is_slow_gives_signs_of_life() -> None:
    """Longer than three of its beats, and the task completes."""

    async def slow(task: WorkerTask) -> Mapping[str, object]:
        await asyncio.sleep(4.0)
        return {"done": True}

    subject = a_subject()
    async with worker(slow, subject, beat_s=1.0), colony(config=config()) as (queen, _):
        result = await queen.run(ask(subject))
        assert (result.outcome, queen.outputs(result.token)) == (TaskResult.COMPLETED, {"done": True})


@in_loop
async def test_what_is_too_large_to_send_is_said_before() -> None:
    async with colony(config=config()) as (queen, _):
        result = await queen.run(ask(a_subject()), variables={"text": "x" * 1_100_000})
        assert result.error_code == "ERR_MESSAGING" and "send less" in result.error_message


@in_loop
async def test_without_a_server_it_fails_without_naming_the_password() -> None:
    async with colony(config=config("nats://me:hunter22@127.0.0.1:1")) as (queen, _):
        result = await queen.run(ask("orders"))
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, "ERR_MESSAGING")
        assert "127.0.0.1:1" in result.error_message and "hunter22" not in result.error_message


@in_loop
async def test_a_lost_connection_fails_what_waits_and_the_next_task_connects_anew() -> None:
    subject = a_subject()
    connections: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = NATS.rpartition("://")[2].rpartition(":")
        there, to = await asyncio.open_connection(host, int(port))
        connections.extend([writer, to])

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        await asyncio.gather(copy(reader, to), copy(there, writer), return_exceptions=True)

    begun: list[str] = []

    async def work(task: WorkerTask) -> Mapping[str, object]:
        begun.append(task.key)
        if len(begun) == 1:
            await asyncio.sleep(30)
        return {"n": len(begun)}

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with colony(config=config(f"nats://127.0.0.1:{port}")) as (queen, _), worker(work, subject):
            token = await queen.grant(ask(subject))
            await queen.until(lambda: bool(begun))
            for writer in connections:
                writer.transport.abort()
            result = await queen.result(token)
            assert result.error_code == "ERR_MESSAGING" and "was lost" in result.error_message
            assert (await queen.run(ask(subject))).outcome == TaskResult.COMPLETED
    finally:
        server.close()
        for writer in connections:
            writer.close()


@in_loop
async def test_a_worker_that_raises_fails_the_task() -> None:
    subject = a_subject()

    async def work(task: WorkerTask) -> None:
        if task.variables["how"] == "own":
            raise TaskFailedError("No paper.", 4, {"tray": 1})
        raise ValueError("oops")

    async with colony(config=config()) as (queen, _), worker(work, subject):
        own = await queen.run(ask(subject), variables={"how": "own"})
        assert (own.exit_code, own.error_message, queen.outputs(own.token)) == (4, "No paper.", {"tray": 1})
        other = await queen.run(ask(subject), variables={"how": "else"})
        assert (other.exit_code, other.error_message) == (1, "ValueError: oops")


def test_the_method_is_offered_only_where_nats_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORMICARY_NATS", raising=False)
    assert "MESSAGING" not in AntConfig("a").methods and "MESSAGING" not in methods_here()
    with pytest.raises(Problem, match="needs a NATS server: set FORMICARY_NATS"):
        AntConfig("a", methods=METHODS)
    monkeypatch.setenv("FORMICARY_NATS", "nats://me:hunter22@localhost:4222")
    found = AntConfig("a")
    assert "MESSAGING" in found.methods and "hunter22" not in repr(found)
    assert shown(found.nats + ",tls://b:1") == "nats://localhost:4222, tls://b:1"


@in_loop
async def test_tasks_do_not_inherit_where_nats_is() -> None:
    os.environ["FORMICARY_NATS"] = "nats://me:hunter22@localhost:4222"
    try:
        async with colony() as (queen, _):
            result = await queen.run(shell("env"))
            assert not [line for line in queen.text(result.token) if "hunter22" in line]
            call = TaskDefinition(task_type="t", method="PYTHON", function="os:getenv", arguments={})
            result = await queen.run(call, variables={"key": "FORMICARY_NATS"})
            assert (result.outcome, queen.outputs(result.token)) == (TaskResult.COMPLETED, None)
    finally:
        del os.environ["FORMICARY_NATS"]
