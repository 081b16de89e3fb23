"""A client that sends exactly the bytes it is told to: HTTP/1.1 over kept connections, no normalisation of targets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

TIME_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers with lower-case names, and the whole body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One kept connection; it connects again where the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, verb: str, target: str, headers: dict[str, str], body: bytes | None) -> Reply:
        """Sends one request and reads its reply; a connection that was closed while idle is tried once more."""
        head = [f"{verb} {target} HTTP/1.1", "host: localhost", *(f"{name}: {text}" for name, text in headers.items())]
        if body is not None:
            head.append(f"content-length: {len(body)}")
        data = "\r\n".join([*head, "", ""]).encode("latin-1") + (body or b"")
        for attempt in (1, 2):
            try:
                return await asyncio.wait_for(self._exchange(verb, data), TIME_LIMIT_S)
            except (ConnectionError, asyncio.IncompleteReadError):
                await self.close()
                if attempt == 2:
                    raise
            except BaseException:
                await self.close()
                raise
        raise AssertionError("not reached")

    async def close(self) -> None:
        """Ends the connection."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            try:
                await streams[1].wait_closed()
            except ConnectionError:
                pass

    async def _exchange(self, verb: str, data: bytes) -> Reply:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 24)
        reader, writer = self._streams
        writer.write(data)
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:-2]:
            name, _, text = line.partition(":")
            headers[name.lower()] = text.strip()
        status = int(lines[0].split(" ", 2)[1])
        bare = verb == "HEAD" or status in (204, 304)
        body = b"" if bare else await _body(reader, headers)
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return Reply(status, headers, body)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding") != "chunked":
        return await reader.read(-1)
    parts = []
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        chunk = await reader.readexactly(size + 2)
        if size == 0:
            return b"".join(parts)
        parts.append(chunk[:-2])
