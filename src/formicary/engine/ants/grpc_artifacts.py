"""Artifacts of a queen in another process, over a channel of their own: they do not hold up the session's messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import grpc
import grpc.aio

from formicary.engine.ants.artifact_link import path_of
from formicary.engine.ants.channel import Reach
from formicary.problems import problem
from formicary.problems.rpc import STATUS_KEY
from formicary.v1 import artifacts_pb2 as pb
from formicary.v1 import artifacts_pb2_grpc

_OPTIONS = (
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)
_BROKEN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
"""What gRPC itself says, or a server that goes away, where the connection breaks: the call may be made again."""
_ANSWER_S = 30.0
"""How long a call that carries no content may take."""


class GrpcArtifactLink:
    """Calls the queen's ArtifactService.

    Args:
        way: The way to the queen.
        token: Says who the ant is; empty = nobody asks.
        public_url: Where programs on this machine find the server's HTTP port; empty = addresses are paths alone.
    """

    def __init__(self, way: Reach, token: str = "", public_url: str = "") -> None:
        self._way = way
        self._public_url = public_url.rstrip("/")
        self._metadata = (("authorization", f"Bearer {token}"),) if token else None
        self._channel: grpc.aio.Channel | None = None

    def address(self, artifact_id: str) -> str:
        """Where programs on this machine can fetch the content."""
        return self._public_url + path_of(artifact_id)

    async def inputs(self, token: int) -> Sequence[pb.Artifact]:
        """The artifacts of the attempt's job."""
        return await self._list(pb.ListArtifactsRequest(token=token))

    async def named(self, token: int, ids: Sequence[str]) -> Sequence[pb.Artifact]:
        """Artifacts of the attempt's organisation."""
        return await self._list(pb.ListArtifactsRequest(token=token, ids=ids))

    async def cached(self, token: int, cache_key: str) -> pb.Artifact | None:
        """The entry of the cache."""
        found = await self._list(pb.ListArtifactsRequest(token=token, cache_key=cache_key))
        return found[0] if found else None

    async def download(self, token: int, artifact_id: str, offset: int) -> AsyncIterator[bytes]:
        """The content from `offset` on."""
        request = pb.DownloadArtifactRequest(id=artifact_id, offset=offset, token=token)
        call = self._stub().DownloadArtifact(request, metadata=self._metadata)
        try:
            async for body in call:
                yield body.data
        except grpc.aio.AioRpcError as error:
            raise _problem(error) from error
        finally:
            call.cancel()

    async def upload(self, begin: pb.UploadBegin, pieces: AsyncIterator[bytes]) -> pb.Artifact:
        """Sends a content."""

        async def requests() -> AsyncIterator[pb.UploadArtifactRequest]:
            yield pb.UploadArtifactRequest(begin=begin)
            async for piece in pieces:
                yield pb.UploadArtifactRequest(data=piece)

        try:
            return cast(pb.Artifact, await self._stub().UploadArtifact(requests(), metadata=self._metadata))
        except grpc.aio.AioRpcError as error:
            raise _problem(error) from error

    async def close(self) -> None:
        """Closes the channel."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _list(self, request: pb.ListArtifactsRequest) -> Sequence[pb.Artifact]:
        try:
            answer = await self._stub().ListArtifacts(
                request, metadata=self._metadata, timeout=_ANSWER_S, wait_for_ready=True
            )
        except grpc.aio.AioRpcError as error:
            raise _problem(error) from error
        return list(answer.artifacts)

    def _stub(self) -> Any:
        if self._channel is None:
            self._channel = self._way.channel(_OPTIONS)
        return cast(Any, artifacts_pb2_grpc).ArtifactServiceStub(self._channel)  # the generated stubs are not typed


def _problem(error: grpc.aio.AioRpcError) -> Exception:
    is_own = any(key == STATUS_KEY for key, _ in error.trailing_metadata() or ())
    is_broken = error.code() == grpc.StatusCode.UNAVAILABLE or (error.code() in _BROKEN and not is_own)
    code = "UNAVAILABLE" if is_broken else "FAILED_PRECONDITION"
    return problem(code, error.details() or error.code().name)
