"""The MESSAGING executor: a request over NATS, and the worker's reply.

Theory of operation. The task goes to ``messaging_request_queue`` with an inbox of its own as reply subject, and where
the task names a ``messaging_reply_queue``, the worker may answer there, too: such a subject is shared, so what comes
must say to which attempt it belongs. NATS says at once when nobody listens. Where a JetStream stream keeps the subject,
its receipt comes first and is not the reply.

All attempts share one connection. When it is lost, a reply may be lost with it, so attempts that wait fail; the next
one connects anew. A worker recognises a repeated attempt by the header ``Idempotency-Key``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from formicary.engine.ants.attempt import Attempt, Result, failure
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.remote_wire import CORRELATION_HEADER, Hearing, cancel_message, correlation_of, task_message

if TYPE_CHECKING:
    from nats.aio.client import Client

CODE = "ERR_MESSAGING"
WORKER_LOST = "ERR_WORKER_LOST"
"""Of an attempt whose worker has promised signs of life and gives none."""
CONNECT_S = 5
_CANCEL_S = 1.0
_QUEUED = 1000
_PENDING_BYTES = 16 * 1024 * 1024
"""What a worker has said and nobody has read yet; more is lost."""


class MessagingExecutor:
    """Runs MESSAGING attempts.

    Args:
        config: Where the NATS server is, and sizes.
        progressed: Takes progress.
    """

    def __init__(self, config: AntConfig, progressed: Callable[[Attempt, float, str], None]) -> None:
        self._config = config
        self._progressed = progressed
        self._opening = asyncio.Lock()
        self._connection: _Connection | None = None

    async def run(self, attempt: Attempt) -> Result:
        """Sends the request of one attempt and waits for its reply."""
        import nats.errors

        subject = attempt.task.messaging_request_queue or ""
        if not _is_subject(subject):
            message = f"The task {attempt.task.task_type} names no queue: set messaging_request_queue to a subject."
            return failure("ERR_VALIDATION", message)
        reply_queue = attempt.task.messaging_reply_queue or ""
        if reply_queue and not _is_subject(reply_queue):
            return failure("ERR_VALIDATION", f"messaging_reply_queue {reply_queue[:80]!r} is no subject of NATS.")
        try:
            return await self._ask(attempt, subject, reply_queue)
        except (nats.errors.Error, OSError) as error:
            return failure(CODE, f"{subject} at {shown(self._config.nats)} got no answer: {self._why(error)}.")

    async def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.client.close()

    def _why(self, error: Exception) -> str:
        text = str(error) or type(error).__name__
        for secret in _secrets(self._config.nats):
            text = text.replace(secret, "***")
        return text.removeprefix("nats: ")

    async def _open(self) -> _Connection:
        """The connection, made where there is none. Raises OSError, errors of nats."""
        async with self._opening:
            if self._connection is None or self._connection.lost.done():
                self._connection = await _connect(self._config)
            return self._connection

    async def _ask(self, attempt: Attempt, subject: str, reply_queue: str) -> Result:
        connection = await self._open()
        client = connection.client
        correlation = f"{attempt.key}#{attempt.number}"
        inbox, cancel = client.new_inbox(), client.new_inbox()
        try:
            body = task_message(attempt, correlation, reply_to=reply_queue or inbox, cancel_subject=cancel)
        except msgspec.DecodeError as error:
            return failure("ERR_VALIDATION", f"The variables are not a JSON object: {error}.")
        if len(body) > client.max_payload:
            text = f"The request has {len(body):,} bytes, and the NATS server takes {client.max_payload:,}: send less."
            return failure(CODE, text)
        hearing = Hearing(attempt, correlation, CODE, self._config.max_outputs_bytes, self._progressed)
        heard: asyncio.Queue[Any] = asyncio.Queue(_QUEUED)
        subscribed = []
        try:
            for name in filter(None, (inbox, reply_queue)):
                subscribed.append(await client.subscribe(name, cb=heard.put, pending_bytes_limit=_PENDING_BYTES))
            await client.publish(subject, body, reply=inbox, headers=_headers(attempt, correlation))
            return await self._reply(connection, heard, hearing, attempt, subject, inbox, correlation)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):  # nobody waits for the answer, and it need not arrive
                async with asyncio.timeout(_CANCEL_S):
                    await client.publish(cancel, cancel_message(correlation))
                    await client.flush()
            raise
        finally:
            for subscription in subscribed:
                with contextlib.suppress(Exception):  # the connection may be gone, and the subscription with it
                    await subscription.unsubscribe()

    async def _reply(
        self,
        connection: _Connection,
        heard: asyncio.Queue[Any],
        hearing: Hearing,
        attempt: Attempt,
        subject: str,
        inbox: str,
        correlation: str,
    ) -> Result:
        """Takes messages until the result is among them."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            getting = asyncio.ensure_future(heard.get())
            left = None if hearing.patience_s is None else max(0.0, last + hearing.patience_s - loop.time())
            try:
                await asyncio.wait({getting, connection.lost}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not getting.done():
                    getting.cancel()
            if not getting.done() and not connection.lost.done():
                text = f"The worker on {subject} has said nothing for {hearing.patience_s:g} s: it is taken for dead."
                return failure(WORKER_LOST, text)
            if not getting.done() or getting.cancelled():
                text = f"The connection to NATS was lost before {subject} answered; it may have done the work."
                return failure(CODE, text)
            message = getting.result()
            headers: Mapping[str, str] = message.headers or {}
            if message.subject == inbox:
                if headers.get("Status") == "503" and not message.data:
                    return failure(CODE, f"Nobody listens on {subject}: start a worker for it.")
                if _is_receipt(message.data):
                    attempt.say(f"{subject} is kept by a stream; waiting for a worker")
                    continue
            elif correlation not in (headers.get(CORRELATION_HEADER), correlation_of(message.data)):
                continue  # of another attempt
            if "Nats-Service-Error" in headers:
                return _service_error(headers)
            last = loop.time()
            result = hearing.take(message.data)
            if result is not None:
                return result


class _Connection:
    """A connection and what tells that it is lost."""

    def __init__(self) -> None:
        from nats.aio.client import Client

        self.client: Client = Client()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.errors: list[Exception] = []

    async def ended(self) -> None:
        """Told by the library when the connection is lost or closed."""
        if not self.lost.done():
            self.lost.set_result(None)

    async def failed(self, error: Exception) -> None:
        """Told by the library of what went wrong beside."""
        self.errors[:] = [error]


async def _connect(config: AntConfig) -> _Connection:
    """Makes a connection. Raises OSError, errors of nats."""
    made = _Connection()
    options: dict[str, Any] = {"user_credentials": config.nats_credentials} if config.nats_credentials else {}
    try:
        async with asyncio.timeout(CONNECT_S):
            await made.client.connect(
                [url.strip() for url in config.nats.split(",")],
                name=f"formicary ant {config.ant_id}",
                allow_reconnect=False,
                connect_timeout=CONNECT_S,
                error_cb=made.failed,
                disconnected_cb=made.ended,
                closed_cb=made.ended,
                **options,
            )
    except TimeoutError:
        raise OSError(str(made.errors[0]) if made.errors else f"no connection within {CONNECT_S} s") from None
    return made


def _headers(attempt: Attempt, correlation: str) -> dict[str, str]:
    headers = {
        "Idempotency-Key": attempt.key,
        "Nats-Msg-Id": correlation,
        CORRELATION_HEADER: correlation,
        "Content-Type": "application/json",
    }
    if attempt.traceparent:
        headers["traceparent"] = attempt.traceparent
    headers.update(
        {name: str(value).replace("\r", " ").replace("\n", " ") for name, value in attempt.task.headers.items()}
    )
    return headers


def _service_error(headers: Mapping[str, str]) -> Result:
    """What a service of the NATS micro protocol says instead of a result."""
    code = headers.get("Nats-Service-Error-Code", "")
    text = headers["Nats-Service-Error"] or "The service answered with an error."
    return failure(CODE, text, exit_code=int(code) if code.isascii() and code.isdigit() and len(code) < 10 else None)


def _is_receipt(data: bytes) -> bool:
    """Whether it is what JetStream says when it has stored the request."""
    if len(data) > 1000 or not data.startswith(b"{"):
        return False
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return False
    return isinstance(found.get("seq"), int) and isinstance(found.get("stream"), str) and "type" not in found


def _is_subject(name: str) -> bool:
    """Whether a message can be sent to it."""
    return bool(name) and name.isprintable() and all(p and p not in "*>" and " " not in p for p in name.split("."))


def shown(urls: str) -> str:
    """Addresses without who logs in there."""
    return ", ".join(_without_user(url.strip()) for url in urls.split(","))


def _without_user(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _secrets(urls: str) -> list[str]:
    """User information of the addresses, the longest first."""
    found: list[str] = []
    for url in urls.split(","):
        user, at, _ = url.strip().rpartition("://")[2].rpartition("@")
        if at:
            found += [user, *filter(None, [urlsplit(url.strip()).password])]
    return sorted(found, key=len, reverse=True)
