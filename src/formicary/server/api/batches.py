"""Batches with partial success: each job on its own, the answer says of each what became of it."""

from __future__ import annotations

import asyncio
import logging

from google.rpc import status_pb2

from formicary.engine.queen import edge
from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call
from formicary.problems import Problem, problem
from formicary.problems.rpc import to_status
from formicary.problems.showing import shown
from formicary.v1 import jobs_pb2 as pb

log = logging.getLogger("formicary.server")


async def submit_each(queen: Queen, request: pb.SubmitJobsRequest, call: Call) -> pb.SubmitJobsResponse:
    """Submits what can be submitted; jobs of one batch share a commit as far as they come together.

    Raises:
        Problem: Where all are refused for the reason of one cause that is not theirs: no such definition.
    """
    org = call.principal.org
    definition = await queen.submitting.definition(request.definition_id, org, request.job_type)
    found = await asyncio.gather(*(_submit(queen, request, definition.id, item, call) for item in request.jobs))
    response = pb.SubmitJobsResponse()
    for one in found:
        if isinstance(one, Problem):
            response.ids.append("")
            response.results.add(status=_status(one, call))
        else:
            response.ids.append(one)
            response.results.add(id=one)
    return response


async def _submit(
    queen: Queen, request: pb.SubmitJobsRequest, definition_id: str, item: pb.JobSubmission, call: Call
) -> str | Problem:
    """The id of the job, or why it was refused; one that is refused must not hide that others were taken."""
    alone = pb.SubmitJobsRequest(definition_id=definition_id, jobs=[item], resend=request.resend)
    try:
        asked = edge.asked_for(request.definition_id, request.job_type)
        (job_id,) = await queen.submit_request(alone, call.principal.org, None, asked=asked, user=call.principal.user)
    except Problem as error:
        return error
    except Exception:
        log.exception("a job of a batch failed, trace %s", call.trace_id)
        return problem("INTERNAL")
    return job_id


def _status(error: Problem, call: Call) -> status_pb2.Status:
    return to_status(shown(error, trace_id=call.trace_id))
