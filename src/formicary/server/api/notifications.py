"""Notices over the API."""

from __future__ import annotations

from typing import Any

from formicary.engine.queen.notify.outbox import document_of
from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.port import NOTICE_COLUMNS, Row
from formicary.gateway import Call
from formicary.server.api import page_tokens
from formicary.v1 import notifications_pb2 as pb
from formicary.v1 import notifications_pb2_grpc

DEFAULT_PAGE = 100
_CREATED = NOTICE_COLUMNS.index("created_at")
_TIMES = ("created_at", "next_at", "sent_at")


class NotificationServicer(notifications_pb2_grpc.NotificationServiceServicer):
    """Notices as people see them.

    Args:
        queen: Whose they are.
    """

    def __init__(self, queen: Queen) -> None:
        self._outbox = queen.outbox

    async def ListNotifications(self, request: pb.ListNotificationsRequest, call: Call) -> pb.ListNotificationsResponse:
        """A page of notices, newest first. Those made meanwhile do not shift the pages."""
        filters, size = [request.job_id, request.state], request.page_size or DEFAULT_PAGE
        after = (1e12, "")
        if request.page_token:
            notice_id, at = page_tokens.named_position(request.page_token, filters)
            after = (at / 1000, notice_id)
        rows = await self._outbox.page(
            call.principal.org, job_id=request.job_id, state=request.state, after=after, size=size
        )
        last = rows[-1] if len(rows) == size else None
        token = page_tokens.named(str(last[0]), round(float(last[_CREATED] or 0.0) * 1000), filters) if last else ""
        return pb.ListNotificationsResponse(notifications=map(_message, rows), next_page_token=token)

    async def RetryNotification(self, request: pb.RetryNotificationRequest, call: Call) -> pb.Notification:
        """Tries a notice anew that was given up."""
        return _message(await self._outbox.again(call.principal.org, request.id))


def _message(row: Row) -> pb.Notification:
    found: dict[str, Any] = document_of(row)
    message = pb.Notification(**{name: value for name, value in found.items() if name not in _TIMES})
    for name in _TIMES:
        if found[name] is not None:
            getattr(message, name).FromJsonString(found[name])
    return message
