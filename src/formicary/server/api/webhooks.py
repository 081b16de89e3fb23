"""Webhooks over HTTP: what comes from outside and starts a job.

Senders are not clients of the API: each trigger says by itself how they are known, so these routes stand before the
API's own authentication. Whoever is not known gets one answer, whether or not there is such a trigger. A trigger
without `auth` is as open as the server: to everybody where the server asks nobody for a token, else to whoever may fire
triggers.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import msgspec

from formicary.engine.jobs.triggers import WebhookAuth
from formicary.engine.queen.runtime import Queen
from formicary.engine.queen.trigger_rows import Key, TriggerRow
from formicary.engine.queen.triggers import Taken
from formicary.engine.queen.webhooks import MOST_BODY_BYTES, Request, verify
from formicary.gateway.interceptors import AccessLog
from formicary.problems import Problem, problem
from formicary.problems.http import render_http
from formicary.problems.trace_context import trace_id_of
from formicary.server.auth.audit import REFUSALS_AT_ONCE, REFUSALS_PER_S, AuditLog
from formicary.server.auth.interceptors import LimitRate
from formicary.server.auth.principal import HOME, Known
from formicary.server.auth.roles import may_call
from formicary.server.auth.token_bucket import TokenBucket

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Find = Callable[[str], Awaitable[Known | None]]

COMPATIBLE_PATH = "/api/triggers/{job_type}/{name}"
PATH = "/v1/webhooks/{job_type}/{name}"
ORG_PATH = "/v1/orgs/{org}/webhooks/{job_type}/{name}"
METHOD = "formicary.v1.TriggerService/Webhook"
"""What the audit log calls a webhook that was taken."""
_FIRE = "/formicary.v1.TriggerService/FireTrigger"
_HIDDEN = frozenset({"authorization", "cookie", "proxy-authorization"})
_OPEN = WebhookAuth("none")
_encode = msgspec.json.Encoder().encode
_json = msgspec.json.Decoder().decode
_PATH_SAFE = "/:@!$&'()*+,;=-._~"
"""Characters that a path may have as they are (RFC 3986)."""


@dataclass(frozen=True, slots=True)
class _Origin:
    trace_id: str
    remote: str
    protocol: str = "http"


class Webhooks:
    """ASGI application of the routes.

    Args:
        queen: Whose triggers they are.
        find: Finds whoever a bearer token stands for; None = the server asks nobody for one.
        audit: Where records go; None = nowhere.
        access: Logs and counts each request.
        limit: Gives every address its own share of requests; None = nobody is bounded.
    """

    def __init__(
        self,
        queen: Queen,
        find: Find | None = None,
        audit: AuditLog | None = None,
        access: AccessLog | None = None,
        limit: LimitRate | None = None,
    ) -> None:
        self._queen = queen
        self._find = find
        self._audit = audit
        self._access = access or AccessLog()
        self._limit = limit
        self._refusals = TokenBucket(REFUSALS_PER_S, REFUSALS_AT_ONCE, time.monotonic())
        self._suppressed = 0

    @staticmethod
    def key(path: str) -> Key | None:
        """Which trigger a path means; None = the path is none of these."""
        parts = path.split("/")[1:]
        if len(parts) == 4 and parts[:2] in (["api", "triggers"], ["v1", "webhooks"]):
            return HOME, unquote(parts[2]), unquote(parts[3])
        if len(parts) == 6 and parts[:2] == ["v1", "orgs"] and parts[3] == "webhooks":
            return unquote(parts[2]), unquote(parts[4]), unquote(parts[5])
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request for one of these paths."""
        began, code, headers = time.monotonic(), "CANCELLED", _headers(scope)
        origin = _Origin(trace_id_of(headers.get("traceparent", "")), str((scope.get("client") or ("",))[0]))
        try:
            code, status, pairs, body = await self._answer(scope, headers, receive, origin)
            named = [(name.encode(), value.encode("latin-1")) for name, value in pairs if name != "content-length"]
            named.append((b"content-length", str(len(body)).encode()))
            await send({"type": "http.response.start", "status": status, "headers": named})
            await send({"type": "http.response.body", "body": body})
        finally:
            self._access.ended(f"/{METHOD}", "http", code, time.monotonic() - began, origin.trace_id)

    async def _answer(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive, origin: _Origin
    ) -> tuple[str, int, list[tuple[str, str]], bytes]:
        """Code, status, headers and body of the answer."""
        key = self.key(_path(scope)) or ("", "", "")
        shares, refusal = self._limit.take(f"webhook:{origin.remote}") if self._limit is not None else ((), None)
        try:
            if refusal is not None:
                raise refusal
            if scope["method"] != "POST":
                raise problem("METHOD_NOT_ALLOWED", "Webhooks are sent with POST.", allow=["POST"])
            request = Request(headers, _query(scope), await _body(headers, receive))
            taken = await self._take(key, request)
            body = _encode({"outcome": taken.outcome, "id": taken.job_id or None})
            pairs = [("content-type", "application/json"), ("cache-control", "no-store"), *shares]
            self._record(key, "OK", taken.job_id, origin)
            return "OK", 202 if taken.outcome == "started" else 200, pairs, body
        except Problem as error:
            if error is not refusal:  # beyond its share nothing was looked at; the access log has it
                self._record(key, error.code, "", origin)
            accept, path = headers.get("accept", ""), quote(str(scope["path"]), safe=_PATH_SAFE)
            answer = render_http(error, accept=accept, instance=path, trace_id=origin.trace_id)
            return error.code, answer.status, [*answer.headers, *shares], answer.body

    async def _take(self, key: Key, request: Request) -> Taken:
        triggers = self._queen.triggers
        self._queen.pump.now()  # 503 while the store is away, whoever asks
        await triggers.loaded()
        row = triggers.find(key)
        hidden = row.spec.auth.header.lower() if row is not None and row.spec is not None and row.spec.auth else ""

        def seen() -> Mapping[str, object]:
            return _variables(request, hidden)

        if await self._is_open(key, row, request):
            if row is None or row.spec is None or row.spec.type != "webhook":
                raise problem("NOT_FOUND", f"The job {key[1][:100]!r} has no webhook {key[2][:40]!r}.")
            if row.spec.auth is None:
                return await triggers.known_webhook(row, _delivery(request), seen)
        return await triggers.webhook(key, request, seen)

    async def _is_open(self, key: Key, row: TriggerRow | None, request: Request) -> bool:
        """Whether the caller may know which triggers there are, and start those without an `auth` of their own."""
        if self._find is None:
            return True
        if row is not None and row.spec is not None and row.spec.auth is not None:
            return False  # its own way of knowing callers counts, and `Authorization` may be part of it
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        known = await self._find(text.strip()) if scheme.lower() == "bearer" else None
        return known is not None and known.principal.org == key[0] and may_call(known.principal, _FIRE)

    def _record(self, key: Key, code: str, job_id: str, origin: _Origin) -> None:
        if self._audit is not None:
            if code == "WEBHOOK_UNAUTHENTICATED" and self._refusals.take(time.monotonic()):
                self._suppressed += 1
                return
            suppressed, self._suppressed = self._suppressed, 0
            self._audit.record(key[0], f"webhook:{key[1]}/{key[2]}"[:200], METHOD, job_id, code, origin, suppressed)


