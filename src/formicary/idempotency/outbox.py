"""A durable outbox: what is to be sent is on the disk with its key before it is sent, so that a crash of the client
makes no second key and no second effect.

``send`` writes the intent, sends it and keeps the final answer until ``acknowledge``. After a crash ``resume`` sends
what has no final answer, in order, with the keys that it had. A final answer is a success or a refusal that the server
would repeat; 401, 403 and 429, 5xx and lost connections leave the intent waiting.

Secrets are never written: credentials belong to the client (its headers, ``auth`` or cookies) and are added when it
sends. Bodies and addresses are written as they are.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Mapping
from os import PathLike
from types import TracebackType
from typing import Any, Final, Self

import httpx

from formicary.idempotency.client_httpx import QUIET, AsyncIdempotentClient, IdempotentClient, problem_of, sent
from formicary.idempotency.keys import check_key
from formicary.idempotency.outbox_file import RPC, Answer, Intent, IntentState, OutboxFile
from formicary.idempotency.policy import OF_THE_ATTEMPT
from formicary.idempotency.retrying import is_transient
from formicary.problems import Problem, problem

WINDOW_S: Final = 23 * 3600.0
MAX_BODY_BYTES: Final = 1024 * 1024
MAX_ANSWER_BYTES: Final = 1024 * 1024
SECRET: Final = re.compile(r"authori[sz]ation|cookie|token|secret|passw|api-?key|credential|signature|session", re.I)


class PlainOutbox:
    """What outboxes of every protocol share: the file, and what may be sent from it."""

    def __init__(
        self, path: str | PathLike[str], *, window_s: float = WINDOW_S, now_ms: Callable[[], int] | None = None
    ) -> None:
        self.file = OutboxFile(path, now_ms)
        self._window_ms = round(window_s * 1000)

    def is_to_be_sent(self, intent: Intent) -> bool:
        """Whether it has no final answer and the server still knows its key; notes it where that one is over."""
        if intent.state is not IntentState.WAITING:
            return False
        if intent.first_ms and self.file.now_ms() >= intent.first_ms + self._window_ms:
            text = "It was sent, and the server may have forgotten the key since: look whether it was done."
            self.file.note_expiry(intent.key, problem("FAILED_PRECONDITION", text))
            return False
        self.file.note_attempt(intent.key)
        return True

    def now(self, intent: Intent) -> Intent:
        """The intent as it is now."""
        return self.file.get(intent.key) or intent

    def get(self, key: str) -> Intent | None:
        """The intent with a key; None where there is none (any more)."""
        return self.file.get(key)

    def intents(self, state: IntentState | None = None, limit: int = 1000) -> list[Intent]:
        """Intents in their order; None = of any state."""
        return self.file.intents(state, limit)

    def acknowledge(self, key: str) -> bool:
        """Its answer was used: it is forgotten. Whether there was one. One that waits is given up."""
        return self.file.remove(key)

    def close(self) -> None:
        """Closes the file; the client stays open."""
        self.file.close()


class _Outbox(PlainOutbox):
    """What both kinds for httpx share: everything but the sending."""

    def write(self, header: str, method: str, url: str, key: str | None, options: Mapping[str, Any]) -> Intent:
        """Writes an intent. Raises Problem where it holds a secret, is too large, or its key belongs to another."""
        rest = dict(options)
        given = httpx.Headers(rest.pop("headers", None))
        params = rest.pop("params", None)
        address = httpx.URL(url) if params is None else httpx.URL(url, params=params)
        if address.userinfo:
            raise problem("VALIDATION_FAILED", "The address holds credentials: give them to the client as `auth`.")
        for name in given:
            if SECRET.search(name):
                text = f"The header {name} may be a secret and is not written: give it to the client."
                raise problem("VALIDATION_FAILED", text)
        made = httpx.Request(method, "http://body.invalid/", headers=given, **rest)
        body = made.read()
        if len(body) > MAX_BODY_BYTES:
            raise problem("PAYLOAD_TOO_LARGE", f"The body has {len(body)} bytes, at most {MAX_BODY_BYTES} are kept.")
        wanted = {*(name.lower() for name in given), "content-type"} - {header.lower()}
        headers = [(name, value) for name, value in made.headers.multi_items() if name in wanted]
        key = check_key(key or given.get(header) or str(uuid.uuid4()), header=header)
        return self.file.add(key, made.method, str(address), headers, body)

    def _waiting(self) -> list[Intent]:
        return [intent for intent in self.intents(IntentState.WAITING) if intent.method != RPC]

    def note(self, intent: Intent, response: httpx.Response) -> None:
        """Keeps what came back."""
        how, status = sent(response), response.status_code
        failed = problem_of(response) if status >= 400 else None
        if failed is not None and not _is_final(response, failed):
            self.file.note_failure(intent.key, failed, how.tries - 1)
            return
        pairs = [(name, value) for name, value in response.headers.multi_items() if name.lower() != "set-cookie"]
        whole = len(response.content) <= MAX_ANSWER_BYTES
        answer = Answer(status, tuple(pairs), response.content if whole else b"", how.replayed, whole)
        self.file.note_answer(intent.key, answer, failed, how.tries - 1)

    def note_error(self, intent: Intent, error: httpx.TransportError) -> None:
        """Keeps that nothing came back; the text of the error may name addresses, its class does not."""
        self.file.note_failure(intent.key, problem("UNAVAILABLE", f"No answer: {type(error).__name__}."), 0)


class Outbox(_Outbox):
    """An outbox that sends through an :class:`IdempotentClient`.

    Args:
        path: Its SQLite file.
        client: Sends; its credentials are those of the moment.
        window_s: How long after the first attempt an intent may be sent again; less than the server keeps answers.
        now_ms: The clock; None = this machine's.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        client: IdempotentClient,
        *,
        window_s: float = WINDOW_S,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(path, window_s=window_s, now_ms=now_ms)
        self._client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def send(self, method: str, url: str, *, key: str | None = None, **options: Any) -> Intent:
        """Writes an intent and sends it at once, without waiting for older ones.

        Args:
            method: Its verb.
            url: Whole, or relative to the client's address.
            key: A key of the caller's own: sending again with it goes on, or gives the answer that is kept. None = one
                is made.
            options: ``json``, ``content``, ``data``, ``files``, ``params``, ``headers`` as for httpx.

        Returns:
            The intent: ANSWERED, or WAITING with the problem of the last attempt.
        """
        return self._deliver(self.write(self._client.calling.header, method, url, key, options))

    def resume(self) -> list[Intent]:
        """Sends what has no final answer, in order, up to the first that gets none now. Returns what it looked at."""
        looked_at = list[Intent]()
        for intent in self._waiting():
            looked_at.append(self._deliver(intent))
            if looked_at[-1].state is IntentState.WAITING:
                break
        return looked_at

    def _deliver(self, intent: Intent) -> Intent:
        if self.is_to_be_sent(intent):
            try:
                self.note(intent, self._client.send(_request(self._client, intent)))
            except httpx.TransportError as error:
                self.note_error(intent, error)
        return self.now(intent)


