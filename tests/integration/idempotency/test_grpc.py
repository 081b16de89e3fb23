"""Idempotency over gRPC, on a real server: answers and refusals come again as they were."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest

from formicary.idempotency import MemoryStore, Policy, Route, Rule
from formicary.idempotency.grpc_aio import IdempotencyInterceptor
from formicary.problems import Problem, problem
from formicary.problems.rpc import from_rpc_error, from_trailing_metadata
from tests.integration.idempotency.orders import CREATE, PACKAGE, Order, OrderRequest, Orders, handlers

Check = Callable[["Served"], Awaitable[None]]


@dataclass
class Answer:
    """What a call ended with."""

    code: grpc.StatusCode
    message: Any
    initial: list[tuple[str, Any]]
    trailing: list[tuple[str, Any]]
    details: str
    problem: Problem | None

    @property
    def replayed(self) -> bool:
        """Whether it says so."""
        return ("idempotency-replayed", "true") in self.initial

    def same_as(self, other: Answer) -> bool:
        """Whether all but the mark is equal."""
        mine, others = (
            (each.code, each.message, [pair for pair in each.initial if pair[0] != "idempotency-replayed"],
             each.trailing, each.details)
            for each in (self, other)
        )  # fmt: skip
        return mine == others


class Served:
    """A server with the interceptor, and a client."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.now_s = 1_800_000_000.0
        self.store = MemoryStore(lambda: round(self.now_s * 1000))
        self.interceptor: grpc.aio.ServerInterceptor = IdempotencyInterceptor(self.store, policy)
        self.orders = Orders()
        self.create: Callable[[Any, Any], Any] = self.orders.CreateOrder
        self.channel: Any = None

    async def run(self, check: Check) -> None:
        """Serves while the check runs."""
        server = grpc.aio.server(interceptors=[self.interceptor])
        server.add_generic_rpc_handlers((handlers(self.create, self.orders.WatchOrders),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as self.channel:
                await asyncio.wait_for(check(self), 90)
        finally:
            await server.stop(0)

    async def call(self, key: str | None, item: str = "tea", *, metadata: Any = (), **fields: Any) -> Answer:
        """One call, whatever it ends with."""
        stub = self.channel.unary_unary(
            CREATE, request_serializer=OrderRequest.SerializeToString, response_deserializer=Order.FromString
        )
        keys = () if key is None else (("idempotency-key", key),)
        call = stub(OrderRequest(item=item, **fields), metadata=(*keys, *metadata))
        message, found = None, None
        try:
            message = await call
        except grpc.aio.AioRpcError as error:
            found = from_trailing_metadata(error.trailing_metadata() or ()) or from_rpc_error(error)
        initial, trailing = list(await call.initial_metadata()), list(await call.trailing_metadata())
        return Answer(await call.code(), message, initial, trailing, await call.details(), found)


class OriginalInterceptor(grpc.aio.ServerInterceptor):
    """What the articles' interceptor does: outcomes are kept without their status, nobody is told how long to wait."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes | None] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wraps the handler."""
        inner = await continuation(handler_call_details)
        key = dict(handler_call_details.invocation_metadata)["idempotency-key"]

        async def answer(request: Any, context: Any) -> bytes:
            if key in self._kept:
                kept = self._kept[key]
                if kept is None:
                    await context.abort(grpc.StatusCode.ABORTED, "in progress")
                return kept or b""
            self._kept[key] = None
            try:
                self._kept[key] = inner.response_serializer(await inner.unary_unary(request, context))
            except grpc.aio.AbortError:
                self._kept[key] = b""
                raise
            return self._kept[key] or b""

        return grpc.unary_unary_rpc_method_handler(answer, request_deserializer=inner.request_deserializer)


class ServedByOriginal(Served):
    """D17."""

    def __init__(self) -> None:
        super().__init__()
        self.interceptor = OriginalInterceptor()


def serve(policy: Policy | None = None, *, make: Callable[[], Served] | None = None) -> Callable[[Check], Any]:
    """The check becomes a test on a server."""

    def decorate(check: Check) -> Callable[[], None]:
        def test() -> None:
            asyncio.run((make() if make else Served(policy)).run(check))

        test.__doc__ = check.__doc__
        return test

    return decorate


@serve()
async def test_a_retry_gets_the_same_message_and_metadata(served: Served) -> None:
    """Initial and trailing metadata, repeated and binary ones too, come again; the handler runs once."""

    async def with_metadata(request: Any, context: Any) -> Any:
        await context.send_initial_metadata((("x-a", "1"), ("x-a", "2"), ("x-raw-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-end", "3"), ("x-end-bin", b"\x01")))
        return Order(number=7, item=request.item)

    served.orders.do = with_metadata
    first, again = await served.call("k1"), await served.call("k1")
    assert (first.code, first.message.number, len(served.orders.made)) == (grpc.StatusCode.OK, 7, 1)
    assert [pair for pair in first.initial if pair[0].startswith("x-")] == [
        ("x-a", "1"), ("x-a", "2"), ("x-raw-bin", b"\x00\xff"),
    ]  # fmt: skip
    assert (first.replayed, again.replayed, again.same_as(first)) == (False, True, True)


async def _a_kept_refusal_is_never_replayed_as_ok(served: Served) -> None:
    """A refusal comes again with its code, its text and its details, however the handler says it."""

    async def abort(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "sold out", (("x-why", "stock"),))

    async def raise_problem(request: Any, context: Any) -> Any:
        raise problem("NOT_FOUND", "There is no item 7.")

    async def set_code(request: Any, context: Any) -> Any:
        context.set_code(grpc.StatusCode.ALREADY_EXISTS)
        context.set_details("twice")
        return Order()

    expected = (
        (abort, grpc.StatusCode.FAILED_PRECONDITION, "sold out"),
        (raise_problem, grpc.StatusCode.NOT_FOUND, "There is no item 7."),
        (set_code, grpc.StatusCode.ALREADY_EXISTS, "twice"),
    )
    for do, code, text in expected:
        served.orders.do = do
        first, again = await served.call(do.__name__), await served.call(do.__name__)
        assert (first.code, first.details) == (code, text)
        assert (again.replayed, again.same_as(first)) == (True, True)
    assert len(served.orders.made) == 3
    assert ("x-why", "stock") in (await served.call("abort")).trailing


async def _a_call_in_progress_says_when_to_come_again(served: Served) -> None:
    """ABORTED comes with RetryInfo of at least a second."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Any, context: Any) -> Any:
        began.set()
        await go_on.wait()
        return Order(number=1)

    served.orders.do = slow
    first = asyncio.create_task(served.call("k"))
    await began.wait()
    second = await served.call("k")
    go_on.set()
    await first
    assert second.code is grpc.StatusCode.ABORTED
    assert second.problem is not None and (second.problem.retry.after_s or 0) >= 1


@pytest.mark.parametrize(
    "check", [_a_kept_refusal_is_never_replayed_as_ok, _a_call_in_progress_says_when_to_come_again]
)
@pytest.mark.parametrize("faulty", [False, True], ids=["ours", "with the fault"])
def test_d17_calls_are_told_what_happened(check: Check, faulty: bool) -> None:
    """Holds for ours and fails for what the articles' interceptor does."""
    if not faulty:
        asyncio.run(Served().run(check))
        return
    with pytest.raises(AssertionError):
        asyncio.run(ServedByOriginal().run(check))


@serve()
async def test_a_failure_of_the_moment_is_not_kept(served: Served) -> None:
    """UNAVAILABLE, a crash and CANCELLED are given back: the next attempt runs."""

    async def unavailable(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "later")

    async def crash(request: Any, context: Any) -> Any:
        raise ZeroDivisionError

    async def cancelled(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.CANCELLED, "gone")

    for do in (unavailable, crash, cancelled):
        served.orders.do = do
        assert (await served.call(do.__name__)).code is not grpc.StatusCode.OK
        served.orders.do = None
        assert (await served.call(do.__name__)).code is grpc.StatusCode.OK


@serve()
async def test_a_duplicate_of_a_running_call_is_aborted_with_the_time_to_wait(served: Served) -> None:
    """ABORTED with RetryInfo of a second at least."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def wait(request: Any, context: Any) -> Any:
        began.set()
        await go_on.wait()
        return Order(number=1)

    served.orders.do = wait
    first = asyncio.create_task(served.call("k1"))
    await began.wait()
    second = await served.call("k1")
    go_on.set()
    assert (await first).code is grpc.StatusCode.OK
    assert second.code is grpc.StatusCode.ABORTED
    assert second.problem is not None
    assert (second.problem.code, (second.problem.retry.after_s or 0) >= 1) == ("IDEMPOTENT_REQUEST_IN_PROGRESS", True)


@serve()
async def test_the_key_may_be_a_field_of_the_message(served: Served) -> None:
    """A field counts like metadata and not as part of what is asked for; two that differ are refused."""
    first = await served.call(None, request_id="k1")
    assert first.code is grpc.StatusCode.OK
    assert (await served.call(None, request_id="k1")).same_as(first)
    assert (await served.call("k1")).same_as(first)
    assert (await served.call("k1", request_id="k1")).same_as(first)
    assert len(served.orders.made) == 1
    differing = await served.call("k1", request_id="k2")
    assert (differing.code, len(served.orders.made)) == (grpc.StatusCode.INVALID_ARGUMENT, 1)


@serve()
async def test_wrong_keys_are_refused_and_run_nothing(served: Served) -> None:
    """No key, an empty one, a long one, two, one of another request: INVALID_ARGUMENT."""
    await served.call("used")
    made = len(served.orders.made)
    two = (("idempotency-key", "b"),)
    answers = [
        await served.call(None),
        await served.call(""),
        await served.call("x" * 256),
        await served.call("a", metadata=two),
        await served.call("used", "coffee"),
        await served.call("used", count=2),
    ]
    assert [answer.code for answer in answers] == [grpc.StatusCode.INVALID_ARGUMENT] * 6
    codes = [answer.problem.code for answer in answers if answer.problem]
    assert codes == ["IDEMPOTENCY_KEY_MISSING", *["IDEMPOTENCY_KEY_INVALID"] * 3, *["IDEMPOTENCY_KEY_REUSED"] * 2]
    assert len(served.orders.made) == made


@serve()
async def test_credentials_part_the_keys_of_callers(served: Served) -> None:
    """Two callers with one key are two, and never see each other's answer."""
    first = await served.call("k1", metadata=(("authorization", "Bearer alice"),))
    other = await served.call("k1", metadata=(("authorization", "Bearer bob"),))
    assert (first.message.number, other.message.number, other.replayed) == (1, 2, False)


@serve(Policy(routes=[Route(f"/{PACKAGE}.Orders/Create{{what}}", None)]))
async def test_a_route_without_a_rule_passes(served: Served) -> None:
    """It needs no key and runs each time."""
    assert [(await served.call(None)).message.number for _ in range(2)] == [1, 2]


@serve()
async def test_streams_pass(served: Served) -> None:
    """A method that streams needs no key."""
    stub = served.channel.unary_stream(
        f"/{PACKAGE}.Orders/WatchOrders",
        request_serializer=OrderRequest.SerializeToString,
        response_deserializer=Order.FromString,
    )
    assert [order.number async for order in stub(OrderRequest())] == [1, 2]


@serve(Policy(Rule(max_response_bytes=10)))
async def test_a_message_too_large_to_keep_is_never_made_twice(served: Served) -> None:
    """Its caller gets it; a retry is told that it was done."""
    first, again = await served.call("k1", "x" * 50), await served.call("k1", "x" * 50)
    assert first.message.item == "x" * 50
    assert again.problem is not None
    assert (again.code, again.problem.code) == (grpc.StatusCode.FAILED_PRECONDITION, "RESPONSE_NOT_KEPT")
    assert len(served.orders.made) == 1


@serve(Policy(Rule(lease_s=0.2)))
async def test_a_call_whose_lease_is_lost_gets_the_answer_that_counts(served: Served) -> None:
    """A zombie's caller is told what the one that took over has answered."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def wait(request: Any, context: Any) -> Any:
        began.set()
        await go_on.wait()
        return Order(number=99)

    served.orders.do = wait
    zombie = asyncio.create_task(served.call("k1"))
    await began.wait()
    served.now_s += 1
    served.orders.do = None
    counted = await served.call("k1")
    go_on.set()
    assert (await zombie).message == counted.message


class Plain(Served):
    """With a handler that is a plain function."""

    def __init__(self) -> None:
        super().__init__()
        self.create = self.plain

    def plain(self, request: Any, context: Any) -> Any:
        """Refuses the item `none`."""
        self.orders.made.append(request)
        context.send_initial_metadata((("x-a", "1"),))
        if request.item == "none":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such item")
        return Order(number=len(self.orders.made))


@serve(make=Plain)
async def test_plain_functions_are_kept_too(served: Served) -> None:
    """A handler in a thread: its answers and its refusals come again."""
    for item, code in (("tea", grpc.StatusCode.OK), ("none", grpc.StatusCode.NOT_FOUND)):
        first, again = await served.call(item, item), await served.call(item, item)
        assert (first.code, ("x-a", "1") in first.initial) == (code, True)
        assert (again.replayed, again.same_as(first)) == (True, True)
    assert len(served.orders.made) == 2


def test_ok_cannot_be_an_abort() -> None:
    """As in gRPC itself, no call can fail with OK."""
    from formicary.idempotency.grpc_aio import HeldContext

    async def check() -> None:
        with pytest.raises(ValueError, match="OK"):
            await HeldContext(None).abort(grpc.StatusCode.OK, "")

    asyncio.run(check())


@serve()
async def test_a_client_that_cancels_makes_nothing_happen_twice(served: Served) -> None:
    """The call is cancelled after its effect: the handler goes on to its end, and a retry gets the answer."""
    done, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Any, context: Any) -> Any:
        done.set()
        await go_on.wait()
        return Order(number=7, item=request.item)

    served.orders.do = slow
    calling = asyncio.create_task(served.call("k1"))
    await done.wait()
    calling.cancel()
    await asyncio.wait({calling})
    while (busy := await served.call("k1")).code is grpc.StatusCode.CANCELLED:
        await asyncio.sleep(0.01)
    assert busy.problem is not None and busy.problem.code == "IDEMPOTENT_REQUEST_IN_PROGRESS"
    go_on.set()
    while (again := await served.call("k1")).code is grpc.StatusCode.ABORTED:
        await asyncio.sleep(0.01)
    assert (again.code, again.message.number, again.replayed) == (grpc.StatusCode.OK, 7, True)
    assert len(served.orders.made) == 1
