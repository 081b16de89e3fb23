"""What a function that shares a commit leads to, and how a refusal is kept."""

from __future__ import annotations

import msgspec

from formicary.idempotency.model import StoredResponse
from formicary.idempotency.policy import Rule
from formicary.idempotency.refusals import response_not_kept
from formicary.problems import Problem
from formicary.problems.http import render_http


class Executed(msgspec.Struct, frozen=True):
    """The answer to an operation.

    Attributes:
        response: What the caller is to be told.
        replayed: Whether an earlier execution gave it.
        created_ms: When that one began; 0 where it is this one.
    """

    response: StoredResponse
    replayed: bool = False
    created_ms: int = 0


def response_of(problem: Problem) -> StoredResponse:
    """A refusal as an answer that can be kept: the document of RFC 9457, with the trace id of what decided it."""
    answer = render_http(problem)
    headers = tuple((name.encode(), value.encode()) for name, value in answer.headers)
    return StoredResponse(answer.status, headers, answer.body)


def is_success(response: StoredResponse) -> bool:
    """Whether what the operation wrote stays: HTTP below 400, gRPC OK."""
    return response.status == 0 or 100 <= response.status < 400


def kept_form(response: StoredResponse, rule: Rule) -> StoredResponse:
    """What is stored of an answer: the answer, or what the rule says where it is too large."""
    if len(response.body) <= rule.max_response_bytes:
        return response
    if rule.on_large_response == "marker":
        headers = tuple((name, b"0" if name == b"content-length" else value) for name, value in response.headers)
        return msgspec.structs.replace(response, headers=headers, body=b"")
    return response_of(response_not_kept(response.status))
