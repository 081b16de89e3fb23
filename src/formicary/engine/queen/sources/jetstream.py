"""Messages of NATS JetStream: a durable pull consumer, acknowledged after the commit.

A message's identity is its stream, when that stream was made, and its number there: a stream that is made anew
counts from 1 again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from formicary.engine.queen.sources.source import MOST_AT_ONCE, Arrival, SourceError, Taker, consumer_name, message
from formicary.engine.queen.trigger_rows import Event

LONG_PULL_S = 20.0
"""How long the server keeps a request for messages open."""
SHORT_PULL_S = 0.02
"""How long more messages are waited for once one has come."""
ACK_WAIT_S = 30.0
"""After so long the server brings a message again."""
CONNECT_S = 3


class JetStream:
    """The source.

    Args:
        taker: What makes jobs of messages.
        url: Of the server.
        topic: Subject.
        group: Name of the consumer; empty = made of the trigger's.
    """

    def __init__(self, taker: Taker, url: str, topic: str, group: str) -> None:
        self._taker = taker
        self._url = url
        self._topic = topic
        self._durable = consumer_name(taker.key, group)

    async def run(self) -> None:
        """Brings messages until the connection is lost. Raises SourceError, errors of nats."""
        try:
            import nats
        except ImportError as error:
            raise SourceError("this server has no client for NATS: install formicary[nats]") from error
        client = await self._connect(nats.connect)
        try:
            await self._pull(client)
        finally:
            await client.close()

    async def _connect(self, connect: Callable[..., Awaitable[Any]]) -> Any:
        """A connection. The library would try for ever and say nothing. Raises SourceError."""
        errors: list[Exception] = []

        async def failed(error: Exception) -> None:
            errors[:] = [error]

        try:
            async with asyncio.timeout(CONNECT_S):
                return await connect(self._url, name="formicary", allow_reconnect=False, error_cb=failed)
        except TimeoutError:
            why = str(errors[0]) if errors else f"no answer within {CONNECT_S} s"
            raise SourceError(f"NATS cannot be reached: {why}") from None

    async def _pull(self, client: Any) -> None:
        from nats.js.api import ConsumerConfig, DeliverPolicy
        from nats.js.errors import NotFoundError

        stream = client.jetstream()
        try:
            name = await stream.find_stream_name_by_subject(self._topic)
        except NotFoundError:
            text = f"no stream keeps the subject {self._topic!r}: add one (nats stream add), it is looked for again"
            raise SourceError(text) from None
        made = (await stream.stream_info(name)).created
        config = ConsumerConfig(ack_wait=ACK_WAIT_S, max_ack_pending=1000, deliver_policy=DeliverPolicy.ALL)
        pulled = await stream.pull_subscribe(self._topic, durable=self._durable, stream=name, config=config)
        while True:
            self._taker.tally.error = ""
            found = await self._next(pulled)
            if not client.is_connected:
                raise SourceError("the connection to NATS was lost")
            if found:
                arrivals = [self._arrival(one, f"{name}\n{made}") for one in found]
                if wait_s := await self._taker.take(arrivals):
                    await asyncio.sleep(wait_s)

    async def _next(self, pulled: Any) -> list[Any]:
        """The messages that come next, none after a while. A request for many at once would wait for all of them."""
        found: list[Any] = []
        with contextlib.suppress(TimeoutError):  # that of nats is one, too
            found += await pulled.fetch(1, timeout=LONG_PULL_S)
            found += await pulled.fetch(MOST_AT_ONCE - 1, timeout=SHORT_PULL_S)
        return found

    def _arrival(self, found: Any, stream: str) -> Arrival:
        number = found.metadata.sequence.stream
        seen, problem = message(found.subject, dict(found.headers or {}), found.data)
        event = Event(seen, f"{stream}\n{number}", f"{stream.partition(chr(10))[0]}:{number}")
        return Arrival(event, found.data, problem, found.ack, lambda wait_s: found.nak(delay=wait_s))
