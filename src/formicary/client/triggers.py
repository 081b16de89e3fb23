"""Triggers through a client: what starts jobs by itself."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from formicary.client.client import Client
from formicary.client.documents import trigger as document
from formicary.client.documents import trigger_letter
from formicary.v1 import triggers_pb2 as pb


async def list_triggers(client: Client, job_type: str = "") -> list[dict[str, Any]]:
    """Documents of all triggers of the caller's organisation, by job type.

    Args:
        client: An open client.
        job_type: Only those of this job type.

    Raises:
        Problem: PERMISSION_DENIED, UNAVAILABLE.
    """
    request = pb.ListTriggersRequest(job_type=job_type, page_size=1000)
    found: list[dict[str, Any]] = []
    while True:
        page: pb.ListTriggersResponse = await client.call("ListTriggers", request)
        found += map(document, page.triggers)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def fire_trigger(
    client: Client, job_type: str, name: str = "", params: dict[str, Any] | None = None, idempotency_key: str = ""
) -> str:
    """Starts the job now; returns its id. Only with a key is it asked again where no answer came.

    Raises:
        Problem: NOT_FOUND, VALIDATION_FAILED, PERMISSION_DENIED, UNAVAILABLE.
    """
    given = ParseDict(params or {}, Struct())
    request = pb.FireTriggerRequest(job_type=job_type, name=name, params=given, idempotency_key=idempotency_key)
    answer: pb.FireTriggerResponse = await client.call("FireTrigger", request, again=bool(idempotency_key))
    return answer.id


async def pause_trigger(client: Client, job_type: str, name: str = "") -> dict[str, Any]:
    """Nothing starts by itself until it is resumed. Returns its document. Raises Problem as above."""
    return document(await client.call("PauseTrigger", pb.PauseTriggerRequest(job_type=job_type, name=name)))


async def resume_trigger(client: Client, job_type: str, name: str = "") -> dict[str, Any]:
    """Goes on with the next time. Returns its document. Raises Problem as above."""
    return document(await client.call("ResumeTrigger", pb.ResumeTriggerRequest(job_type=job_type, name=name)))


async def reset_trigger(client: Client, job_type: str, name: str) -> dict[str, Any]:
    """Forgets which events have been. Returns its document. Raises Problem as above."""
    return document(await client.call("ResetTrigger", pb.ResetTriggerRequest(job_type=job_type, name=name)))


async def list_trigger_letters(client: Client, job_type: str = "", limit: int = 100) -> list[dict[str, Any]]:
    """Documents of the events that could start no job, newest first. Raises Problem as above."""
    request = pb.ListTriggerLettersRequest(job_type=job_type, page_size=limit)
    answer: pb.ListTriggerLettersResponse = await client.call("ListTriggerLetters", request)
    return list(map(trigger_letter, answer.letters))
