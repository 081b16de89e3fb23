"""httpx clients whose calls may be repeated: one key for each logical call, the same in every attempt.

They are httpx's own clients in everything else: use ``IdempotentClient`` where ``httpx.Client`` stood. A call that may
change something gets an ``Idempotency-Key``; what fails for the moment (no connection, a connection lost before or
within the answer, 408, 425, 429, a 409 that says "in progress", 5xx) is tried again as :class:`Retry` says. A
*business* 409 is an answer like any other, and so is whatever comes as a replay: the server would say the same for
ever.

Reading needs no key and is tried again without one. A verb that is neither (``CONNECT``, one of your own) is sent once
unless the caller sets a key.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import httpx

from formicary.idempotency.keys import check_key
from formicary.idempotency.retrying import Attempts, Retry, RetryBudget, is_transient, parse_retry_after
from formicary.problems import Problem, parse_http, problem

log = logging.getLogger("formicary.idempotency")

HEADER: Final = "Idempotency-Key"
KEYED: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
MOST_KEPT_BYTES: Final = 1024 * 1024
"""Bodies from files and forms up to this length are read into memory, so that they can be sent again."""
QUIET: Final = "formicary.quiet"
"""Extension of a request whose answer is returned even by a client that raises problems."""
_SENT: Final = "formicary.sent"
_NO_RETRY: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
"""Failures of the request itself."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How an answer was had.

    Attributes:
        key: The key of the call; empty = it had none.
        tries: Attempts that it took.
        replayed: Whether an earlier attempt had executed it, and this is the kept answer.
    """

    key: str
    tries: int
    replayed: bool


def sent(response: httpx.Response) -> Sent:
    """How an answer of one of these clients was had."""
    found = response.extensions.get(_SENT)
    return found if isinstance(found, Sent) else Sent("", 1, _is_replayed(response))


def raise_for_problem(response: httpx.Response) -> httpx.Response:
    """The answer; where its status is 400 and above, raises the Problem that it stands for."""
    if response.status_code >= 400:
        raise problem_of(response)
    return response


def problem_of(response: httpx.Response) -> Problem:
    """The problem that an answer of 400 and above stands for, its body read."""
    return parse_http(response.status_code, response.headers, response.content)


class Calling:
    """The settings of a client, and the beginning of each of its calls.

    Args:
        retry: How often and how long a call is tried; None = the usual.
        budget: What the retries of all calls may cost together; None = one for this client.
        header: Name of the header that carries the key.
        methods: Verbs whose calls get a key.
        quoted: Send the key in quotes, as the IETF draft writes it; most servers (and ours) take it without.
        make_key: Makes keys; None = UUIDs of version 4.
    """

    def __init__(
        self,
        retry: Retry | None = None,
        budget: RetryBudget | None = None,
        header: str = HEADER,
        methods: Iterable[str] = KEYED,
        quoted: bool = False,
        make_key: Callable[[], str] | None = None,
    ) -> None:
        self.retry = retry or Retry()
        self.budget = budget or RetryBudget()
        self.header = header
        self._methods = frozenset(methods)
        self._quoted = quoted
        self._make_key = make_key or _uuid4

    def written(self, key: str) -> str:
        """A key as the header has it."""
        return f'"{key}"' if self._quoted else key

    def begin(self, request: httpx.Request) -> Call:
        """Gives the request its key, if it needs one and has none, and begins to count."""
        key = request.headers.get(self.header, "")
        if not key and request.method in self._methods:
            key = check_key(self._make_key(), header=self.header)
            request.headers[self.header] = self.written(key)
        once = not (key or request.method in SAFE) or not _can_be_repeated(request)
        return Call(request, key.strip('"'), once, Attempts(self.retry, self.budget, time.monotonic()))


class Call:
    """One logical call: what is to be done after each of its attempts."""

    def __init__(self, request: httpx.Request, key: str, once: bool, attempts: Attempts) -> None:
        self._request = request
        self._key = key
        self._once = once
        self._attempts = attempts
        self._limits = dict(request.extensions.get("timeout") or {})

    def prepare(self) -> None:
        """Before an attempt: none waits for longer than the call may take."""
        left_s = max(0.001, self._attempts.left_s(time.monotonic()))
        names = ("connect", "read", "write", "pool")
        limits = {name: left_s if (s := self._limits.get(name)) is None else min(s, left_s) for name in names}
        self._request.extensions = {**self._request.extensions, "timeout": limits}

    def after_failure(self, error: httpx.TransportError) -> float | None:
        """How long to wait before the next attempt; None = there is none."""
        if self._once or isinstance(error, _NO_RETRY):
            return None
        return self._wait(None, type(error).__name__)

    def needs_body(self, response: httpx.Response) -> bool:
        """Whether :meth:`after_answer` has to look into the body: only a 409 does not say it all in its head."""
        return response.status_code == 409 and not self._once

    def after_answer(self, response: httpx.Response) -> float | None:
        """How long to wait before the next attempt; None = this is the answer."""
        if self._once or response.status_code < 400 or _is_replayed(response):
            return None
        asked = response.headers.get("retry-after")
        code = _code(response) if response.status_code == 409 else None
        if not is_transient(response.status_code, code, asked is not None):
            return None
        asked_s = None if asked is None else parse_retry_after(asked, time.time())
        return self._wait(asked_s, str(response.status_code))

    def mark(self, response: httpx.Response) -> None:
        """Notes in the answer how it was had."""
        response.extensions = {
            **response.extensions,
            _SENT: Sent(self._key, self._attempts.number, _is_replayed(response)),
        }

    def _wait(self, asked_s: float | None, reason: str) -> float | None:
        wait_s = self._attempts.next_wait_s(time.monotonic(), asked_s)
        if wait_s is not None:
            url = self._request.url
            where = (self._request.method, url.host, url.path)
            log.info("%s %s%s: %s, attempt %d in %.3g s", *where, reason, self._attempts.number, wait_s)
        return wait_s


class IdempotentClient(httpx.Client):
    """An ``httpx.Client`` whose calls have the effect of one, however often they have to be tried.

    Args:
        calling: Retries, budget and keys; None = the usual ones.
        raise_for_problem: Raise the Problem that an answer of 400 and above stands for, instead of returning it.
        options: Those of ``httpx.Client``.
    """

    def __init__(self, calling: Calling | None = None, *, raise_for_problem: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.calling = calling or Calling()
        self.raises = raise_for_problem

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Sends a request as often as it takes; the options are those of ``httpx.Client.send``.

        Raises:
            httpx.TransportError: No attempt got an answer; the last one's failure.
            Problem: If this was asked for, for an answer of 400 and above.
        """
        call = self.calling.begin(request)
        while True:
            call.prepare()
            try:
                response = super().send(request, **options)
                if call.needs_body(response):
                    response.read()
            except httpx.TransportError as error:
                wait_s = call.after_failure(error)
                if wait_s is None:
                    raise
            else:
                wait_s = call.after_answer(response)
                if wait_s is None:
                    break
                response.close()
            time.sleep(wait_s)
        call.mark(response)
        if self.raises and response.status_code >= 400 and QUIET not in request.extensions:
            response.read()
            raise problem_of(response)
        return response


