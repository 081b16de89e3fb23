"""ASGI middleware: every exception becomes a problem document, and every type URI has its page.

A response that has begun cannot be taken back: its exception goes on to the server, which cuts the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from formicary.problems import pages
from formicary.problems.catalogue import problem
from formicary.problems.catching import Catcher, Hook
from formicary.problems.http import HTML, JSON, HttpAnswer, fallback_http, preferred, render_http
from formicary.problems.problem import TYPE_PREFIX, Problem
from formicary.problems.trace_context import trace_id_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TRACE_ID = "formicary.trace_id"
"""Key of the trace id in the scope, for the application below."""


class ProblemMiddleware:
    """Wraps an application; mount it outermost.

    Args:
        app: What answers.
        hook: Called with code and protocol of every problem, for metrics.
        type_base: Scheme and authority of type URIs, like ``https://jobs.example``; empty = relative to the server.
        serve_pages: Whether ``/problems/…`` is answered here.

    Attributes:
        catcher: Counts of problems and panics.
    """

    def __init__(self, app: App, *, hook: Hook | None = None, type_base: str = "", serve_pages: bool = True) -> None:
        self._app = app
        self._type_base = type_base
        self._serve_pages = serve_pages
        self.catcher = Catcher("http", hook)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; what is not HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id = scope.setdefault(TRACE_ID, trace_id_of(_header(scope, b"traceparent")))
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        where = f"{scope['method']} {scope['path']}"
        try:
            if self._serve_pages and scope["path"].startswith(TYPE_PREFIX):
                await _send(watched, self._page(scope), scope)
            else:
                await self._app(scope, receive, watched)
        except Exception as error:
            if begun:
                self.catcher.panicked(error, where + " (the response had begun)", trace_id)
                raise
            found = self.catcher.caught(error, where, trace_id)
            await _send(send, self._rendered(found, scope, where, trace_id), scope)

    def _rendered(self, found: Problem, scope: Scope, where: str, trace_id: str) -> HttpAnswer:
        try:
            return render_http(
                found,
                accept=_header(scope, b"accept"),
                instance=_path(scope),
                trace_id=trace_id,
                type_base=self._type_base,
            )
        except Exception as error:
            self.catcher.panicked(error, where + " (rendering the problem)", trace_id)
            return fallback_http(trace_id, instance=_path(scope))

    def _page(self, scope: Scope) -> HttpAnswer:
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD"):
            raise problem("METHOD_NOT_ALLOWED", "This page answers GET and HEAD.", allow=["GET", "HEAD"])
        html = preferred(_header(scope, b"accept"), (HTML, JSON)) != JSON
        if path == TYPE_PREFIX:
            body = pages.index(html=html, type_base=self._type_base)
        else:
            row = pages.find(path)
            if row is None:
                raise problem("NOT_FOUND", f"There is no problem type here; {TYPE_PREFIX} lists all.")
            body = pages.page(row, html=html, type_base=self._type_base)
        headers = [
            ("content-type", "text/html; charset=utf-8" if html else JSON),
            ("content-length", str(len(body))),
            ("vary", "accept"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", pages.POLICY),
        ]
        return HttpAnswer(200, headers, body)


async def _send(send: Send, answer: HttpAnswer, scope: Scope) -> None:
    headers: Iterable[tuple[bytes, bytes]] = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


def _header(scope: Scope, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name)


def _path(scope: Scope) -> str:
    """The path as it was sent: a URI reference, no query (it may hold secrets)."""
    raw = scope.get("raw_path")
    return raw.decode("latin-1") if isinstance(raw, bytes) else str(scope["path"])
