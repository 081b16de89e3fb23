"""The older engine's way to register a definition: `POST /api/jobs/definitions` with the YAML itself as body.

It becomes the request that the contract has, on its way to the transcoder, and is read when the transcoder reads: who
may not register anything is told so before that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from formicary.engine.jobs.model import MAX_SOURCE_BYTES

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

PATH = "/api/jobs/definitions"
_REPLACED = (b"content-type", b"content-length", b"transfer-encoding")

_encode = msgspec.json.Encoder().encode


def as_request(scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    """The request with the YAML in the field `source`; any other one as it is, also one that says it is JSON."""
    if scope["method"] != "POST" or scope["path"] != PATH or _is_json(scope):
        return scope, receive
    headers = [pair for pair in scope["headers"] if pair[0] not in _REPLACED]
    headers += [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]  # its length is not known
    pending = True

    async def once() -> MutableMapping[str, Any]:
        nonlocal pending
        if not pending:
            return await receive()
        pending = False
        return await _wrapped(receive)

    return {**scope, "headers": headers}, once


def _is_json(scope: Scope) -> bool:
    kinds = [value.partition(b";")[0].strip().lower() for name, value in scope["headers"] if name == b"content-type"]
    return kinds == [b"application/json"]


async def _wrapped(receive: Receive) -> MutableMapping[str, Any]:
    """The body as JSON; of one that is too large only so much that the contract's rule refuses it."""
    body = bytearray()
    more = True
    while more and len(body) <= MAX_SOURCE_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        content = _encode({"source": body.decode()})
    except UnicodeDecodeError:
        content = bytes(body)  # refused as what it is: not UTF-8
    return {"type": "http.request", "body": content, "more_body": False}
