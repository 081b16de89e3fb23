"""Queues through a client."""

from __future__ import annotations

from typing import Any

from formicary.client.client import Client
from formicary.client.documents import queues as document
from formicary.v1 import queues_pb2 as pb


async def get_queues(client: Client) -> dict[str, Any]:
    """The document of the configuration that holds, with the state of each queue. Raises Problem UNAVAILABLE."""
    return document(await client.call("GetQueues", pb.GetQueuesRequest()))


async def put_queues(client: Client, source: str, *, filename: str = "") -> dict[str, Any]:
    """Puts another configuration in place; returns its document.

    Args:
        client: An open client.
        source: YAML.
        filename: For messages.

    Raises:
        Problem: VALIDATION_FAILED with every violation, PERMISSION_DENIED, UNAVAILABLE.
    """
    return document(await client.call("PutQueues", pb.PutQueuesRequest(source=source, filename=filename)))
