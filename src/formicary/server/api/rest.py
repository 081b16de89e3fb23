"""What the HTTP port answers beside its health pages: the API over REST, its OpenAPI document and pages for people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import cache
from typing import Any

import msgspec

from formicary.engine.queen.runtime import Queen
from formicary.gateway import Interceptor, Transcoder
from formicary.gateway.openapi import PageFile, docs_page
from formicary.problems import pages
from formicary.problems.http import preferred
from formicary.server.api.openapi import document
from formicary.server.api.serving import MAX_MESSAGE_BYTES, servicers
from formicary.server.api.webhooks import Webhooks
from formicary.server.api.yaml_body import as_request
from formicary.server.auth.tokens import TokenBook

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPENAPI = "/openapi.json"
DOCS = "/docs/"
PROBLEMS = "/problems/"
_JSON = "application/json"
_READ = ("GET", "HEAD")


def rest(queen: Queen, chain: Sequence[Interceptor], tokens: TokenBook, webhooks: Webhooks | None = None) -> App:
    """The application that serves a started queen.

    Args:
        queen: The queen.
        chain: The same interceptors as over gRPC, outermost first.
        tokens: What the token service administers.
        webhooks: What takes webhooks; None = every caller may send them.
    """
    hooks = webhooks or Webhooks(queen)
    transcoder = Transcoder(servicers(queen, tokens), chain, emit_defaults=True, max_body_bytes=MAX_MESSAGE_BYTES)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found = _file(scope["path"], _accept(scope)) if scope["method"] in _READ else None
        if found is None and Webhooks.key(scope["path"]) is not None:
            await hooks(scope, receive, send)
        elif found is None:
            await transcoder(*as_request(scope, receive), send)
        else:
            await _send_file(found, send, whole=scope["method"] == "GET")

    return app


@cache
def openapi() -> bytes:
    """The OpenAPI 3.1 document of the API, as JSON."""
    return msgspec.json.encode(document())


@cache
def _docs() -> dict[str, PageFile]:
    return docs_page("Formicary API", OPENAPI)


def _file(path: str, accept: str) -> PageFile | None:
    if path == OPENAPI:
        return PageFile(openapi(), _JSON, {})
    if path.startswith(DOCS):
        return _docs().get(path.removeprefix(DOCS))
    if path.startswith(PROBLEMS):
        return _problem_page(path, html=preferred(accept, ("application/json", "text/html")) == "text/html")
    return None


def _problem_page(path: str, *, html: bool) -> PageFile | None:
    kind, headers = ("text/html; charset=utf-8", {"content-security-policy": pages.POLICY}) if html else (_JSON, {})
    if path == PROBLEMS:
        return PageFile(pages.index(html=html), kind, headers)
    row = pages.find(path)
    return None if row is None else PageFile(pages.page(row, html=html), kind, headers)


def _accept(scope: Scope) -> str:
    return ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")


async def _send_file(found: PageFile, send: Send, *, whole: bool) -> None:
    headers = [
        (b"content-type", found.media_type.encode()),
        (b"content-length", str(len(found.content)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in found.headers.items()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": found.content if whole else b""})
