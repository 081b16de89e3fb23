"""A durable outbox for gRPC: a call is on the disk with its key before it is made, so that a crash of the client makes
no second key and no second effect.

As :mod:`formicary.idempotency.outbox`, with methods and messages in place of addresses and bodies: an intent's `method`
is ``RPC``, its `url` the full name of the method, its `body` the serialised request. The answer's body is the
serialised response, to be read with the message's ``FromString``; its status is the HTTP status of the outcome, 200 =
OK.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio
from google.protobuf.message import Message

from formicary.idempotency.grpc_calls import http_status
from formicary.idempotency.grpc_client import KEY, REPLAYED, TRANSIENT
from formicary.idempotency.keys import check_key
from formicary.idempotency.outbox import MAX_ANSWER_BYTES, MAX_BODY_BYTES, SECRET, WINDOW_S, PlainOutbox
from formicary.idempotency.outbox_file import RPC, Answer, Intent, IntentState
from formicary.idempotency.policy import OF_THE_ATTEMPT
from formicary.idempotency.retrying import AGAIN
from formicary.problems import Problem, problem
from formicary.problems.rpc import from_rpc_error, from_trailing_metadata

Pairs = Iterable[tuple[str, str | bytes]]
TIMEOUT_S: Final = 60.0


class _Calls(PlainOutbox):
    """What both kinds share.

    Args:
        path: Its SQLite file.
        channel: Makes the calls, with or without the interceptor that tries again; credentials are the channel's.
        window_s: How long after the first attempt a call may be made again; less than the server keeps answers.
        timeout_s: How long one delivery may take.
    """

    def __init__(self, path: str, channel: Any, *, window_s: float = WINDOW_S, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__(path, window_s=window_s)
        self._channel = channel
        self._timeout_s = timeout_s

    def _write(self, method: str, request: Message | bytes, key: str | None, metadata: Pairs) -> Intent:
        pairs: list[tuple[str, str]] = []
        for name, value in metadata:
            if SECRET.search(name):
                text = f"The metadata {name} may be a secret and is not written: give it to the channel."
                raise problem("VALIDATION_FAILED", text)
            if not isinstance(value, str):
                raise problem("VALIDATION_FAILED", f"The metadata {name} is binary: an outbox writes text alone.")
            pairs.append((name, value))
        body = request if isinstance(request, bytes) else request.SerializeToString(deterministic=True)
        if len(body) > MAX_BODY_BYTES:
            raise problem("PAYLOAD_TOO_LARGE", f"The request has {len(body)} bytes, at most {MAX_BODY_BYTES} are kept.")
        return self.file.add(check_key(key or str(uuid.uuid4()), header=KEY), RPC, method, pairs, body)

    def _metadata(self, intent: Intent) -> list[tuple[str, str | bytes]]:
        return [*intent.headers, (KEY, intent.key)]

    def _note(self, intent: Intent, body: bytes, initial: Pairs) -> None:
        whole = len(body) <= MAX_ANSWER_BYTES
        answer = Answer(200, _texts(initial), body if whole else b"", _is_replayed(initial), whole)
        self.file.note_answer(intent.key, answer, None, 0)

    def _note_failure(self, intent: Intent, error: Any, code: grpc.StatusCode, initial: Pairs, trailing: Pairs) -> None:
        found = from_trailing_metadata(trailing)
        failed = found or from_rpc_error(error)
        status = http_status(code.value[0], trailing)
        replayed = _is_replayed(initial) or _is_replayed(trailing)
        if replayed or _is_final(code, status, found):
            answer = Answer(max(status, 400), _texts((*initial, *trailing)), b"", replayed)
            self.file.note_answer(intent.key, answer, failed, 0)
        else:
            self.file.note_failure(intent.key, failed, 0)


class CallOutbox(_Calls):
    """An outbox that calls through a channel of :mod:`grpc`.

    ::

        with CallOutbox("outbox.db", channel) as outbox:
            outbox.resume()
            intent = outbox.send("/shop.Orders/CreateOrder", OrderRequest(item="tea"))
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def send(self, method: str, request: Message | bytes, *, key: str | None = None, metadata: Pairs = ()) -> Intent:
        """Writes a call and makes it at once, without waiting for older ones.

        Args:
            method: Full name of a unary method, ``/package.Service/Method``.
            request: Its message.
            key: A key of the caller's own: sending again with it goes on, or gives the answer that is kept. None = one
                is made.
            metadata: Texts to send along.

        Returns:
            The intent: ANSWERED, or WAITING with the problem of the last attempt.
        """
        return self._deliver(self._write(method, request, key, metadata))

    def resume(self) -> list[Intent]:
        """Makes the calls without a final answer, in order, up to the first that gets none now. Returns those."""
        looked_at = list[Intent]()
        for intent in self.intents(IntentState.WAITING):
            if intent.method == RPC:
                looked_at.append(self._deliver(intent))
                if looked_at[-1].state is IntentState.WAITING:
                    break
        return looked_at

    def _deliver(self, intent: Intent) -> Intent:
        if self.is_to_be_sent(intent):
            calling = self._channel.unary_unary(intent.url)
            try:
                body, call = calling.with_call(intent.body, metadata=self._metadata(intent), timeout=self._timeout_s)
                self._note(intent, body, call.initial_metadata() or ())
            except grpc.RpcError as error:
                found: Any = error
                initial, trailing = found.initial_metadata() or (), found.trailing_metadata() or ()
                self._note_failure(intent, error, found.code(), initial, trailing)
        return self.now(intent)


