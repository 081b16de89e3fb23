"""Definitions over the API."""

from __future__ import annotations

from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call
from formicary.v1 import definitions_pb2 as pb
from formicary.v1 import definitions_pb2_grpc


class DefinitionServicer(definitions_pb2_grpc.DefinitionServiceServicer):
    """Definitions as clients see them."""

    def __init__(self, queen: Queen) -> None:
        self._queen = queen

    async def RegisterDefinition(
        self, request: pb.RegisterDefinitionRequest, call: Call
    ) -> pb.RegisterDefinitionResponse:
        """Stores a definition."""
        found = await self._queen.submitting.register(
            request.source, dict(request.methods), request.path, request.filename, call.principal.org
        )
        return pb.RegisterDefinitionResponse(
            definition_id=found.id, job_type=found.job_type, version=_version(found.row[3])
        )

    async def GetDefinition(self, request: pb.GetDefinitionRequest, call: Call) -> pb.Definition:
        """A definition by id, or the newest of a job type."""
        found = await self._queen.submitting.definition(request.id, call.principal.org, request.job_type)
        return pb.Definition(
            id=found.id, job_type=found.job_type, version=_version(found.row[3]), source=str(found.row[4])
        )


def _version(value: object) -> int:
    return value if isinstance(value, int) else 0
