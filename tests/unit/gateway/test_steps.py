"""Links of the chain that wait for nothing: the order holds, and one that has to wait is awaited with all behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from formicary.gateway import Call, Run, Service, before, bind
from formicary.gateway.interceptors import Validate, trace
from formicary.problems import Problem, problem

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]


class Healthy:
    """Answers."""

    async def Check(self, request: Any, call: Call) -> Any:
        """Unary."""
        call.state["seen"].append("handler")
        return health_pb2.HealthCheckResponse()

    List = Watch = Check


class Waits:
    """Does its part without waiting, or not."""

    def __init__(self, name: str, *, waits: bool) -> None:
        self._name, self._waits = name, waits

    def step(self, call: Call) -> bool:
        """Nothing where it has to wait."""
        if not self._waits:
            call.state["seen"].append(self._name)
        return not self._waits

    async def __call__(self, call: Call, proceed: Run) -> None:
        """Waits."""
        await asyncio.sleep(0)
        call.state["seen"].append(f"{self._name} awaited")
        await proceed(call)


def seen(*chain: Any) -> list[str]:
    """What a call through the chain came by."""
    (method,) = (one for one in bind([Service(HEALTH, Healthy())], chain) if one.name == "Check")
    call = Call(method, "grpc", ())
    call.request = health_pb2.HealthCheckRequest()
    found: list[str] = []
    call.state["seen"] = found

    async def run() -> None:
        await method.run(call)

    asyncio.run(run())
    return found


def marks(name: str) -> Any:
    """A link that only marks."""

    @before
    def mark(call: Call) -> None:
        call.state["seen"].append(name)

    return mark


async def around(call: Call, proceed: Run) -> None:
    """A link on both sides of what is behind it."""
    call.state["seen"].append("(")
    await proceed(call)
    call.state["seen"].append(")")


def test_the_order_is_that_of_the_chain() -> None:
    """Whichever links wait, each does its part once and in its place."""
    for waits in (False, True):
        word = "w awaited" if waits else "w"
        found = seen(marks("a"), around, marks("b"), Waits("w", waits=waits), marks("c"), around, marks("d"))
        assert found == ["a", "(", "b", word, "c", "(", "d", "handler", ")", ")"]


def test_what_a_step_raises_is_seen_by_the_links_before_it() -> None:
    """A refusal comes out of `proceed`, and nothing behind it runs."""

    @before
    def refuse(call: Call) -> None:
        raise problem("PERMISSION_DENIED")

    async def caught(call: Call, proceed: Run) -> None:
        try:
            await proceed(call)
        except Problem as error:
            call.state["seen"].append(error.code)
            call.response = health_pb2.HealthCheckResponse()

    assert seen(caught, marks("a"), refuse, marks("b")) == ["a", "PERMISSION_DENIED"]
    with pytest.raises(Problem):
        seen(refuse)


def test_a_link_made_of_a_function_can_be_awaited_too() -> None:
    """It keeps its name, and does its part before it goes on."""
    call = Call(bind([Service(HEALTH, Healthy())])[0], "grpc", ())
    order: list[str] = []

    async def proceed(_: Call) -> None:
        order.append(call.trace_id)

    asyncio.run(trace(call, proceed))  # type: ignore[arg-type]  # an interceptor's is a coroutine
    assert len(order[0]) == 32 and trace.__name__ == "trace"


def test_validation_waits_only_for_a_request_that_is_not_there_yet() -> None:
    """Over HTTP the body is read when the chain has come to it."""
    call = Call(bind([Service(HEALTH, Healthy())])[0], "http", ())
    call.request = health_pb2.HealthCheckRequest()
    assert Validate().step(call) is True

    async def later() -> Any:
        return health_pb2.HealthCheckRequest(service="x")

    call.read_later(later)
    assert Validate().step(call) is False and not call.is_loaded