def _delivery(request: Request) -> str:
    return verify(_OPEN, b"", request, 0.0)


def _path(scope: Scope) -> str:
    raw = scope.get("raw_path")
    return raw.partition(b"?")[0].decode("latin-1") if isinstance(raw, bytes) else str(scope["path"])


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _query(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True):
        found.setdefault(name, value)
    return found


async def _body(headers: Mapping[str, str], receive: Receive) -> bytes:
    """The body. Raises Problem PAYLOAD_TOO_LARGE without reading on, CANCELLED where the sender has gone."""
    length = headers.get("content-length", "0")
    if length.isdigit() and len(length) < 20 and int(length) > MOST_BODY_BYTES:
        raise _too_large()
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise problem("CANCELLED", "The sender has gone before its event was there.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BODY_BYTES:
            raise _too_large()
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_large() -> Problem:
    return problem("PAYLOAD_TOO_LARGE", f"The body of a webhook has at most {MOST_BODY_BYTES} bytes.")


def _variables(request: Request, hidden: str) -> Mapping[str, object]:
    """What templates see: no header that shows who the sender is. Raises Problem VALIDATION_FAILED."""
    try:
        body = _json(request.body) if request.body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise problem("VALIDATION_FAILED", f"The body of the webhook is no JSON: {error}") from error
    shown = {name: value for name, value in request.headers.items() if name not in _HIDDEN and name != hidden}
    return {"Body": body, "Headers": {_canonical(name): value for name, value in shown.items()}, "Query": request.query}


def _canonical(name: str) -> str:
    """A header's name as Go writes it: X-Github-Event."""
    return "-".join(part.capitalize() for part in name.split("-"))
