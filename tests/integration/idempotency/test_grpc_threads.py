"""Idempotency on a real grpc server with threads: the same promises as on grpc.aio, with handlers that block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from formicary.idempotency import MemoryStore, Policy, Route, Rule, SqliteStore
from formicary.idempotency.grpc_sync import ThreadedIdempotencyInterceptor
from formicary.problems import Problem, problem
from formicary.problems.rpc import from_rpc_error, from_trailing_metadata
from tests.integration.idempotency.orders import CREATE, PACKAGE, Order, OrderRequest, handlers

OK = grpc.StatusCode.OK
Do = Callable[[Any, Any], Any]


class Shop:
    """A server and its client.

    Attributes:
        made: Requests that the handler has seen.
        do: What the handler does.
    """

    def __init__(self, interceptor: ThreadedIdempotencyInterceptor) -> None:
        self.interceptor = interceptor
        self.made: list[Any] = []
        self.do: Do = lambda request, context: Order(number=len(self.made), item=request.item)
        self.channel: Any = None

    def create(self, request: Any, context: Any) -> Any:
        """The handler."""
        self.made.append(request)
        return self.do(request, context)

    def watch(self, request: Any, context: Any) -> Iterator[Any]:
        """A stream of two."""
        yield from (Order(number=1), Order(number=2))

    def call(self, key: str | None, item: str = "tea", **fields: Any) -> tuple[Any, Any, str, list[Any], list[Any]]:
        """Code, message, text, initial and trailing metadata of one call, whatever it ends with."""
        stub = self.channel.unary_unary(
            CREATE, request_serializer=OrderRequest.SerializeToString, response_deserializer=Order.FromString
        )
        metadata = () if key is None else (("idempotency-key", key),)
        call = stub.future(OrderRequest(item=item, **fields), metadata=metadata, timeout=20)
        failed = call.exception()
        message = None if failed is not None else call.result()
        return call.code(), message, call.details(), list(call.initial_metadata()), list(call.trailing_metadata())

    def code(self, key: str | None, item: str = "tea", **fields: Any) -> str:
        """The code of the problem that a call ends with."""
        code, _, text, _, trailing = self.call(key, item, **fields)
        assert code is not OK
        found = from_trailing_metadata(trailing)
        return found.code if found else text


@contextmanager
def shop(store: Any, policy: Policy | None = None, threads: int = 16) -> Iterator[Shop]:
    """A running server with the interceptor."""
    with ThreadedIdempotencyInterceptor(store, policy) as interceptor, ThreadPoolExecutor(threads) as pool:
        found = Shop(interceptor)
        server = grpc.server(pool, interceptors=[interceptor])
        server.add_generic_rpc_handlers((handlers(found.create, found.watch),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as found.channel:
            yield found
        server.stop(0).wait()


REPLAYED = ("idempotency-replayed", "true")


def unmarked(answer: tuple[Any, Any, str, list[Any], list[Any]]) -> tuple[Any, ...]:
    """An answer without the mark of a replay."""
    return (*answer[:3], [pair for pair in answer[3] if pair != REPLAYED], answer[4])


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "keys.db")


def test_a_retry_gets_the_same_message_and_metadata(store: Any) -> None:
    """Repeated and binary metadata too; the handler, which runs in a thread of the server, runs once."""
    threads = set()

    def do(request: Any, context: Any) -> Any:
        threads.add(threading.current_thread().name)
        context.send_initial_metadata((("x-a", "1"), ("x-a", "2"), ("x-raw-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-end", "3"), ("x-end-bin", b"\x01")))
        return Order(number=7, item=request.item)

    with shop(store) as found:
        found.do = do
        first, again = found.call("k1"), found.call("k1")
        assert (first[0], first[1].number, len(found.made)) == (OK, 7, 1)
        assert (REPLAYED in first[3], REPLAYED in again[3], unmarked(again)) == (False, True, unmarked(first))
        assert {name for name, _ in first[4]} >= {"x-end", "x-end-bin"} and len(first[3]) >= 3
    assert all(name.startswith("ThreadPoolExecutor") for name in threads)


def test_refusals_come_again_however_they_are_said(store: Any) -> None:
    def abort(request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "sold out")

    def raising(request: Any, context: Any) -> Any:
        raise problem("NOT_FOUND", "There is no item 7.")

    def set_code(request: Any, context: Any) -> Any:
        context.set_code(grpc.StatusCode.ALREADY_EXISTS)
        context.set_details("twice")
        return Order()

    expected = (
        (abort, grpc.StatusCode.FAILED_PRECONDITION, "sold out"),
        (raising, grpc.StatusCode.NOT_FOUND, "There is no item 7."),
        (set_code, grpc.StatusCode.ALREADY_EXISTS, "twice"),
    )
    with shop(store) as found:
        for do, code, text in expected:
            found.do = do
            first, again = found.call(do.__name__), found.call(do.__name__)
            assert (first[0], first[2]) == (code, text)
            assert REPLAYED in again[3] and unmarked(again) == unmarked(first)
        assert len(found.made) == 3


def test_a_failure_of_the_moment_is_not_kept(store: Any) -> None:
    def unavailable(request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNAVAILABLE, "later")

    def crash(request: Any, context: Any) -> Any:
        raise ZeroDivisionError

    with shop(store) as found:
        good = found.do
        for do in (unavailable, crash):
            found.do = do
            assert found.call(do.__name__)[0] is not OK
            found.do = good
            assert found.call(do.__name__)[0] is OK


def test_of_many_calls_at_once_one_executes(store: Any) -> None:
    """The others are told to wait, or get its answer; no thread of the server waits for another's handler."""
    began, go_on = threading.Event(), threading.Event()

    def do(request: Any, context: Any) -> Any:
        began.set()
        assert go_on.wait(20)
        return Order(number=1)

    with shop(store, threads=4) as found, ThreadPoolExecutor(50) as callers:
        found.do = do
        first = callers.submit(found.call, "k1")
        assert began.wait(20)
        others = [one.result(20) for one in [callers.submit(found.call, "k1") for _ in range(49)]]
        go_on.set()
        assert first.result(20)[0] is OK
        assert {code for code, *_ in others} == {grpc.StatusCode.ABORTED}
        assert len(found.made) == 1 and found.call("k1")[1].number == 1


