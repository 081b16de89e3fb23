"""What a client may see of a problem: the one gate that every answer passes, in both protocols.

Texts of errors that nobody wrote for a caller may hold secrets, SQL or addresses. The row of a code says whether its
detail is written for callers; where it is not, only what the catalogue says goes out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from formicary.problems.catalogue import CATALOGUE, CodeEntry, entry, usual_remedy
from formicary.problems.problem import Detail, Problem, RetryPolicy

DEBUG_INFO = "google.rpc.DebugInfo"
RETRY_INFO = "google.rpc.RetryInfo"
_HEADER_MEMBERS = frozenset({"challenge"})
_LEAST, _MOST = 400, 599


def may_show(problem: Problem) -> bool:
    """Whether a client may see what a problem says beyond its catalogue row."""
    row = entry(problem.code)
    if not row.show:
        return False
    if problem.show is not None:
        return problem.show
    return row.code in CATALOGUE or row.code.startswith("ERR_") or problem.status < 500


def shown(problem: Problem, *, instance: str = "", trace_id: str = "") -> Problem:
    """A copy that holds only what a client may see.

    Args:
        problem: What went wrong; stays as it is.
        instance: Names the occurrence where the problem does not.
        trace_id: Of the call; takes the place of the problem's.
    """
    row = entry(problem.code)
    open_ = may_show(problem)
    public = Problem(
        problem.code,
        problem.title if open_ else row.title,
        problem.detail if open_ else row.title,
        status=problem.status if _LEAST <= problem.status <= _MOST else 500,
        grpc_code=problem.grpc_code,
        retryable=problem.retryable,
        blame=problem.blame,
        errors=problem.errors if open_ else (),
        remedy=problem.remedy if open_ else usual_remedy(row, ()),
        extensions={k: v for k, v in problem.extensions.items() if k not in _HEADER_MEMBERS} if open_ else {},
        retry=_retry(problem, row),
        details=_details(problem.details, open_),
    )
    public.instance = problem.instance or instance
    public.trace_id = trace_id or problem.trace_id
    public.timestamp = problem.timestamp
    return public


def _retry(problem: Problem, row: CodeEntry) -> RetryPolicy:
    """The problem's own policy; what it leaves open is as the catalogue says. RetryInfo wins."""
    own = problem.retry
    if not problem.retryable:
        return own
    after = own.after_s if own.after_s is not None else row.retry.after_s
    for detail in problem.details:
        if detail.type_name == RETRY_INFO:
            after = _asked_s(detail, after)
    return RetryPolicy(
        after if after is None or math.isfinite(after) else None,
        own.max_retries if own.max_retries is not None else row.retry.max_retries,
        own.backoff_type or row.retry.backoff_type,
        own.backoff_ms if own.backoff_ms is not None else row.retry.backoff_ms,
    )


def _asked_s(detail: Detail, otherwise: float | None) -> float | None:
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2

    try:
        delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
    except DecodeError:
        return otherwise
    return max(0.0, float(delay.seconds) + float(delay.nanos) / 1e9)


def _details(details: Iterable[Detail], open_: bool) -> tuple[Detail, ...]:
    if open_:
        return tuple(item for item in details if item.type_name != DEBUG_INFO)
    return tuple(item for item in details if item.type_name == RETRY_INFO)
