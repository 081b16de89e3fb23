"""Artifacts over the API: the same for people and for ants, which show the lease token of a running attempt."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.api.httpbody_pb2 import HttpBody

from formicary.engine.queen.artifacts import Artifacts, Offer, check_offset, offer_of, to_message
from formicary.gateway import Call
from formicary.problems import problem
from formicary.server.api import contents, digests, ranges
from formicary.server.api.jobs import REPLAYED_HEADER, sent_key
from formicary.server.auth.principal import HOME
from formicary.v1 import artifacts_pb2 as pb
from formicary.v1 import artifacts_pb2_grpc

_ANTS = frozenset({"ant", "admin"})


class ArtifactServicer(artifacts_pb2_grpc.ArtifactServiceServicer):
    """Artifacts of one queen."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def ListArtifacts(self, request: pb.ListArtifactsRequest, call: Call) -> pb.ListArtifactsResponse:
        """The artifacts of a job, or what a running attempt may fetch."""
        if not request.token:
            _check_person(call)
            found = await self._artifacts.of_job(call.principal.org, request.job_id)
        elif request.ids:
            _check_ant(call)
            found = await self._artifacts.named(request.token, request.ids)
        elif request.cache_key:
            _check_ant(call)
            entry = await self._artifacts.cached(request.token, request.cache_key)
            found = [entry] if entry is not None else []
        else:
            _check_ant(call)
            found = await self._artifacts.inputs(request.token)
        return pb.ListArtifactsResponse(artifacts=map(to_message, found))

    async def GetArtifact(self, request: pb.GetArtifactRequest, call: Call) -> pb.Artifact:
        """What is known of one artifact."""
        return to_message(await self._artifacts.find(call.principal.org, request.id))

    async def DownloadArtifact(self, request: pb.DownloadArtifactRequest, call: Call) -> AsyncIterator[HttpBody]:
        """The content of an artifact."""
        if request.token:
            _check_ant(call)
        else:
            _check_person(call)
        org = self._artifacts.org_of(request.token) if request.token else call.principal.org
        found = await self._artifacts.find(org, request.id)
        kind = "application/x-tar" if found.form == "tar" else "application/octet-stream"
        span = ranges.answered(found, request.offset, call) if call.protocol == "http" else None
        offset, length = span or (request.offset, None)
        if call.http_method == "HEAD":
            check_offset(found, offset)
            yield HttpBody(content_type=kind)
            return
        empty = True
        async for piece in self._artifacts.content(found, offset, length):
            empty = False
            yield HttpBody(content_type=kind, data=piece)
        if empty:
            yield HttpBody(content_type=kind)

    async def UploadArtifact(self, requests: AsyncIterator[pb.UploadArtifactRequest], call: Call) -> pb.Artifact:
        """Keeps a file of a running attempt, or one of the caller's own."""
        first = await anext(requests, None)
        if first is None or not first.HasField("begin"):
            raise problem("VALIDATION_FAILED", "The first message of an upload says what comes: `begin`.")
        if not first.begin.token:
            _check_person(call)
            return await self._keep(offer_of(first.begin), _pieces(requests), call)
        _check_ant(call)
        return to_message(await self._artifacts.add(offer_of(first.begin), _pieces(requests)))

    async def PutArtifact(self, requests: AsyncIterator[pb.PutArtifactRequest], call: Call) -> pb.Artifact:
        """Keeps a file of the caller's own, whose content is the body of the request."""
        _check_person(call)
        first = await anext(requests, None)
        if first is None:
            raise problem("VALIDATION_FAILED", "The first message says what comes: give `name`.")
        content, whole = digests.of_content(call), digests.of_whole(call)  # of the same bytes: it comes at once
        size = first.size_bytes if first.HasField("size_bytes") else None
        offer = contents.offer(first.name, size, first.sha256, first.expires_after_s)
        offer = digests.put_into(digests.put_into(offer, content), whole)
        pieces = contents.joined(first.content.data, _data(requests))
        return await self._keep(offer, digests.checked(pieces, whole | content), call)

    async def _keep(self, offer: Offer, pieces: AsyncIterator[bytes], call: Call) -> pb.Artifact:
        """Keeps a file of the caller's own, once for each idempotency key."""
        found, is_replay = await self._artifacts.keep(call.principal.org, offer, pieces, sent_key("", call))
        if is_replay:
            call.set_header(REPLAYED_HEADER, "true")
        return to_message(found)


async def _data(requests: AsyncIterator[pb.PutArtifactRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request.content.data


async def _pieces(requests: AsyncIterator[pb.UploadArtifactRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request.data


def _check_ant(call: Call) -> None:
    """Raises Problem PERMISSION_DENIED for a caller that is no ant of this server."""
    if call.principal.org != HOME or call.principal.roles.isdisjoint(_ANTS):
        raise problem("PERMISSION_DENIED", "Lease tokens are for ants: leave `token` out.")


def _check_person(call: Call) -> None:
    """Raises Problem PERMISSION_DENIED for an ant that shows no lease token."""
    if call.principal.roles <= {"ant"}:
        raise problem("PERMISSION_DENIED", "An ant shows the lease token of a running attempt: give `token`.")
