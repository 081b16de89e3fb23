"""The client of a queen: asynchronous, and a blocking one with the same methods."""

from formicary.client.client import DEFAULT_ADDRESS, Client
from formicary.client.sync import SyncClient
from formicary.client.values import DefinitionRef, JobEnd, JobHandle, LogLine

__all__ = ["DEFAULT_ADDRESS", "Client", "DefinitionRef", "JobEnd", "JobHandle", "LogLine", "SyncClient"]
