"""Triggers over the API: schedules and event triggers in one list."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from formicary.engine.queen.runtime import Queen
from formicary.engine.queen.schedules import NAME, Schedule
from formicary.engine.queen.trigger_rows import TriggerRow
from formicary.gateway import Call
from formicary.problems import problem
from formicary.server.api import page_tokens, parameters
from formicary.server.api.jobs import REPLAYED_HEADER, sent_key
from formicary.v1 import triggers_pb2 as pb
from formicary.v1 import triggers_pb2_grpc

DEFAULT_PAGE = 100


class TriggerServicer(triggers_pb2_grpc.TriggerServiceServicer):
    """Triggers as clients see them.

    Args:
        queen: Whose schedules and event triggers they are.
    """

    def __init__(self, queen: Queen) -> None:
        self._queen = queen
        self._schedules = queen.schedules
        self._events = queen.triggers

    async def ListTriggers(self, request: pb.ListTriggersRequest, call: Call) -> pb.ListTriggersResponse:
        """A page of triggers, by job type."""
        filters = [request.job_type]
        after = page_tokens.named_position(request.page_token, filters)[0] if request.page_token else ""
        await self._schedules.loaded()
        await self._events.loaded()
        org = call.principal.org
        known: list[Schedule | TriggerRow] = [
            *self._schedules.of(org, request.job_type),
            *self._events.of(org, request.job_type),
        ]
        found = sorted((one for one in known if _place(one) > after), key=_place)
        page = found[: request.page_size or DEFAULT_PAGE]
        more = len(found) > len(page)
        events = [one for one in page if isinstance(one, TriggerRow)]
        lacking = await self._queen.pump.read(lambda: self._events.without_secrets(events))
        triggers = [self._message(one) for one in page]
        for shown in triggers:
            shown.error = shown.error or lacking.get((org, shown.job_type, shown.name), "")
        return pb.ListTriggersResponse(
            triggers=triggers,
            next_page_token=page_tokens.named(_place(page[-1]), 1, filters) if more else "",
        )

    async def FireTrigger(self, request: pb.FireTriggerRequest, call: Call) -> pb.FireTriggerResponse:
        """Starts the job now."""
        params = parameters.as_json(request.params)
        fire = self._schedules.fire if _is_schedule(request.name) else self._events.fire
        key, repeated = sent_key(request.idempotency_key, call), set[str]()
        job_id = await fire(call.principal.org, request.job_type, request.name, params, key, repeated)
        if repeated:
            call.set_header(REPLAYED_HEADER, "true")
        return pb.FireTriggerResponse(id=job_id)

    async def PauseTrigger(self, request: pb.PauseTriggerRequest, call: Call) -> pb.Trigger:
        """Nothing starts by itself any more."""
        pause = self._schedules.pause if _is_schedule(request.name) else self._events.pause
        return self._message(await pause(call.principal.org, request.job_type, request.name))

    async def ResumeTrigger(self, request: pb.ResumeTriggerRequest, call: Call) -> pb.Trigger:
        """Goes on with the next time or event."""
        resume = self._schedules.resume if _is_schedule(request.name) else self._events.resume
        return self._message(await resume(call.principal.org, request.job_type, request.name))

    async def ResetTrigger(self, request: pb.ResetTriggerRequest, call: Call) -> pb.Trigger:
        """Lets events start jobs anew."""
        if _is_schedule(request.name):
            raise problem("FAILED_PRECONDITION", "A schedule has nothing to reset; name a trigger of `triggers`.")
        return self._message(await self._events.reset(call.principal.org, request.job_type, request.name))

    async def ListTriggerLetters(
        self, request: pb.ListTriggerLettersRequest, call: Call
    ) -> pb.ListTriggerLettersResponse:
        """Events that could start no job."""
        org, size = call.principal.org, request.page_size or DEFAULT_PAGE
        rows = await self._queen.pump.read(lambda: self._queen.store.letters(org, request.job_type, size))
        found = []
        for name, _, job_type, trigger, event, reason, content, created_at in rows:
            letter = pb.TriggerLetter(
                id=str(name), job_type=str(job_type), name=str(trigger), event=str(event), reason=str(reason)
            )
            letter.content = content if isinstance(content, bytes) else b""
            _set(letter.created_at, float(created_at or 0))
            found.append(letter)
        return pb.ListTriggerLettersResponse(letters=found)

    def _message(self, one: Schedule | TriggerRow) -> pb.Trigger:
        found = pb.Trigger(
            job_type=one.job_type,
            name=one.name,
            definition_id=one.definition_id,
            version=one.version,
            paused=one.paused,
            last_job=one.last_job,
        )
        if one.last_at is not None:
            _set(found.last_at, one.last_at)
        if isinstance(one, TriggerRow):
            return self._on_event(found, one)
        if (refusal := self._schedules.refusals.get(one.key)) is not None:
            found.refused, found.error = refusal.count, refusal.reason
        return _scheduled(found, one)

    def _on_event(self, found: pb.Trigger, row: TriggerRow) -> pb.Trigger:
        tally = self._events.tally(row.key)
        found.fired, found.repeated, found.filtered = row.fired, tally.repeated, tally.filtered
        found.limited, found.refused, found.error = tally.limited, tally.refused, tally.error
        found.paused = row.rests
        if row.spec is not None:
            found.type, found.source = row.spec.type, row.spec.source
        if tally.next_at is not None and not row.rests:
            _set(found.next_at, tally.next_at)
        return found


def _is_schedule(name: str) -> bool:
    return name in ("", NAME)


def _place(one: Schedule | TriggerRow) -> str:
    return f"{one.job_type}\0{one.name}"


def _set(field: Timestamp, at: float) -> None:
    field.FromMilliseconds(round(at * 1000))


def _scheduled(found: pb.Trigger, schedule: Schedule) -> pb.Trigger:
    found.type, found.waiting, cron = "cron", len(schedule.waiting), schedule.cron
    if cron is not None:
        found.schedule, found.time_zone, found.missed, found.overlap = (
            cron.expression,
            cron.zone,
            cron.missed,
            cron.overlap,
        )
    if schedule.next_at is not None:
        _set(found.next_at, schedule.next_at)
    return found
