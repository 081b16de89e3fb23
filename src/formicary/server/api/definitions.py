"""Definitions over the API."""

from __future__ import annotations

from formicary.engine.queen.fitting import unfit, unknown_queue
from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.port import Row
from formicary.gateway import Call
from formicary.server.api import page_tokens
from formicary.v1 import definitions_pb2 as pb
from formicary.v1 import definitions_pb2_grpc

DEFAULT_PAGE = 100
LARGEST_FULL_PAGE = 20
"""With their texts, which have up to a quarter of a mebibyte each."""


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
        core, user = self._queen.pump.core, call.principal.id
        return pb.RegisterDefinitionResponse(
            definition_id=found.id,
            job_type=found.job_type,
            version=_version(found.row[3]),
            warnings=[*unfit(core, found, user), *unknown_queue(core, found, user)],
        )

    async def GetDefinition(self, request: pb.GetDefinitionRequest, call: Call) -> pb.Definition:
        """A definition by id, or the newest of a job type."""
        full, org = request.view != pb.DEFINITION_VIEW_BASIC, call.principal.org
        if request.version and not request.id:
            return _message(await self._queen.version(request.job_type, request.version, org=org), full=full)
        found = await self._queen.submitting.definition(request.id, org, request.job_type)
        return _message(found.row, full=full)

    async def ListDefinitions(self, request: pb.ListDefinitionsRequest, call: Call) -> pb.ListDefinitionsResponse:
        """A page of definitions. Those registered meanwhile do not shift the pages."""
        full = request.view == pb.DEFINITION_VIEW_FULL
        size = min(request.page_size or DEFAULT_PAGE, LARGEST_FULL_PAGE if full else request.page_size or DEFAULT_PAGE)
        filters = [request.job_type, int(request.view)]
        after = page_tokens.named_position(request.page_token, filters) if request.page_token else ("", 0)
        rows = await self._queen.definitions(
            job_type=request.job_type, after=after, size=size, with_source=full, org=call.principal.org
        )
        last = rows[-1] if len(rows) == size else None
        return pb.ListDefinitionsResponse(
            definitions=[_message(row, full=full) for row in rows],
            next_page_token=page_tokens.named(str(last[2]), _version(last[3]), filters) if last else "",
        )


def _message(row: Row, *, full: bool) -> pb.Definition:
    found = pb.Definition(
        id=str(row[0]), job_type=str(row[2]), version=_version(row[3]), source=str(row[4]) if full else ""
    )
    created = row[8]
    if isinstance(created, int | float):
        found.created_at.FromMilliseconds(int(created * 1000))
    return found


def _version(value: object) -> int:
    return abs(value) if isinstance(value, int) else 0
