"""Dead letters over the API."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from formicary.engine.queen.dead_letters import Redrive
from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.port import DEAD_LETTER_COLUMNS, DeadLetterQuery, Row, Scalar
from formicary.gateway import Call
from formicary.server.api import page_tokens
from formicary.server.api.jobs import REPLAYED_HEADER, sent_key
from formicary.v1 import dead_letters_pb2 as pb
from formicary.v1 import dead_letters_pb2_grpc

DEFAULT_PAGE = 100
_ALL_TIMES = 1e12


class DeadLetterServicer(dead_letters_pb2_grpc.DeadLetterServiceServicer):
    """Dead letters as clients see them."""

    def __init__(self, queen: Queen) -> None:
        self._queen = queen
        self._letters = queen.dead_letters

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, call: Call) -> pb.ListDeadLettersResponse:
        """A page of letters, newest jobs first."""
        filters = [request.job_type, request.queue, request.reason, request.state]
        after, size = (0, 0), request.page_size or DEFAULT_PAGE
        if request.page_token:
            name, number = page_tokens.named_position(request.page_token, filters)
            after = (number, int(name))
        query = DeadLetterQuery(
            call.principal.org,
            request.state or "DEAD",
            job_type=request.job_type,
            queue=request.queue,
            reason=request.reason,
            after=after,
            newest_first=True,
        )
        found = await self._letters.page(query, size + 1)
        page, last = found[:size], found[size - 1] if len(found) > size else None
        return pb.ListDeadLettersResponse(
            dead_letters=map(message, page),
            next_page_token=page_tokens.named(str(last[1]), int(last[0] or 0), filters) if last else "",
        )

    async def GetDeadLetter(self, request: pb.GetDeadLetterRequest, call: Call) -> pb.DeadLetter:
        """The last letter of a job."""
        return message(await self._letters.last(call.principal.org, request.id))

    async def RedriveDeadLetters(
        self, request: pb.RedriveDeadLettersRequest, call: Call
    ) -> pb.RedriveDeadLettersResponse:
        """Runs dead jobs again."""
        query = _query(request.filter, call, self._queen.pump.now().wall)
        how = Redrive(
            rate_per_s=request.rate_per_s,
            start_at=_seconds(request.start_at) if request.HasField("start_at") else None,
            hard=request.hard,
            key=sent_key(request.idempotency_key, call),
        )
        done = await self._letters.redrive(query, request.id, request.limit or DEFAULT_PAGE, how)
        if done.repeated:
            call.set_header(REPLAYED_HEADER, "true")
        return pb.RedriveDeadLettersResponse(
            ids=done.ids, next_start_at=_time(done.next_start_at), more=done.more, before=_time(query.before)
        )

    async def PurgeDeadLetters(self, request: pb.PurgeDeadLettersRequest, call: Call) -> pb.PurgeDeadLettersResponse:
        """Takes letters out of the queue."""
        query = _query(request.filter, call, self._queen.pump.now().wall)
        ids, more = await self._letters.purge(query, request.id, request.limit or DEFAULT_PAGE)
        return pb.PurgeDeadLettersResponse(ids=ids, more=more)


def _query(given: pb.DeadLetterFilter, call: Call, now: float) -> DeadLetterQuery:
    """The query of a filter; one without a time ends now, so that what dies again meanwhile is not taken again."""
    before = _seconds(given.before) if given.HasField("before") else now
    return DeadLetterQuery(
        call.principal.org, job_type=given.job_type, queue=given.queue, reason=given.reason, before=before
    )


def message(row: Row) -> pb.DeadLetter:
    """A letter as a message of the contract."""
    one: Mapping[str, Scalar] = dict(zip(DEAD_LETTER_COLUMNS, row, strict=True))
    found = pb.DeadLetter(
        id=str(one["job_id"]),
        job_type=str(one["job_type"]),
        queue=str(one["queue"]),
        reason=str(one["reason"]),
        task_type=str(one["task_type"]),
        error_code=str(one["error_code"] or ""),
        error_message=str(one["error_message"] or ""),
        execution=int(one["execution"] or 0),
        attempts=int(one["attempts"] or 0),
        dead_at=_time(float(one["dead_at"] or 0)),
        state=str(one["state"]),
    )
    if one["changed_at"] is not None:
        found.changed_at.CopyFrom(_time(float(one["changed_at"])))
    return found


def _seconds(time: Timestamp) -> float:
    return time.ToMicroseconds() / 1e6


def _time(seconds: float) -> Timestamp:
    found = Timestamp()
    found.FromMicroseconds(round(seconds * 1e6))
    return found
