"""The audit log over the API."""

from __future__ import annotations

import asyncio
from typing import Any

from formicary.embedded.opening import as_problems
from formicary.engine.storage.port import AUDIT_COLUMNS, AuditQuery, Row, Store
from formicary.gateway import Call
from formicary.problems import FieldError, problem
from formicary.server.api import page_tokens
from formicary.server.auth.principal import HOME
from formicary.server.auth.roles import ALLOWED
from formicary.v1 import audit_pb2 as pb
from formicary.v1 import audit_pb2_grpc

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
_NAMES = tuple(column for column in AUDIT_COLUMNS if column != "time")


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """The audit log as administrators see it.

    Args:
        store: An open store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ListAuditRecords(self, request: pb.ListAuditRecordsRequest, call: Call) -> pb.ListAuditRecordsResponse:
        """A page of records, newest first."""
        if not 0 <= request.page_size <= LARGEST_PAGE:
            text = f"At most {LARGEST_PAGE} records fit into one answer, and at least 0."
            errors = [FieldError("page_size", "OUT_OF_RANGE", text)]
            raise problem("VALIDATION_FAILED", "The page size is not valid.", errors=errors)
        query = _query(request, call.principal.org)
        size = request.page_size or DEFAULT_PAGE
        with as_problems():
            rows = await asyncio.to_thread(self._store.audit, query, size)
        more = len(rows) == size
        return pb.ListAuditRecordsResponse(
            records=map(_message, rows),
            next_page_token=page_tokens.token(int(rows[-1][0] or 0), _filters(request)) if more else "",
        )


def full_name(method: str) -> str:
    """The full name of a method that is given by its last part; what is not known stays as it is."""
    return next((name for name in ALLOWED if name.endswith(f"/{method}")), method)


def _filters(request: pb.ListAuditRecordsRequest) -> list[str]:
    texts = (request.principal, request.method, request.resource, request.code)
    return [*texts, str(request.since.ToMilliseconds()), str(request.until.ToMilliseconds())]


def _query(request: pb.ListAuditRecordsRequest, org: str) -> AuditQuery:
    plain = AuditQuery()
    token = request.page_token
    method = request.method
    if method and "/" not in method:
        method = full_name(method)
    return AuditQuery(
        org="" if org == HOME else org,
        principal=request.principal,
        method=method.removeprefix("/"),
        resource=request.resource,
        code=request.code,
        since=request.since.ToMilliseconds() / 1000 if request.HasField("since") else plain.since,
        until=request.until.ToMilliseconds() / 1000 if request.HasField("until") else plain.until,
        before=page_tokens.position(token, _filters(request)) if token else plain.before,
    )


def _message(row: Row) -> pb.AuditRecord:
    values: dict[str, Any] = dict(zip(AUDIT_COLUMNS, row, strict=True))
    found = pb.AuditRecord(**{name: values[name] for name in _NAMES})
    found.time.FromMilliseconds(int(float(values["time"] or 0) * 1000))
    return found
