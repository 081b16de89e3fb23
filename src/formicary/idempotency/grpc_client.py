"""gRPC client interceptors whose calls may be repeated: one key for each logical call, the same in every attempt.

A call that may change something carries its key as the metadata ``idempotency-key``; which calls those are, `is_keyed`
says by the method's name. UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED of one attempt, INTERNAL and UNKNOWN are
tried again, ABORTED only where it is about the attempt; a server's RetryInfo is waited for. The time-out of the call
bounds all of its attempts together. Only unary calls are tried again.

The interceptor for threads waits in the caller's thread, so ``stub.Method.future(…)`` waits too.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import grpc
import grpc.aio

from formicary.idempotency.keys import check_key
from formicary.idempotency.retrying import AGAIN, Attempts, Retry, RetryBudget
from formicary.problems.rpc import from_trailing_metadata

log = logging.getLogger("formicary.idempotency")

KEY: Final = "idempotency-key"
REPLAYED: Final = "idempotency-replayed"
_RETRY_INFO: Final = "google.rpc.RetryInfo"
_READING: Final = ("Get", "List", "BatchGet", "Search", "Count", "Check", "Watch", "Read")
_CODE = grpc.StatusCode
TRANSIENT: Final = frozenset(
    {_CODE.UNAVAILABLE, _CODE.RESOURCE_EXHAUSTED, _CODE.DEADLINE_EXCEEDED, _CODE.INTERNAL, _CODE.UNKNOWN}
)
"""Outcomes of an attempt: the next one may have another."""
Pairs = Iterable[tuple[str, str | bytes]]


def changes_something(method: str) -> bool:
    """Whether a method, by the standard names of AIP-130, may do more than read; ``/package.Service/Method``."""
    return not method.rpartition("/")[2].startswith(_READING)


class _Details(NamedTuple):
    """What a call is made with, for :mod:`grpc`."""

    method: str
    timeout: float | None
    metadata: list[tuple[str, str | bytes]]
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _Calls:
    """What both interceptors share.

    Args:
        retry: How often and how long a call is tried; None = the usual.
        budget: What the retries of all calls may cost together; None = one for this interceptor.
        try_timeout_s: The longest that one attempt may take; None = as long as the call.
        is_keyed: Whether the calls of a method get a key; without one they are tried again all the same.
        make_key: Makes keys; None = UUIDs of version 4.
    """

    def __init__(
        self,
        retry: Retry | None = None,
        budget: RetryBudget | None = None,
        *,
        try_timeout_s: float | None = None,
        is_keyed: Callable[[str], bool] = changes_something,
        make_key: Callable[[], str] | None = None,
    ) -> None:
        self._retry = retry or Retry()
        self._budget = budget or RetryBudget()
        self._try_timeout_s = try_timeout_s
        self._is_keyed = is_keyed
        self._make_key = make_key or (lambda: str(uuid.uuid4()))

    def _metadata(self, method: str, given: Pairs | None) -> list[tuple[str, str | bytes]]:
        pairs = list(given or ())
        if self._is_keyed(method) and not any(name == KEY for name, _ in pairs):
            pairs.append((KEY, check_key(self._make_key(), header=KEY)))
        return pairs

    def _begin(self, method: str, timeout_s: float | None) -> _Call:
        return _Call(method, timeout_s, Attempts(self._retry, self._budget, time.monotonic()), self._try_timeout_s)


class _Call:
    """The attempts of one call."""

    def __init__(self, method: str, timeout_s: float | None, attempts: Attempts, try_timeout_s: float | None) -> None:
        self._method = method
        self._attempts = attempts
        self._until = None if timeout_s is None else time.monotonic() + timeout_s
        self._try_timeout_s = try_timeout_s

    def timeout_s(self) -> float:
        """How long the attempt that begins now may take."""
        return max(0.001, min(self._left_s(), self._try_timeout_s or float("inf")))

    def wait_s(self, code: grpc.StatusCode, initial: Pairs, trailing: Pairs) -> float | None:
        """How long to wait before the next attempt; None = this is the answer."""
        if code is _CODE.OK or _is_replayed(initial) or _is_replayed(trailing):
            return None
        found = from_trailing_metadata(trailing)
        asked_s = None if found is None else found.retry.after_s
        if code is _CODE.ABORTED:
            foreign = found is not None and any(each.type_name == _RETRY_INFO for each in found.details)
            again = foreign or (found is not None and found.code in AGAIN)
        else:
            again = code in TRANSIENT
        wait_s = self._attempts.next_wait_s(time.monotonic(), asked_s) if again else None
        if wait_s is None or wait_s >= self._left_s():
            return None
        log.info("%s: %s, attempt %d in %.3g s", self._method, code.name, self._attempts.number, wait_s)
        return wait_s

    def _left_s(self) -> float:
        now = time.monotonic()
        left_s = self._attempts.left_s(now)
        return left_s if self._until is None else min(left_s, self._until - now)


class IdempotencyClientInterceptor(_Calls, grpc.UnaryUnaryClientInterceptor):
    """For :mod:`grpc`: ``grpc.intercept_channel(channel, IdempotencyClientInterceptor())``."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Makes one call in as many attempts as it takes; gives the last one's outcome."""
        d = client_call_details
        metadata = self._metadata(d.method, d.metadata)
        calling = self._begin(d.method, d.timeout)
        rest = (d.credentials, getattr(d, "wait_for_ready", None), getattr(d, "compression", None))
        while True:
            call = continuation(_Details(d.method, calling.timeout_s(), metadata, *rest), request)
            wait_s = calling.wait_s(call.code(), call.initial_metadata() or (), call.trailing_metadata() or ())
            if wait_s is None:
                return call
            time.sleep(wait_s)


class AioIdempotencyClientInterceptor(_Calls, grpc.aio.UnaryUnaryClientInterceptor):
    """For :mod:`grpc.aio`: ``grpc.aio.insecure_channel(target, interceptors=[AioIdempotencyClientInterceptor()])``."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Makes one call in as many attempts as it takes; gives the last one's outcome."""
        d = client_call_details
        method = d.method.decode() if isinstance(d.method, bytes) else d.method
        metadata = grpc.aio.Metadata(*self._metadata(method, d.metadata))
        calling = self._begin(method, d.timeout)
        while True:
            details = d._replace(timeout=calling.timeout_s(), metadata=metadata)
            call = await continuation(details, request)
            code = await call.code()
            initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
            wait_s = calling.wait_s(code, initial or (), trailing or ())
            if wait_s is None:
                return call
            await asyncio.sleep(wait_s)


def _is_replayed(metadata: Pairs) -> bool:
    return any(name == REPLAYED and value == "true" for name, value in metadata)
