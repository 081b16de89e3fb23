"""Authentication, rate limit and authorisation in the chain, in this order.

Streams live long: their caller's token is looked at again with every message, so that revoking it ends them.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from formicary.gateway import Call, Run
from formicary.problems import Problem, problem
from formicary.server.auth.roles import may_call
from formicary.server.auth.token_bucket import TokenBucket
from formicary.server.auth.tokens import Token, TokenBook

HEADER = "authorization"
SCHEME = "bearer"
CHALLENGE = 'Bearer realm="formicary"'
MOST_BUCKETS = 10_000


def _refused() -> Problem:
    """The one answer to whoever is not known; it never says which part was wrong."""
    return problem(
        "UNAUTHENTICATED",
        "A valid token is needed: send the header Authorization: Bearer TOKEN, or set FORMICARY_TOKEN.",
        challenge=CHALLENGE,
    )


class Authenticate:
    """Interceptor that finds out who is calling.

    Args:
        book: The tokens.
    """

    def __init__(self, book: TokenBook) -> None:
        self._book = book

    async def __call__(self, call: Call, proceed: Run) -> None:
        """Sets the call's principal. Raises Problem UNAUTHENTICATED."""
        sent = call.values(HEADER)
        scheme, _, text = str(sent[0]).partition(" ") if len(sent) == 1 else ("", "", "")
        token = self._book.find(text.strip()) if scheme.lower() == SCHEME else None
        if token is None:
            raise _refused()
        call.principal = token.principal
        if call.requests is not None:
            call.requests = self._received(call.requests, token)
        if call.method.server_streaming:
            self._guard_writes(call, token)
        await proceed(call)

    def _check(self, token: Token) -> None:
        if not self._book.is_valid(token):
            raise _refused()

    async def _received(self, requests: AsyncIterator[Any], token: Token) -> AsyncIterator[Any]:
        async for request in requests:
            self._check(token)
            yield request

    def _guard_writes(self, call: Call, token: Token) -> None:
        inner = call.write

        async def write(message: Any) -> None:
            """Whoever carries the call may replace `call.write` with the first message: this stays in front of it."""
            nonlocal inner
            self._check(token)
            await inner(message)
            if call.write is not write:
                inner, call.write = call.write, write

        call.write = write


class LimitRate:
    """Interceptor that gives every principal its own share.

    Args:
        rate_per_s: Calls a second in the long run, > 0.
        burst: Calls at once, >= 1.
        now: A clock that never goes back.
    """

    def __init__(self, rate_per_s: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate_per_s
        self._burst = burst
        self._now = now
        self._policy = f'"default";q={burst};w={max(1, math.ceil(burst / rate_per_s))}'
        self._buckets: dict[str, TokenBucket] = {}

    async def __call__(self, call: Call, proceed: Run) -> None:
        """Takes one call of the principal's. Raises Problem RATE_LIMIT_EXCEEDED with the time to wait."""
        now = self._now()
        bucket = self._buckets.get(call.principal.id)
        if bucket is None:
            bucket = self._new_bucket(call.principal.id, now)
        wait_s = bucket.take(now)
        full_s = max(1, math.ceil(wait_s or 1 / self._rate))
        call.headers.append(("ratelimit-policy", self._policy))
        call.headers.append(("ratelimit", f'"default";r={bucket.left};t={full_s}'))
        if wait_s:
            raise problem(
                "RATE_LIMIT_EXCEEDED",
                f"More than {self._rate:g} calls a second: wait {wait_s:.2g} s.",
                retry_after_s=wait_s,
            )
        await proceed(call)

    def _new_bucket(self, principal: str, now: float) -> TokenBucket:
        if len(self._buckets) >= MOST_BUCKETS:
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if not bucket.is_full(now)}
        bucket = self._buckets[principal] = TokenBucket(self._rate, self._burst, now)
        return bucket


async def authorise(call: Call, proceed: Run) -> None:
    """Interceptor: raises Problem PERMISSION_DENIED where no role of the caller may call the method."""
    if not may_call(call.principal, call.method.full_name):
        roles = ", ".join(sorted(call.principal.roles))
        raise problem("PERMISSION_DENIED", f"The role {roles} may not call {call.method.name}.")
    await proceed(call)