class AsyncIdempotentClient(httpx.AsyncClient):
    """An ``httpx.AsyncClient`` whose calls have the effect of one; arguments as for :class:`IdempotentClient`."""

    def __init__(self, calling: Calling | None = None, *, raise_for_problem: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.calling = calling or Calling()
        self.raises = raise_for_problem

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """As :meth:`IdempotentClient.send`."""
        call = self.calling.begin(request)
        while True:
            call.prepare()
            try:
                response = await super().send(request, **options)
                if call.needs_body(response):
                    await response.aread()
            except httpx.TransportError as error:
                wait_s = call.after_failure(error)
                if wait_s is None:
                    raise
            else:
                wait_s = call.after_answer(response)
                if wait_s is None:
                    break
                await response.aclose()
            await asyncio.sleep(wait_s)
        call.mark(response)
        if self.raises and response.status_code >= 400 and QUIET not in request.extensions:
            await response.aread()
            raise problem_of(response)
        return response


def _uuid4() -> str:
    return str(uuid.uuid4())


def _is_replayed(response: httpx.Response) -> bool:
    return str(response.headers.get("idempotency-replayed", "")).lower() == "true"


def _code(response: httpx.Response) -> str | None:
    try:
        document = json.loads(response.content)
    except ValueError:
        return None
    code = document.get("code") if isinstance(document, dict) else None
    return code if isinstance(code, str) else None


def _can_be_repeated(request: httpx.Request) -> bool:
    """Whether the body can be sent a second time; a short one is read into memory for it."""
    try:
        return request.content is not None
    except httpx.RequestNotRead:
        length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > MOST_KEPT_BYTES or not isinstance(request.stream, Iterable):
        return False
    if len(request.read()) != int(length):
        raise problem("VALIDATION_FAILED", f"The body has {len(request.content)} bytes, Content-Length says {length}.")
    return True
