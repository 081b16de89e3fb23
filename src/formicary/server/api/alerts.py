"""Alerts over the API: what the store remembers of the rules."""

from __future__ import annotations

from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call
from formicary.v1 import alerts_pb2 as pb
from formicary.v1 import alerts_pb2_grpc

KIND = "alert"
"""Of the rows in the store; written by `server.alerts.watch`."""


class AlertServicer(alerts_pb2_grpc.AlertServiceServicer):
    """Alerts as clients see them."""

    def __init__(self, queen: Queen) -> None:
        self._queen = queen

    async def ListAlerts(self, request: pb.ListAlertsRequest, call: Call) -> pb.ListAlertsResponse:
        """All rules, by name."""
        await self._queen.pump.settle()
        rows = await self._queen.pump.read(lambda: self._queen.store.states(KIND))
        found = [_message(str(row[2]), msgspec.json.decode(row[3])) for row in rows if isinstance(row[3], bytes)]
        return pb.ListAlertsResponse(alerts=[one for one in found if request.state in ("", one.state)])


def _message(name: str, kept: dict[str, Any]) -> pb.Alert:
    found = pb.Alert(
        name=name,
        condition=kept.get("condition", ""),
        action=kept.get("action", ""),
        state=kept["state"],
        episodes=kept["number"],
        message=kept.get("message", ""),
    )
    for field, seconds in (("since", kept["since"]), ("acted_at", kept["acted_at"])):
        if seconds:
            moment = Timestamp()
            moment.FromMilliseconds(round(seconds * 1000))
            getattr(found, field).CopyFrom(moment)
    return found
