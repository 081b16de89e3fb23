"""Circuit breakers through a client."""

from __future__ import annotations

from typing import Any

from formicary.client.client import Client
from formicary.client.documents import breaker as document
from formicary.v1 import breakers_pb2 as pb


async def list_breakers(client: Client) -> list[dict[str, Any]]:
    """Documents of all circuit breakers, by name. Raises Problem PERMISSION_DENIED, UNAVAILABLE."""
    request = pb.ListBreakersRequest(page_size=1000)
    found: list[dict[str, Any]] = []
    while True:
        page: pb.ListBreakersResponse = await client.call("ListBreakers", request)
        found += map(document, page.breakers)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def reset_breaker(client: Client, name: str) -> dict[str, Any]:
    """Closes a breaker; returns its document. Raises Problem NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE."""
    return document(await client.call("ResetBreaker", pb.ResetBreakerRequest(name=name)))
