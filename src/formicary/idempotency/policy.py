"""One policy for every adapter: which operations need a key, what is kept, for how long, and what a duplicate gets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, Literal

from formicary.idempotency.model import DAY_S
from formicary.problems import problem

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Of one connection alone (RFC 9110 section 7.6.1): never kept."""
OF_THE_ATTEMPT: Final = frozenset({401, 403, 407, 408, 421, 425, 429})
"""Answers that describe this attempt (who called, when, how often), not the operation: a retry may get another."""

_LEAST: Final = (("max_body_bytes", 1), ("max_response_bytes", 0))

Missing = Literal["refuse", "run"]
OnBusy = Literal["refuse", "wait"]
OnLarge = Literal["fail", "marker"]
SetCookie = Literal["keep", "drop"]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one operation is kept safe. All durations are seconds.

    Attributes:
        key: ``refuse`` = without a key it is answered 400; ``run`` = without a key it runs unprotected.
        ttl_s: How long an answer is kept. A client that retries later runs the operation again.
        lease_s: How long a holder may be silent before another takes over; it is renewed while the handler runs.
        renew_for_s: How long a lease is renewed at most, so that a handler that hangs does not keep its key for ever:
            it goes on, but another may take over, and what it answers then is refused. 0 = never, None = as long as it
            runs. Too short runs slow operations twice.
        on_busy: A duplicate while the first one runs: ``refuse`` = 409 with Retry-After, ``wait`` = it waits for the
            answer, at most `wait_s`, then 409.
        busy_retry_s: Longest Retry-After of that 409. The rest of the lease is told where it is shorter: the one that
            executes mostly ends long before. Too short makes clients ask often, too long makes them wait for nothing.
        replay_5xx: Whether answers of 500 and above are kept and replayed (as Stripe's first version does); otherwise
            the operation may be tried again at once.
        keep: Statuses that are kept whatever the usual rule says.
        release: Statuses that are not kept whatever the usual rule says.
        max_body_bytes: Longest request body; a longer one is answered 413 before anything runs.
        max_response_bytes: Longest answer that is kept; 0 = none is, because of what it holds.
        on_large_response: A longer answer: ``fail`` = the caller gets it, a retry gets 409 RESPONSE_NOT_KEPT and never
            runs again; ``marker`` = a retry gets the status with the headers and an empty body.
        set_cookie: Whether ``Set-Cookie`` is replayed. Kept cookies go to whoever retries with the key.
        uuid_only: Take only UUIDs as keys.
    """

    key: Missing = "refuse"
    ttl_s: float = DAY_S
    lease_s: float = 30.0
    renew_for_s: float | None = None
    on_busy: OnBusy = "refuse"
    wait_s: float = 10.0
    busy_retry_s: float = 5.0
    replay_5xx: bool = False
    keep: frozenset[int] = frozenset()
    release: frozenset[int] = frozenset()
    max_body_bytes: int = 1024 * 1024
    max_response_bytes: int = 1024 * 1024
    on_large_response: OnLarge = "fail"
    set_cookie: SetCookie = "drop"
    uuid_only: bool = False

    def __post_init__(self) -> None:
        wrong = [name for name in ("ttl_s", "lease_s", "wait_s", "busy_retry_s") if not getattr(self, name) > 0]
        wrong += [name for name, least in _LEAST if getattr(self, name) < least]
        if self.renew_for_s is not None and not self.renew_for_s >= 0:
            wrong.append("renew_for_s")
        if self.lease_s > self.ttl_s:
            wrong.append("lease_s (longer than ttl_s)")
        if both := self.keep & self.release:
            wrong.append(f"keep and release (both name {', '.join(map(str, sorted(both)))})")
        if wrong:
            raise problem("VALIDATION_FAILED", f"The idempotency rule has values out of range: {', '.join(wrong)}.")

    def keeps(self, status: int) -> bool:
        """Whether an answer with this HTTP status is kept and replayed: successes and deterministic refusals are."""
        if status in self.keep:
            return True
        if status in self.release or status in OF_THE_ATTEMPT:
            return False
        return self.replay_5xx or status < 500


@dataclass(frozen=True, slots=True)
class Route:
    """A rule for some operations.

    Attributes:
        pattern: A path such as ``/accounts/{id}/transfers`` (``{name}`` = one segment, ``{name:path}`` = any rest), or
            the full name of a gRPC method. The pattern is part of a record's scope: keys of one route do not meet
            those of another.
        rule: What holds there; None = not protected at all.
        methods: Verbs; empty = those of the policy.
    """

    pattern: str
    rule: Rule | None
    methods: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds where.

    Attributes:
        rule: The rule of every operation that no route names.
        routes: Exceptions, the first that fits counts.
        methods: Verbs that are protected; the others are safe or idempotent by themselves (RFC 9110 section 9.2).
        header: Name of the header that carries the key; over gRPC the metadata key of the same name in lower case.
        dropped: Response headers that are never replayed, beside those of one connection and ``Date``.
    """

    rule: Rule = Rule()
    routes: Sequence[Route] = ()
    methods: frozenset[str] = frozenset({"POST", "PUT", "PATCH", "DELETE"})
    header: str = "Idempotency-Key"
    dropped: frozenset[str] = frozenset()
    _patterns: tuple[tuple[re.Pattern[str], Route], ...] = field(init=False, repr=False, compare=False)
    _never: frozenset[bytes] = field(init=False, repr=False, compare=False)
    _never_nor_cookies: frozenset[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_patterns", tuple((_compile(route.pattern), route) for route in self.routes))
        never = frozenset(name.lower().encode() for name in (*HOP_BY_HOP, "date", *self.dropped))
        object.__setattr__(self, "_never", never)
        object.__setattr__(self, "_never_nor_cookies", never | {b"set-cookie"})

    def find(self, method: str, path: str) -> tuple[str, Rule] | None:
        """The operation's name in the scope and its rule; None = not protected."""
        for pattern, route in self._patterns:
            if method in (route.methods or self.methods) and pattern.fullmatch(path):
                return None if route.rule is None else (route.pattern, route.rule)
        return (path, self.rule) if method in self.methods else None

    def kept(self, headers: Iterable[tuple[bytes, bytes]], rule: Rule) -> tuple[tuple[bytes, bytes], ...]:
        """The response headers that belong to the kept answer, in order, repeated ones too."""
        never = self._never if rule.set_cookie == "keep" else self._never_nor_cookies
        return tuple([(name, value) for name, value in headers if name.lower() not in never])

    def with_rule(self, **changes: object) -> Policy:
        """The same policy with other values in its general rule."""
        return replace(self, rule=replace(self.rule, **changes))  # type: ignore[arg-type]  # replace checks names


_FIELD = re.compile(r"\{[^{}:]*(:path)?\}")


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    text, at = "", 0
    for found in _FIELD.finditer(pattern):
        text += re.escape(pattern[at : found.start()]) + (".+" if found[1] else "[^/]+")
        at = found.end()
    return re.compile(text + re.escape(pattern[at:]))
