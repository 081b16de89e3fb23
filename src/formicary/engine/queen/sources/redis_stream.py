"""Messages of a Redis stream: a consumer group, acknowledged (XACK) after the commit.

What this consumer was given and did not acknowledge, before a crash, say, it asks for first. What another consumer of
the group was given and left lying it claims (XAUTOCLAIM).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from formicary.engine.queen.sources.source import MOST_AT_ONCE, Arrival, SourceError, Taker, consumer_name, message
from formicary.engine.queen.trigger_rows import Event

BLOCK_MS = 5000
"""How long the server keeps a request for messages open."""
CLAIM_EVERY_S = 30.0
CLAIM_IDLE_MS = 60_000
"""A message that another consumer has left lying for so long is claimed."""
TIMEOUT_S = 15.0
CONSUMER = "formicary"
_FIELDS = ("message", "data", "body", "payload")
"""A field of such a name holds the message as JSON; without, the fields are the message."""
_encode = msgspec.json.Encoder().encode


class RedisStream:
    """The source.

    Args:
        taker: What makes jobs of messages.
        url: Of the server.
        topic: Key of the stream.
        group: Name of the consumer group; empty = made of the trigger's.
        claim_idle_ms: After so many milliseconds what another consumer left lying is claimed.
    """

    def __init__(self, taker: Taker, url: str, topic: str, group: str, claim_idle_ms: int = CLAIM_IDLE_MS) -> None:
        self._taker = taker
        self._url = url
        self._topic = topic
        self._group = consumer_name(taker.key, group)
        self._claim_idle_ms = claim_idle_ms

    async def run(self) -> None:
        """Brings messages until the connection is lost. Raises SourceError, errors of redis."""
        try:
            import redis.asyncio as redis
        except ImportError as error:
            raise SourceError("this server has no client for Redis: install formicary[redis]") from error
        client: Any = redis.Redis.from_url(self._url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S / 3)
        try:
            await self._join(client, redis.ResponseError)
            await self._read(client)
        finally:
            await client.aclose()

    async def _join(self, client: Any, error_type: type[Exception]) -> None:
        try:
            await client.xgroup_create(self._topic, self._group, id="0", mkstream=True)
        except error_type as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _read(self, client: Any) -> None:
        claim_at, after = 0.0, b"0-0"
        while True:
            self._taker.tally.error = ""
            if time.monotonic() >= claim_at:
                await self._claim(client)
                claim_at, after = time.monotonic() + min(CLAIM_EVERY_S, self._claim_idle_ms / 1000), b"0-0"
            until_claim_ms = int((claim_at - time.monotonic()) * 1000)
            block = max(1, min(BLOCK_MS, until_claim_ms)) if after == b">" else None
            answer = await client.xreadgroup(self._group, CONSUMER, {self._topic: after}, MOST_AT_ONCE, block)
            found: list[Any] = next(
                iter(answer.values() if isinstance(answer, Mapping) else (one[1] for one in answer)), []
            )
            if found and isinstance(found[0], list) and found[0] and isinstance(found[0][0], tuple | list):
                found = found[0]  # the third version of the protocol nests them once more
            if not found:
                after = b">"
                continue
            after = found[-1][0] if after != b">" else after
            if wait_s := await self._taker.take([self._arrival(client, name, fields) for name, fields in found]):
                await asyncio.sleep(wait_s)
                after = b"0-0"  # what was limited is still this consumer's

    async def _claim(self, client: Any) -> None:
        """Takes over what other consumers have left lying; it is read with this consumer's own."""
        start: Any = b"0-0"
        while True:
            start, *_ = await client.xautoclaim(
                self._topic,
                self._group,
                CONSUMER,
                self._claim_idle_ms,
                start_id=start,
                count=MOST_AT_ONCE,
                justid=False,
            )
            if start in (b"0-0", "0-0"):
                return

    def _arrival(self, client: Any, name: bytes, fields: Mapping[bytes, bytes] | None) -> Arrival:
        number = name.decode()
        done = partial(client.xack, self._topic, self._group, name)
        texts = {key.decode("utf-8", "replace"): value for key, value in (fields or {}).items()}
        body = next((texts[field] for field in _FIELDS if field in texts), None)
        if body is None:
            body = _encode({key: value.decode("utf-8", "replace") for key, value in texts.items()})
        seen, problem = message(self._topic, {}, body)
        if not fields:
            problem = "the message was removed from the stream before it was read"
        return Arrival(Event(seen, f"{self._topic}\n{number}", f"{self._topic}:{number}"), body, problem, done)
