"""Queues over the API."""

from __future__ import annotations

from math import inf

from formicary.engine.queen.core.quotas import Usage
from formicary.engine.queen.queues import QueueBook, Shown
from formicary.engine.queen.runtime import Queen
from formicary.engine.scheduling.queues.reading import read_queues
from formicary.gateway import Call
from formicary.v1 import queues_pb2 as pb
from formicary.v1 import queues_pb2_grpc


class QueueServicer(queues_pb2_grpc.QueueServiceServicer):
    """The queues as people see them.

    Args:
        queen: Whose they are.
    """

    def __init__(self, queen: Queen) -> None:
        self._book = QueueBook(queen)

    async def GetQueues(self, request: pb.GetQueuesRequest, call: Call) -> pb.Queues:
        """What holds now."""
        return _message(self._book.shown())

    async def PutQueues(self, request: pb.PutQueuesRequest, call: Call) -> pb.Queues:
        """Another configuration."""
        return _message(await self._book.put(request.source, by=call.principal.id, filename=request.filename))

    async def ValidateQueues(self, request: pb.ValidateQueuesRequest, call: Call) -> pb.ValidateQueuesResponse:
        """What is wrong with one."""
        return pb.ValidateQueuesResponse(
            violations=[
                pb.QueueViolation(line=one.line, column=one.column, path=one.path, code=one.code, message=one.message)
                for one in read_queues(request.source).violations
            ]
        )


def _message(shown: Shown) -> pb.Queues:
    config, states = shown.config, {one.name: one for one in shown.states}
    found = pb.Queues(
        source=shown.source,
        policy=config.rule.policy,
        placement=config.placement,
        queues=[
            pb.Queue(
                name=one.name,
                parent=one.parent or "",
                policy=config.within(one.name).policy,
                guaranteed=one.guaranteed,
                maximum=one.maximum,
                running=states[one.name].running,
                waiting=states[one.name].waiting,
                share=round(states[one.name].share, 3),
            )
            for one in config.queues
        ],
        updated_by=shown.updated_by,
        usage=map(_usage, shown.usage),
    )
    if shown.updated_at:
        found.updated_at.FromMilliseconds(int(shown.updated_at * 1000))
    return found


def _usage(one: Usage) -> pb.TenantUsage:
    limit = one.limit
    found = pb.TenantUsage(org=one.org, user=one.user, limit=one.name, used=round(one.used, 6), job_type=one.job_type)
    if limit.hard < inf:
        found.hard = limit.hard
    if limit.soft < inf:
        found.soft = limit.soft
    if limit.burst > limit.hard:
        found.burst, found.burst_for_s = limit.burst, limit.burst_for_s
    if one.resets_at:
        found.resets_at.FromMilliseconds(int(one.resets_at * 1000))
    return found
