"""The WEBSOCKET executor: a task goes to a web socket, and log, progress and result come back over it.

Theory of operation. A task with a ``url`` opens a connection of its own to that server, which carries it out. A task
without one goes to a worker that has registered with an ant (:mod:`formicary.engine.ants.worker_port`). Either way a
closed connection without a result fails the attempt or loses it; pings tell when the other side is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from formicary.engine.ants.attempt import Attempt, Result, failure
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.remote_wire import CORRELATION_HEADER, Hearing, cancel_message, task_message
from formicary.engine.jobs.model import WORKER_TAG

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

CODE = "ERR_WEBSOCKET"
OPEN_S = 30.0
PING_S = 20.0
"""How often the other side is asked whether it is there, and how long it may take to say so."""
_CANCEL_S = 1.0
_TOO_LARGE = 1009


class WebSocketExecutor:
    """Runs WEBSOCKET attempts that name a URL.

    Args:
        config: Sizes.
        progressed: Takes progress.
    """

    def __init__(self, config: AntConfig, progressed: Callable[[Attempt, float, str], None]) -> None:
        self._config = config
        self._progressed = progressed

    async def run(self, attempt: Attempt) -> Result:
        """Connects, sends the task of one attempt and waits for its result."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

        url, correlation = attempt.task.url or "", f"{attempt.key}#{attempt.number}"
        if not url:
            text = f"The task names no url, and this ant is no worker: connect one, it offers the tag {WORKER_TAG}."
            return failure("ERR_VALIDATION", text)
        try:
            body = task_message(attempt, correlation)
            target = _target(url, attempt)
        except (msgspec.DecodeError, ValueError) as error:
            return failure("ERR_VALIDATION", f"The task cannot be sent to {shown(url)}: {error}.")
        try:
            async with connect(
                target,
                additional_headers=_headers(attempt, correlation),
                open_timeout=OPEN_S,
                ping_interval=PING_S,
                ping_timeout=PING_S,
                close_timeout=_CANCEL_S,
                max_size=message_limit(self._config),
            ) as connection:
                return await self._converse(connection, attempt, body, correlation)
        except InvalidStatus as error:
            status = error.response.status_code
            text = f"{shown(url)} answered {status} {error.response.reason_phrase}".strip()
            return failure(CODE, f"{text} instead of opening a web socket.", exit_code=status)
        except ConnectionClosed as error:
            if error.sent is not None and error.sent.code == _TOO_LARGE:
                text = f"{shown(url)} sent a message of more than {message_limit(self._config):,} bytes."
                return failure("ERR_RESULT_TOO_LARGE", text)
            return failure(CODE, f"{shown(url)} closed the connection before a result: {_closed(error)}.")
        except InvalidURI as error:
            return failure("ERR_VALIDATION", f"{shown(url)} is no web socket: {error.msg}.")
        except (WebSocketException, OSError, TimeoutError) as error:
            return failure(CODE, f"{shown(url)} cannot be reached: {str(error) or type(error).__name__}.")

    async def close(self) -> None:
        """Nothing is kept between attempts."""

    async def _converse(self, connection: ClientConnection, attempt: Attempt, body: bytes, correlation: str) -> Result:
        hearing = Hearing(attempt, correlation, CODE, self._config.max_outputs_bytes, self._progressed)
        try:
            await connection.send(body, text=True)
            while True:
                result = hearing.take(await connection.recv(decode=False))
                if result is not None:
                    return result
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):  # nobody waits for the answer, and it need not arrive
                async with asyncio.timeout(_CANCEL_S):
                    await connection.send(cancel_message(correlation), text=True)
            raise


def message_limit(config: AntConfig) -> int:
    """Bytes of the longest message: outputs that are too large are to be said, not to end the connection."""
    return 4 * config.max_outputs_bytes


def _headers(attempt: Attempt, correlation: str) -> dict[str, str]:
    headers = {name: str(value) for name, value in attempt.task.headers.items()}
    given = {name.lower() for name in headers}
    own = {"Idempotency-Key": attempt.key, CORRELATION_HEADER: correlation, "traceparent": attempt.traceparent}
    return {**{name: value for name, value in own.items() if value and name.lower() not in given}, **headers}


def _target(url: str, attempt: Attempt) -> str:
    """The URL with the task's query. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss"):
        raise ValueError("its address has to start with ws:// or wss://")
    query = "&".join(filter(None, (parts.query, urlencode({k: str(v) for k, v in attempt.task.query.items()}))))
    return urlunsplit(parts._replace(query=query, fragment=""))


def shown(url: str) -> str:
    """An address without who logs in there."""
    scheme, separator, rest = url.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _closed(error: object) -> str:
    received = getattr(error, "rcvd", None)
    if received is None:
        return "it was lost, or does not answer"
    return f"code {received.code}" + (f", {received.reason}" if received.reason else "")
