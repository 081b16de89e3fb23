"""Header mapping in the chain: the handler sees mapped metadata, the caller mapped headers, on errors and streams too.

Over gRPC the wire has the headers' names in lower case, so the same mapping gives a service the same metadata whether
it is called over REST, through another gateway or directly.
"""

from __future__ import annotations

from typing import Any

from formicary.gateway.call import Call, Value
from formicary.gateway.service import Run
from formicary.headers.grpc_wire import Responses, mapped
from formicary.headers.mapping import HeaderMapping


class MapHeaders:
    """Interceptor that maps the metadata of every call.

    Args:
        mapping: The mapping; its ``trusted_peers`` say whose identity headers count.
    """

    def __init__(self, mapping: HeaderMapping) -> None:
        self._mapping = mapping
        self._trusting = bool(mapping.config.trusted_peers)
        self._plain = not (self._trusting or mapping.by_path)

    async def __call__(self, call: Call, proceed: Run) -> None:
        """Maps what came, runs the call, maps what it sends back. Raises Problem naming every header that is wrong."""
        mapping, path = self._mapping, call.path
        if self._plain:
            request = tuple(mapping.request(path, call.metadata))
        else:
            request = mapped(mapping, path, call.metadata, self._trusting and mapping.trusts(call.remote))
        call.metadata = request
        outer, call.headers = call.headers, []
        if call.method.server_streaming:
            await _streamed(call, proceed, outer, Responses(mapping, path, request))
            return
        try:
            await proceed(call)
        finally:
            ready: tuple[tuple[str, Value], ...] | None
            ready = None if call.trailers else mapping.answer(path, call.headers, request)
            if ready is None:
                responses = Responses(mapping, path, request)
                ready = responses.initial((*call.headers, *_own(call, responses)))
            call.headers = [*outer, *ready]


async def _streamed(call: Call, proceed: Run, outer: list[tuple[str, Any]], responses: Responses) -> None:
    _map_before_first(call, outer, responses)
    try:
        await proceed(call)
    finally:
        if responses.begun:
            call.trailers = list(responses.trailing(call.trailers))
        else:
            call.headers = [*outer, *responses.initial((*call.headers, *_own(call, responses)))]


def _own(call: Call, responses: Responses) -> list[tuple[str, Any]]:
    """The trailers of a call that has sent nothing: over HTTP they are headers, over gRPC they stay what they are."""
    trailers, call.trailers = call.trailers, []
    if call.protocol == "http":
        return trailers
    call.trailers = list(responses.trailing(trailers))
    return []


def _map_before_first(call: Call, outer: list[tuple[str, Any]], responses: Responses) -> None:
    """Headers of a stream go out with its first message: they are mapped just before."""
    write = call.write

    async def first(message: Any) -> None:
        call.write = write
        call.headers = [*outer, *responses.initial(call.headers)]
        await write(message)

    call.write = first
