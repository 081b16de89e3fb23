"""Does a webhook come from whom it says? Signatures and secrets of requests, compared in constant time.

Three forms of signature, each an HMAC with SHA-256:

- ``body``: over the raw body, ``sha256=HEX`` (GitHub, Gitea). It bears no time, so that a copy of it never grows old:
  its body is its identity, and the same body starts the same job for ever.
- ``timestamp``: over ``TIME.BODY``, ``t=TIME,v1=HEX`` (Stripe); TIME in seconds since the epoch.
- ``standard``: over ``ID.TIME.BODY``, ``v1,BASE64`` with ``webhook-id`` and ``webhook-timestamp`` (Standard Webhooks).

The definition says which; the request does not. Everything here is pure: the time and the secret come in as arguments.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from formicary.engine.jobs.triggers import WebhookAuth
from formicary.problems import Problem, problem

MOST_BODY_BYTES = 1024 * 1024
MOST_SIGNATURES = 8
"""Signatures of one request that are looked at: senders give several while they change their secret."""
NO_SECRET = b"\0" * 32
"""What is compared with where there is no trigger, so that the answer takes as long."""
_DELIVERY = ("idempotency-key", "x-github-delivery", "webhook-id")


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came.

    Attributes:
        headers: By lower-case name; several of one name are joined with commas.
        query: By name, the first of each.
        body: Its bytes.
    """

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


def verify(auth: WebhookAuth, secret: bytes, request: Request, now: float) -> str:
    """Checks who sent a request; returns the identity of its event, empty = it has none.

    Args:
        auth: As the trigger says.
        secret: The secret; empty = nothing is right.
        request: The request.
        now: Seconds since the epoch.

    Raises:
        Problem: WEBHOOK_UNAUTHENTICATED; WEBHOOK_EXPIRED where the signature is right and its time is not.
    """
    if auth.method == "none":
        return _delivery(request)
    sent = request.headers.get(auth.header.lower() if auth.method != "bearer_token" else "authorization", "")
    if auth.method == "hmac_sha256":
        return _signed(auth, secret, sent, request, now)
    if auth.method == "bearer_token":
        scheme, _, sent = sent.partition(" ")
        sent = sent.strip() if scheme.lower() == "bearer" else ""
    if not _same(sent.encode(), secret) or not secret:
        raise refused()
    return _delivery(request)


def refused() -> Problem:
    """The one answer to a request that nobody vouches for; it does not say whether there is such a trigger."""
    return problem(
        "WEBHOOK_UNAUTHENTICATED",
        "There is no such webhook, or the signature, token or key that it asks for is missing or wrong.",
        challenge='Bearer realm="formicary"',
    )


def _signed(auth: WebhookAuth, secret: bytes, sent: str, request: Request, now: float) -> str:
    """Checks a signature. Raises Problem WEBHOOK_UNAUTHENTICATED."""
    time_text, identity = "", sha256(request.body).hexdigest()
    if auth.form == "body":
        content, given = request.body, [sent.removeprefix("sha256=")]
    elif auth.form == "timestamp":
        pairs = [part.strip().partition("=") for part in sent.split(",")]
        time_text = next((value for name, _, value in pairs if name == "t"), "")
        content = time_text.encode() + b"." + request.body
        given = [value for name, _, value in pairs if name == "v1"]
        identity = sha256(content).hexdigest()
    else:
        identity, time_text = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
        content = f"{identity}.{time_text}.".encode() + request.body
        given = [part.removeprefix("v1,") for part in sent.split() if part.startswith("v1,")]
        secret = _standard_secret(secret)
    digest = hmac.digest(secret or NO_SECRET, content, "sha256")
    wanted = b64encode(digest) if auth.form == "standard" else digest.hex().encode()
    right = [_same(text.encode(), wanted) for text in given[:MOST_SIGNATURES]]  # all of them: no early end
    if not any(right) or not secret:
        raise refused()
    if auth.form != "body":
        _check_time(time_text, now, auth.tolerance_s)
    if not identity:
        raise problem("VALIDATION_FAILED", "The header webhook-id is missing.")
    return identity


def _same(sent: bytes, wanted: bytes) -> bool:
    """Compares in a time that says nothing of either, their lengths included."""
    return hmac.compare_digest(sha256(sent).digest(), sha256(wanted).digest())


def _standard_secret(secret: bytes) -> bytes:
    """The bytes of a secret that is written as ``whsec_BASE64``."""
    if not secret.startswith(b"whsec_"):
        return secret
    try:
        return b64decode(secret.removeprefix(b"whsec_"), validate=True)
    except Base64Error:
        return secret


def _check_time(text: str, now: float, tolerance_s: float) -> None:
    if not text.isascii() or not text.isdigit() or len(text) > 12 or abs(now - int(text)) > tolerance_s:
        raise problem(
            "WEBHOOK_EXPIRED",
            f"The signature is right, but its time is more than {tolerance_s:g} s away from this server's.",
            challenge='Bearer realm="formicary"',
        )


def _delivery(request: Request) -> str:
    """What the sender calls this delivery; it says the same when it sends it again."""
    return next((request.headers[name] for name in _DELIVERY if request.headers.get(name)), "")
