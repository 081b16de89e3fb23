"""How files come from and go to the queen: a port; adapters are gRPC and, in one process, the queen herself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from formicary.v1.artifacts_pb2 import Artifact, UploadBegin


class ArtifactLink(Protocol):
    """The queen's artifacts as an ant sees them. Every method raises Problem, as the queen says or UNAVAILABLE."""

    async def inputs(self, token: int) -> Sequence[Artifact]:
        """The artifacts of the job that a running attempt belongs to."""
        ...

    async def named(self, token: int, ids: Sequence[str]) -> Sequence[Artifact]:
        """Artifacts of the attempt's organisation, whoever left them."""
        ...

    async def cached(self, token: int, cache_key: str) -> Artifact | None:
        """The entry of the cache, None where there is none."""
        ...

    def download(self, token: int, artifact_id: str, offset: int) -> AsyncIterator[bytes]:
        """The content from `offset` on."""
        ...

    async def upload(self, begin: UploadBegin, pieces: AsyncIterator[bytes]) -> Artifact:
        """Sends a content."""
        ...

    def address(self, artifact_id: str) -> str:
        """Where programs on this machine can fetch the content."""
        ...


def path_of(artifact_id: str) -> str:
    """The path of a content on a server's HTTP port."""
    return f"/v1/artifacts/{artifact_id}:download"
