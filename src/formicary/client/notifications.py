"""Notices through a client."""

from __future__ import annotations

from typing import Any

from formicary.client.client import Client
from formicary.client.documents import notification as document
from formicary.v1 import notifications_pb2 as pb

PAGE = 1000


async def list_notifications(
    client: Client, *, job_id: str = "", state: str = "", limit: int = 0
) -> list[dict[str, Any]]:
    """Documents of notices, newest first.

    Args:
        client: An open client.
        job_id: Only of this job.
        state: Only those that are PENDING, SENT or DEAD.
        limit: At most so many, 0 = all.

    Raises:
        Problem: VALIDATION_FAILED, PERMISSION_DENIED, UNAVAILABLE.
    """
    size = min(limit or PAGE, PAGE)
    request = pb.ListNotificationsRequest(job_id=job_id, state=state, page_size=size)
    found: list[dict[str, Any]] = []
    while True:
        page: pb.ListNotificationsResponse = await client.call("ListNotifications", request)
        found += map(document, page.notifications)
        if not page.next_page_token or (limit and len(found) >= limit):
            return found[:limit] if limit else found
        request.page_token = page.next_page_token


async def retry_notification(client: Client, notice_id: str) -> dict[str, Any]:
    """Tries a notice anew that was given up. Raises Problem NOT_FOUND, FAILED_PRECONDITION, and as above."""
    return document(await client.call("RetryNotification", pb.RetryNotificationRequest(id=notice_id), again=False))
