"""Virtual resources through a client."""

from __future__ import annotations

from typing import Any

from formicary.client.client import Client
from formicary.client.documents import lock as document
from formicary.v1 import locks_pb2 as pb


async def list_locks(client: Client) -> list[dict[str, Any]]:
    """Documents of all that are configured, held or waited for. Raises Problem PERMISSION_DENIED, UNAVAILABLE."""
    request = pb.ListLocksRequest(page_size=1000)
    found: list[dict[str, Any]] = []
    while True:
        page: pb.ListLocksResponse = await client.call("ListLocks", request)
        found += map(document, page.locks)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def get_lock(client: Client, name: str) -> dict[str, Any]:
    """One document. Raises Problem NOT_FOUND, and as above."""
    return document(await client.call("GetLock", pb.GetLockRequest(name=name)))


async def set_lock(client: Client, name: str, capacity: float, *, description: str = "") -> dict[str, Any]:
    """Says how much there is of one; returns its document. Raises Problem VALIDATION_FAILED, and as above."""
    request = pb.SetLockRequest(name=name, capacity=capacity, description=description)
    return document(await client.call("SetLock", request))


async def delete_lock(client: Client, name: str) -> dict[str, Any]:
    """Forgets what was configured; returns what it was. Raises Problem NOT_FOUND, and as above."""
    return document(await client.call("DeleteLock", pb.DeleteLockRequest(name=name), again=False))
