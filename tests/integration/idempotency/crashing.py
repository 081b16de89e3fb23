"""A client that crashes between sending and the answer: with an outbox, and with a key in memory alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

import httpx

from formicary.idempotency import AsyncIdempotentClient, AsyncOutbox
from tests.integration.idempotency.worlds import Ours


class _DiedError(BaseException):
    """The process of the client has ended."""


class _Dying(httpx.ASGITransport):
    """The connection of a client that ends when its request was executed."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await super().handle_async_request(request)
        raise _DiedError


class Outboxed(Ours):
    """Ours: the intent is written with its key first."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()

    async def order_and_die(self) -> None:
        """A process that orders and ends before the answer."""
        try:
            await self._order(_Dying(app=self.app))
        except _DiedError:
            return

    async def _order(self, transport: httpx.ASGITransport) -> None:
        async with self._client(transport) as client, AsyncOutbox(self._path, client) as outbox:
            await outbox.send("POST", "/orders", json={"coffee": 1})

    async def begin_again(self) -> None:
        """The next process of the client: it still wants its coffee."""
        async with self._client(httpx.ASGITransport(app=self.app)) as client, AsyncOutbox(self._path, client) as outbox:
            await outbox.resume()

    def close(self) -> None:
        """Removes the file."""
        self._folder.cleanup()

    @property
    def _path(self) -> Path:
        return Path(self._folder.name) / "outbox.db"

    def _client(self, transport: httpx.ASGITransport) -> AsyncIdempotentClient:
        return AsyncIdempotentClient(transport=transport, base_url="http://shop")


class KeyInMemory(Outboxed):
    """D18: the client remembers what it wanted, and not its key."""

    async def _order(self, transport: httpx.ASGITransport) -> None:
        async with self._client(transport) as client:
            await client.post("/orders", json={"coffee": 1})

    async def begin_again(self) -> None:
        """It orders anew."""
        await self._order(httpx.ASGITransport(app=self.app))
