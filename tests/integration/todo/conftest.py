"""The service on real ports in a thread of its own, and clients of both protocols."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from examples.todo.serving import Options, Server
from tests.integration.todo.clients import GrpcClient, RestClient, Tasks

TOKENS = {"alice": "wonderland", "bob": "builder", "root": "of all"}


@contextmanager
def serving(options: Options) -> Iterator[Server]:
    """A server that runs meanwhile."""
    server, stop = Server(options), asyncio.Event()
    up, failed, loops = threading.Event(), list[BaseException](), list[asyncio.AbstractEventLoop]()

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with server:
            up.set()
            await stop.wait()

    def thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)
            up.set()

    runner = threading.Thread(target=thread)
    runner.start()
    assert up.wait(60)
    try:
        if not failed:
            yield server
    finally:
        if not failed:
            loops[0].call_soon_threadsafe(stop.set)
        runner.join(60)
    if failed:
        raise failed[0]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def server(database: Path) -> Iterator[Server]:
    with serving(Options(database=database, tokens=TOKENS, admins=frozenset({"root"}), drain_s=2)) as found:
        yield found


@pytest.fixture(params=[GrpcClient, RestClient], ids=["grpc", "http"])
def as_user(request: pytest.FixtureRequest, server: Server) -> Iterator[Callable[[str], Tasks]]:
    """Makes clients of one protocol, by the user's name; the empty name has no token."""
    with ExitStack() as stack:

        def make(user: str) -> Tasks:
            kind = request.param
            port = server.grpc_port if kind is GrpcClient else server.http_port
            client = kind(port, TOKENS.get(user, user))
            stack.callback(client.close)
            return Tasks(client)

        yield make


@pytest.fixture
def alice(as_user: Callable[[str], Tasks]) -> Tasks:
    return as_user("alice")


@pytest.fixture
def bob(as_user: Callable[[str], Tasks]) -> Tasks:
    return as_user("bob")


@pytest.fixture
def rest(server: Server) -> Iterator[RestClient]:
    """Alice over REST."""
    client = RestClient(server.http_port, TOKENS["alice"])
    yield client
    client.close()