class AsyncOutbox(_Outbox):
    """An outbox that sends through an :class:`AsyncIdempotentClient`; arguments and methods as for :class:`Outbox`."""

    def __init__(
        self,
        path: str | PathLike[str],
        client: AsyncIdempotentClient,
        *,
        window_s: float = WINDOW_S,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(path, window_s=window_s, now_ms=now_ms)
        self._client = client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    async def send(self, method: str, url: str, *, key: str | None = None, **options: Any) -> Intent:
        """As :meth:`Outbox.send`."""
        header = self._client.calling.header
        return await self._deliver(await asyncio.to_thread(self.write, header, method, url, key, options))

    async def resume(self) -> list[Intent]:
        """As :meth:`Outbox.resume`."""
        looked_at = list[Intent]()
        for intent in await asyncio.to_thread(self._waiting):
            looked_at.append(await self._deliver(intent))
            if looked_at[-1].state is IntentState.WAITING:
                break
        return looked_at

    async def _deliver(self, intent: Intent) -> Intent:
        if await asyncio.to_thread(self.is_to_be_sent, intent):
            try:
                response = await self._client.send(_request(self._client, intent))
                await asyncio.to_thread(self.note, intent, response)
            except httpx.TransportError as error:
                await asyncio.to_thread(self.note_error, intent, error)
        return await asyncio.to_thread(self.now, intent)


def _request(client: IdempotentClient | AsyncIdempotentClient, intent: Intent) -> httpx.Request:
    headers = [*intent.headers, (client.calling.header, client.calling.written(intent.key))]
    method, url, body = intent.method, intent.url, intent.body
    return client.build_request(method, url, headers=headers, content=body, extensions={QUIET: True})


def _is_final(response: httpx.Response, failed: Problem) -> bool:
    """Whether the server would give this refusal again."""
    if response.headers.get("idempotency-replayed") == "true":
        return True
    status = response.status_code
    known = failed.code if status == 409 and failed.code != "CONFLICT" else None
    return status not in OF_THE_ATTEMPT and not is_transient(status, known, "retry-after" in response.headers)
