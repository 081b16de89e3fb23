"""Dead letters through a client: jobs that no retry will help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from formicary.client.client import Client
from formicary.client.documents import dead_letter as document
from formicary.v1 import dead_letters_pb2 as pb

PAGE = 1000


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which letters; empty = all.

    Attributes:
        id: Only that of this job.
        job_type: Only those of this type.
        queue: Only those in this queue.
        reason: POISON, RETRIES_EXHAUSTED, FATAL or TIMED_OUT.
    """

    id: str = ""
    job_type: str = ""
    queue: str = ""
    reason: str = ""


async def list_dead_letters(
    client: Client, wanted: DeadLetterFilter | None = None, *, state: str = "", limit: int = 0
) -> list[dict[str, Any]]:
    """Documents of the letters, newest jobs first.

    Args:
        client: An open client.
        wanted: Which ones; its id counts for nothing here.
        state: DEAD (the default), REDRIVEN or PURGED.
        limit: Most of them, 0 = all.

    Raises:
        Problem: VALIDATION_FAILED, PERMISSION_DENIED, UNAVAILABLE.
    """
    given = wanted or DeadLetterFilter()
    request = pb.ListDeadLettersRequest(
        job_type=given.job_type, queue=given.queue, reason=given.reason, state=state, page_size=min(limit or PAGE, PAGE)
    )
    found: list[dict[str, Any]] = []
    while True:
        page: pb.ListDeadLettersResponse = await client.call("ListDeadLetters", request)
        found += map(document, page.dead_letters)
        if not page.next_page_token or (limit and len(found) >= limit):
            return found[:limit] if limit else found
        request.page_token = page.next_page_token


async def get_dead_letter(client: Client, job_id: str) -> dict[str, Any]:
    """Document of the last letter of a job. Raises Problem NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE."""
    return document(await client.call("GetDeadLetter", pb.GetDeadLetterRequest(id=job_id)))


async def redrive_dead_letters(
    client: Client,
    wanted: DeadLetterFilter,
    *,
    rate_per_s: float = 0.0,
    limit: int = 0,
    hard: bool = False,
    idempotency_key: str = "",
) -> list[str]:
    """Runs dead jobs again, oldest first; returns their ids. What dies again meanwhile is not taken again.

    Only with a key is a call asked again where no answer came; many jobs take several calls with keys KEY/0, KEY/1, ….

    Args:
        client: An open client.
        wanted: Which ones.
        rate_per_s: Jobs that begin in a second, 0 = all at once.
        limit: Most of them, 0 = all.
        hard: Completed tasks run again as well.
        idempotency_key: The same key again redrives nothing more.

    Raises:
        Problem: NOT_FOUND, FAILED_PRECONDITION, IDEMPOTENCY_KEY_REUSED, PERMISSION_DENIED, UNAVAILABLE.
    """
    request = pb.RedriveDeadLettersRequest(id=wanted.id, filter=_filter(wanted), rate_per_s=rate_per_s, hard=hard)
    found: list[str] = []
    step = 0
    while True:
        request.limit = min(limit - len(found), PAGE) if limit else PAGE
        request.idempotency_key = f"{idempotency_key}/{step}" if idempotency_key else ""
        answer: pb.RedriveDeadLettersResponse = await client.call(
            "RedriveDeadLetters", request, again=bool(idempotency_key)
        )
        found += answer.ids
        if not answer.more or not answer.ids or (limit and len(found) >= limit) or wanted.id:
            return found
        request.start_at.CopyFrom(answer.next_start_at)
        request.filter.before.CopyFrom(answer.before)
        step += 1


async def purge_dead_letters(client: Client, wanted: DeadLetterFilter, *, limit: int = 0) -> list[str]:
    """Takes letters out of the queue, oldest first; returns the ids of their jobs, which stay FAILED.

    Raises:
        Problem: NOT_FOUND, FAILED_PRECONDITION, PERMISSION_DENIED, UNAVAILABLE.
    """
    request = pb.PurgeDeadLettersRequest(id=wanted.id, filter=_filter(wanted))
    found: list[str] = []
    while True:
        request.limit = min(limit - len(found), PAGE) if limit else PAGE
        answer: pb.PurgeDeadLettersResponse = await client.call("PurgeDeadLetters", request, again=not wanted.id)
        found += answer.ids
        if not answer.more or (limit and len(found) >= limit) or wanted.id:
            return found


def _filter(wanted: DeadLetterFilter) -> pb.DeadLetterFilter:
    return pb.DeadLetterFilter(job_type=wanted.job_type, queue=wanted.queue, reason=wanted.reason)
