"""A small server beside `formicary run`: another terminal can vote on the job, look at it, pause and cancel it."""

from __future__ import annotations

from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call, Run
from formicary.problems import problem
from formicary.server.api.serving import GrpcServer, engine_chain, serve
from formicary.server.auth.local import as_local_admin

_JOBS = ("GetJob", "ListJobs", "FollowJob", "ReadLogs", "CancelJob", "PauseJob", "ResumeJob")
_ALLOWED = frozenset(
    {f"/formicary.v1.JobService/{name}" for name in _JOBS}
    | {f"/formicary.v1.ApprovalService/{name}" for name in ("Vote", "GetApproval", "ListApprovals")}
)


async def only_people(call: Call, proceed: Run) -> None:
    """Interceptor: nothing new can be started here."""
    if call.method.full_name not in _ALLOWED:
        raise problem("PERMISSION_DENIED", "a job of `formicary run` is served here: vote, look, pause, resume, cancel")
    await proceed(call)


async def serve_people(queen: Queen) -> GrpcServer:
    """Serves on a free port of this machine alone; every caller is the local user."""
    return await serve(queen, "127.0.0.1", 0, engine_chain([as_local_admin, only_people]))
