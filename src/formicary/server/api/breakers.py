"""Circuit breakers over the API."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call
from formicary.lifecycle.breaker import Breaker
from formicary.problems import problem
from formicary.server.api import page_tokens
from formicary.v1 import breakers_pb2 as pb
from formicary.v1 import breakers_pb2_grpc

DEFAULT_PAGE = 100


class BreakerServicer(breakers_pb2_grpc.BreakerServiceServicer):
    """Breakers as clients see them."""

    def __init__(self, queen: Queen) -> None:
        self._queen = queen

    async def ListBreakers(self, request: pb.ListBreakersRequest, call: Call) -> pb.ListBreakersResponse:
        """A page of breakers, by name."""
        after = page_tokens.named_position(request.page_token, [])[0] if request.page_token else ""
        await self._queen.pump.settle()  # what is shown is committed
        core, size = self._queen.pump.now(), request.page_size or DEFAULT_PAGE
        found = [one for one in core.breaking.of(call.principal.org) if one[0] > after][: size + 1]
        page = [_message(name, breaker, types, core.wall) for name, breaker, types in found[:size]]
        more = len(found) > size
        return pb.ListBreakersResponse(
            breakers=page, next_page_token=page_tokens.named(page[-1].name, 1, []) if more else ""
        )

    async def ResetBreaker(self, request: pb.ResetBreakerRequest, call: Call) -> pb.Breaker:
        """Closes a breaker."""
        core, org = self._queen.pump.now(), call.principal.org
        try:
            breaker = core.breaking.reset((org, request.name))
        except KeyError:
            raise problem(
                "NOT_FOUND", f"there is no circuit breaker {request.name!r}; `formicary breakers list` shows them"
            ) from None
        types = next(types for name, _, types in core.breaking.of(org) if name == request.name)
        await self._queen.pump.commit()
        return _message(request.name, breaker, types, core.wall)


def _message(name: str, breaker: Breaker, job_types: list[str], now: float) -> pb.Breaker:
    breaker.look(now)
    rate, ended = breaker.rate(now)
    found = pb.Breaker(
        name=name,
        state=breaker.state,
        since=_time(breaker.since),
        job_types=job_types,
        failures_in_a_row=breaker.row,
        failure_rate=rate,
        ended_in_window=ended,
        trials=map(str, breaker.trials),
        opened=breaker.opened,
    )
    if (due := breaker.half_open_at) is not None:
        found.half_open_at.CopyFrom(_time(due))
    return found


def _time(seconds: float) -> Timestamp:
    found = Timestamp()
    found.FromMilliseconds(round(seconds * 1000))
    return found
