"""The outbox for gRPC against a real server: what is on the disk is done once, whatever becomes of the client."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from formicary.idempotency import AsyncCallOutbox, CallOutbox, Intent, IntentState, MemoryStore
from formicary.idempotency.grpc_sync import ThreadedIdempotencyInterceptor
from formicary.problems import Problem, problem
from tests.integration.idempotency.orders import CREATE, Order, OrderRequest, handlers

ROOT = Path(__file__).parents[3]
CLIENT = """
import sys
import grpc
from formicary.idempotency import CallOutbox
from tests.integration.idempotency.orders import CREATE, Order, OrderRequest

path, target, what = sys.argv[1:]
with grpc.insecure_channel(target) as channel, CallOutbox(path, channel) as outbox:
    done = outbox.resume() if what == "resume" else [outbox.send(CREATE, OrderRequest(item="tea"))]
    print(*(f"{each.state} {each.answer.replayed} {Order.FromString(each.answer.body).number}" for each in done))
"""


class Service:
    """A server under the interceptor.

    Attributes:
        made: The requests that were executed.
        script: What the next executions do before they answer.
    """

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.script: list[Callable[[], None]] = []
        self.target = ""

    def create(self, request: Any, context: Any) -> Any:
        """Makes another order each time."""
        self.made.append(request)
        if self.script:
            self.script.pop(0)()
        return Order(number=len(self.made), item=request.item)


@pytest.fixture
def service() -> Iterator[Service]:
    """A server on a free port."""
    found = Service()
    with ThreadedIdempotencyInterceptor(MemoryStore()) as interceptor:
        server = grpc.server(ThreadPoolExecutor(4), interceptors=[interceptor])
        server.add_generic_rpc_handlers((handlers(found.create, found.create),))
        found.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield found
        server.stop(0).wait()


@pytest.fixture(params=["threads", "aio"])
def use(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Calls a method of an outbox, each time in a process of its own so to say."""
    path = str(tmp_path / "outbox.db")

    def one(target: str, name: str, *arguments: Any, **options: Any) -> Any:
        if request.param == "threads":
            with grpc.insecure_channel(target) as channel, CallOutbox(path, channel) as outbox:
                return getattr(outbox, name)(*arguments, **options)

        async def call() -> Any:
            async with grpc.aio.insecure_channel(target) as channel, AsyncCallOutbox(path, channel) as outbox:
                return await getattr(outbox, name)(*arguments, **options)

        return asyncio.run(call())

    return one


def refusing(error: Problem) -> Callable[[], None]:
    """Ends an execution with a problem."""

    def fault() -> None:
        raise error

    return fault


def test_a_call_without_an_answer_is_made_again_with_its_key(use: Any, service: Service) -> None:
    """Nobody listens; the next process makes it, and one more time it is the kept answer of the outbox."""
    lost: Intent = use("127.0.0.1:9", "send", CREATE, OrderRequest(item="tea"), key="k", metadata=[("x-trace", "1")])
    assert (lost.state, lost.attempts, lost.url) == (IntentState.WAITING, 1, CREATE)
    assert lost.problem is not None and lost.problem.grpc_code == "UNAVAILABLE"
    (done,) = use(service.target, "resume")
    assert (done.key, done.state, Order.FromString(done.answer.body).number) == ("k", IntentState.ANSWERED, 1)
    again: Intent = use(service.target, "send", CREATE, OrderRequest(item="tea"), key="k", metadata=[("x-trace", "1")])
    assert (again.answer, len(service.made)) == (done.answer, 1)
    with pytest.raises(Problem, match="belongs to another"):
        use(service.target, "send", CREATE, OrderRequest(item="coffee"), key="k")


def test_a_refusal_is_an_answer_and_a_failure_of_the_moment_is_none(use: Any, service: Service) -> None:
    """NOT_FOUND is final and comes with its problem; UNAVAILABLE waits, and so does what comes after it."""
    service.script = [refusing(problem("NOT_FOUND", "no tea")), refusing(problem("UNAVAILABLE", "later"))]
    refused: Intent = use(service.target, "send", CREATE, OrderRequest(item="tea"))
    assert refused.state is IntentState.ANSWERED and refused.answer is not None and refused.answer.status == 404
    with pytest.raises(Problem, match="no tea"):
        refused.raise_for_problem()
    later: Intent = use(service.target, "send", CREATE, OrderRequest(item="tea"))
    assert later.state is IntentState.WAITING
    assert [each.state for each in use(service.target, "resume")] == [IntentState.ANSWERED]
    assert use(service.target, "resume") == []


@pytest.mark.parametrize("metadata", [("authorization", "Bearer x"), ("x-raw-bin", b"\x00")])
def test_secrets_and_binary_metadata_are_refused(use: Any, metadata: tuple[str, str | bytes]) -> None:
    """They are never written."""
    with pytest.raises(Problem, match=metadata[0]):
        use("127.0.0.1:9", "send", CREATE, OrderRequest(item="tea"), metadata=[metadata])


def test_killed_between_sending_and_the_answer_there_is_one_effect(tmp_path: Path, service: Service) -> None:
    """kill -9 while the client waits: the next process makes the same call and gets that answer."""
    command = [sys.executable, "-c", CLIENT, str(tmp_path / "outbox.db"), service.target]
    service.script = [lambda: process.send_signal(signal.SIGKILL)]
    with subprocess.Popen([*command, "send"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.wait(60) == -signal.SIGKILL
    again = subprocess.run([*command, "resume"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert (again.stdout, len(service.made)) == ("ANSWERED True 1\n", 1)
