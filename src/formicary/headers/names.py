"""Names of headers and metadata: what may be mapped, what never crosses, what is an identity, what is a secret."""

from __future__ import annotations

import re

COOKIES = frozenset({"cookie", "cookie2", "set-cookie", "set-cookie2"})
"""Never cross, in no direction."""

HOP_BY_HOP = frozenset(
    {
        "connection",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)
"""Belong to one connection (RFC 9110, section 7.6.1), so a mapping may not name them."""

FRAMING = frozenset({"content-encoding", "content-length", "content-type"})
"""Describe the body of the message they are in; copied to another protocol they would lie."""

IDENTITIES = frozenset(
    {
        "remote-user",
        "user-email",
        "user-id",
        "user-role",
        "user-roles",
        "x-amzn-oidc-identity",
        "x-auth-request-email",
        "x-auth-request-user",
        "x-authenticated-user",
        "x-forwarded-client-cert",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-forwarded-preferred-username",
        "x-forwarded-user",
        "x-goog-authenticated-user-email",
        "x-goog-authenticated-user-id",
        "x-ms-client-principal",
        "x-ms-client-principal-id",
        "x-remote-user",
        "x-ssl-client-cert",
        "x-ssl-client-verify",
        "x-user-email",
        "x-user-id",
        "x-user-role",
        "x-user-roles",
    }
)
"""Say who is calling; only a trusted peer (a proxy that authenticated the caller) may send them."""

PERMANENT = (
    "accept",
    "accept-charset",
    "accept-language",
    "accept-ranges",
    "authorization",
    "cache-control",
    "content-type",
    "date",
    "expect",
    "from",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-schedule-tag-match",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "pragma",
    "referer",
    "user-agent",
    "via",
    "warning",
)
"""Headers that grpc-gateway hands on as ``grpcgateway-NAME``; without Cookie and Host, which never cross here."""

GATEWAY_PREFIX = "grpc-metadata-"
GATEWAY_TRAILER_PREFIX = "grpc-trailer-"
PERMANENT_PREFIX = "grpcgateway-"

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_KEY = re.compile(r"[0-9a-z_.-]+").fullmatch
_SECRET = re.compile(r"authori[sz]ation|api[-_]?key|cookie|credential|jwt|passw|secret|session|signature|token").search
MAX_NAME_BYTES = 256


def is_secret(name: str) -> bool:
    """Whether values of a header or metadata key of this name are masked wherever people see them."""
    return _SECRET(name.lower()) is not None


def is_identity(name: str) -> bool:
    """Whether the name says who is calling."""
    return name.lower() in IDENTITIES


def header_fault(name: str, *, incoming: bool, outgoing: bool) -> str:
    """Returns why a header may not be mapped, as the end of a sentence; empty when it may."""
    lower = name.lower()
    if lower.startswith(":"):
        return "is a pseudo header of HTTP/2; it is no header"
    if not name or len(name) > MAX_NAME_BYTES or not _TOKEN(name):
        return f"is no header name: use letters, digits and hyphens, at most {MAX_NAME_BYTES}"
    if lower in COOKIES:
        return "is a cookie; cookies never cross"
    if lower in HOP_BY_HOP:
        return "belongs to one connection (hop by hop) and cannot be mapped"
    if lower == "grpc-timeout":
        return "is reserved; set timeouts: true to carry deadlines"
    if lower.startswith(GATEWAY_PREFIX):
        return "is internal metadata; set grpc_gateway: true to take it from trusted peers"
    if lower.startswith("grpc-"):
        return "is reserved for gRPC itself"
    if outgoing and lower in FRAMING:
        return "describes the body of the reply and cannot be set from metadata; use direction: incoming"
    return ""


def metadata_fault(key: str) -> str:
    """Returns why a metadata key may not be used, as the end of a sentence; empty when it may."""
    if key.startswith(":"):
        return "is a pseudo header of HTTP/2; it is no metadata"
    if not key or len(key) > MAX_NAME_BYTES or not _KEY(key):
        return f"is no metadata key: use lower-case letters, digits, '-', '_' and '.', at most {MAX_NAME_BYTES}"
    if key.startswith("grpc-"):
        return "is reserved for gRPC itself"
    if key in COOKIES:
        return "is a cookie; cookies never cross"
    if key in HOP_BY_HOP or key in FRAMING:
        return f"is set by the transport; use another key, like http-{key}"
    return ""


def mask(value: str | bytes) -> str:
    """Returns what people may see of a secret: its length only."""
    return f"***({len(value)})"
