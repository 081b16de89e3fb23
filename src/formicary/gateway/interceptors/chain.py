"""The order of the chain, in one place.

Outermost first: trace, access log and counts, failures as problems, deadline; then what a service adds: header mapping,
authentication, rate limit, authorisation, validation, idempotency; then the handler.
"""

from __future__ import annotations

from collections.abc import Sequence

from formicary.gateway.interceptors.access_log import AccessLog
from formicary.gateway.interceptors.deadline import keep_deadline
from formicary.gateway.interceptors.failures import as_problems
from formicary.gateway.interceptors.tracing import trace
from formicary.gateway.service import Interceptor


def standard_chain(inner: Sequence[Interceptor] = (), *, access_log: AccessLog | None = None) -> list[Interceptor]:
    """The interceptors that every service wants.

    Args:
        inner: What comes between the deadline and the handler, outermost first.
        access_log: Counts and logs calls; None = a new one.
    """
    return [trace, access_log or AccessLog(), as_problems, keep_deadline, *inner]
