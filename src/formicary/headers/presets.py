"""Ready-made rules: common headers, authentication, tracing, rate limits, security headers, and all for production."""

from __future__ import annotations

from collections.abc import Mapping

from formicary.headers.model import Direction, Generated, Rule
from formicary.headers.transforms import make

_IN, _OUT, _BOTH = Direction.INCOMING, Direction.OUTGOING, Direction.BIDIRECTIONAL

COMMON = (
    Rule(header="X-Request-ID", metadata="request-id", direction=_BOTH, default=Generated("uuid")),
    Rule(header="User-Agent", metadata="http-user-agent", direction=_IN, incoming=(make("sanitize_user_agent"),)),
    Rule(header="Accept-Language", metadata="accept-language", direction=_IN),
    Rule(header="Idempotency-Key", metadata="idempotency-key", direction=_IN),
    Rule(header="If-Match", metadata="if-match", direction=_IN),
    Rule(header="If-None-Match", metadata="if-none-match", direction=_IN),
    Rule(header="ETag", metadata="etag", direction=_OUT),
    Rule(header="Retry-After", metadata="retry-after", direction=_OUT),
    Rule(header="Deprecation", metadata="deprecation", direction=_OUT),
    Rule(header="Sunset", metadata="sunset", direction=_OUT),
)
AUTH = (
    Rule(header="Authorization", metadata="authorization", direction=_IN, sensitive=True),
    Rule(header="X-API-Key", metadata="api-key", direction=_IN, sensitive=True),
    Rule(header="X-User-ID", metadata="user-id", direction=_IN, trusted_only=True),
    Rule(header="X-User-Role", metadata="user-role", direction=_IN, trusted_only=True),
    Rule(header="WWW-Authenticate", metadata="www-authenticate", direction=_OUT),
)
TRACING = (
    Rule(
        header="traceparent",
        metadata="traceparent",
        direction=_IN,
        incoming=(make("traceparent"),),
        default=Generated("traceparent"),
    ),
    Rule(header="tracestate", metadata="tracestate", direction=_IN),
    Rule(header="baggage", metadata="baggage", direction=_IN),
    Rule(header="X-Trace-ID", metadata="trace-id", direction=_BOTH, default=Generated("trace_id")),
    Rule(header="X-Correlation-ID", metadata="correlation-id", direction=_BOTH, default=Generated("uuid")),
)
RATE_LIMIT = (
    Rule(header="X-RateLimit-Limit", metadata="ratelimit-limit", direction=_OUT),
    Rule(header="X-RateLimit-Remaining", metadata="ratelimit-remaining", direction=_OUT),
    Rule(header="X-RateLimit-Reset", metadata="ratelimit-reset", direction=_OUT),
    Rule(header="RateLimit", metadata="ratelimit", direction=_OUT),
    Rule(header="RateLimit-Policy", metadata="ratelimit-policy", direction=_OUT),
)


def _always(header: str, value: str) -> Rule:
    return Rule(header=header, metadata=header.lower(), direction=_OUT, default=value)


SECURITY = (
    _always("X-Content-Type-Options", "nosniff"),
    _always("X-Frame-Options", "DENY"),
    _always("Referrer-Policy", "no-referrer"),
    _always("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    _always("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    _always("Cross-Origin-Resource-Policy", "same-origin"),
)

# The engine's chain gives every call a trace before headers are mapped, and shows it as X-Trace-ID itself.
_ENGINE_TRACING = (
    Rule(header="traceparent", metadata="traceparent", direction=_IN, incoming=(make("traceparent"),)),
    Rule(header="tracestate", metadata="tracestate", direction=_IN),
    Rule(header="baggage", metadata="baggage", direction=_IN),
    Rule(header="X-Trace-ID", metadata="trace-id", direction=_IN),
    Rule(header="X-Correlation-ID", metadata="correlation-id", direction=_BOTH, default=Generated("uuid")),
)
# Without Strict-Transport-Security: on a host that also serves plain HTTP (localhost!) it would lock browsers out.
_ENGINE_SECURITY = tuple(rule for rule in SECURITY if rule.header != "Strict-Transport-Security")

PRESETS: Mapping[str, tuple[Rule, ...]] = {
    "common": COMMON,
    "auth": AUTH,
    "tracing": TRACING,
    "rate_limit": RATE_LIMIT,
    "security": SECURITY,
    "production": COMMON + AUTH + TRACING + RATE_LIMIT + SECURITY,
    "engine": COMMON + AUTH + _ENGINE_TRACING + RATE_LIMIT + _ENGINE_SECURITY,
}
"""Every preset by name."""
