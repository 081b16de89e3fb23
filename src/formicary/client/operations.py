"""Definitions and the purge of ended jobs through a client."""

from __future__ import annotations

from typing import Any

from formicary.client.client import Client
from formicary.client.documents import definition as document
from formicary.v1 import definitions_pb2, jobs_pb2


async def get_definition(client: Client, job_type: str, version: str = "") -> dict[str, Any]:
    """The document of a definition with its text.

    Args:
        client: An open client.
        job_type: Its name, or the id of a definition.
        version: A number, ``latest``, what it calls itself (`sem_version`) or its id; empty = latest.

    Raises:
        Problem: NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE.
    """
    request = definitions_pb2.GetDefinitionRequest(job_type=job_type, version=version)
    return document(await client.call("GetDefinition", request))


async def purge_jobs(client: Client, *, dry_run: bool = False) -> dict[str, Any]:
    """Removes the ended jobs whose retention is over, or says which they are. Raises Problem as above."""
    answer: jobs_pb2.PurgeJobsResponse = await client.call("PurgeJobs", jobs_pb2.PurgeJobsRequest(dry_run=dry_run))
    groups = [
        {
            "organization": one.organization,
            "job_type": one.job_type,
            "state": one.state,
            "jobs": one.jobs,
            "oldest_ended_at": one.oldest_ended_at.ToJsonString(),
        }
        for one in answer.groups
    ]
    return {"dry_run": dry_run, "jobs": answer.jobs, "groups": groups}
