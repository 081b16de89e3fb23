"""Processor time of one protected call, in the environment of the library that protects it.

``python -m bench.peers.idempotency_runner NAME`` prints one JSON line: for ``new`` and ``replay`` the median over the
windows of the thread time of one call in µs; ``bare`` is the application alone, ``store`` (ours only) what the calls of
the store take, ``comparison`` (ours only) what it takes to see that a key came with the same request. No socket: the
application is called as a server would. All keep their records in memory.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

CALLS, WINDOWS = 200, 30
BODY = b'{"amount": 100, "currency": "EUR", "to": "account-7"}'
_ANSWER = b'{"order": 1, "state": "created"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ANSWER))]
Call = Callable[[str], Awaitable[None]]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and answers."""
    await receive()
    await send({"type": "http.response.start", "status": 201, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _ANSWER})


def calling(app: Any) -> Call:
    """A function that sends one request with a key to an ASGI application and checks the answer's status."""

    async def call(key: str) -> None:
        status = 0

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": BODY, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        headers = [(b"host", b"shop"), (b"content-type", b"application/json"), (b"idempotency-key", key.encode())]
        await app(
            {"type": "http", "method": "POST", "path": "/orders", "query_string": b"", "headers": headers, "state": {}},
            receive, send,
        )  # fmt: skip
        if status not in (200, 201):  # one peer replays every answer as 200
            raise RuntimeError(f"the answer was {status}")

    return call


def _ours() -> dict[str, Call]:
    from formicary.idempotency import (
        IdempotencyMiddleware,
        MemoryStore,
        StoredResponse,
        encode_response,
        request_fingerprint,
    )
    from formicary.idempotency.model import Claim

    kept = encode_response(StoredResponse(201, tuple(_HEADERS), _ANSWER))
    store = MemoryStore()

    async def store_calls(key: str) -> None:
        claim = Claim(key, b"f" * 32, "", "POST", "/orders")
        outcome = await store.acquire(claim)
        token = getattr(outcome, "token", None)
        if token is not None:
            await store.complete(claim.id, token, kept, 86_400.0)

    async def comparison(key: str) -> None:
        request_fingerprint(path="/orders", query=b"", content_type="application/json", body=BODY)

    whole = calling(IdempotencyMiddleware(application, MemoryStore()))
    return {"whole": whole, "store": store_calls, "comparison": comparison}


def _idemkit() -> dict[str, Call]:
    import logging
    import warnings

    from idemkit import HttpConfig, IdempotencyMiddleware, InMemoryBackend  # type: ignore[import-not-found]  # it is in the peer's environment alone

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    config = HttpConfig(scope=lambda request: "tenant")
    backend = InMemoryBackend(max_size=100_000)
    return {"whole": calling(IdempotencyMiddleware(application, backend=backend, config=config))}


def _asgi_idempotency_header() -> dict[str, Call]:
    from idempotency_header_middleware.backends.memory import MemoryBackend  # type: ignore[import-not-found]  # it is in the peer's environment alone
    from idempotency_header_middleware.middleware import (  # type: ignore[import-not-found]  # it is in the peer's environment alone
        IdempotencyHeaderMiddleware,
    )

    return {"whole": calling(IdempotencyHeaderMiddleware(application, backend=MemoryBackend()))}


def _powertools() -> dict[str, Call]:
    from aws_lambda_powertools.utilities.idempotency import (  # type: ignore[import-not-found]  # it is in the peer's environment alone
        IdempotencyConfig,
        idempotent_function,
    )
    from aws_lambda_powertools.utilities.idempotency.exceptions import (  # type: ignore[import-not-found]  # it is in the peer's environment alone
        IdempotencyItemAlreadyExistsError,
    )
    from aws_lambda_powertools.utilities.idempotency.persistence.base import (  # type: ignore[import-not-found]  # it is in the peer's environment alone
        BasePersistenceLayer,
    )

    class Memory(BasePersistenceLayer):  # type: ignore[misc]  # the peer's class has no type here
        records: dict[str, Any]

        def _get_record(self, idempotency_key: str) -> Any:
            return self.records[idempotency_key]

        def _put_record(self, data_record: Any) -> None:
            if data_record.idempotency_key in self.records:
                raise IdempotencyItemAlreadyExistsError
            self.records[data_record.idempotency_key] = data_record

        def _update_record(self, data_record: Any) -> None:
            self.records[data_record.idempotency_key] = data_record

        def _delete_record(self, data_record: Any) -> None:
            del self.records[data_record.idempotency_key]

    layer = Memory()
    layer.records = {}
    config = IdempotencyConfig(event_key_jmespath="key")

    @idempotent_function(data_keyword_argument="request", persistence_store=layer, config=config)  # type: ignore[untyped-decorator]  # the peer has no types here
    def create(request: dict[str, Any]) -> dict[str, Any]:
        return {"status": 201, "body": _ANSWER.decode()}

    async def call(key: str) -> None:
        create(request={"key": key, "body": BODY.decode()})

    return {"whole": call}


PEERS: dict[str, Callable[[], dict[str, Call]]] = {
    "ours": _ours, "powertools": _powertools, "idemkit": _idemkit, "asgi-idempotency-header": _asgi_idempotency_header,
}  # fmt: skip


async def _measured(call: Call) -> dict[str, float]:
    new: list[float] = []
    replay: list[float] = []
    for _ in range(WINDOWS):
        keys = [str(uuid.uuid4()) for _ in range(CALLS)]
        for times in (new, replay):
            began = time.thread_time_ns()
            for key in keys:
                await call(key)
            await asyncio.sleep(0)  # what they have left to the loop belongs to them
            times.append((time.thread_time_ns() - began) / CALLS / 1000)
    return {"new": statistics.median(new[3:]), "replay": statistics.median(replay[3:])}


async def main(name: str) -> dict[str, object]:
    """The figures of one library."""
    found: dict[str, object] = {"name": name, "python": ".".join(map(str, sys.version_info[:3]))}
    for what, call in {"bare": calling(application), **PEERS[name]()}.items():
        found[what] = await _measured(call)
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
