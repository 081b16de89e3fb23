"""Approvals through a client: who waits for votes, and votes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from formicary.client.client import Client
from formicary.client.documents import approval as document
from formicary.v1 import approvals_pb2 as pb


async def vote(
    client: Client,
    job_id: str,
    *,
    approve: bool,
    task_type: str = "",
    comment: str = "",
    voter: str = "",
    roles: Sequence[str] = (),
    idempotency_key: str = "",
) -> dict[str, Any]:
    """Votes for or against; returns the document of the question. Only with a key is it asked again without an answer.

    Args:
        client: An open client.
        job_id: The job.
        approve: For it, else against.
        task_type: Which task; may be left out where only one waits.
        comment: Kept with the vote.
        voter: In whose name, on a server that knows no callers; elsewhere it is the caller.
        roles: What that voter is, likewise.
        idempotency_key: The same key again changes nothing.

    Raises:
        Problem: NOT_FOUND, APPROVAL_NOT_OPEN, VOTE_NOT_ALLOWED, ALREADY_VOTED, PERMISSION_DENIED, UNAVAILABLE.
    """
    request = pb.VoteRequest(
        id=job_id,
        task_type=task_type,
        decision="APPROVED" if approve else "REJECTED",
        comment=comment,
        idempotency_key=idempotency_key,
        voter=voter,
        roles=roles,
    )
    return document(await client.call("Vote", request, again=bool(idempotency_key)))


async def list_approvals(
    client: Client, job_id: str = "", *, mine: bool = False, voter: str = "", roles: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Documents of the open questions, or of all of one job.

    Args:
        client: An open client.
        job_id: Only this job's, decided ones too.
        mine: Only those on which the caller may vote and has not.
        voter: In whose name `mine` is meant, on a server that knows no callers.
        roles: What that voter is, likewise.

    Raises:
        Problem: NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE.
    """
    request = pb.ListApprovalsRequest(id=job_id, mine=mine, voter=voter, roles=roles, page_size=1000)
    found: list[dict[str, Any]] = []
    while True:
        page: pb.ListApprovalsResponse = await client.call("ListApprovals", request)
        found += map(document, page.approvals)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
