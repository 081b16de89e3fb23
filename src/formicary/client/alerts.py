"""Alerts through a client."""

from __future__ import annotations

from typing import Any

from formicary.client.client import Client
from formicary.client.documents import alert as document
from formicary.v1 import alerts_pb2 as pb


async def list_alerts(client: Client, state: str = "") -> list[dict[str, Any]]:
    """Documents of the alert rules of the server, by name; only those in a state where one is given.

    Raises:
        Problem: VALIDATION_FAILED, PERMISSION_DENIED, UNAVAILABLE.
    """
    answer: pb.ListAlertsResponse = await client.call("ListAlerts", pb.ListAlertsRequest(state=state))
    return [document(one) for one in answer.alerts]
