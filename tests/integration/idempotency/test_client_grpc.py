"""The gRPC client interceptors against a real server that fails as a script says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest

from formicary.idempotency.grpc_client import (
    AioIdempotencyClientInterceptor,
    IdempotencyClientInterceptor,
    changes_something,
)
from formicary.idempotency.refusals import in_progress
from formicary.idempotency.retrying import Retry, RetryBudget
from formicary.problems import Problem, problem
from formicary.problems.rpc import from_rpc_error, to_grpc

QUICK = Retry(first_s=0.01)
CREATE, GET = "/shop.Orders/CreateOrder", "/shop.Orders/GetOrder"
Fault = Callable[[grpc.ServicerContext], None]


class Service(grpc.GenericRpcHandler):
    """Echoes; each call takes the next fault first.

    Attributes:
        keys: The key of each attempt.
        script: Faults.
    """

    def __init__(self) -> None:
        self.keys: list[str | None] = []
        self.script: list[Fault] = []
        self.port = 0

    def service(self, handler_call_details: Any) -> Any:
        keys = [value for name, value in handler_call_details.invocation_metadata if name == "idempotency-key"]
        self.keys.append(keys[0] if keys else None)
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if self.script:
            self.script.pop(0)(context)
        return request


def failing(code: grpc.StatusCode) -> Fault:
    """Ends the call with a bare status."""
    return lambda context: context.abort(code, "so it is")


def refusing(error: Problem) -> Fault:
    """Ends it with a problem."""

    def fault(context: grpc.ServicerContext) -> None:
        code, text, trailing = to_grpc(error)
        context.set_trailing_metadata(trailing)
        context.abort(code, text)

    return fault


def hanging(context: grpc.ServicerContext) -> None:
    """Answers only when the client has gone."""
    gone = threading.Event()
    context.add_callback(gone.set)
    gone.wait(20)


def replaying_failure(context: grpc.ServicerContext) -> None:
    """A kept failure."""
    context.set_trailing_metadata((("idempotency-replayed", "true"),))
    context.abort(grpc.StatusCode.INTERNAL, "as before")


@pytest.fixture(scope="module")
def served() -> Iterator[Service]:
    service = Service()
    server = grpc.server(ThreadPoolExecutor(4), handlers=(service,))
    service.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service
    server.stop(0).wait()


@pytest.fixture
def service(served: Service) -> Service:
    """The service as if it had just begun."""
    served.keys.clear()
    served.script.clear()
    return served


Ask = Callable[..., bytes]


@pytest.fixture(params=["sync", "aio"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Makes one call; both kinds behave the same."""

    def one(service: Service, method: str = CREATE, *, metadata: Any = None, timeout: float = 20, **more: Any) -> bytes:
        target = f"127.0.0.1:{service.port}"
        more.setdefault("retry", QUICK)
        if request.param == "sync":
            with grpc.insecure_channel(target) as plain:
                channel = grpc.intercept_channel(plain, IdempotencyClientInterceptor(**more))
                return channel.unary_unary(method)(b"coffee", metadata=metadata, timeout=timeout)

        async def call() -> bytes:
            interceptors = [AioIdempotencyClientInterceptor(**more)]
            async with grpc.aio.insecure_channel(target, interceptors=interceptors) as channel:
                return await channel.unary_unary(method)(b"coffee", metadata=metadata, timeout=timeout)

        return asyncio.run(call())

    return one


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"])
def test_a_failure_of_the_moment_is_tried_again_with_the_same_key(ask: Ask, service: Service, code: str) -> None:
    service.script = [failing(grpc.StatusCode[code])] * 2
    assert ask(service) == b"coffee"
    assert len(service.keys) == 3 and len(set(service.keys)) == 1 and service.keys[0]


def test_calls_have_keys_of_their_own_and_reading_needs_none(ask: Ask, service: Service) -> None:
    ask(service)
    ask(service)
    service.script = [failing(grpc.StatusCode.UNAVAILABLE)]
    ask(service, GET)
    assert len(set(service.keys[:2])) == 2
    assert service.keys[2:] == [None, None]
    assert changes_something(CREATE) and not changes_something(GET)


def test_a_request_in_progress_is_waited_for_and_a_refusal_is_not(ask: Ask, service: Service) -> None:
    """ABORTED is tried again only where its problem is about the attempt."""
    early = in_progress(1)
    early.retry = type(early.retry)(after_s=0.05)
    service.script = [refusing(early)]
    assert ask(service) == b"coffee"
    assert len(service.keys) == 2
    for fault in (refusing(problem("ABORTED", "Another has changed it.")), failing(grpc.StatusCode.ABORTED)):
        service.script = [fault]
        service.keys.clear()
        with pytest.raises(grpc.RpcError) as caught:
            ask(service)
        assert (caught.value.code(), len(service.keys)) == (grpc.StatusCode.ABORTED, 1)


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "UNAUTHENTICATED"])
def test_a_refusal_is_an_answer(ask: Ask, service: Service, code: str) -> None:
    service.script = [failing(grpc.StatusCode[code])]
    with pytest.raises(grpc.RpcError) as caught:
        ask(service)
    assert (caught.value.code().name, len(service.keys)) == (code, 1)
    assert from_rpc_error(caught.value).grpc_code == code


def test_a_replayed_failure_is_final(ask: Ask, service: Service) -> None:
    service.script = [replaying_failure]
    with pytest.raises(grpc.RpcError):
        ask(service)
    assert len(service.keys) == 1


def test_one_attempt_that_hangs_is_given_up_before_the_call(ask: Ask, service: Service) -> None:
    service.script = [hanging]
    assert ask(service, try_timeout_s=0.3) == b"coffee"
    assert len(service.keys) == 2


def test_tries_time_and_budget_bound_a_call(ask: Ask, service: Service) -> None:
    """The server's RetryInfo of an hour ends it, too."""
    service.script = [failing(grpc.StatusCode.UNAVAILABLE)] * 20
    for options, attempts in (
        ({"retry": Retry(tries=3, first_s=0.01)}, 3),
        ({"budget": RetryBudget(0, 1)}, 2),
    ):
        service.keys.clear()
        with pytest.raises(grpc.RpcError):
            ask(service, **options)
        assert len(service.keys) == attempts
    service.keys.clear()
    service.script = [refusing(problem("UNAVAILABLE", "Come later.", retry_after_s=3600.0))]
    with pytest.raises(grpc.RpcError):
        ask(service)
    assert len(service.keys) == 1


def test_a_key_of_the_callers_own_is_kept(ask: Ask, service: Service) -> None:
    service.script = [failing(grpc.StatusCode.UNAVAILABLE)]
    ask(service, metadata=(("idempotency-key", "order-7"),))
    assert service.keys == ["order-7", "order-7"]