def test_wrong_keys_are_refused_and_run_nothing(store: Any) -> None:
    with shop(store) as found:
        found.call("used")
        codes = [found.code(None), found.code(""), found.code("x" * 256), found.code("used", "coffee")]
        assert codes == ["IDEMPOTENCY_KEY_MISSING", *["IDEMPOTENCY_KEY_INVALID"] * 2, "IDEMPOTENCY_KEY_REUSED"]
        assert len(found.made) == 1


def test_what_has_no_rule_and_what_streams_passes(store: Any) -> None:
    with shop(store, Policy(routes=[Route(f"/{PACKAGE}.Orders/Create{{what}}", None)])) as found:
        assert [found.call(None)[1].number for _ in range(2)] == [1, 2]
        stub = found.channel.unary_stream(
            f"/{PACKAGE}.Orders/WatchOrders",
            request_serializer=OrderRequest.SerializeToString,
            response_deserializer=Order.FromString,
        )
        assert [order.number for order in stub(OrderRequest())] == [1, 2]


def test_the_lease_of_a_handler_that_blocks_is_renewed(store: Any) -> None:
    """A handler that sleeps through several leases keeps its key: nobody takes over."""
    began = threading.Event()

    def do(request: Any, context: Any) -> Any:
        began.set()
        time.sleep(3.5)
        return Order(number=len(found.made))

    with shop(store, Policy(Rule(lease_s=1.0))) as found, ThreadPoolExecutor(1) as callers:
        found.do = do
        slow = callers.submit(found.call, "k1")
        assert began.wait(20)
        while not slow.done():
            code, message, *_ = found.call("k1")
            assert code is grpc.StatusCode.ABORTED or message.number == 1
            time.sleep(0.1)
        assert slow.result()[1].number == 1 and len(found.made) == 1


def test_a_call_whose_lease_is_lost_gets_the_answer_that_counts() -> None:
    now_s = 1_800_000_000.0
    began, go_on = threading.Event(), threading.Event()

    def wait(request: Any, context: Any) -> Any:
        began.set()
        assert go_on.wait(20)
        return Order(number=99)

    with (
        shop(MemoryStore(lambda: round(now_s * 1000)), Policy(Rule(lease_s=0.2))) as found,
        ThreadPoolExecutor(1) as callers,
    ):
        good, found.do = found.do, wait
        zombie = callers.submit(found.call, "k1")
        assert began.wait(20)
        now_s += 1
        found.do = good
        counted = found.call("k1")
        go_on.set()
        assert counted[0] is OK and zombie.result(20)[1] == counted[1]


def test_a_store_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    """No server begins without its store, and no thread is left behind."""
    before = set(threading.enumerate())
    with pytest.raises(Problem) as error, ThreadedIdempotencyInterceptor(SqliteStore(tmp_path / "no" / "keys.db")):
        pass
    assert error.value.code == "IDEMPOTENCY_STORE_UNAVAILABLE"
    assert set(threading.enumerate()) <= before  # one of an earlier test may end meanwhile


def test_without_its_store_nothing_runs(tmp_path: Path) -> None:
    """Fail closed: a store that does not answer any more means UNAVAILABLE and no execution."""
    store = SqliteStore(tmp_path / "keys.db")
    with shop(store) as found:
        found.interceptor.wait(store.close())
        with pytest.raises(grpc.RpcError) as error:
            found.channel.unary_unary(CREATE)(b"", metadata=(("idempotency-key", "k"),), timeout=20)
        assert from_rpc_error(error.value).code == "IDEMPOTENCY_STORE_UNAVAILABLE"
        assert not found.made
