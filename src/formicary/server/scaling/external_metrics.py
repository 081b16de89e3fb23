"""The server's gauges as Kubernetes' external metrics: ``/apis/external.metrics.k8s.io/v1beta1/…``.

An autoscaler asks ``…/namespaces/NAMESPACE/METRIC?labelSelector=…`` and adds up the values of what is answered. Every
gauge of the catalogue is there, and `formicary_work`, which is what waits and what runs. Its label `tags` cannot hold
commas in Kubernetes: tags are joined by dots there, and `tag` selects by one of them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from formicary.problems import Problem
from formicary.server.metrics.catalogue import CATALOGUE
from formicary.server.metrics.collector import ServerCollector, Sources
from formicary.server.scaling.selector import parse_selector
from formicary.server.scaling.work import METRIC

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
PREFIX = f"/apis/{GROUP}"
_GAUGES = frozenset({row.name for row in CATALOGUE if row.kind == "gauge"} | {METRIC})
_FORBIDDEN = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "METHOD_NOT_ALLOWED": 405}
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed"}


class ExternalMetrics:
    """The application behind the prefix.

    Args:
        sources: Where the figures come from.
        refresh: Brings counts that are made on request up to date.
        check: Raises Problem where the caller may not read figures.
    """

    def __init__(
        self,
        sources: Sources,
        refresh: Callable[[], Awaitable[None]],
        check: Callable[[Scope], Awaitable[None]],
    ) -> None:
        self._sources = sources
        self._collector = ServerCollector(sources)
        self._refresh = refresh
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        try:
            await self._check(scope)
            status, document = await self._answer(scope)
        except Problem as error:
            status = _FORBIDDEN.get(error.code, 503)
            document = _status(status, error.detail)
        body = json.dumps(document).encode()
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope) -> tuple[int, dict[str, Any]]:
        parts = scope["path"].removeprefix(PREFIX).strip("/").split("/")
        if parts == [""]:
            return 200, _group()
        if parts == [VERSION]:
            return 200, _resources()
        if len(parts) != 4 or parts[:2] != [VERSION, "namespaces"]:
            return 404, _status(
                404, f"There is no {scope['path'][:200]}: ask for …/{VERSION}/namespaces/NAMESPACE/METRIC."
            )
        if (name := parts[3]) not in _GAUGES:
            known = ", ".join(sorted(_GAUGES))
            return 404, _status(404, f"There is no metric {name[:100]!r}; there are {known}.")
        query = parse_qs(scope["query_string"].decode("latin-1"))
        try:
            selects = parse_selector(",".join(query.get("labelSelector", ())))
        except ValueError as error:
            return 400, _status(400, f"labelSelector: {error}.")
        await self._refresh()
        items = [_item(name, labels, value) for labels, value in self._samples(name) if selects(_selectable(labels))]
        return 200, {
            "kind": "ExternalMetricValueList",
            "apiVersion": f"{GROUP}/{VERSION}",
            "metadata": {},
            "items": items,
        }

    def _samples(self, name: str) -> Iterable[tuple[Mapping[str, str], float]]:
        if name == METRIC:
            work = self._sources.backlog + self._sources.running
            yield from (({"method": method, "tags": ",".join(sorted(tags))}, n) for (method, tags), n in work.items())
            return
        for metric in self._collector.collect():
            if metric.name == name:
                yield from ((sample.labels, float(sample.value)) for sample in metric.samples)


def _selectable(labels: Mapping[str, str]) -> dict[str, frozenset[str]]:
    found = {name: frozenset({value.replace(",", ".")}) for name, value in labels.items() if value}
    if labels.get("tags"):
        found["tag"] = frozenset(labels["tags"].split(","))
    return found


def _item(name: str, labels: Mapping[str, str], value: float) -> dict[str, Any]:
    return {
        "metricName": name,
        "metricLabels": {label: text.replace(",", ".") for label, text in labels.items()},
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),  # shown only
        "value": quantity(value),
    }


def quantity(value: float) -> str:
    """A number as Kubernetes writes quantities: whole, or in thousandths."""
    return str(int(value)) if value == int(value) else f"{round(value * 1000)}m"


def _group() -> dict[str, Any]:
    version = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
    return {"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version], "preferredVersion": version}


def _resources() -> dict[str, Any]:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{VERSION}",
        "resources": [
            {
                "name": name,
                "singularName": "",
                "namespaced": True,
                "kind": "ExternalMetricValueList",
                "verbs": ["get"],
            }
            for name in sorted(_GAUGES)
        ],
    }


def _status(code: int, message: str) -> dict[str, Any]:
    reason = _REASONS.get(code, "ServiceUnavailable")
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
