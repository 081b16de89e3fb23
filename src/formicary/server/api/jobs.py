"""Jobs over the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.forecasting import MOST_LIVE
from formicary.engine.queen.retention import Group, Purged
from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call
from formicary.idempotency import parse_key
from formicary.problems import FieldError, problem
from formicary.server.api import batches, messages, page_tokens, parameters
from formicary.v1 import jobs_pb2 as pb
from formicary.v1 import jobs_pb2_grpc

KEY_HEADER = "idempotency-key"
REPLAYED_HEADER = "idempotency-replayed"
COMPATIBLE_PATH = "/api/jobs/requests"
"""The older engine's way to submit knows no idempotency key."""
DEFAULT_PAGE = 100


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """Jobs as clients see them."""

    def __init__(self, queen: Queen) -> None:
        self._queen = queen

    async def SubmitJob(self, request: pb.SubmitJobRequest, call: Call) -> pb.Job:
        """Submits one job and shows it as it was accepted: the same, whatever has become of it, when it is repeated."""
        item = pb.JobSubmission(
            id=request.id,
            params=parameters.as_json(request.params) if request.params.fields else b"",
            idempotency_key=_key(request, call),
        )
        if request.HasField("priority"):
            item.priority = request.priority
        elif request.HasField("job_priority"):
            item.priority = request.job_priority
        if request.HasField("scheduled_at"):
            item.scheduled_at = request.scheduled_at.ToMilliseconds() / 1000
        wanted = pb.SubmitJobsRequest(
            definition_id=request.definition_id, job_type=request.job_type, jobs=[item], resend=bool(request.id)
        )
        org, repeated = call.principal.org, set[str]()
        (job_id,) = await self._queen.submit_request(wanted, org, None, repeated=repeated, user=call.principal.user)
        if repeated:
            call.set_header(REPLAYED_HEADER, "true")
        row = await self._queen.row(job_id, org=org)
        definition = await self._queen.submitting.definition(messages.definition_of(row))
        return messages.accepted(row, item.scheduled_at or definition.model.scheduled_at)

    async def SubmitJobs(self, request: pb.SubmitJobsRequest, call: Call) -> pb.SubmitJobsResponse:
        """Submits in one call: all or none, or what can be submitted where partial success is allowed."""
        if key := sent_key("", call):
            for number, item in enumerate(request.jobs):  # so a batch comes once, whatever is killed meanwhile
                item.idempotency_key = item.idempotency_key or f"{key}/{number}"
        if request.allow_partial:
            return await batches.submit_each(self._queen, request, call)
        who = call.principal
        return pb.SubmitJobsResponse(ids=await self._queen.submit_request(request, who.org, None, user=who.user))

    async def Session(self, requests: AsyncIterator[pb.ClientMessage], call: Call) -> None:
        """The client library's stream."""
        who = call.principal
        await self._queen.serve_client(requests, lambda message: call.write(message), org=who.org, user=who.user)

    async def GetJob(self, request: pb.GetJobRequest, call: Call) -> pb.Job:
        """One job with its tasks."""
        job = await messages.shown(
            await self._queen.document(request.id, org=call.principal.org), call, exact=request.exact
        )
        if len(self._queen.pump.core.jobs) <= MOST_LIVE:
            await self._estimate_into(job, request.id, call)
        return job

    async def ListJobs(self, request: pb.ListJobsRequest, call: Call) -> pb.ListJobsResponse:
        """A page of jobs, newest first. Jobs submitted meanwhile do not shift the pages."""
        filters = (sorted(request.states), request.job_type)
        before = page_tokens.position(request.page_token, filters) if request.page_token else 0
        size = request.page_size or DEFAULT_PAGE
        rows = await self._queen.page(
            states=request.states, job_type=request.job_type, size=size, before=before, org=call.principal.org
        )
        more = len(rows) == size
        token = page_tokens.token(int(rows[-1][0] or 0), filters) if more else ""
        return await messages.page(
            len(rows),
            lambda: pb.ListJobsResponse(jobs=[messages.basic(row) for row in rows], next_page_token=token),
            call,
        )

    async def ListElements(self, request: pb.ListElementsRequest, call: Call) -> pb.ListElementsResponse:
        """A page of the elements of a task, in the order of its list."""
        filters = ("elements", request.id, request.task_type, sorted(request.states))
        after = page_tokens.position(request.page_token, filters) if request.page_token else 0
        size = request.page_size or DEFAULT_PAGE
        found = await self._queen.elements(
            request.id, request.task_type, states=request.states, size=size, after=after - 1, org=call.principal.org
        )
        token = page_tokens.token(found[-1][0] + 1, filters) if len(found) == size else ""
        return await messages.page(
            len(found),
            lambda: pb.ListElementsResponse(
                elements=[messages.element(document, exact=request.exact) for _, document in found],
                next_page_token=token,
            ),
            call,
        )

    async def CancelJob(self, request: pb.CancelJobRequest, call: Call) -> pb.Job:
        """Cancels a job."""
        await self._queen.cancel(request.id, request.reason, org=call.principal.org)
        return await self._job(request.id, call)

    async def RetryJob(self, request: pb.RetryJobRequest, call: Call) -> pb.Job:
        """Runs an ended job again."""
        key = sent_key(request.idempotency_key, call)
        org = call.principal.org
        if not await self._queen.retry(request.id, hard=request.hard, version=request.version, key=key, org=org):
            call.set_header(REPLAYED_HEADER, "true")
        return await self._job(request.id, call)

    async def PauseJob(self, request: pb.PauseJobRequest, call: Call) -> pb.Job:
        """A job pauses until it is resumed."""
        await self._queen.pause(request.id, org=call.principal.org)
        return await self._job(request.id, call)

    async def ResumeJob(self, request: pb.ResumeJobRequest, call: Call) -> pb.Job:
        """A paused job goes on."""
        await self._queen.resume(request.id, org=call.principal.org)
        return await self._job(request.id, call)

    async def PurgeJobs(self, request: pb.PurgeJobsRequest, call: Call) -> pb.PurgeJobsResponse:
        """Removes the jobs whose retention is over, or says which they are."""
        groups: dict[Group, Purged] = {}
        count = await self._queen.retention.purge(dry_run=request.dry_run, groups=groups)
        answer = pb.PurgeJobsResponse(jobs=count)
        for (org, job_type, state), found in sorted(groups.items()):
            one = answer.groups.add(organization=org, job_type=job_type, state=state, jobs=found.jobs)
            one.oldest_ended_at.FromMilliseconds(int(found.oldest * 1000))
        return answer

    async def ExplainJob(self, request: pb.ExplainJobRequest, call: Call) -> pb.Explanation:
        """Why a job does not run now."""
        found = await self._queen.explain(request.id, org=call.principal.org)
        reasons = [
            pb.ExplanationReason(
                task_type=one.task_type, gate=one.gate, passed=one.passed, message=one.message, figures=one.figures
            )
            for one in found.reasons
        ]
        told = pb.Explanation(id=found.id, state=found.state, summary=found.summary, reasons=reasons)
        await self._estimate_into(told, request.id, call)
        return told

    async def EstimateJob(self, request: pb.EstimateJobRequest, call: Call) -> pb.Estimate:
        """When a job would start."""
        deadline_at = request.deadline.ToMilliseconds() / 1000 if request.HasField("deadline") else 0.0
        org = call.principal.org
        if request.id:
            found = await self._queen.estimate(request.id, deadline_at=deadline_at, org=org)
            if found is None:
                row = messages.basic(await self._queen.row(request.id, org=org))
                return pb.Estimate(job_type=row.job_type, reason=f"it does not wait for its start: {row.state}")
            return messages.estimate(found)
        definition = await self._queen.submitting.looked_at(
            request.source, request.definition_id, request.job_type, org
        )
        return messages.estimate(
            await self._queen.forecasting.of_definition(
                definition,
                org,
                request.priority if request.HasField("priority") else None,
                request.scheduled_at.ToMilliseconds() / 1000 if request.HasField("scheduled_at") else 0.0,
                deadline_at,
                request.dry_run,
            )
        )

    async def _estimate_into(self, message: pb.Job | pb.Explanation, job_id: str, call: Call) -> None:
        """Adds the estimate of a job that waits."""
        if message.state in (life.PENDING, life.EXECUTING):
            found = await self._queen.estimate(job_id, org=call.principal.org)
            if found is not None:
                message.estimate.CopyFrom(messages.estimate(found))

    async def FollowJob(self, request: pb.FollowJobRequest, call: Call) -> AsyncIterator[pb.Job]:
        """The job at each change."""
        async for document in self._queen.follow(request.id, org=call.principal.org):
            yield await messages.shown(document, call, exact=request.exact)

    async def ReadLogs(self, request: pb.ReadLogsRequest, call: Call) -> AsyncIterator[pb.LogRecord]:
        """Log lines, until the job has ended if asked."""
        queen, offset = self._queen, 0
        with queen.touches(request.id) as changed:
            while True:
                changed.clear()
                row = await queen.row(request.id, org=call.principal.org)
                over = messages.basic(row).state in life.JOB_ENDED or not request.follow
                records, offset = await asyncio.to_thread(
                    queen.log_lines, request.id, task_type=request.task_type, offset=offset
                )
                for x in records:
                    yield pb.LogRecord(
                        task_type=x.task_type, attempt=x.attempt, time=x.time, stream=x.stream, text=x.text
                    )
                if over and not records:
                    return
                if not over:
                    await changed.wait()

    async def _job(self, job_id: str, call: Call) -> pb.Job:
        return await messages.shown(await self._queen.document(job_id, org=call.principal.org), call, exact=False)


def _key(request: pb.SubmitJobRequest, call: Call) -> str:
    """The key of body or header. Raises Problem where they differ, one is not valid, or HTTP brings none."""
    key = sent_key(request.idempotency_key, call)
    if not key and call.protocol == "http" and call.path != COMPATIBLE_PATH:
        raise problem(
            "IDEMPOTENCY_KEY_MISSING",
            "Submitting over HTTP needs the header Idempotency-Key: a text of your own that is the same when you "
            "repeat this request, and no other's.",
            errors=[FieldError("Idempotency-Key", "REQUIRED_FIELD", "Send it, for example a UUID.")],
        )
    return key


def sent_key(key: str, call: Call) -> str:
    """The idempotency key of a call: in its header or in its request; empty = none. Raises Problem."""
    sent = call.values(KEY_HEADER)
    header = parse_key([text if isinstance(text, str) else text.decode("latin-1") for text in sent]) if sent else ""
    if header and key and header != key:
        text = "The header Idempotency-Key says another one: give it once."
        raise problem(
            "VALIDATION_FAILED", "Two idempotency keys.", errors=[FieldError("idempotency_key", "CONFLICT", text)]
        )
    return header or key or ""
