"""The external scaler that KEDA asks, on a port of its own: KEDA sends no token, and learns nothing but sums.

A trigger's metadata says which work counts (`method`, `tags`, `without`, `running`), how much of it one ant is for
(`targetSize`) and up to how much KEDA may go down to none (`activation`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc.aio

from formicary.problems import problem
from formicary.server.metrics.collector import Sources
from formicary.server.scaling.work import METRIC, Wish, WrongWish, read_wish
from formicary.v1 import external_scaler_pb2 as pb
from formicary.v1 import external_scaler_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
LOOK_S = 1.0
"""How often a stream looks whether something has changed."""
MOST_STREAMS = 100


class ExternalScaler(external_scaler_pb2_grpc.ExternalScalerServicer):
    """Answers KEDA.

    Args:
        sources: Where the figures come from.
        refresh: Brings counts that are made on request up to date.
    """

    def __init__(self, sources: Sources, refresh: Callable[[], Awaitable[None]]) -> None:
        self._sources = sources
        self._refresh = refresh
        self._streams = 0

    async def IsActive(self, request: pb.ScaledObjectRef, context: Context) -> pb.IsActiveResponse:
        """Whether there is more than `activation`."""
        wish = await _wish(request, context)
        return pb.IsActiveResponse(result=await self._work(wish, context) > wish.activation)

    async def StreamIsActive(self, request: pb.ScaledObjectRef, context: Context) -> AsyncIterator[pb.IsActiveResponse]:
        """The same now and at each change."""
        wish = await _wish(request, context)
        if self._streams >= MOST_STREAMS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"there are {MOST_STREAMS} streams already")
        self._streams += 1
        try:
            told: bool | None = None
            while True:
                active = await self._work(wish, context) > wish.activation
                if active != told:
                    yield pb.IsActiveResponse(result=active)
                    told = active
                await asyncio.sleep(LOOK_S)
        finally:
            self._streams -= 1

    async def GetMetricSpec(self, request: pb.ScaledObjectRef, context: Context) -> pb.GetMetricSpecResponse:
        """One metric with its target."""
        wish = await _wish(request, context)
        spec = pb.MetricSpec(metricName=METRIC, targetSize=max(1, math.ceil(wish.target)), targetSizeFloat=wish.target)
        return pb.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Context) -> pb.GetMetricsResponse:
        """How much work there is."""
        wish = await _wish(request.scaledObjectRef, context)
        number = await self._work(wish, context)
        value = pb.MetricValue(metricName=request.metricName or METRIC, metricValue=number, metricValueFloat=number)
        return pb.GetMetricsResponse(metricValues=[value])

    async def _work(self, wish: Wish, context: Context) -> int:
        queen = self._sources.queen
        if queen is None or not queen.ready:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the queen does not serve at the moment; ask again")
        await self._refresh()
        return wish.of(self._sources.backlog, self._sources.running)


async def _wish(request: pb.ScaledObjectRef, context: Context) -> Wish:
    try:
        return read_wish(request.scalerMetadata)
    except WrongWish as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        raise


async def serve_scaler(
    scaler: ExternalScaler, address: str, credentials: grpc.ServerCredentials | None = None
) -> tuple[grpc.aio.Server, int]:
    """Serves KEDA on ``HOST:PORT``; returns the server and its port.

    Args:
        scaler: Answers.
        address: Where.
        credentials: Encrypt it; None = it is read by whoever can.

    Raises:
        Problem: FAILED_PRECONDITION where the address cannot be bound.
    """
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    cast(Any, external_scaler_pb2_grpc).add_ExternalScalerServicer_to_server(scaler, server)
    try:
        if credentials is not None:
            port = server.add_secure_port(address, credentials)
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise problem(
            "FAILED_PRECONDITION", f"{address} of --scaler cannot be bound: is another server using it?"
        ) from error
    await server.start()
    return server, port
