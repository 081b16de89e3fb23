"""Drives an ASGI application without a socket: requests in, whole answers out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
JSON = (b"content-type", b"application/json")


@dataclass
class Answer:
    """What came back.

    Attributes:
        status: HTTP status, 0 = nothing came.
        headers: Names and values in order.
        body: The whole body.
    """

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value.decode("latin-1") for key, value in self.headers if key.decode().lower() == name), None)

    @property
    def replayed(self) -> bool:
        """Whether it says that it is a replay."""
        return self.header("idempotency-replayed") == "true"

    def same_as(self, other: Answer) -> bool:
        """Whether status, headers and body are equal but for the mark of a replay."""
        mark = b"idempotency-replayed"
        mine, others = ([pair for pair in each.headers if pair[0] != mark] for each in (self, other))
        return (self.status, mine, self.body) == (other.status, others, other.body)


async def call(
    app: App,
    key: str | Sequence[str] | None,
    body: bytes = b"{}",
    *,
    method: str = "POST",
    path: str = "/orders",
    query: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (JSON,),
    user: str = "",
    chunks: int = 1,
) -> Answer:
    """One request.

    Args:
        app: What answers.
        key: The idempotency key, several to send the header several times, None for none.
        body: Its body.
        method: Its verb.
        path: Its path.
        query: Its query string.
        headers: Its other headers.
        user: Who authentication has found, empty = nobody.
        chunks: In how many pieces the body arrives.
    """
    keys = [] if key is None else [key] if isinstance(key, str) else list(key)
    pairs = [(b"idempotency-key", each.encode("latin-1")) for each in keys]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [*headers, *pairs],
        "state": {"tenant": user} if user else {},
    }
    size = max(1, -(-len(body) // chunks))
    parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    answer = Answer()

    async def receive() -> Message:
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer
