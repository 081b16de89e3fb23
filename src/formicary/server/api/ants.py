"""Ants over the API: their own streams, and a list for people."""

from __future__ import annotations

from collections.abc import AsyncIterator

from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call
from formicary.v1 import ants_pb2 as pb
from formicary.v1 import ants_pb2_grpc


class AntServicer(ants_pb2_grpc.AntServiceServicer):
    """Sessions with ants."""

    def __init__(self, queen: Queen) -> None:
        self._queen = queen

    async def Session(self, requests: AsyncIterator[pb.AntMessage], call: Call) -> None:
        """One ant's stream."""
        await self._queen.serve_ant(requests, lambda message: call.write(message))

    async def ListAnts(self, request: pb.ListAntsRequest, call: Call) -> pb.ListAntsResponse:
        """The ants that the queen knows."""
        return pb.ListAntsResponse(ants=[pb.Ant(**ant) for ant in self._queen.counters()["ants"]])
