"""Approvals over the API: the voter is who the server knows the caller to be.

A server that knows no callers (`--auth none`) takes every caller for the local user, and a caller may say in whose name
it votes: there is nobody there whom that could bypass. Elsewhere the name of a voter is the caller's own, and a request
that names another one is refused.
"""

from __future__ import annotations

import base64
import json

from formicary.engine.jobs.approval import APPROVED
from formicary.engine.queen.core.approving import Vote
from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call
from formicary.problems import problem
from formicary.server.api import messages, page_tokens
from formicary.server.api.jobs import REPLAYED_HEADER, sent_key
from formicary.server.auth.local import LOCAL_ADMIN
from formicary.v1 import approvals_pb2 as pb
from formicary.v1 import approvals_pb2_grpc

DEFAULT_PAGE = 100


class ApprovalServicer(approvals_pb2_grpc.ApprovalServiceServicer):
    """Approvals as clients see them."""

    def __init__(self, queen: Queen) -> None:
        self._approvals = queen.approvals

    async def Vote(self, request: pb.VoteRequest, call: Call) -> pb.Approval:
        """Votes for or against."""
        voter, roles = _voter(request, call)
        key, repeated = sent_key(request.idempotency_key, call), set[str]()
        vote = Vote(request.task_type, voter, roles, request.decision == APPROVED, request.comment, key)
        found = await self._approvals.vote(request.id, vote, org=call.principal.org, repeated=repeated)
        if repeated:
            call.set_header(REPLAYED_HEADER, "true")
        return messages.approval(found)

    async def GetApproval(self, request: pb.GetApprovalRequest, call: Call) -> pb.Approval:
        """The last question about a task."""
        return messages.approval(await self._approvals.of_task(request.id, request.task_type, org=call.principal.org))

    async def ListApprovals(self, request: pb.ListApprovalsRequest, call: Call) -> pb.ListApprovalsResponse:
        """All of a job, or a page of the open ones."""
        org = call.principal.org
        if request.id:
            return pb.ListApprovalsResponse(
                approvals=map(messages.approval, await self._approvals.of_job(request.id, org=org))
            )
        voter, roles = _voter(request, call) if request.mine else ("", frozenset())
        filters = [request.mine, request.voter, sorted(request.roles)]
        after = (0, -1, 0)
        if request.page_token:
            name, _ = page_tokens.named_position(request.page_token, filters)
            number, position, attempt = json.loads(base64.b64decode(name))
            after = (int(number), int(position), int(attempt))
        found, rest = await self._approvals.pending(
            org=org, voter=voter, roles=sorted(roles), after=after, size=request.page_size or DEFAULT_PAGE
        )
        place = base64.b64encode(json.dumps(rest).encode()).decode() if rest is not None else ""
        return pb.ListApprovalsResponse(
            approvals=map(messages.approval, found),
            next_page_token=page_tokens.named(place, 1, filters) if place else "",
        )


def _voter(request: pb.VoteRequest | pb.ListApprovalsRequest, call: Call) -> tuple[str, frozenset[str]]:
    """Name and roles of the voter. Raises Problem PERMISSION_DENIED where the request claims another one."""
    who = call.principal
    if who is LOCAL_ADMIN:
        return request.voter or who.id, frozenset(request.roles) or who.roles
    roles = who.roles | who.groups
    if request.voter not in ("", who.user) or not roles.issuperset(request.roles):
        raise problem("PERMISSION_DENIED", f"you are {who.user}: nobody votes in another one's name or role here")
    return who.user, roles
