"""The queen's artifacts for an ant of the same process: no wire between them, the same checks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from formicary.engine.ants.artifact_link import path_of
from formicary.engine.queen.artifacts import Artifacts, offer_of, to_message
from formicary.v1.artifacts_pb2 import Artifact, UploadBegin


class DirectArtifactLink:
    """Asks the queen's artifacts directly.

    Args:
        artifacts: Gives them.
        address: Says where the content of an artifact lies, by its id.
    """

    def __init__(self, artifacts: Callable[[], Artifacts], address: Callable[[str], str] = path_of) -> None:
        self._artifacts = artifacts
        self._address = address

    async def inputs(self, token: int) -> Sequence[Artifact]:
        """The artifacts of the attempt's job."""
        return [to_message(found) for found in await self._artifacts().inputs(token)]

    async def named(self, token: int, ids: Sequence[str]) -> Sequence[Artifact]:
        """Artifacts of the attempt's organisation."""
        return [to_message(found) for found in await self._artifacts().named(token, ids)]

    async def cached(self, token: int, cache_key: str) -> Artifact | None:
        """The entry of the cache."""
        found = await self._artifacts().cached(token, cache_key)
        return to_message(found) if found is not None else None

    async def download(self, token: int, artifact_id: str, offset: int) -> AsyncIterator[bytes]:
        """The content from `offset` on."""
        artifacts = self._artifacts()
        found = await artifacts.find(artifacts.org_of(token), artifact_id)
        async for piece in artifacts.content(found, offset):
            yield piece

    async def upload(self, begin: UploadBegin, pieces: AsyncIterator[bytes]) -> Artifact:
        """Keeps a content."""
        return to_message(await self._artifacts().add(offer_of(begin), pieces))

    def address(self, artifact_id: str) -> str:
        """Where the content lies: there is no server to ask."""
        return self._address(artifact_id)
