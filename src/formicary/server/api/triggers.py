"""Triggers over the API."""

from __future__ import annotations

from formicary.engine.queen.runtime import Queen
from formicary.engine.queen.schedules import Schedule
from formicary.gateway import Call
from formicary.server.api import page_tokens, parameters
from formicary.v1 import triggers_pb2 as pb
from formicary.v1 import triggers_pb2_grpc

DEFAULT_PAGE = 100


class TriggerServicer(triggers_pb2_grpc.TriggerServiceServicer):
    """Triggers as clients see them.

    Args:
        queen: Whose schedules they are.
    """

    def __init__(self, queen: Queen) -> None:
        self._schedules = queen.schedules

    async def ListTriggers(self, request: pb.ListTriggersRequest, call: Call) -> pb.ListTriggersResponse:
        """A page of triggers, by job type."""
        filters = [request.job_type]
        after = page_tokens.named_position(request.page_token, filters)[0] if request.page_token else ""
        await self._schedules.loaded()
        found = [one for one in self._schedules.of(call.principal.org, request.job_type) if _place(one) > after]
        page = found[: request.page_size or DEFAULT_PAGE]
        more = len(found) > len(page)
        return pb.ListTriggersResponse(
            triggers=map(_message, page),
            next_page_token=page_tokens.named(_place(page[-1]), 1, filters) if more else "",
        )

    async def FireTrigger(self, request: pb.FireTriggerRequest, call: Call) -> pb.FireTriggerResponse:
        """Starts the job now."""
        params = parameters.as_json(request.params)
        job_id = await self._schedules.fire(
            call.principal.org, request.job_type, request.name, params, request.idempotency_key
        )
        return pb.FireTriggerResponse(id=job_id)

    async def PauseTrigger(self, request: pb.PauseTriggerRequest, call: Call) -> pb.Trigger:
        """Nothing starts by itself any more."""
        return _message(await self._schedules.pause(call.principal.org, request.job_type, request.name))

    async def ResumeTrigger(self, request: pb.ResumeTriggerRequest, call: Call) -> pb.Trigger:
        """Goes on with the next time."""
        return _message(await self._schedules.resume(call.principal.org, request.job_type, request.name))


def _place(schedule: Schedule) -> str:
    return f"{schedule.job_type}\0{schedule.name}"


def _message(schedule: Schedule) -> pb.Trigger:
    cron = schedule.cron
    found = pb.Trigger(
        job_type=schedule.job_type,
        name=schedule.name,
        type="cron",
        definition_id=schedule.definition_id,
        version=schedule.version,
        paused=schedule.paused,
        last_job=schedule.last_job,
        waiting=len(schedule.waiting),
    )
    if cron is not None:
        found.schedule, found.time_zone, found.missed, found.overlap = (
            cron.expression,
            cron.zone,
            cron.missed,
            cron.overlap,
        )
    if schedule.next_at is not None:
        found.next_at.FromMilliseconds(round(schedule.next_at * 1000))
    if schedule.last_at is not None:
        found.last_at.FromMilliseconds(round(schedule.last_at * 1000))
    return found
