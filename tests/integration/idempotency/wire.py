"""One HTTP request over a real socket, by hand: what came is compared byte for byte, so no client may tidy it."""

from __future__ import annotations

import asyncio

from tests.integration.idempotency.driving import Answer

OF_THE_SERVER = frozenset({b"date", b"server", b"connection", b"idempotency-replayed"})
"""Headers that the server around the application writes, or that mark a replay: no part of the kept answer."""


async def ask(port: int, key: str, body: bytes = b"{}", *, path: str = "/orders", timeout_s: float = 30.0) -> Answer:
    """Posts to a server on this machine.

    Args:
        port: Where it listens on 127.0.0.1.
        key: The idempotency key.
        body: A JSON text.
        path: What is asked for.
        timeout_s: Longest wait for the whole answer.

    Raises:
        OSError: The connection was refused or broken, or ended before the whole answer.
        TimeoutError: Nothing came in time.
    """
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            head = f"POST {path} HTTP/1.1\r\nHost: shop\r\nIdempotency-Key: {key}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
            return _parsed(await reader.read(-1))
        finally:
            writer.close()


def _parsed(text: bytes) -> Answer:
    head, blank, body = text.partition(b"\r\n\r\n")
    if not blank:
        raise ConnectionResetError("the connection ended within the head of an answer")
    first, *lines = head.split(b"\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    length = next((int(value) for name, value in headers if name == b"content-length"), None)
    if length is None or len(body) != length:
        raise ConnectionResetError(f"{len(body)} of {length} bytes came")
    return Answer(int(first.split(b" ")[1]), headers, body)


def kept_part(answer: Answer) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
    """Status, headers in order and body of the application's own answer."""
    return answer.status, tuple(pair for pair in answer.headers if pair[0] not in OF_THE_SERVER), answer.body
