"""Authentication, rate limit and authorisation in the chain, in this order.

Streams live long: they end when their caller's token is revoked or expires.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

from formicary.gateway import Call, Run, before
from formicary.problems import Problem, problem
from formicary.server.auth.principal import HOME, Known, Principal, Verify
from formicary.server.auth.roles import may_call
from formicary.server.auth.token_bucket import TokenBucket
from formicary.server.auth.tokens import LONGEST, PREFIX, Token, TokenBook

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
        book: The API tokens.
        others: Asked about a bearer token that is none of ours, one after the other.
    """

    def __init__(self, book: TokenBook, others: Sequence[Verify] = ()) -> None:
        self._book = book
        self._others = others

    def step(self, call: Call) -> bool:
        """As the interceptor, for a call that is no stream and has an API token that came before."""
        method, sent = call.method, [value for name, value in call.metadata if name == HEADER]
        if method.server_streaming or method.client_streaming or len(sent) != 1:
            return False
        principal = self._book.remembered(sent[0])
        if principal is None:
            return False
        call.principal = principal
        return True

    async def __call__(self, call: Call, proceed: Run) -> None:
        """Sets the call's principal. Raises Problem UNAUTHENTICATED; UNAVAILABLE where nobody can tell at present."""
        sent = [value for name, value in call.metadata if name == HEADER]
        text = _bearer(sent)
        token = self._book.find(text) if text else None
        if token is not None:
            self._book.remember(sent[0], token)
        known = await self._known(text, token) if sent else _certified(call)
        if known is None:
            raise _refused()
        call.principal = known.principal
        if not call.method.streaming:
            await proceed(call)
        else:
            await _while_known(known, call, proceed)

    async def find(self, text: str) -> Known | None:
        """Whoever a bearer token stands for. Raises Problem UNAVAILABLE where nobody can tell at present."""
        return await self._known(text, self._book.find(text))

    async def _known(self, text: str, token: Token | None) -> Known | None:
        if token is not None:
            watching = partial(self._book.watching, token)
            return Known(token.principal, self._book.lasts_s(token), watching)
        if text and not text.startswith(PREFIX + "_"):
            for verify in self._others:
                known = await verify(text)
                if known is not None:
                    return known
        return None


def _bearer(sent: Sequence[str | bytes]) -> str:
    """The token of the one header that was sent; empty where there is none, or more than one."""
    scheme, _, text = str(sent[0]).partition(" ") if len(sent) == 1 else ("", "", "")
    return text.strip() if scheme.lower() == SCHEME else ""


def _certified(call: Call) -> Known | None:
    name = certified_name(call)
    return Known(Principal(f"certificate:{name}", HOME, frozenset({"ant"}))) if name else None


async def _while_known(known: Known, call: Call, proceed: Run) -> None:
    """Runs a stream until it ends or its caller is not known any more. Raises Problem UNAUTHENTICATED."""
    loop = asyncio.get_running_loop()
    end_at = None if known.lasts_s is None else loop.time() + known.lasts_s
    try:
        async with asyncio.timeout_at(end_at) as limit:
            with known.watching(lambda: limit.reschedule(loop.time())) if known.watching else nullcontext():
                await proceed(call)
    except TimeoutError:
        if limit.expired():
            raise _refused() from None
        raise


def certified_name(call: Call) -> str:
    """The name in the certificate that a gRPC caller has proved to own; empty where it showed none.

    That is its first alternative name, else its common name.
    """
    ask = call.state.get("auth_context")
    shown: Mapping[str, Iterable[bytes]] = ask() if callable(ask) else {}
    for field in ("x509_subject_alternative_name", "x509_common_name"):
        for value in shown.get(field, ()):
            return value.decode("utf-8", "replace")[:LONGEST]
    return ""


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
        self._policy = ("ratelimit-policy", f'"default";q={burst};w={max(1, math.ceil(burst / rate_per_s))}')
        self._limit = ("ratelimit-limit", str(burst))
        self._refills = max(1, math.ceil(1 / rate_per_s))
        self._told = self._headers(burst, self._refills)
        self._told_left = burst
        self._buckets: dict[str, TokenBucket] = {}

    async def __call__(self, call: Call, proceed: Run) -> None:
        """Takes one call of the principal's. Raises Problem RATE_LIMIT_EXCEEDED with the time to wait."""
        self.step(call)
        await proceed(call)

    def step(self, call: Call) -> None:
        """As the interceptor."""
        headers, refusal = self.take(call.principal.id)
        call.headers += headers
        if refusal is not None:
            raise refusal

    def take(self, caller: str) -> tuple[tuple[tuple[str, str], ...], Problem | None]:
        """Takes one call of a caller's; the headers that tell what is left, and the refusal where nothing is."""
        now = self._now()
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._new_bucket(caller, now)
        wait_s = bucket.take(now)
        left = bucket.left
        if wait_s:
            text = f"More than {self._rate:g} calls a second: wait {wait_s:.2g} s."
            refusal = problem("RATE_LIMIT_EXCEEDED", text, retry_after_s=math.ceil(wait_s * 1000) / 1000)
            return self._headers(left, max(1, math.ceil(wait_s))), refusal
        if left != self._told_left:
            self._told, self._told_left = self._headers(left, self._refills), left
        return self._told, None

    def _headers(self, left: int, reset_s: int) -> tuple[tuple[str, str], ...]:
        return (
            self._policy,
            ("ratelimit", f'"default";r={left};t={reset_s}'),
            self._limit,  # the mapping makes X-RateLimit-* of this and the next
            ("ratelimit-remaining", str(left)),
            ("ratelimit-reset", str(reset_s)),
        )

    def _new_bucket(self, principal: str, now: float) -> TokenBucket:
        if len(self._buckets) >= MOST_BUCKETS:
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if not bucket.is_full(now)}
        bucket = self._buckets[principal] = TokenBucket(self._rate, self._burst, now)
        return bucket


@before
def authorise(call: Call) -> None:
    """Interceptor: raises Problem PERMISSION_DENIED where no role of the caller may call the method."""
    if not may_call(call.principal, call.method.full_name):
        roles = ", ".join(sorted(call.principal.roles))
        who = f"The role {roles}" if roles else "A caller without a role"
        raise problem("PERMISSION_DENIED", f"{who} may not call {call.method.name}.")