class AsyncCallOutbox(_Calls):
    """An outbox that calls through a channel of :mod:`grpc.aio`; methods as for :class:`CallOutbox`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    async def send(
        self, method: str, request: Message | bytes, *, key: str | None = None, metadata: Pairs = ()
    ) -> Intent:
        """As :meth:`CallOutbox.send`."""
        return await self._deliver(await asyncio.to_thread(self._write, method, request, key, metadata))

    async def resume(self) -> list[Intent]:
        """As :meth:`CallOutbox.resume`."""
        looked_at = list[Intent]()
        for intent in await asyncio.to_thread(self.intents, IntentState.WAITING):
            if intent.method == RPC:
                looked_at.append(await self._deliver(intent))
                if looked_at[-1].state is IntentState.WAITING:
                    break
        return looked_at

    async def _deliver(self, intent: Intent) -> Intent:
        if await asyncio.to_thread(self.is_to_be_sent, intent):
            metadata = grpc.aio.Metadata(*self._metadata(intent))
            call = self._channel.unary_unary(intent.url)(intent.body, metadata=metadata, timeout=self._timeout_s)
            try:
                body = await call
                await asyncio.to_thread(self._note, intent, body, tuple(await call.initial_metadata() or ()))
            except grpc.aio.AioRpcError as error:
                initial, trailing = tuple(error.initial_metadata() or ()), tuple(error.trailing_metadata() or ())
                await asyncio.to_thread(self._note_failure, intent, error, error.code(), initial, trailing)
        return await asyncio.to_thread(self.now, intent)


def _is_final(code: grpc.StatusCode, status: int, found: Problem | None) -> bool:
    """Whether the server would give this refusal again."""
    if code is grpc.StatusCode.ABORTED:
        return found is not None and found.code not in AGAIN and found.code != "CONFLICT"
    if code in TRANSIENT or code is grpc.StatusCode.CANCELLED or status in OF_THE_ATTEMPT:
        return False
    return status < 500 or code is grpc.StatusCode.UNIMPLEMENTED


def _is_replayed(metadata: Pairs) -> bool:
    return any(name == REPLAYED and value == "true" for name, value in metadata)


def _texts(metadata: Pairs) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in metadata if isinstance(value, str))
