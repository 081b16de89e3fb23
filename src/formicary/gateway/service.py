"""Servicers bound to their descriptors: every method of every kind as one ``await run(call)``.

A servicer is an object with a coroutine (or asynchronous generator) per method, as grpc.aio's generated base classes
have them: ``async def GetTask(self, request, context)``. Nothing here knows how a call arrives.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from formicary.gateway.call import Call
from formicary.problems import problem

Run = Callable[[Call], Awaitable[None]]
Interceptor = Callable[[Call, Run], Awaitable[None]]
"""``async def interceptor(call, proceed)``: does its part, awaits ``proceed(call)``, does the rest. It may raise a
Problem instead, or answer by itself by setting ``call.response``. An attribute ``applies(method) -> bool`` leaves
methods out when the chain is built. An attribute ``step(call)`` does without waiting all that the interceptor does for
the call, before the rest of the chain; where it returns False it has done nothing, and the interceptor is awaited.
Steps that follow each other cost a plain call each, instead of a coroutine: see :func:`before`."""
Step = Callable[[Call], bool | None]


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """One method of a service.

    Attributes:
        full_name: ``/package.Service/Method``.
        service: Full name of the service.
        name: Of the method.
        descriptor: With its options, ``google.api.http`` among them.
        request_class: Message class of the request.
        response_class: Message class of the response.
        client_streaming: Whether requests are a stream.
        server_streaming: Whether responses are a stream.
        run: The handler behind the chain.
    """

    full_name: str
    service: str
    name: str
    descriptor: MethodDescriptor
    request_class: type[Any]
    response_class: type[Any]
    client_streaming: bool
    server_streaming: bool
    run: Run = field(compare=False)

    @property
    def streaming(self) -> bool:
        """Whether either side streams."""
        return self.client_streaming or self.server_streaming


@dataclass(frozen=True, slots=True)
class Service:
    """A service descriptor with the object that serves it."""

    descriptor: ServiceDescriptor
    servicer: object


def services_of(servicers: Iterable[object]) -> list[Service]:
    """Finds the descriptor of each servicer that derives from a generated ``…Servicer`` class; a Service stays itself.

    Raises:
        TypeError: One of them derives from no generated class: give ``Service(descriptor, servicer)`` instead.
    """
    found = []
    for servicer in servicers:
        found.append(servicer if isinstance(servicer, Service) else Service(_descriptor_of(servicer), servicer))
    return found


def _descriptor_of(servicer: object) -> ServiceDescriptor:
    for kind in type(servicer).__mro__:
        if kind.__name__.endswith("Servicer") and kind.__module__.endswith("_pb2_grpc"):
            module = importlib.import_module(kind.__module__.removesuffix("_grpc"))
            descriptor = module.DESCRIPTOR.services_by_name.get(kind.__name__.removesuffix("Servicer"))
            if isinstance(descriptor, ServiceDescriptor):
                return descriptor
    raise TypeError(
        f"{type(servicer).__name__} derives from no generated Servicer: give Service(descriptor, servicer)."
    )


def bind(servicers: Iterable[object], interceptors: Sequence[Interceptor] = ()) -> list[Method]:
    """Every method that the servicers have, each behind the same chain, outermost interceptor first.

    Raises:
        TypeError: A servicer lacks a method of its service.
    """
    methods = []
    for service in services_of(servicers):
        for descriptor in service.descriptor.methods:
            handler = getattr(service.servicer, descriptor.name, None)
            if handler is None:
                raise TypeError(f"{type(service.servicer).__name__} has no method {descriptor.name}.")
            methods.append(_method(descriptor, handler, interceptors))
    return methods


def _method(descriptor: MethodDescriptor, handler: Callable[..., Any], interceptors: Sequence[Interceptor]) -> Method:
    service = descriptor.containing_service.full_name
    run = _streamed(handler, descriptor) if descriptor.server_streaming else _answered(handler, descriptor)
    method = Method(
        full_name=f"/{service}/{descriptor.name}",
        service=service,
        name=descriptor.name,
        descriptor=descriptor,
        request_class=message_factory.GetMessageClass(descriptor.input_type),
        response_class=message_factory.GetMessageClass(descriptor.output_type),
        client_streaming=descriptor.client_streaming,
        server_streaming=descriptor.server_streaming,
        run=run,
    )
    return replace(method, run=_chained([one for one in interceptors if _applies(one, method)], run))


def before(function: Step) -> Interceptor:
    """Makes an interceptor of a function that does its part before the call goes on and waits for nothing.

    Args:
        function: Is given the call; what it raises ends the call.
    """

    @stepping(function)
    @functools.wraps(function)
    async def interceptor(call: Call, proceed: Run) -> None:
        function(call)
        await proceed(call)

    return interceptor


def stepping(step: Step) -> Callable[[Interceptor], Interceptor]:
    """Gives an interceptor that is a function its step.

    Args:
        step: See :data:`Interceptor`.
    """

    def add(interceptor: Interceptor) -> Interceptor:
        interceptor.step = step  # type: ignore[attr-defined]  # functions take attributes
        return interceptor

    return add


def _applies(interceptor: Interceptor, method: Method) -> bool:
    applies = getattr(interceptor, "applies", None)
    return applies is None or bool(applies(method))


def _chained(interceptors: Sequence[Interceptor], run: Run) -> Run:
    """The chain as one function; steps that follow each other are one link of it."""
    steps: list[tuple[Step, Run]] = []
    behind = run
    for interceptor in reversed(interceptors):
        step = getattr(interceptor, "step", None)
        if step is None:
            behind = run = _link(interceptor, _through(steps, behind))
            steps = []
        else:
            run = _link(interceptor, run)
            steps.insert(0, (step, run))
    return _through(steps, behind)


def _link(interceptor: Interceptor, proceed: Run) -> Run:
    return lambda call: interceptor(call, proceed)


def _through(steps: Sequence[tuple[Step, Run]], behind: Run) -> Run:
    """Steps and what comes behind them; a step that has to wait is awaited, with all that follows."""
    if not steps:
        return behind
    found = tuple(steps)

    def run(call: Call) -> Awaitable[None]:
        for step, awaited in found:
            if step(call) is False:
                return awaited(call)
        return behind(call)

    return run


def _answered(handler: Callable[..., Any], descriptor: MethodDescriptor) -> Run:
    streamed = descriptor.client_streaming
    name = descriptor.full_name

    async def run(call: Call) -> None:
        call.response = await handler(call.requests if streamed else await call.load(), call)
        call.outcome()
        if call.response is None:
            raise problem("INTERNAL", f"{name} answered nothing")

    return run


def _streamed(handler: Callable[..., Any], descriptor: MethodDescriptor) -> Run:
    """The handler is an asynchronous generator, or a coroutine that writes to its context."""
    streamed = descriptor.client_streaming

    async def run(call: Call) -> None:
        found = handler(call.requests if streamed else await call.load(), call)
        if inspect.isasyncgen(found):
            try:
                async for message in found:
                    await call.write(message)
            finally:
                await found.aclose()
        else:
            await found
        call.outcome()

    return run
