"""A client that repeats and a server that does not, over a network that loses answers: every call has one effect."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from formicary.gateway import Service, add_services
from formicary.gateway.interceptors import Idempotent, standard_chain
from formicary.idempotency import SqliteStore
from formicary.idempotency.grpc_aio import IdempotencyInterceptor
from formicary.idempotency.grpc_client import AioIdempotencyClientInterceptor, IdempotencyClientInterceptor
from formicary.idempotency.grpc_sync import ThreadedIdempotencyInterceptor
from formicary.idempotency.retrying import Retry, RetryBudget
from tests.integration.idempotency.orders import CREATE, ORDERS, Order, OrderRequest, handlers

QUICK = Retry(tries=50, first_s=0.01, most_s=0.5)
CALLS = 12


class Lossy:
    """A network between client and server: it carries everything until it is told to drop all connections."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def drop(self) -> None:
        """Ends every connection at once; what was on its way is lost."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Carries nothing any more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server_port)) as server:
            with self._lock:
                self._open |= {client, server}
            back = threading.Thread(target=self._carry, args=(server, client))
            back.start()
            self._carry(client, server)
            back.join()
            with self._lock:
                self._open -= {client, server}

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Shop:
    """The handlers; each order's answer is lost the first time it was made.

    Attributes:
        made: Items of the orders that exist.
        network: What loses answers.
    """

    def __init__(self) -> None:
        self.made: list[str] = []
        self.network: Lossy | None = None

    def create(self, request: Any, context: Any) -> Any:
        """Makes an order; then the network fails."""
        self.made.append(request.item)
        number = len(self.made)
        assert self.network is not None
        self.network.drop()
        return Order(number=number, item=request.item)

    async def CreateOrder(self, request: Any, context: Any) -> Any:
        """The same for the gateway's chain."""
        return self.create(request, context)

    async def WatchOrders(self, request: Any, context: Any) -> Any:
        """Not used here."""
        yield Order()


@contextmanager
def threads(shop: Shop, path: Path) -> Iterator[int]:
    """A server of grpc with threads."""
    with ThreadedIdempotencyInterceptor(SqliteStore(path)) as interceptor, ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, interceptors=[interceptor])
        server.add_generic_rpc_handlers((handlers(shop.create, shop.WatchOrders),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield port
        server.stop(0).wait()


@asynccontextmanager
async def _aio(shop: Shop, path: Path) -> AsyncIterator[int]:
    store = SqliteStore(path)
    await store.open()
    server = grpc.aio.server(interceptors=[IdempotencyInterceptor(store)])
    server.add_generic_rpc_handlers((handlers(shop.create, shop.WatchOrders),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(0)
    await store.close()


@asynccontextmanager
async def _chain(shop: Shop, path: Path) -> AsyncIterator[int]:
    store = SqliteStore(path)
    await store.open()
    server = grpc.aio.server()
    add_services(server, [Service(ORDERS, shop)], standard_chain([Idempotent(store)]))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(0)
    await store.close()


def on_a_loop_of_its_own(serve: Callable[..., Any]) -> Callable[[Shop, Path], Any]:
    """A server of grpc.aio beside a client that blocks."""

    @contextmanager
    def served(shop: Shop, path: Path) -> Iterator[int]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        stack = AsyncExitStack()
        try:
            yield asyncio.run_coroutine_threadsafe(stack.enter_async_context(serve(shop, path)), loop).result(20)
        finally:
            asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(20)
            asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(20)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(20)
            loop.close()

    return served


SERVERS = {"threads": threads, "aio": on_a_loop_of_its_own(_aio), "chain": on_a_loop_of_its_own(_chain)}


def orders_by_threads(port: int) -> list[Any]:
    """Orders of a client with threads."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
        channel = grpc.intercept_channel(plain, IdempotencyClientInterceptor(QUICK, RetryBudget(1000)))
        stub = channel.unary_unary(
            CREATE, request_serializer=OrderRequest.SerializeToString, response_deserializer=Order.FromString
        )
        return [stub(OrderRequest(item=f"item {n}"), timeout=30) for n in range(CALLS)]


def orders_by_aio(port: int) -> list[Any]:
    """Orders of a client of grpc.aio."""

    async def run() -> list[Any]:
        interceptors = [AioIdempotencyClientInterceptor(QUICK, RetryBudget(1000))]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel:
            stub = channel.unary_unary(
                CREATE, request_serializer=OrderRequest.SerializeToString, response_deserializer=Order.FromString
            )
            return [await stub(OrderRequest(item=f"item {n}"), timeout=30) for n in range(CALLS)]

    return asyncio.run(run())


@pytest.mark.parametrize("order", [orders_by_threads, orders_by_aio], ids=["client with threads", "aio client"])
@pytest.mark.parametrize("server", SERVERS)
def test_lost_answers_are_asked_for_again_and_nothing_is_done_twice(
    tmp_path: Path, server: str, order: Callable[[int], list[Any]]
) -> None:
    """Every answer is lost at first; the client gets each from the record, with the number of the one execution."""
    shop = Shop()
    with ExitStack() as stack:
        port = stack.enter_context(SERVERS[server](shop, tmp_path / "keys.db"))
        shop.network = Lossy(port)
        stack.callback(shop.network.close)
        answers = order(shop.network.port)
    assert shop.made == [f"item {n}" for n in range(CALLS)]
    assert [(answer.number, answer.item) for answer in answers] == [(n + 1, f"item {n}") for n in range(CALLS)]
