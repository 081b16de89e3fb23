"""The page `/metrics`: Prometheus' text format, or OpenMetrics where the scraper asks for it.

It shows every organisation's figures, so with `--auth` its reader needs a token of the server's own organisation whose
role may read; make one for the scraper with `formicary token create --role viewer`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from formicary.engine.queen.census import running_of, take_backlog, take_census
from formicary.headers.prometheus import HeaderCollector
from formicary.problems import Problem, problem
from formicary.problems.http import render_http
from formicary.server.auth.principal import HOME, Verify
from formicary.server.metrics.collector import ServerCollector, Sources

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATH = "/metrics"
READERS = frozenset({"admin", "operator", "submitter", "viewer"})
CENSUS_S = 1.0
"""Jobs are counted at most once in so many seconds, however many scrapers there are."""


def registry_of(sources: Sources) -> CollectorRegistry:
    """A registry of its own with the server's metrics and those of its process."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(sources))
    if sources.headers is not None:
        registry.register(HeaderCollector({"api": sources.headers}))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class MetricsPage:
    """The application behind `/metrics`.

    Args:
        sources: Where the figures come from.
        find: Whoever a bearer token stands for, as the chain of the API finds out; None = no authentication.
    """

    def __init__(self, sources: Sources, find: Verify | None = None) -> None:
        self._sources = sources
        self._find = find
        self._registry = registry_of(sources)
        self._counting = asyncio.Lock()
        self._counted_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        accept = _header(scope, b"accept")
        try:
            await self.check(scope)
            await self.count_jobs()
            encode, media_type = choose_encoder(accept)
            status, body = 200, encode(self._registry)
            headers = [("content-type", media_type), ("cache-control", "no-store"), ("vary", "accept")]
            headers.append(("content-length", str(len(body))))
        except Problem as error:
            status, headers, body = render_http(error, accept=accept, instance=PATH)
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def check(self, scope: Scope) -> None:
        """Whether the caller may read figures. Raises Problem."""
        if scope["method"] not in ("GET", "HEAD"):
            raise problem("METHOD_NOT_ALLOWED", f"{PATH} answers GET and HEAD.", allow=["GET", "HEAD"])
        if self._find is None:
            return
        scheme, _, token = _header(scope, b"authorization").partition(" ")
        known = await self._find(token.strip()) if scheme.lower() == "bearer" else None
        if known is None:
            raise problem("UNAUTHENTICATED", "A scraper needs a token: send the header Authorization: Bearer TOKEN.")
        if known.principal.org != HOME or known.principal.roles.isdisjoint(READERS):
            raise problem(
                "PERMISSION_DENIED",
                "The metrics show every organisation: they are read with a viewer's token of the server's own.",
            )

    async def count_jobs(self) -> None:
        """Counts what is counted on request, unless that has just been done."""
        async with self._counting:
            queen = self._sources.queen
            if queen is not None and time.monotonic() - self._counted_at >= CENSUS_S:
                self._sources.census = await take_census(queen.pump.core.jobs.values())
                self._sources.backlog = await take_backlog(queen.pump.core.queues)
                self._sources.running = running_of(queen.pump.core.leases.tokens.values())
                if queen.ready:
                    self._sources.dead_letters = await queen.dead_letters.counts()
                self._counted_at = time.monotonic()


def _header(scope: Scope, name: bytes) -> str:
    return ", ".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)
