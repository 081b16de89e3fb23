"""One record for one operation, whether it is called over gRPC or REST, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import httpx
import uvicorn

from formicary.gateway import Service, Transcoder, add_services
from formicary.gateway.interceptors import Idempotent, Validate, standard_chain
from formicary.headers import MappingBuilder
from formicary.headers.asgi import HeaderMiddleware
from formicary.idempotency import MemoryStore
from formicary.problems import problem
from formicary.problems.rpc import from_rpc_error
from tests.integration.idempotency.orders import CREATE, ORDERS, Order, OrderRequest, Orders


class Both:
    """The orders over gRPC and REST behind one chain."""

    def __init__(self) -> None:
        self.orders = Orders()
        self.idempotent = Idempotent(MemoryStore())
        self.channel: Any = None
        self.client: Any = None

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Both]:
        """Serves both."""
        service, chain = Service(ORDERS, self.orders), standard_chain([Validate(), self.idempotent])
        server = grpc.aio.server()
        add_services(server, [service], chain)
        grpc_port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        listener = socket.create_server(("127.0.0.1", 0))
        mapping = (
            MappingBuilder().incoming("Idempotency-Key", "idempotency-key").incoming("Authorization", "authorization")
        )
        app = HeaderMiddleware(Transcoder([service], chain), mapping.build())
        http = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"))
        task = asyncio.create_task(http.serve([listener]))
        while not http.started:
            await asyncio.sleep(0.01)
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            async with (
                grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as self.channel,
                httpx.AsyncClient(base_url=base, trust_env=False) as self.client,
            ):
                yield self
        finally:
            http.should_exit = True
            await task
            listener.close()
            await server.stop(0)

    async def rest(self, key: str, **fields: Any) -> httpx.Response:
        """One call over REST."""
        found: httpx.Response = await self.client.post(CREATE, json=fields, headers={"idempotency-key": key})
        return found

    def rpc(self, key: str, **fields: Any) -> Any:
        """One call over gRPC, to be awaited."""
        stub = self.channel.unary_unary(
            CREATE, request_serializer=OrderRequest.SerializeToString, response_deserializer=Order.FromString
        )
        return stub(OrderRequest(**fields), metadata=(("idempotency-key", key),))


def test_rest_and_grpc_share_one_record() -> None:
    """What was done over REST is replayed over gRPC and the other way round, with its metadata."""

    async def with_metadata(request: Any, call: Any) -> Any:
        call.set_header("x-a", "1")
        return Order(number=len(call_of.orders.made), item=request.item)

    async def check(both: Both) -> None:
        both.orders.do = with_metadata
        first = await both.rest("k1", item="tea", count=2)
        assert (first.status_code, first.json()["number"]) == (200, 1), first.text
        again = both.rpc("k1", item="tea", count=2)
        assert (await again).number == 1
        initial = list(await again.initial_metadata())
        assert ("idempotency-replayed", "true") in initial
        assert ("x-a", "1") in initial
        assert (await both.rpc("k2", item="mate")).number == 2
        assert (await both.rest("k2", item="mate")).json() == {"number": 2, "item": "mate"}
        assert len(both.orders.made) == 2
        reused = await both.rest("k1", item="coffee")
        assert (reused.status_code, reused.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
        missing = await both.client.post(CREATE, json={"item": "tea"})
        assert (missing.status_code, missing.json()["code"]) == (400, "IDEMPOTENCY_KEY_MISSING")

    call_of = Both()
    asyncio.run(_with(call_of, check))


def test_a_refusal_keeps_all_of_its_problem_over_both() -> None:
    """Code, detail and extensions come again; the handler runs once."""

    async def refuse(request: Any, call: Any) -> Any:
        error = problem("CONFLICT", "Sold out.")
        error.extensions["left"] = 0
        raise error

    async def check(both: Both) -> None:
        both.orders.do = refuse
        first = await both.rest("k1", item="tea")
        again = await both.rest("k1", item="tea")
        try:
            await both.rpc("k1", item="tea")
        except grpc.aio.AioRpcError as error:
            found = from_rpc_error(error)
        assert (first.status_code, again.status_code) == (409, 409)
        assert (again.json()["detail"], again.json()["left"], found.detail) == ("Sold out.", 0, "Sold out.")
        assert again.headers["idempotency-replayed"] == "true"
        assert (found.code, found.extensions["left"], len(both.orders.made)) == ("CONFLICT", 0, 1)

    asyncio.run(_with(Both(), check))


def test_a_crash_is_given_back() -> None:
    """A failure nobody expected is not kept: the next attempt runs."""

    async def crash(request: Any, call: Any) -> Any:
        raise ZeroDivisionError

    async def check(both: Both) -> None:
        both.orders.do = crash
        assert (await both.rest("k1", item="tea")).status_code == 500
        both.orders.do = None
        assert (await both.rest("k1", item="tea")).json()["number"] == 2

    asyncio.run(_with(Both(), check))


async def _with(both: Both, check: Any) -> None:
    async with both.serving():
        await asyncio.wait_for(check(both), 20)


def test_a_client_that_cancels_makes_nothing_happen_twice() -> None:
    """The call is cancelled after its effect: the handler goes on to its end, and a retry over REST gets the answer."""

    async def check() -> None:
        done, go_on = asyncio.Event(), asyncio.Event()

        async def slow(request: Any, context: Any) -> Any:
            done.set()
            await go_on.wait()
            return Order(number=7, item=request.item)

        async with Both().serving() as both:
            both.orders.do = slow
            calling = both.rpc("k1", item="tea")
            await done.wait()
            calling.cancel()
            await asyncio.wait({asyncio.ensure_future(calling.code())})
            assert (await both.rest("k1", item="tea")).status_code == 409
            go_on.set()
            while (again := await both.rest("k1", item="tea")).status_code == 409:
                await asyncio.sleep(0.01)
            assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
            assert len(both.orders.made) == 1

    asyncio.run(check())
