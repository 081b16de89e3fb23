"""Rules of error codes through a client."""

from __future__ import annotations

from typing import Any

from formicary.client.client import Client
from formicary.client.documents import error_code as document
from formicary.v1 import error_codes_pb2 as pb


async def set_error_code(
    client: Client,
    name: str,
    code: str,
    *,
    exit_code: int | None = None,
    pattern: str = "",
    job_type: str = "",
    task_type: str = "",
    platform: str = "",
    message: str = "",
    action: str = "",
    retry: int = 0,
    system: bool = False,
) -> dict[str, Any]:
    """Stores a rule, instead of the one of its name; returns its document.

    Args:
        client: An open client.
        name: Of the rule.
        code: What the failure is called, ``ERR_…``.
        exit_code: Only with this exit code.
        pattern: Only where this regular expression (RE2) is found in the error or the end of the output.
        job_type: Only for this job type.
        task_type: Only for tasks of this name.
        platform: Only for jobs of this platform.
        message: What people read first.
        action: RETRY_TASK, RETRY_JOB, HARD_FAILURE or nothing.
        retry: How often it is repeated in all.
        system: Of every organisation; for the server's administrators.

    Raises:
        Problem: VALIDATION_FAILED, FAILED_PRECONDITION (too many), PERMISSION_DENIED, UNAVAILABLE.
    """
    request = pb.SetErrorCodeRequest(
        name=name,
        code=code,
        exit_code=exit_code,
        pattern=pattern,
        job_type=job_type,
        task_type=task_type,
        platform=platform,
        message=message,
        action=action,
        retry=retry,
        system=system,
    )
    return document(await client.call("SetErrorCode", request))


async def list_error_codes(client: Client) -> list[dict[str, Any]]:
    """Documents of the rules that the organisation's jobs meet. Raises Problem as above."""
    request = pb.ListErrorCodesRequest(page_size=1000)
    found: list[dict[str, Any]] = []
    while True:
        page: pb.ListErrorCodesResponse = await client.call("ListErrorCodes", request)
        found += map(document, page.error_codes)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def get_error_code(client: Client, name: str, *, system: bool = False) -> dict[str, Any]:
    """One document. Raises Problem NOT_FOUND, and as above."""
    return document(await client.call("GetErrorCode", pb.GetErrorCodeRequest(name=name, system=system)))


async def delete_error_code(client: Client, name: str, *, system: bool = False) -> dict[str, Any]:
    """Removes a rule; returns its document. Raises Problem NOT_FOUND, and as above."""
    request = pb.DeleteErrorCodeRequest(name=name, system=system)
    return document(await client.call("DeleteErrorCode", request, again=False))


async def match_error_code(
    client: Client,
    *,
    job_type: str = "",
    task_type: str = "",
    platform: str = "",
    exit_code: int | None = None,
    text: str = "",
) -> dict[str, Any] | None:
    """The rule that would count for such a failure, None where none does. Raises Problem as above."""
    request = pb.MatchErrorCodeRequest(
        job_type=job_type, task_type=task_type, platform=platform, exit_code=exit_code, text=text
    )
    answer: pb.MatchErrorCodeResponse = await client.call("MatchErrorCode", request)
    return document(answer.error_code) if answer.HasField("error_code") else None
