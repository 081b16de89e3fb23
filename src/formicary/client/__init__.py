"""The client of a queen: asynchronous, and a blocking one with the same methods.

Names are loaded on first use, so that the rooms that only make ids do not load gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formicary.client.client import DEFAULT_ADDRESS, Client
    from formicary.client.rest import RestClient
    from formicary.client.sync import SyncClient
    from formicary.client.values import DefinitionRef, Event, JobEnd, JobHandle, LogLine

__all__ = [
    "DEFAULT_ADDRESS",
    "Client",
    "DefinitionRef",
    "Event",
    "JobEnd",
    "JobHandle",
    "LogLine",
    "RestClient",
    "SyncClient",
]

_EXPORTS = {
    "DEFAULT_ADDRESS": "formicary.client.client",
    "Client": "formicary.client.client",
    "RestClient": "formicary.client.rest",
    "SyncClient": "formicary.client.sync",
    "DefinitionRef": "formicary.client.values",
    "Event": "formicary.client.values",
    "JobEnd": "formicary.client.values",
    "JobHandle": "formicary.client.values",
    "LogLine": "formicary.client.values",
}


def __getattr__(name: str) -> object:
    """Loads an exported name on first use."""
    room = _EXPORTS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(room), name)
    globals()[name] = value
    return value
